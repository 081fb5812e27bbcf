package pubsub

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"wshub/pubsub/redistest"
)

func TestInstancesShareTheStreamsAndTakeOverThoseOfTheDead(t *testing.T) {
	t.Parallel()
	set := redistest.StartCluster(t, 3, 0)
	var readers []*readerOf
	evenly := func(readers ...*readerOf) bool {
		sum := 0
		for _, o := range readers {
			n := o.Streams()
			if share := partitions / len(readers); n < share*2/3 || n > share*4/3 {
				return false
			}
			sum += n
		}
		return sum == partitions
	}
	for range 3 {
		readers = append(readers, reads(t, quickly(t, RedisConfig{URL: set.URL()}), "share", nil))
		eventually(t, fmt.Sprintf("%d share the streams", len(readers)), func() bool { return evenly(readers...) })
	}
	// One ends in order, one without a word: its Redis is cut off.
	readers[0].stop()
	eventually(t, "two share the streams", func() bool { return readers[0].Streams() == 0 && evenly(readers[1:]...) })
}

func TestTheStreamOfOneThatIsCutOffIsTakenOverWhenItsLeaseEnds(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr())
	well := quickly(t, RedisConfig{URL: server.URL()})
	cut := quickly(t, RedisConfig{URL: proxy.URL()})
	told := make(chan struct{}, 1)
	first := reads(t, cut, "r", func(ctx context.Context, _ *LifecycleBatch) time.Duration {
		<-ctx.Done()
		told <- struct{}{}
		return time.Millisecond
	})
	eventually(t, "the first one has the stream", func() bool { return first.Streams() == 1 })
	enters(t, well, 1, 5, common)
	eventually(t, "a batch is under way", func() bool { first.mu.Lock(); defer first.mu.Unlock(); return first.handed == 1 })
	enters(t, well, 6, 10, common) // no part of the batch, whoever hands it out
	second := reads(t, well, "r", nil)
	proxy.Freeze(redistest.Both)
	cutOff := time.Now()
	eventually(t, "the second one has handled all", func() bool { return second.count() == 10 })
	if took := time.Since(cutOff); took < cut.readerTimes.lease/2 {
		t.Errorf("taken over after %s, while the lease held", took)
	}
	<-told
	eventually(t, "the first one knows", func() bool { return first.Streams() == 0 })
	if first.ids[0] != second.ids[0] {
		t.Errorf("the batch was %s, and is %s", first.ids[0], second.ids[0])
	}
	if stream := well.names.lifecycle(common); second.fence(stream) <= first.fence(stream) {
		t.Errorf("fence %d after %d", second.fence(stream), first.fence(stream))
	}
}

// A reader that comes back finds its stream trimmed beyond its position.
func TestEntriesThatWereTrimmedUnreadAreCounted(t *testing.T) {
	t.Parallel()
	r := quickly(t, RedisConfig{URL: redistest.Start(t).URL()})
	enters(t, r, 1, 10, common)
	first := reads(t, r, "r", nil)
	eventually(t, "all are handled", func() bool { return first.count() == 10 })
	first.stop()
	enters(t, r, 11, 30, common)
	mustDo(t, r, common, "xtrim", r.names.lifecycle(common), "maxlen", 5)
	second := reads(t, r, "r", nil)
	eventually(t, "those that are left", func() bool { return second.count() == 5 })
	if second.lost != 15 {
		t.Errorf("%d lost, want 15", second.lost)
	}
	second.stop()
	// One that is new has lost nothing, and a stream that begins anew neither.
	mustDo(t, r, common, "xadd", r.names.lifecycle(common), "*", "event", `{"seq":1,"type":"reset"}`)
	enters(t, r, 2, 3, common)
	other := reads(t, r, "new", nil)
	eventually(t, "all that are kept", func() bool { return other.count() == 8 })
	if other.lost != 0 {
		t.Errorf("%d lost of a stream that was not read before", other.lost)
	}
}

func TestABatchThatIsTrimmedWhileItIsTriedIsCountedAsLost(t *testing.T) {
	t.Parallel()
	r := quickly(t, RedisConfig{URL: redistest.Start(t).URL()})
	enters(t, r, 1, 10, common)
	first := reads(t, r, "r", nil)
	eventually(t, "all are handled", func() bool { return first.count() == 10 })
	first.stop()
	enters(t, r, 11, 20, common)
	failing := make(chan bool, 1)
	second := reads(t, r, "r", func(_ context.Context, b *LifecycleBatch) time.Duration {
		if !strings.Contains(string(b.Entries[0].Event), `"seq":11,`) {
			return 0
		}
		if b.Tries == 0 {
			failing <- true
		}
		return 50 * time.Millisecond // until it is trimmed
	})
	<-failing
	enters(t, r, 21, 30, common)
	mustDo(t, r, common, "xtrim", r.names.lifecycle(common), "maxlen", 5)
	eventually(t, "those that are left", func() bool { return second.count() == 5 })
	if second.lost != 15 {
		t.Errorf("%d lost, want 15", second.lost)
	}
}

func TestStrangeEntriesOfAStreamAreLeftOut(t *testing.T) {
	t.Parallel()
	r := quickly(t, RedisConfig{URL: redistest.Start(t).URL()})
	stream := r.names.lifecycle(common)
	enters(t, r, 1, 1, common)
	for _, event := range []string{"", "null", "[]", `{"seq":2}`, `{"seq":-1,"type":"x"}`, `{"type":"x"`, `{"type":"x","user":"` + strings.Repeat("x", MaxLifecycleEvent) + `"}`, "{\"type\":\"\xff\"}"} {
		mustDo(t, r, common, "xadd", stream, "*", "event", event)
	}
	for range 250 {
		mustDo(t, r, common, "xadd", stream, "*", "other", "1")
	}
	enters(t, r, 2, 2, common)
	o := reads(t, r, "r", nil)
	eventually(t, "the two that are a hub's", func() bool { return o.count() == 2 })
	if n := r.Stats().Drops[BadEntry.String()]; n != 258 {
		t.Errorf("%d were dropped", n)
	}
}

func TestAStreamGoesOnBehindAFailoverThatLostThePosition(t *testing.T) {
	t.Parallel()
	master := redistest.Start(t)
	replica := follower(t, master, -time.Second)
	proxy := redistest.NewProxy(t, master.Addr())
	r := quickly(t, RedisConfig{URL: proxy.URL()})
	enters(t, r, 1, 10, common)
	o := reads(t, r, "r", nil)
	eventually(t, "all are handled", func() bool { return o.count() == 10 })
	replica.CatchUp(master)
	replica.Promote()
	enters(t, r, 11, 20, common)
	eventually(t, "all are handled", func() bool { return o.count() == 20 })
	master.Kill()
	proxy.Point(replica.Addr())
	ready(t, r)
	enterAt(t, r, fmt.Sprintf("%d-*", time.Now().Add(time.Minute).UnixMilli()), 11, 30, common) // they come again, and IDs leap
	eventually(t, "what came later is handled last", func() bool {                              // behind the first ten again, if the replica lacks that these were handled
		o.mu.Lock()
		defer o.mu.Unlock()
		last := o.got[r.names.lifecycle(common)]
		return len(last) >= 30 && isCount(last[len(last)-20:], 11, 30)
	})
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.lost != 0 {
		t.Errorf("lost %d", o.lost)
	}
}

func TestMemoryDeliversItsStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory(MemoryConfig{Node: "n1", Lifecycle: LifecycleConfig{On: true, MaxEntries: 120}})
		if other := NewMemory(MemoryConfig{Node: "n2"}); m.lifecycleStream() == other.lifecycleStream() {
			t.Errorf("two instances have the stream %s", other.lifecycleStream()) // whoever holds fences by stream would refuse one
		}
		add := func(n int) {
			m.order.Lock()
			defer m.order.Unlock()
			for range n {
				m.lifecycle.add(m.now(), lifecycleEvent{Type: "user_online"})
			}
		}
		fails := 2
		o := reads(t, m, "r", func(_ context.Context, b *LifecycleBatch) time.Duration {
			if fails--; fails >= 0 {
				if b.Tries != 1-fails {
					t.Errorf("try %d", b.Tries)
				}
				return time.Minute
			}
			return 0
		})
		add(110)
		time.Sleep(90 * time.Second)
		if lag := o.Lag(); lag < 80*time.Second || lag > 90*time.Second {
			t.Errorf("lag %s", lag)
		}
		time.Sleep(time.Minute)
		if o.inOrder(t, 110, m.lifecycleStream()); o.Lag() != 0 || o.lost != 0 {
			t.Errorf("lag %s, lost %d", o.Lag(), o.lost)
		}
		add(130)
		time.Sleep(time.Second)
		if o.count() != 110+120 || o.lost != 10 { // count takes the lock that lost is written under
			t.Errorf("%d lost, %d handled", o.lost, o.count())
		}
		o.stop()
	})
}
