package pubsub

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// maxTurns is how often a Replay waits for others who read the same topic before it reads beside them.
const maxTurns = 8

// Replay implements Broker: from the recent events in memory if the topic is followed here and they
// reach back that far, else from Redis. The pages are kept with the recent events, and a caller that comes while
// others read the same topic waits for them first: a crowd that left off at different places reads each page once.
func (r *Redis) Replay(ctx context.Context, topic string, since Position, limit Limit) (Replay, error) {
	if _, keeps := r.cfg.History.For(topic); !keeps {
		return Replay{}, nil
	}
	if limit.Backwards {
		return r.newest(ctx, topic, since, limit)
	}
	got, least, ok := r.replayRecent(topic, since, limit)
	end := func() {}
	for turn := 0; !ok && !least.IsZero() && turn < maxTurns; turn++ {
		done, other := r.readings.begin(topic)
		if other == nil {
			end = done
			break
		}
		select {
		case <-ctx.Done():
			turn = maxTurns
		case <-other:
		}
		got, least, ok = r.replayRecent(topic, since, limit)
	}
	if ok {
		r.stats.replaysMemory.Add(1)
		return got, nil
	}
	for again := false; ; again = true {
		m, _ := r.route(partition(topic))
		got, err := r.replayStored(ctx, topic, since, limit)
		end() // who waits for others' readings waits for nothing else of theirs
		end = func() {}
		if err != nil || again {
			return got, err
		}
		// A reading that was under way when we came may lack what was delivered here before we came,
		// which nobody would give us later. The next one began since.
		if stale := lacks(got.Head, least); !stale && (since.ID.Seq == 0 || !lacks(got.Head, since) || !r.isOvertaken(ctx, topic, m)) {
			return got, nil
		}
	}
}

// lacks reports whether the log that ends at head has not got that far as at, or has lost it.
func lacks(head, at Position) bool { return head.Epoch == at.Epoch && head.ID.Compare(at.ID) < 0 }

// waitKey is the key of the func that OnWait puts into a context.
type waitKey struct{}

// OnWait returns a context with which Replay calls f, once at most and before it returns, when it has read and is about to wait for
// something else: who answers others meanwhile can have another goroutine take its place.
func OnWait(ctx context.Context, f func()) context.Context {
	return context.WithValue(ctx, waitKey{}, f)
}

// Waits calls the func that OnWait has put into ctx, if there is one. It is for brokers.
func Waits(ctx context.Context) {
	if f, ok := ctx.Value(waitKey{}).(func()); ok {
		f()
	}
}

// isOvertaken asks who serves a topic, and reports whether that is m no more. Somebody has what m has not: another
// master may have taken over, and this node not have heard of it. It takes askTimeout at most.
func (r *Redis) isOvertaken(ctx context.Context, topic string, m *master) bool {
	if _, fixed := r.topology.(single); fixed {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	r.triggers.await(ctx, onAhead)
	now, err := r.route(partition(topic))
	return err == nil && now != m
}

// readings are the topics whose logs are being read. The zero readings are none.
type readings struct {
	mu     sync.Mutex
	topics map[string]chan struct{}
}

// begin says that topic's log is about to be read: until end, if nobody else reads it; else other is closed when
// that one has.
func (r *readings) begin(topic string) (end func(), other <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if done, busy := r.topics[topic]; busy {
		return nil, done
	}
	if r.topics == nil {
		r.topics = map[string]chan struct{}{}
	}
	done := make(chan struct{})
	r.topics[topic] = done
	return func() {
		r.mu.Lock()
		delete(r.topics, topic)
		r.mu.Unlock()
		close(done)
	}, nil
}

// replayStored answers from Redis. Callers who want the same share one reading.
func (r *Redis) replayStored(ctx context.Context, topic string, since Position, limit Limit) (Replay, error) {
	flight := r.reads.DoChan(r.flightKey(topic, since, limit), func() (any, error) {
		r.stats.replaysRedis.Add(1)
		x := r.firstPage(context.WithoutCancel(ctx), topic, since, limit.reading(since))
		if x.err != nil {
			return Replay{}, x.err
		}
		got := x.replay(since, limit)
		got.Read = r.recall(topic, x.events)
		return got, nil
	})
	select {
	case <-ctx.Done():
		return Replay{}, fmt.Errorf("replay %q: %w: %w", topic, ErrUnavailable, ctx.Err())
	case landed := <-flight:
		if err := landed.Err; err != nil {
			return Replay{}, fmt.Errorf("replay %q: %w: %s", topic, readError(err), err)
		}
		return landed.Val.(Replay), nil
	}
}

// flightKey names a reading. One that began before a history was removed is another one.
func (r *Redis) flightKey(topic string, since Position, limit Limit) string {
	return fmt.Sprintf("%d %s %d %d %s", r.removals.Load(), since, limit.Events, limit.Bytes, topic)
}

// firstPage reads the first page behind since that has an event: entries that are dropped are passed over.
func (r *Redis) firstPage(ctx context.Context, topic string, since Position, limit Limit) excerpt {
	ctx, cancel := context.WithTimeout(ctx, ioTimeout)
	defer cancel()
	at := since
	for {
		x := r.excerpts(ctx, []string{topic}, []Position{at}, limit, true)[0]
		if x.err != nil || len(x.events) > 0 || x.read.Compare(x.newest) >= 0 {
			return x
		}
		at = Position{x.epoch, x.read}
	}
}

// recall keeps events of topic, read from its log, for those who ask next, if the topic is followed here. It returns the
// number of the reading, which has ended: one that begins later has a larger one.
func (r *Redis) recall(topic string, events []*Event) (read uint64) {
	r.delivery.mu.Lock()
	defer r.delivery.unlock()
	r.delivery.reading++
	if _, c, _ := r.follows.followers(r.names.topic(topic)); c != nil {
		r.delivery.recent.recall(c, events)
	}
	return r.delivery.reading
}

// readError is what a failed reading means: ErrRefused or ErrUnavailable. Its outcome is not in doubt,
// for it changed nothing.
func readError(err error) error {
	if kind := classify(err); kind == ErrRefused {
		return kind
	}
	return ErrUnavailable
}

// replayRecent answers from memory if that is possible. least is what the followers here have, if the
// topic has any: an older answer is none.
func (r *Redis) replayRecent(topic string, since Position, limit Limit) (got Replay, least Position, ok bool) {
	r.delivery.mu.Lock()
	defer r.delivery.unlock()
	_, c, sure := r.follows.followers(r.names.topic(topic))
	if c == nil {
		return Replay{}, Position{}, false
	}
	if !sure {
		return Replay{}, c.last, false
	}
	x := c.excerpt(since, limit.reading(since), r.life(topic))
	ok = since.Epoch == x.epoch || since.IsZero()
	ok = ok && x.joined(since) && (len(x.events) > 0 || limit.Events == 0 && since.IsZero() || x.complete(since))
	// Earlier events may end before the page is full. A reader by bytes goes on from there.
	ok = ok && (limit.Bytes > 0 || len(x.events) >= limit.Events || x.complete(since) && x.ended())
	got = x.replay(since, limit)
	got.Read = c.asOf // what the chain is told next it does not know
	return got, c.last, ok
}

// excerpt is what the chain itself can tell of its log behind since.
func (c *chain) excerpt(since Position, limit Limit, life time.Duration) excerpt {
	x := excerpt{
		epoch: c.last.Epoch, last: c.last.ID, number: c.number, newest: c.last.ID, now: c.last.ID.Ms, life: life,
		events: slices.Clone(limit.page(c.recent.behind(since.ID))),
	}
	if x.last.Seq == 0 {
		// Nothing was published by then, and nothing arrived since. A later place that a client hands in may be made up.
		x.last = ID{}
	}
	return x
}
