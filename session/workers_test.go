package session

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"wshub/pubsub"
)

// hands is a publish func of workers that hangs until it is let go, and notes what it published.
type hands struct {
	g *gate

	mu   sync.Mutex
	done []string
}

func (h *hands) publish(ctx context.Context, batch []pubsub.Publication) []pubsub.Result {
	_ = h.g.wait(ctx)
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, p := range batch {
		h.done = append(h.done, p.Topic)
	}
	return make([]pubsub.Result, len(batch))
}

// working serves w until the test ends, or end is called.
func working(t *testing.T, w *workers) (end func()) {
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan struct{})
	go func() { defer close(served); w.serve(ctx) }()
	end = func() { cancel(); <-served }
	t.Cleanup(end)
	return end
}

func publication(topic string, size int) task {
	return task{publication: pubsub.Publication{Topic: topic, Data: []byte(strings.Repeat("x", size))}, published: func(pubsub.Result) {}}
}

func TestWorkersTakeSoManyBytes(t *testing.T) {
	h := &hands{g: newGate()}
	w := newWorkers(Config{Workers: 3, WorkerQueue: 1000, MaxPublishing: 105_000, PublishTimeout: time.Minute}, h.publish)
	end := working(t, w)
	t.Cleanup(h.g.open)
	taken := 0
	for id := range uint64(100) {
		if w.put(id, publication("t", 5_000)) {
			taken++
		}
	}
	if want := 105_000 / (5_000 + 1 + 256); taken != want {
		t.Errorf("%d were taken, want %d", taken, want)
	}
	if !w.put(1, publication("t", 10)) || w.put(1, publication("t", 5_000)) {
		t.Error("it does not go by bytes")
	}
	h.g.open()
	end()
	if b := w.bytes.Load(); b != 0 {
		t.Errorf("%d bytes are left", b)
	}
	if len(h.done) != taken+1 {
		t.Errorf("%d were published", len(h.done))
	}
}

// A message that is larger than all that may wait is taken while nothing waits: nobody could ever send it otherwise.
func TestWorkersTakeOneOfAnySize(t *testing.T) {
	h := &hands{g: newGate()}
	w := newWorkers(Config{Workers: 1, WorkerQueue: 10, MaxPublishing: 64 << 10, PublishTimeout: time.Minute}, h.publish)
	end := working(t, w)
	t.Cleanup(h.g.open)
	if !w.put(1, publication("large", 1<<20)) {
		t.Error("it is not taken")
	}
	if w.put(1, publication("small", 1)) {
		t.Error("another one is taken beside it")
	}
	h.g.open()
	end()
	if b := w.bytes.Load(); b != 0 || len(h.done) != 1 {
		t.Errorf("%d bytes are left, published %q", b, h.done)
	}
}

// All that was taken is done, in the order of each session, though the end comes first; errands keep their place.
func TestWorkersFinishWhatTheyTook(t *testing.T) {
	h := &hands{g: newGate()}
	w := newWorkers(Config{Workers: 2, WorkerQueue: 1000, MaxPublishing: 1 << 20, PublishTimeout: time.Minute}, h.publish)
	want := map[uint64]string{}
	var mu sync.Mutex
	got := map[uint64]string{}
	note := func(id uint64, what string) {
		mu.Lock()
		defer mu.Unlock()
		got[id] += what
	}
	for i := range 300 {
		id, what := uint64(i%7), string(rune('a'+i%26))
		want[id] += what
		if i%5 == 0 {
			w.do(id, func(context.Context) { note(id, what) })
		} else {
			w.put(id, task{publication: pubsub.Publication{Topic: what}, published: func(pubsub.Result) { note(id, what) }})
		}
	}
	h.g.open()
	working(t, w)()
	for id := range want {
		if got[id] != want[id] {
			t.Errorf("session %d: %s, want %s", id, got[id], want[id])
		}
	}
	if b := w.bytes.Load(); b != 0 {
		t.Errorf("%d bytes are left", b)
	}
}

func TestAWorkersQueueIsBoundedInTasks(t *testing.T) {
	w := newWorkers(Config{Workers: 2, WorkerQueue: 3, MaxPublishing: 1 << 20}, nil)
	taken := 0
	for range 10 {
		if w.do(4, func(context.Context) {}) {
			taken++
		}
	}
	if other := w.do(5, func(context.Context) {}); taken != 3 || !other {
		t.Errorf("%d of one session were taken, and another's: %v", taken, other)
	}
}
