package pubsub

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"wshub/pubsub/redistest"
	"wshub/pubsub/redistest/drills"
)

// readerOf is one Deliver of a broker, and what it was handed.
type readerOf struct {
	*LifecycleReader
	stop func() // as a hub ends

	mu      sync.Mutex
	got     map[string][]uint64 // seqs that were handled, by stream
	fences  map[string]uint64
	ids     []string
	lost    uint64
	handed  int // also what was not handled
	running int
	answer  func(ctx context.Context, b *LifecycleBatch) time.Duration // nil: done with it
}

// deliverer is a broker that delivers.
type deliveringBroker interface {
	Deliver(context.Context, *LifecycleReader) error
}

// reads has b deliver for the reader of name.
func reads(t testing.TB, b deliveringBroker, name string, answer func(context.Context, *LifecycleBatch) time.Duration) *readerOf {
	t.Helper()
	o := &readerOf{got: map[string][]uint64{}, fences: map[string]uint64{}, answer: answer}
	o.LifecycleReader = &LifecycleReader{Name: name, Handle: func(ctx context.Context, batch *LifecycleBatch) time.Duration { return o.handle(t, ctx, batch) }}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := b.Deliver(ctx, o.LifecycleReader); err != nil {
			t.Error(err)
		}
	}()
	o.stop = func() { cancel(); <-ended }
	t.Cleanup(o.stop)
	return o
}

func (o *readerOf) handle(t testing.TB, ctx context.Context, b *LifecycleBatch) time.Duration {
	o.mu.Lock()
	o.handed++
	o.ids = append(o.ids, b.ID)
	if o.running++; o.running > maxHandles {
		t.Errorf("%d batches are handled at a time", o.running)
	}
	if b.Fence < o.fences[b.Stream] || b.Fence == 0 {
		t.Errorf("%s: fence %d after %d", b.Stream, b.Fence, o.fences[b.Stream])
	}
	o.fences[b.Stream] = b.Fence
	o.mu.Unlock()
	again := time.Duration(0)
	if o.answer != nil {
		again = o.answer(ctx, b)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.running--
	if again == 0 {
		o.lost += b.Lost
		o.got[b.Stream] = append(o.got[b.Stream], seqsOf(b)...)
	}
	return again
}

func seqsOf(b *LifecycleBatch) (list []uint64) {
	for _, e := range b.Entries {
		_, next, _, _ := readPoint{}.batch("", []LifecycleEntry{e})
		list = append(list, next.seq)
	}
	return list
}

// count is how many entries were handled, in all streams.
func (o *readerOf) count() (n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, list := range o.got {
		n += len(list)
	}
	return n
}

// inOrder reports whether each stream's entries were handled from 1 to n, each once.
func (o *readerOf) inOrder(t testing.TB, n uint64, streams ...string) {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, stream := range streams {
		if list := o.got[stream]; !isCount(list, 1, n) {
			t.Errorf("%s: handled %v, want 1 to %d", stream, list, n)
		}
	}
}

func isCount(list []uint64, from, to uint64) bool {
	for i, seq := range list {
		if seq != from+uint64(i) {
			return false
		}
	}
	return uint64(len(list)) == to-from+1
}

// quick has a broker's leases be short.
func quick(r *Redis) *Redis {
	r.readerTimes = readerTimes{lease: time.Second, every: 50 * time.Millisecond, margin: 100 * time.Millisecond, poll: 5 * time.Millisecond}
	return r
}

// quickly is a running broker with short leases.
func quickly(t testing.TB, cfg RedisConfig) *Redis {
	t.Helper()
	r := quick(newRedis(t, cfg))
	start(t, r)
	ready(t, r)
	return r
}

// enters writes entries from..to to the streams of partitions, as a hub does.
func enters(t testing.TB, r *Redis, from, to uint64, list ...byte) {
	t.Helper()
	enterAt(t, r, "*", from, to, list...)
}

// enterAt is enters, with the IDs that id asks XADD for.
func enterAt(t testing.TB, r *Redis, id string, from, to uint64, list ...byte) {
	t.Helper()
	var calls []call
	for seq := from; seq <= to; seq++ {
		for _, p := range list {
			event := fmt.Sprintf(`{"seq":%d,"type":"user_online","user":"%d","time":%d}`, seq, seq, time.Now().UnixMilli())
			calls = append(calls, call{partition: p, args: []any{"xadd", r.names.lifecycle(p), id, lifecycleField, event}})
		}
	}
	for _, reply := range r.run(context.Background(), calls) {
		if err := reply.Err(); err != nil {
			t.Fatal(err)
		}
	}
}

// streamsOf are the names of streams.
func streamsOf(r *Redis, list ...byte) (names []string) {
	for _, p := range list {
		names = append(names, r.names.lifecycle(p))
	}
	return names
}

// deliveries is what Deliver does on each topology; cfg is of a new one, parts are partitions with a stream each.
var deliveries = []struct {
	text string
	test func(t *testing.T, cfg RedisConfig, name string, parts []byte)
}{
	{"entries come in order and once, and the next instance goes on behind them", deliversInOrder},
	{"a batch that is not handled comes again, and others meanwhile", handsOutAgain},
	{"a clock that is set makes no batch older", clocksMakeNoneOlder},
	{"the streams of one that is cut off are taken over with a higher fence and the same batch", takesOver},
	{"an instance that has lost its lease can't move the position", oldOnesStoreNothing},
	{"lost data begins anew with a higher fence", survivesLostData},
}

func TestLifecycleIsDelivered(t *testing.T) {
	t.Parallel()
	testDeliveries(t, redistest.Start(t).URL(), common)
}

func TestLifecycleIsDeliveredBySentinels(t *testing.T) {
	drills.InProcess(t)
	t.Parallel()
	testDeliveries(t, redistest.StartSentinel(t).URL(), common)
}

func TestLifecycleIsDeliveredInACluster(t *testing.T) {
	drills.InProcess(t)
	t.Parallel()
	testDeliveries(t, redistest.StartCluster(t, 3, 0).URL(), 1, 7, 60, 100, 180, 255)
}

func testDeliveries(t *testing.T, url string, parts ...byte) {
	for i, c := range deliveries {
		t.Run(c.text, func(t *testing.T) {
			name := fmt.Sprintf("reader-%d", i)
			c.test(t, RedisConfig{URL: url, Prefix: fmt.Sprintf("d%d", i)}, name, parts)
		})
	}
}

func deliversInOrder(t *testing.T, cfg RedisConfig, name string, parts []byte) {
	r := quickly(t, cfg)
	enters(t, r, 1, 250, parts...)
	first := reads(t, r, name, nil)
	all := 250 * len(parts)
	eventually(t, "all entries that were there", func() bool { return first.count() == all })
	enters(t, r, 251, 260, parts...)
	all += 10 * len(parts)
	eventually(t, "those that came later", func() bool { return first.count() == all })
	first.inOrder(t, 260, streamsOf(r, parts...)...)
	if first.lost != 0 || first.Lag() > time.Minute {
		t.Errorf("lost %d, lag %s", first.lost, first.Lag())
	}
	eventually(t, "no lag", func() bool { return first.Lag() == 0 })
	first.stop()
	second := reads(t, r, name, nil)
	enters(t, r, 261, 262, parts...)
	eventually(t, "what the first one did not get", func() bool { return second.count() == 2*len(parts) })
	for _, stream := range streamsOf(r, parts...) {
		if !isCount(second.got[stream], 261, 262) {
			t.Errorf("%s: the second one got %v", stream, second.got[stream])
		}
		if second.fences[stream] <= first.fences[stream] {
			t.Errorf("%s: fence %d after %d", stream, second.fences[stream], first.fences[stream])
		}
	}
}

func handsOutAgain(t *testing.T, cfg RedisConfig, name string, parts []byte) {
	r := quickly(t, cfg)
	var mu sync.Mutex
	tries := map[string]int{} // by this fence: one whose lease has lapsed counts anew
	fences := map[string]uint64{}
	since := map[string]time.Time{}
	o := reads(t, r, name, func(_ context.Context, b *LifecycleBatch) time.Duration {
		mu.Lock()
		defer mu.Unlock()
		if fences[b.ID] != b.Fence {
			fences[b.ID], tries[b.ID] = b.Fence, 0
		}
		if b.Tries != tries[b.ID] {
			t.Errorf("try %d of %s after %d", b.Tries, b.ID, tries[b.ID])
		}
		if was := since[b.ID]; !was.IsZero() && b.Since.Sub(was).Abs() > time.Second {
			t.Errorf("since %s, before %s", b.Since, was)
		}
		since[b.ID] = b.Since
		if tries[b.ID]++; tries[b.ID] < 4 {
			return time.Millisecond
		}
		return 0
	})
	enters(t, r, 1, 150, parts...)
	eventually(t, "all are handled", func() bool { return o.count() == 150*len(parts) })
	o.inOrder(t, 150, streamsOf(r, parts...)...)
}

func clocksMakeNoneOlder(t *testing.T, cfg RedisConfig, name string, parts []byte) {
	r, p := quickly(t, cfg), parts[0]
	o := reads(t, r, name, func(_ context.Context, b *LifecycleBatch) time.Duration {
		if age := time.Since(b.Since); age < 0 || age > time.Minute {
			t.Errorf("try %d: the batch was handed out %s ago", b.Tries, age)
		}
		if b.Tries == 0 { // as if Redis' clock had been set since
			mustDo(t, r, p, "hset", r.names.deliveredTo(p, name), "since", time.Now().Add(-time.Hour).UnixMilli())
		}
		if b.Tries < 3 {
			return time.Millisecond
		}
		return 0
	})
	enters(t, r, 1, 1, p)
	eventually(t, "it is handled", func() bool { return o.count() == 1 })
}

func takesOver(t *testing.T, cfg RedisConfig, name string, parts []byte) {
	r, other := quickly(t, cfg), quickly(t, cfg)
	enters(t, r, 1, 10, parts...)
	var mu sync.Mutex
	held := map[string]bool{}
	ended := 0
	first := reads(t, r, name, func(ctx context.Context, b *LifecycleBatch) time.Duration {
		mu.Lock()
		again := held[b.ID]
		held[b.ID] = true
		mu.Unlock()
		if again { // it is alive, and may take streams anew
			return 0
		}
		<-ctx.Done()
		mu.Lock()
		defer mu.Unlock()
		ended++
		return time.Millisecond
	})
	eventually(t, "batches are under way", func() bool { mu.Lock(); defer mu.Unlock(); return len(held) == len(parts) })
	before := map[string]uint64{}
	for _, stream := range streamsOf(r, parts...) {
		before[stream] = first.fence(stream)
	}
	for _, p := range parts {
		mustDo(t, r, p, "hset", r.names.deliveredTo(p, name), "until", "1", "holder", "one that is dead")
	}
	second := reads(t, other, name, func(_ context.Context, b *LifecycleBatch) time.Duration {
		if mu.Lock(); !held[b.ID] {
			t.Errorf("batch %s was not handed out before", b.ID)
		}
		mu.Unlock()
		if b.Fence <= before[b.Stream] {
			t.Errorf("%s: fence %d after %d", b.Stream, b.Fence, before[b.Stream])
		}
		return 0
	})
	eventually(t, "all are handled", func() bool { return first.count()+second.count() == 10*len(parts) })
	eventually(t, "the first holder is told", func() bool { mu.Lock(); defer mu.Unlock(); return ended == len(parts) })
}

func mustDo(t testing.TB, r *Redis, p byte, args ...any) any {
	t.Helper()
	reply := r.command(context.Background(), p, args...)
	if err := reply.Err(); err != nil {
		t.Fatal(err)
	}
	return reply.Val()
}

func oldOnesStoreNothing(t *testing.T, cfg RedisConfig, name string, parts []byte) {
	r := quickly(t, cfg)
	p := parts[0]
	old := delivererOf(r, name)
	old.claim(t.Context(), []byte{p})
	s := old.reading[p]
	if s == nil {
		t.Fatal("no lease")
	}
	s.point.position, s.point.seq = "5-1", 5
	if !old.keep(t.Context(), []*reading{s})[0] {
		t.Fatal("the holder can't store")
	}
	next := delivererOf(r, name)
	next.claim(t.Context(), []byte{p})
	if next.reading[p] != nil {
		t.Fatal("a lease that holds was taken")
	}
	mustDo(t, r, p, "hset", r.names.deliveredTo(p, name), "until", "1")
	next.claim(t.Context(), []byte{p})
	if got := next.reading[p]; got == nil || got.point.position != "5-1" || got.point.seq != 5 || got.fence <= s.fence {
		t.Fatalf("taken over: %+v", got)
	}
	s.point.position = "9-9"
	if old.keep(t.Context(), []*reading{s})[0] || old.reading[p] != nil {
		t.Error("an old holder has stored its position")
	}
	old.give(t.Context(), []*reading{s})
	if at := mustDo(t, r, p, "hget", r.names.deliveredTo(p, name), "position"); at != "5-1" {
		t.Errorf("the position is %v", at)
	}
	third := delivererOf(r, name)
	if third.claim(t.Context(), []byte{p}); third.reading[p] != nil {
		t.Error("an old holder has given the new one's lease back")
	}
}

// delivererOf is a Deliver that does nothing by itself.
func delivererOf(r *Redis, name string) *deliverer {
	return r.newDeliverer(&LifecycleReader{Name: name, Handle: func(context.Context, *LifecycleBatch) time.Duration { return 0 }})
}

func survivesLostData(t *testing.T, cfg RedisConfig, name string, parts []byte) {
	r := quickly(t, cfg)
	o := reads(t, r, name, nil)
	enters(t, r, 1, 10, parts...)
	eventually(t, "all are handled", func() bool { return o.count() == 10*len(parts) })
	before := o.fence(r.names.lifecycle(parts[0]))
	for _, p := range parts {
		mustDo(t, r, p, "del", r.names.lifecycle(p), r.names.deliveredTo(p, name))
	}
	enters(t, r, 1, 3, parts...)
	eventually(t, "the new ones are handled", func() bool { return o.count() == 13*len(parts) })
	if after := o.fence(r.names.lifecycle(parts[0])); after <= before || o.lost != 0 {
		t.Errorf("fence %d after %d, lost %d", after, before, o.lost)
	}
}

func (o *readerOf) fence(stream string) uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.fences[stream]
}

func TestABadReaderIsRefused(t *testing.T) {
	r := newRedis(t, RedisConfig{URL: "redis://127.0.0.1:1"})
	for _, name := range []string{"", "a b", "{x}", "a:b"} {
		for _, b := range []deliveringBroker{r, NewMemory(MemoryConfig{})} {
			if err := b.Deliver(t.Context(), &LifecycleReader{Name: name, Handle: func(context.Context, *LifecycleBatch) time.Duration { return 0 }}); !errors.Is(err, ErrBadReader) {
				t.Errorf("%q: %v", name, err)
			}
		}
	}
}

func TestALogTellsOfNoDropWhereNothingWasDropped(t *testing.T) {
	var log bytes.Buffer
	r := newRedis(t, RedisConfig{URL: "redis://127.0.0.1:1", Log: zerolog.New(&log)})
	r.drops(BadEntry, 0, "hub:{a}:lifecycle")
	if log.Len() > 0 {
		t.Errorf("logged %s", log.String())
	}
	if r.drops(BadEntry, 2, "hub:{a}:lifecycle"); log.Len() == 0 || r.stats.drops[BadEntry].Load() != 2 {
		t.Errorf("2 drops are not told: %s", log.String())
	}
}
