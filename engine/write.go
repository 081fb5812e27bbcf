package engine

import (
	"cmp"
	"errors"
	"slices"
	"syscall"

	"github.com/lesismal/nbio"
)

// Write sends frames, one or more as the Append functions make them, without blocking, and queues what
// the kernel does not take. It neither keeps nor changes them: one slice may go to any number of
// connections. Over Config.MaxQueued the connection is cut as a slow consumer. False means that the
// connection is not open any more.
func (c *Conn) Write(frames []byte) bool {
	if c.state != open {
		return false
	}
	c.send(frames)
	return c.state == open
}

// Touch reads what Write will read of c, to have it in the processor's caches. What it returns means nothing,
// but must be used: a compiler may leave out reads that nobody wants.
func (c *Conn) Touch() int {
	if c.state != open {
		return 0
	}
	return c.nb.Hash() + int(c.nb.Type())
}

// AfterWritten calls f on the loop once nothing is queued for c any more, or never if c ends before.
func (c *Conn) AfterWritten(f func()) {
	if c.state != open {
		return
	}
	c.loop.emptied[c] = append(c.loop.emptied[c], f)
	if c.queued == 0 {
		c.loop.Post(c.runEmptied)
	}
}

func (c *Conn) runEmptied() {
	if c.queued > 0 {
		return
	}
	calls := c.loop.emptied[c]
	delete(c.loop.emptied, c)
	for _, f := range calls {
		if c.state == open {
			c.loop.guard(c, f)
		}
	}
}

// send writes b in whatever state c is, while nbio holds the socket open.
//
// With nothing queued it writes to the descriptor itself. A failing nb.Write would close the descriptor
// at once, in the middle of the poller's batch of events; here the socket is only shut down, and the
// close follows in the event for that very descriptor. nb.Write(nil) tells that the descriptor is still
// c's: only this goroutine closes it.
func (c *Conn) send(b []byte) {
	if c.state == ended {
		return
	}
	c.loop.count.bytesOut.Add(uint64(len(b)))
	c.loop.spend(writeCost + bytesCost(len(b)))
	if c.queued == 0 {
		if !c.alive() {
			return
		}
		n, err := write(c.nb.Hash(), b)
		if n == len(b) {
			return
		}
		if err != nil && !errors.Is(err, syscall.EAGAIN) {
			c.cut()
			return
		}
		b = b[n:]
	}
	c.enqueue(b)
}

// alive tells whether nbio still holds c's descriptor.
func (c *Conn) alive() bool {
	_, err := c.nb.Write(nil)
	return err == nil
}

// enqueue hands b to nbio, which copies it and writes it when the socket takes more.
func (c *Conn) enqueue(b []byte) {
	l := c.loop
	if int(c.queued)+len(b) > l.srv.cfg.MaxQueued {
		if c.state == open {
			c.finish(SlowConsumer) // no Close frame: half a frame may be out
		}
		c.cut()
		return
	}
	first := c.queued == 0
	c.addQueued(len(b))
	if !first {
		_, _ = c.nb.Write(b) // nbio only appends
		return
	}
	// nbio tries the socket once more before it queues. Should that fail, it closes the descriptor in
	// mid-batch: no new connection may be registered under its number before the batch is over.
	s := l.srv
	s.registering.Lock()
	_, err := c.nb.Write(b)
	if err != nil {
		s.stale = append(s.stale, l)
	}
	s.registering.Unlock()
	if err != nil {
		c.cut()
	}
}

func (c *Conn) addQueued(n int) {
	l := c.loop
	c.queued += int32(n)
	l.backlogs[c] = struct{}{}
	total := l.count.backlog.Add(int64(n))
	if total > l.share(l.srv.cfg.MaxBacklog) {
		l.askRelief()
	}
}

// written is nbio's report, on the loop and under its lock for the connection: n bytes have left.
func (c *Conn) written(n int) {
	l := c.loop
	l.spend(writeCost + bytesCost(n))
	c.queued -= int32(n)
	l.count.backlog.Add(-int64(n))
	if c.queued == 0 {
		delete(l.backlogs, c)
		if _, ok := l.emptied[c]; ok {
			l.Post(c.runEmptied)
		}
	}
}

// share is a loop's part of what all may hold.
func (l *Loop) share(total int64) int64 { return total / int64(len(l.srv.loops)) }

// askRelief has relieve run, once. As a job: the caller may stand in the middle of writing to one of
// those that it cuts.
func (l *Loop) askRelief() {
	if !l.relief {
		l.relief = true
		l.Post(l.relieve)
	}
}

// relieve cuts the largest holders of what there is too much of, until a quarter is free.
func (l *Loop) relieve() {
	l.relief = false
	if held, limit := l.count.partial.Load(), l.share(l.srv.cfg.MaxPartial); held > limit {
		cutLargest(l.partials, func(c *Conn) int32 { return l.partials[c].held }, held-limit*3/4, PartialLimit)
	}
	if held, limit := l.count.backlog.Load(), l.share(l.srv.cfg.MaxBacklog); held > limit {
		cutLargest(l.backlogs, func(c *Conn) int32 { return c.queued }, held-limit*3/4, BacklogLimit)
	}
}

func cutLargest[V any](holders map[*Conn]V, size func(*Conn) int32, excess int64, cause *Cause) {
	bySize := make([]*Conn, 0, len(holders))
	for c := range holders {
		if c.state > open {
			excess -= int64(size(c)) // on its way out already
		} else {
			bySize = append(bySize, c)
		}
	}
	slices.SortFunc(bySize, func(a, b *Conn) int { return cmp.Compare(size(b), size(a)) })
	for _, c := range bySize {
		if excess <= 0 {
			return
		}
		excess -= int64(size(c))
		c.Close(cause)
	}
}

// onWrittenSize finds the connection that nbio reports about.
func onWrittenSize(nb *nbio.Conn, _ []byte, n int) {
	if c, ok := nb.Session().(*Conn); ok {
		c.written(n)
	}
}
