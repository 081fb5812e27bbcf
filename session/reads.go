package session

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"wshub/engine"
	"wshub/pubsub"
)

// read is one read of a topic's log, or presence, for a session, or for a loop.
type read struct {
	topic string
	since pubsub.Position
	limit pubsub.Limit
	call  func(context.Context) error // what is read instead of the log; nil: the log
	done  func(pubsub.Replay, error)  // on the loop; not called for a read that was dropped

	dropped atomic.Bool // nobody waits for it any more
}

// queueRead has r done behind the session's earlier reads. A session has one read under way at a time, so its reading
// costs nobody else more than that; and the next one begins when the client has taken what the last one brought.
func (s *Session) queueRead(r *read) {
	w := s.working()
	w.reads = append(w.reads, r)
	s.beginRead(w)
}

// beginRead hands the session's first read to the readers, unless one is under way.
func (s *Session) beginRead(w *work) {
	if w.reading || len(w.reads) == 0 {
		return
	}
	w.reading = true
	begin := func() {
		if r := w.first(); r != nil {
			s.shard.hub.readers.put(job{r, s.shard.loop, func(replay pubsub.Replay, err error) { s.landed(r, replay, err) }})
		}
	}
	if s.conn.Queued() > s.shard.hub.maxChunk {
		s.conn.AfterWritten(begin)
		return
	}
	begin()
}

// first is the read whose turn it is, nil if the session has ended.
func (w *work) first() *read {
	if len(w.reads) == 0 {
		return nil
	}
	return w.reads[0]
}

// landed takes the answer to the session's first read. If the broker could not be reached, it answers those behind it,
// too: one after the other they would wait as long each, and a client of many topics for minutes.
func (s *Session) landed(r *read, replay pubsub.Replay, err error) {
	w := s.busy()
	if w == nil || w.first() != r {
		return // the session has ended
	}
	w.reading = false
	n := 1
	if errors.Is(err, pubsub.ErrUnavailable) && !r.dropped.Load() { // one that was dropped was not even tried
		n = len(w.reads)
	}
	answered := w.reads[:n:n]
	w.reads = w.reads[n:]
	for _, r := range answered {
		if !r.dropped.Load() && s.conn.Peer() != nil { // an answer may end the session
			r.done(replay, err)
		}
	}
	if s.busy() != w {
		return // the session ended in an answer
	}
	for !w.reading && len(w.reads) > 0 && w.reads[0].dropped.Load() {
		w.reads = w.reads[1:]
	}
	if len(w.reads) == 0 {
		w.reads = nil
	}
	s.beginRead(w)
	s.trim()
}

// dropRead forgets r, which nobody waits for any more.
func (s *Session) dropRead(r *read) { r.dropped.Store(true) }

// dropReads forgets all reads of a session that has ended.
func (s *Session) dropReads() {
	if w := s.busy(); w != nil {
		for _, r := range w.reads {
			r.dropped.Store(true)
		}
		w.reads = nil
	}
}

// job is a read and where its answer goes.
type job struct {
	*read
	loop   *engine.Loop
	landed func(pubsub.Replay, error)
}

// readers read logs, a few at a time. At most one read of each session and of each loop waits for them, so what
// waits is bounded by the number of connections; and a client that waits longer than a read may take is answered with an error.
type readers struct {
	n       int
	timeout time.Duration
	replay  func(context.Context, string, pubsub.Position, pubsub.Limit) (pubsub.Replay, error)

	pending atomic.Int64 // reads that wait or are under way

	mu    sync.Mutex
	more  sync.Cond
	queue []queuedJob // from head on
	head  int
	ended bool
}

type queuedJob struct {
	job
	queued time.Time
}

func newReaders(n int, timeout time.Duration, replay func(context.Context, string, pubsub.Position, pubsub.Limit) (pubsub.Replay, error)) *readers {
	r := &readers{n: n, timeout: timeout, replay: replay}
	r.more.L = &r.mu
	return r
}

// put has j done. It does not block. After the end of serve nothing is done any more.
func (r *readers) put(j job) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.ended {
		r.pending.Add(1)
		r.queue = append(r.queue, queuedJob{j, time.Now()})
		r.more.Signal()
	}
}

// take waits for the next job and removes it. ok is false at the end.
func (r *readers) take() (j queuedJob, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.head == len(r.queue) && !r.ended {
		r.more.Wait()
	}
	if r.ended {
		return j, false
	}
	j = r.queue[r.head]
	r.queue[r.head] = queuedJob{}
	if r.head++; 2*r.head >= len(r.queue) { // so that no more are moved than have been taken
		rest := r.queue[:copy(r.queue, r.queue[r.head:])]
		clear(r.queue[len(rest):])
		if cap(rest) > 1024 && len(rest) < cap(rest)/4 {
			rest = append([]queuedJob(nil), rest...)
		}
		r.queue, r.head = rest, 0
	}
	return j, true
}

// errCrowded: a read has waited for its turn for too long.
var errCrowded = errors.New("too many reads wait")

// serve reads until ctx ends. Reads that wait then are not answered: their connections are about to end.
func (r *readers) serve(ctx context.Context) {
	end := func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.ended, r.queue = true, nil
		r.more.Broadcast()
	}
	defer end()
	defer context.AfterFunc(ctx, end)()
	var all sync.WaitGroup
	for range r.n {
		all.Go(func() { r.work(ctx, &all) })
	}
	all.Wait()
}

// work does one job after the other, until another goroutine has taken its place: a client with a made-up position, for which the broker
// waits, holds up nobody. It goes on reading behind its wait, so a few more than n may read at a time.
func (r *readers) work(ctx context.Context, all *sync.WaitGroup) {
	replaced := false
	waiting := pubsub.OnWait(ctx, func() {
		replaced = true
		all.Go(func() { r.work(ctx, all) })
	})
	for !replaced {
		j, ok := r.take()
		if !ok || ctx.Err() != nil {
			return
		}
		r.do(waiting, j)
	}
}

func (r *readers) do(ctx context.Context, j queuedJob) {
	var replay pubsub.Replay
	err := fmt.Errorf("%w: %w", pubsub.ErrUnavailable, errCrowded)
	if !j.dropped.Load() && time.Since(j.queued) < 2*r.timeout {
		ctx, cancel := context.WithTimeout(ctx, r.timeout)
		defer cancel()
		if j.call != nil {
			err = j.call(ctx)
		} else {
			replay, err = r.replay(ctx, j.topic, j.since, j.limit)
		}
	}
	j.loop.Post(func() { j.landed(replay, err) })
	r.pending.Add(-1)
}

// readRefusal is the client's answer for a read that failed.
func readRefusal(err error) Refusal {
	switch {
	case errors.Is(err, errCrowded):
		return Refusal{Busy, "too much to do; nothing was read"}
	case errors.Is(err, pubsub.ErrRefused):
		return Refusal{Refused, "the broker refuses to read the history"}
	}
	return Refusal{Unavailable, "the history can't be read now"}
}
