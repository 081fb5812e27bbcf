package session

import (
	"context"
	"sync"
	"time"

	"wshub/pubsub"
)

// workers do what may block. All work of one session goes to one worker, so it keeps its order.
type workers struct {
	queues  []chan task
	timeout time.Duration
	publish func(context.Context, []pubsub.Publication) []pubsub.Result
}

// task is a publication, or anything else that blocks.
type task struct {
	publication pubsub.Publication
	published   func(pubsub.Result) // with a publication
	run         func(context.Context)
}

// publishBatch bounds the publications that go to the broker in one pipeline.
const publishBatch = 128

func newWorkers(n, queue int, timeout time.Duration, publish func(context.Context, []pubsub.Publication) []pubsub.Result) *workers {
	w := &workers{timeout: timeout, publish: publish}
	for range n {
		w.queues = append(w.queues, make(chan task, queue))
	}
	return w
}

// do queues run for session id, and returns false if too much waits already.
func (w *workers) do(id uint64, run func(context.Context)) bool {
	return w.put(id, task{run: run})
}

func (w *workers) put(id uint64, t task) bool {
	select {
	case w.queues[id%uint64(len(w.queues))] <- t:
		return true
	default:
		return false
	}
}

// serve works until ctx ends, and then off what is queued by then.
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
