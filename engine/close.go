package engine

import (
	"context"
	"slices"
	"time"
)

// lingerTime bounds how long a closing connection may take to send its last bytes, then its peer to answer our Close
// frame, and then our FIN.
const lingerTime = 2 * time.Second

// Close ends c: the Peer is told, then the client by a Close frame with cause's code, behind what is
// queued and a Speaker's last words. Our FIN follows when the client has answered by its own Close frame, or 2 s later: many clients that see
// the end of the stream before they come to the Close frame tell their application of 1006. With code 1006, or where a
// slow consumer's queue is full, the client is cut without a word. Closing twice is harmless.
func (c *Conn) Close(cause *Cause) {
	switch {
	case c.state < open:
		c.loop.count.closed.Add(cause.Name)
		c.cut()
	case c.state > open:
	case c.as == asStream:
		c.endStream(cause)
	default:
		code, reason := c.peer.CloseFrame(cause)
		if code == codeCut || c.queued > 0 && (cause == SlowConsumer || cause == BacklogLimit) {
			c.finish(cause)
			c.cut()
			return
		}
		var words []byte
		if p, ok := c.peer.(Speaker); ok {
			words = slices.Clip(p.LastWords(cause))
		}
		c.part(cause, AppendClose(words, code, reason), closing)
	}
}

// end sends a last frame and begins to leave without waiting for the peer's: that has come, or it can't be found
// after what the peer did (RFC 6455, 7.1.7).
func (c *Conn) end(cause *Cause, frame []byte) { c.part(cause, frame, departing) }

func (c *Conn) part(cause *Cause, frame []byte, to state) {
	if c.state != open {
		return
	}
	at := c.in.skimmer()
	at.deflate = c.Deflate() != NoDeflate
	behind := c.dropRest()
	c.finish(cause)
	c.move(to)
	c.transit.skimmer = at
	if len(frame) > 0 {
		c.send(frame)
	}
	c.leave()
	c.receive(behind)
}

// finish takes c out of the open ones and tells its Peer.
func (c *Conn) finish(cause *Cause) {
	c.move(closing)
	c.notifyPeer(cause)
}

// notifyPeer tells c's Peer, if it has one, that c is closed.
func (c *Conn) notifyPeer(cause *Cause) {
	l := c.loop
	c.release()
	if c.as != asNothing {
		l.count.open.Add(-1)
		if c.Deflate() != NoDeflate {
			l.count.deflates.Add(-1)
		}
		c.as = asNothing
		l.count.closed.Add(cause.Name)
		peer := c.peer
		c.peer = nil
		l.guard(nil, func() { peer.Closed(cause) }) // c goes on closing, whatever Closed does
	}
}

// release gives back what c holds for input and for callbacks.
func (c *Conn) release() {
	if c.transit != nil {
		c.transit.buf, c.transit.exchange = nil, nil
	}
	c.in.drop()
	c.dropRest()
	c.countHeld(true)
	delete(c.loop.emptied, c)
	c.forgetOwed()
}

// leave goes on as soon as the last bytes are out: to await the peer's Close frame, or to shut our side and linger.
// Called at each tick while they are not, when the peer's Close frame has come, and when it does not come.
func (c *Conn) leave() {
	l := c.loop
	switch {
	case c.state < closing || c.state > departing:
	case c.queued > 0:
		if c.leaving++; c.leaving > uint8(ticks(lingerTime)) && !c.reads() {
			c.cut()
			return
		}
		l.conns.set(c, l.due(1))
	case c.state == closing:
		c.move(awaiting)
		l.conns.set(c, l.due(ticks(lingerTime)))
	default:
		if l.layers != nil {
			if c.endTLS(); c.state == ended {
				return
			}
			if c.queued > 0 {
				l.conns.set(c, l.due(1))
				return
			}
		}
		c.socket.shut()
		c.move(lingering)
		l.conns.set(c, l.due(ticks(lingerTime)))
	}
}

// linger cuts c, whose time is over, unless it still reads a page.
func (c *Conn) linger() {
	if !c.reads() {
		c.cut()
		return
	}
	c.leaving += uint8(ticks(lingerTime))
	c.loop.conns.set(c, c.loop.due(ticks(lingerTime)))
}

// cut ends the connection at once: what the kernel still holds is thrown away. The poller closes
// the descriptor on the hang-up that follows.
func (c *Conn) cut() {
	if c.state == ended {
		return
	}
	c.move(ended)
	c.notifyPeer(PeerGone)
	c.loop.conns.remove(c)
	c.loop.spend(writeCost)
	c.socket.reset()
}

// gone is called when the poller has closed the descriptor, and again when the rest of the input is worked off then.
func (c *Conn) gone() {
	l := c.loop
	if r := l.rests[c]; r != nil {
		r.gone, r.end = true, c.gone
		c.forgetQueued()
		return
	}
	c.move(ended)
	c.notifyPeer(PeerGone)
	l.conns.remove(c)
	c.forgetQueued()
}

// AwaitClosing returns when all who were sent a Close frame have answered it, or have had the time that Close gives
// them, or when ctx ends. Run's end cuts those who have not.
func (s *Server) AwaitClosing(ctx context.Context) {
	poll := time.NewTicker(tick / 5)
	defer poll.Stop()
	for slices.ContainsFunc(s.loops, func(l *Loop) bool { return l.count.parting.Load() > 0 }) {
		select {
		case <-poll.C:
		case <-ctx.Done():
			return
		}
	}
}
