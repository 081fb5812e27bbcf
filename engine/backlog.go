package engine

import "math"

// maxQueue is a bound in bytes for the poller's queue of one connection, whatever MaxBacklog allows.
const maxQueue = 1 << 30

// backlog is the account of what waits for one connection, besides Conn.queued.
type backlog struct {
	owed   int64  // bytes that wait outside of the engine; see Conn.Owe
	then   int64  // what waited at the tick since, if over
	since  uint32 // the tick
	moved  uint32 // the tick in which bytes last left
	unsent int32  // what the kernel held at the last sweep
	over   bool   // more than MaxQueued waits
}

// enqueue hands b to the poller, which copies it and writes it when the socket takes more.
func (c *Conn) enqueue(b []byte) {
	l := c.loop
	if int(c.queued)+len(b) > maxQueue {
		if c.state == open {
			c.finish(SlowConsumer) // no Close frame: half a frame may be out
		}
		c.cut()
		return
	}
	first := c.queued == 0
	c.addQueued(len(b))
	if err := l.srv.poller.queue(l, c.socket, b, first); err != nil {
		c.cut()
	}
}

func (c *Conn) addQueued(n int) {
	b := c.backlog()
	c.queued += int32(n)
	c.setBacklog(b, int64(n))
}

// Owe counts n more bytes, or less if n is negative, that wait for c outside of the engine, to be written when what
// was written before has left. They count as Config.MaxQueued and Config.MaxBacklog have it and in Stats.Backlog, but
// not in Queued. Bytes owed when c ends are forgotten: do not take it back in Peer.Closed.
func (c *Conn) Owe(n int) {
	if c.state != open {
		return
	}
	b := c.backlog()
	n64 := max(int64(n), -b.owed)
	b.owed += n64
	c.setBacklog(b, n64)
}

// backlog is c's account, or the beginning of one.
func (c *Conn) backlog() backlog {
	b, ok := c.loop.backlogs[c]
	if !ok {
		b.moved, b.unsent = c.loop.now, math.MaxInt32 // the first sweep only takes note
	}
	return b
}

// setBacklog stores c's account, in which n bytes more wait than before.
func (c *Conn) setBacklog(b backlog, n int64) {
	l := c.loop
	b.over = b.over && c.waiting(b) > int64(l.srv.cfg.MaxQueued)
	if c.queued == 0 && b.owed == 0 {
		delete(l.backlogs, c)
	} else {
		l.backlogs[c] = b
	}
	if total := l.count.backlog.Add(n); n > 0 && total > l.share(l.srv.cfg.MaxBacklog) {
		l.askRelief()
	}
}

// written is the poller's report that n queued bytes have left. c must not be written to meanwhile.
func (c *Conn) written(n int) {
	l := c.loop
	l.spend(writeCost + bytesCost(n))
	b := c.backlog()
	b.moved = l.now
	c.pinged = false // bytes that leave are life
	c.queued -= int32(n)
	c.setBacklog(b, -int64(n))
	if c.queued == 0 {
		if _, ok := l.emptied[c]; ok {
			l.Post(c.runEmptied)
		}
	}
}

// forgetOwed takes back the bytes owed to c, which is about to end.
func (c *Conn) forgetOwed() {
	if b := c.loop.backlogs[c]; b.owed > 0 {
		owed := b.owed
		b.owed = 0
		c.setBacklog(b, -owed)
	}
}

// forgetQueued takes back what was queued for c, whose descriptor is closed.
func (c *Conn) forgetQueued() {
	if n := int64(c.queued); n > 0 {
		c.queued = 0
		c.setBacklog(backlog{}, -n)
	}
}

// waiting is how many bytes wait for c, whose account is b, in the engine or outside.
func (c *Conn) waiting(b backlog) int64 { return int64(c.queued) + b.owed }
