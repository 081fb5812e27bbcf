package session

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"wshub/engine"
	"wshub/pubsub"
)

func TestAReplayReadsEachEventOnce(t *testing.T) {
	const events, size = 500, 4000
	var read atomic.Int64
	n := bend(t, Config{}, engine.Config{Pollers: 1, MaxQueued: 64 << 10, SendBuffer: 8 << 10}, &bent{replayed: func(_ string, r pubsub.Replay) {
		read.Add(int64(len(r.Events)))
	}})
	n.number("news", 1, events, size)
	c := n.v1("")
	c.send(`{"type":"subscribe","topic":"news","since":"0"}`)
	c.hear()
	c.wantEvents("news", 1, events)
	if got := read.Load(); got > events+10 { // the first ones are looked at before the answer
		t.Errorf("%d events were read for %d", got, events)
	}
}

// reader is one reader with a gate before each read; what it reads is noted, and what lands.
type reader struct {
	*readers
	n      *node
	g      *gate
	read   chan string // topics, as they are read
	landed chan string // topics, each with its error
}

func newReader(t *testing.T) *reader {
	r := &reader{n: oneLoop(t), g: newGate(), read: make(chan string, 1000), landed: make(chan string, 1000)}
	r.readers = newReaders(1, time.Minute, func(ctx context.Context, topic string, _ pubsub.Position, _ pubsub.Limit) (pubsub.Replay, error) {
		r.read <- topic
		return pubsub.Replay{}, r.g.wait(ctx)
	})
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan struct{})
	go func() { defer close(served); r.serve(ctx) }()
	t.Cleanup(func() { r.g.open(); cancel(); <-served })
	return r
}

// job is a read of topic.
func (r *reader) job(topic string) job {
	return job{&read{topic: topic}, r.n.server.Loops()[0], func(_ pubsub.Replay, err error) {
		if err != nil {
			topic += " " + readRefusal(err).Text
		}
		r.landed <- topic
	}}
}

func TestReadsAreDoneInTheirOrderExceptThoseThatNobodyWaitsFor(t *testing.T) {
	r := newReader(t)
	var want []string
	for i := range 500 {
		j := r.job(fmt.Sprint(i))
		r.put(j)
		if i%3 == 1 {
			j.dropped.Store(true)
		} else {
			want = append(want, j.topic)
		}
	}
	if got := r.pending.Load(); got != 500 {
		t.Errorf("%d are pending", got)
	}
	r.g.open()
	var read []string
	for range want {
		read = append(read, <-r.read)
	}
	if !slices.Equal(read, want) {
		t.Errorf("read %q", read)
	}
	for i := range 500 { // also those that were not done: their sessions go on with the next
		if got := <-r.landed; !strings.HasPrefix(got, fmt.Sprint(i)) {
			t.Fatalf("%d landed as %s", i, got)
		}
	}
	r.n.eventually("none is pending", func() bool { return r.pending.Load() == 0 })
	if len(r.read) > 0 {
		t.Errorf("%d more were read", len(r.read))
	}
}

func TestAReadThatHasWaitedTooLongIsBusy(t *testing.T) {
	r := newReader(t)
	r.g.open()
	for _, c := range []struct {
		waited time.Duration
		want   string
	}{{time.Minute, "t"}, {3 * time.Minute, "t too much to do; nothing was read"}} {
		r.do(t.Context(), queuedJob{r.job("t"), time.Now().Add(-c.waited)})
		if got := <-r.landed; got != c.want {
			t.Errorf("behind %s: %s", c.waited, got)
		}
	}
	if len(r.read) != 1 {
		t.Errorf("%d were read", len(r.read))
	}
}

func TestWhatFailsToReadIsToldByItsKind(t *testing.T) {
	for err, want := range map[error]Code{
		fmt.Errorf("%w: %w", pubsub.ErrUnavailable, errCrowded): Busy, fmt.Errorf("read: %w", pubsub.ErrRefused): Refused,
		pubsub.ErrUnavailable: Unavailable, errors.New("else"): Unavailable, context.DeadlineExceeded: Unavailable,
	} {
		if got := readRefusal(err); got.Code != want || got.Text == "" {
			t.Errorf("%v: %+v", err, got)
		}
	}
}

func TestReadersThatEndForgetWhatWaits(t *testing.T) {
	r := newReader(t)
	ended := newReaders(1, time.Minute, r.replay)
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan struct{})
	go func() { defer close(served); ended.serve(ctx) }()
	for range 100 {
		ended.put(r.job("t"))
	}
	<-r.read // the first is under way
	cancel()
	<-served
	ended.put(r.job("late"))
	ended.mu.Lock()
	defer ended.mu.Unlock()
	if len(ended.queue) != 0 || len(r.read) != 0 {
		t.Errorf("%d wait, %d more were read", len(ended.queue), len(r.read))
	}
}

// A client leaves a topic while its log waits to be read: the reads behind it are done all the same.
func TestAReadThatIsDroppedFailsNoOther(t *testing.T) {
	g := newGate()
	n := bend(t, Config{Workers: 1}, engine.Config{Pollers: 1}, &bent{onReplay: func(ctx context.Context, topic string) error {
		if topic == "log" {
			return g.wait(ctx)
		}
		return nil
	}})
	other, c := n.v1(""), n.v1("")
	other.send(`{"type":"history","id":1,"topic":"log"}`)
	n.eventually("the log is read", func() bool { return n.hub.Stats().Reads == 1 })
	for _, text := range []string{
		`{"type":"subscribe","id":1,"topic":"gone","since":"0"}`, `{"type":"subscribe","id":2,"topic":"stays","since":"0"}`, `{"type":"unsubscribe","id":3,"topic":"gone"}`,
	} {
		c.send(text)
	}
	for range 2 { // the answers to gone
		c.hear()
	}
	g.open()
	if h := c.hear(); h.Type != "subscribed" || h.Topic != "stays" {
		t.Errorf("%+v", h)
	}
}

// A log that hangs is read by as many clients as there are readers; all others are told soon that it is too much.
func TestWhoWaitsBehindALogThatHangsIsToldSo(t *testing.T) {
	n := bend(t, Config{Workers: 1, PublishTimeout: 20 * time.Millisecond}, engine.Config{Pollers: 1}, &bent{onReplay: func(ctx context.Context, topic string) error {
		if topic == "log" {
			<-ctx.Done()
			return pubsub.ErrUnavailable
		}
		return nil
	}})
	var clients []*client
	for range 8 {
		clients = append(clients, n.v1(""))
	}
	resume := n.pause()
	for _, c := range clients {
		c.send(`{"type":"history","id":1,"topic":"log"}`)
	}
	resume()
	codes := map[Code]int{}
	for _, c := range clients {
		codes[c.hear().Code]++
	}
	if codes[Unavailable] == 0 || codes[Busy] < 4 || codes[Unavailable]+codes[Busy] != 8 {
		t.Errorf("%v", codes)
	}
	clients[0].send(`{"type":"history","id":2,"topic":"other"}`)
	if h := clients[0].hear(); h.Type != "history" {
		t.Errorf("%+v", h)
	}
}

// TestWhoHasTheBrokerWaitHoldsUpNobody: clients hand in positions that are made up, and the broker waits to hear who may know of them.
func TestWhoHasTheBrokerWaitHoldsUpNobody(t *testing.T) {
	g := newGate()
	n := bend(t, Config{Workers: 1, PublishTimeout: time.Minute}, engine.Config{Pollers: 1}, &bent{onReplay: func(ctx context.Context, topic string) error {
		if topic == "ahead" {
			pubsub.Waits(ctx)
			return g.wait(ctx)
		}
		return nil
	}})
	t.Cleanup(g.open)
	var hostile []*client
	for range 5 {
		c := n.v1("")
		c.send(`{"type":"history","id":1,"topic":"ahead"}`)
		hostile = append(hostile, c)
	}
	for range hostile {
		<-g.came
	}
	other := n.v1("")
	other.send(`{"type":"history","id":2,"topic":"other"}`)
	if h := other.hear(); h.Type != "history" {
		t.Errorf("%+v", h)
	}
	g.open()
	for _, c := range hostile {
		if h := c.hear(); h.Type != "history" {
			t.Errorf("%+v", h)
		}
	}
	other.send(`{"type":"history","id":3,"topic":"other"}`)
	if h := other.hear(); h.Type != "history" {
		t.Errorf("%+v", h)
	}
}
