package session

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"wshub/pubsub"
)

// workers publish what clients send, and run errands that may block. All work of one session goes to one worker, so it
// keeps its order. Reading logs and fetching keys have ways of their own: nobody's publishing waits for them.
type workers struct {
	// Fixed at birth.
	queues   []chan task
	timeout  time.Duration
	maxBytes int64
	publish  func(context.Context, []pubsub.Publication) []pubsub.Result

	bytes atomic.Int64 // what waits or is under way
}

// task is a publication, or an errand.
type task struct {
	publication pubsub.Publication
	published   func(pubsub.Result) // with a publication
	run         func(context.Context)
	bytes       int // that run brings to another node
}

// size is roughly what a task costs while it waits, in bytes.
func (t *task) size() int64 {
	return int64(t.bytes + len(t.publication.Data) + len(t.publication.Topic) + len(t.publication.Key) + t.publication.Attributes.Size() + 256)
}

// publishBatch bounds the publications that go to the broker in one pipeline.
const publishBatch = 128

func newWorkers(cfg Config, publish func(context.Context, []pubsub.Publication) []pubsub.Result) *workers {
	w := &workers{timeout: cfg.PublishTimeout, maxBytes: int64(cfg.MaxPublishing), publish: publish}
	for range cfg.Workers {
		w.queues = append(w.queues, make(chan task, cfg.WorkerQueue))
	}
	return w
}

// do queues run for session id, and returns false if too much waits already.
func (w *workers) do(id uint64, run func(context.Context)) bool {
	return w.put(id, task{run: run})
}

// put queues t, and returns false if too much waits already. One of any size is taken while nothing waits.
func (w *workers) put(id uint64, t task) bool {
	size := t.size()
	if sum := w.bytes.Add(size); sum <= w.maxBytes || sum == size {
		select {
		case w.queues[id%uint64(len(w.queues))] <- t:
			return true
		default:
		}
	}
	w.bytes.Add(-size)
	return false
}

// serve runs until ctx ends, then drains the queue.
func (w *workers) serve(ctx context.Context) {
	var all sync.WaitGroup
	for _, queue := range w.queues {
		all.Go(func() { w.serveQueue(ctx, queue) })
	}
	all.Wait()
}

func (w *workers) serveQueue(ctx context.Context, queue <-chan task) {
	tasks := make([]task, 0, publishBatch)
	for {
		select {
		case t := <-queue:
			tasks = append(tasks[:0], t)
		case <-ctx.Done():
			select {
			case t := <-queue:
				tasks = append(tasks[:0], t)
			default:
				return
			}
		}
		for len(tasks) < publishBatch {
			select {
			case t := <-queue:
				tasks = append(tasks, t)
				continue
			default:
			}
			break
		}
		w.workOff(context.WithoutCancel(ctx), tasks)
		for i := range tasks {
			w.bytes.Add(-tasks[i].size())
		}
		clear(tasks)
	}
}

// workOff does tasks in order, neighbouring publications in one go.
func (w *workers) workOff(ctx context.Context, tasks []task) {
	for len(tasks) > 0 {
		ctx, cancel := context.WithTimeout(ctx, w.timeout)
		n := 0
		for n < len(tasks) && tasks[n].published != nil {
			n++
		}
		if n == 0 {
			tasks[0].run(ctx)
			n = 1
		} else {
			w.publishAll(ctx, tasks[:n])
		}
		tasks = tasks[n:]
		cancel()
	}
}

func (w *workers) publishAll(ctx context.Context, tasks []task) {
	batch := make([]pubsub.Publication, len(tasks))
	for i, t := range tasks {
		batch[i] = t.publication
	}
	for i, result := range w.publish(ctx, batch) {
		tasks[i].published(result)
	}
}
