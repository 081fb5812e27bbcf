package engine

import (
	"errors"
	"syscall"

	"github.com/lesismal/nbio"
)

// Write sends frames, one or more as the Append functions make them, without blocking, and queues what
// the kernel does not take. It neither keeps nor changes them: one slice may go to any number of
// connections. See Config.MaxQueued for how much may wait. False means that the connection is not open any more.
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

// onWrittenSize finds the connection that nbio reports about.
func onWrittenSize(nb *nbio.Conn, _ []byte, n int) {
	if c, ok := nb.Session().(*Conn); ok {
		c.written(n)
	}
}
