package session

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"wshub/pubsub"
)

// changes tell the broker of members that come and go, all of a hub in their order, in batches. Loops never wait for it. A
// change for which there is no room is left to the broker's repair.
type changes struct {
	// Fixed at birth.
	tell   func(context.Context, []pubsub.Change) []error
	repair func(topic string)

	waiting atomic.Int64 // changes that wait or are under way

	mu    sync.Mutex
	queue []memberChange
	ended bool
	wake  chan struct{}
}

// memberChange is a change of presence, and whom to tell when it was made: done, where not nil, is called once, from any goroutine.
type memberChange struct {
	pubsub.Change
	done func(error)
}

const (
	// changesMax bounds the changes that wait: with some 130 bytes each, 8 MB.
	changesMax = 1 << 16
	// changesBatch bounds those that the broker gets at a time.
	changesBatch = 512
	// lastChanges bounds the telling of what waits when the hub ends.
	lastChanges = 2 * time.Second
)

// errCrowdedPresence: too many changes of presence wait.
var errCrowdedPresence = errors.New("too many changes of presence wait")

func newChanges(b Broker) *changes {
	return &changes{tell: b.ChangePresence, repair: b.RepairPresence, wake: make(chan struct{}, 1)}
}

// put has c told to the broker, or returns false if too many wait: then the broker repairs its topic. It does not block.
func (q *changes) put(c memberChange) bool {
	q.mu.Lock()
	room := len(q.queue) < changesMax && !q.ended
	if room {
		q.queue = append(q.queue, c)
		q.waiting.Add(1)
	}
	q.mu.Unlock()
	if !room {
		q.repair(c.Topic)
		if c.done != nil {
			c.done(errCrowdedPresence)
		}
		return false
	}
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return true
}

// take removes and returns all that wait.
func (q *changes) take() []memberChange {
	q.mu.Lock()
	defer q.mu.Unlock()
	taken := q.queue
	q.queue = nil
	return taken
}

// serve tells until ctx ends, and then, for a short while, what waits.
func (q *changes) serve(ctx context.Context) {
	var rest []memberChange
	for ctx.Err() == nil {
		rest = q.tellAll(ctx, q.take())
		select {
		case <-q.wake:
		case <-ctx.Done():
		}
	}
	q.mu.Lock()
	q.ended = true
	q.mu.Unlock()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastChanges)
	defer cancel()
	q.tellAll(last, append(rest, q.take()...))
}

// tellAll tells list until ctx ends, and returns the rest. Of those that fail the broker repairs the topics.
func (q *changes) tellAll(ctx context.Context, list []memberChange) (rest []memberChange) {
	batch := make([]pubsub.Change, 0, min(len(list), changesBatch))
	for len(list) > 0 && ctx.Err() == nil {
		n := min(len(list), changesBatch)
		batch = batch[:0]
		for i := range list[:n] {
			batch = append(batch, list[i].Change)
		}
		errs := q.tell(context.WithoutCancel(ctx), batch) // bounded by itself
		for i := range list[:n] {
			if done := list[i].done; done != nil {
				done(errs[i])
			}
			list[i] = memberChange{}
		}
		q.waiting.Add(int64(-n))
		list = list[n:]
	}
	return list
}
