package engine

import (
	"errors"
	"syscall"
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

// Touch reads what Write will read of c, to have it in the processor's caches. Its result means nothing,
// but must be used: a compiler may leave out reads that nobody wants.
func (c *Conn) Touch() int {
	if c.state != open {
		return 0
	}
	return c.socket.touch()
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

// send writes b in whatever state c is, while its socket is open.
func (c *Conn) send(b []byte) {
	if c.loop.layers != nil {
		c.sendSealed(b)
		return
	}
	c.sendRaw(b)
}

// sendRaw writes b as it is. With nothing queued it writes at once; an error's own event closes the socket.
func (c *Conn) sendRaw(b []byte) {
	if c.state == ended {
		return
	}
	c.loop.count.bytesOut.Add(uint64(len(b)))
	c.loop.spend(writeCost + bytesCost(len(b)))
	if c.queued == 0 {
		if !c.socket.open() {
			return
		}
		n, err := c.socket.write(b)
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
