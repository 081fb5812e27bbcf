package engine

import (
	"errors"
	"syscall"
	"time"
)

// Peer is what lives behind one open connection. The engine calls it on the connection's loop.
type Peer interface {
	// Message takes one complete message, op being OpText or OpBinary. payload is valid only until
	// Message returns; the text of an OpText is valid UTF-8.
	Message(op Opcode, payload []byte)
	// Overhead reports that so many control frames and small fragments came beyond what a quiet client sends, 8
	// in a second. Each costs about as much as a message of no content. Called after the read that they came in.
	Overhead(frames int)
	// CloseFrame is the Close frame when the hub ends the connection: the code and the reason, of up to 123
	// bytes, of the Close frame. With code 1006 it is cut without one.
	CloseFrame(cause *Cause) (code uint16, reason string)
	// Ping is the frame that asks whether the client is there, once a heartbeat. It is shared; usually PingFrame. Of a
	// Stream it is a piece of the response that means nothing.
	Ping() []byte
	// Closed is the last call: nothing can be written any more.
	Closed(cause *Cause)
}

// Speaker is a Peer whose protocol has words for the end of a connection besides the Close frame.
type Speaker interface {
	// LastWords are the frames that leave before the Close frame when the hub ends the connection for cause, nil for none. They
	// may be shared.
	LastWords(cause *Cause) []byte
}

// Usual is what most Peers do about Close frames and pings: embed it.
type Usual struct{}

// CloseFrame is what the cause says.
func (Usual) CloseFrame(cause *Cause) (code uint16, reason string) { return cause.Code, cause.Reason }

// Ping is PingFrame.
func (Usual) Ping() []byte { return PingFrame }

type state uint8

const (
	hailing   state = iota // the ClientHello arrives, where the server speaks TLS
	shaking                // the TLS handshake is at work
	arriving               // the HTTP head arrives
	deciding               // the Handler has the Handshake
	open                   // the Peer has the connection
	closing                // our Close frame waits to leave, and the peer's is awaited
	awaiting               // our Close frame has left, the peer's is awaited
	departing              // our last bytes wait to leave, and nothing is awaited
	lingering              // our side is shut; input is thrown away until the peer's FIN
	ended                  // shut both ways, or closed by the poller
)

// as is what a connection was opened as.
type as uint8

const (
	asNothing   as = iota
	asWebSocket    // whose messages are not compressed
	asDeflated     // a WebSocket on the terms Deflated
	asNarrow       // a WebSocket on the terms DeflatedNarrow
	asStream
)

// Conn is one client's connection. All its methods are to be called on its loop.
type Conn struct {
	links[*Conn]
	state   state
	pinged  bool  // a ping went out, and nothing was heard since, nor did queued bytes leave
	as      as    // what it is in counters.open as, until its Peer has heard of the end
	leaving uint8 // ticks spent in closing
	queued  int32 // bytes with the poller that the kernel has not taken
	socket  socket
	loop    *Loop
	peer    Peer
	in      reader
	transit *transit // nil while open
}

// Loop is the loop that owns c.
func (c *Conn) Loop() *Loop { return c.loop }

// Queued is how many bytes wait for the kernel to take them.
func (c *Conn) Queued() int { return int(c.queued) }

// HungUp reports whether the peer has closed its end, as far as that can be known: earlier bytes may come to the
// Peer all the same. It costs a system call.
func (c *Conn) HungUp() bool { return !c.socket.open() || c.socket.hungUp() }

// readable reads what is there and works on it, at most a buffer of it: the poller reports again what is left. After
// a FIN it would not, because it closes as soon as we return; all of it is read then. Otherwise nothing is read while a
// rest of the last read waits.
func (c *Conn) readable() {
	defer func() {
		if r := recover(); r != nil {
			c.loop.recovered(c, r)
		}
	}()
	l := c.loop
	if l.rests[c] != nil && !c.socket.hungUp() {
		l.spend(jobCost)
		return
	}
	buf := l.buf[:l.readSize()]
	for {
		n, err := c.socket.read(buf)
		if n > 0 {
			l.count.bytesIn.Add(uint64(n))
			l.spend(bytesCost(n))
			c.pinged = false
			data := buf[:n]
			if c.state <= arriving {
				data = c.introduce(data)
			}
			switch {
			case len(data) == 0:
			case l.layers == nil:
				c.receive(data)
			default:
				c.receiveWire(data)
			}
		}
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil || n < len(buf) || c.state == ended || !c.socket.hungUp() {
			return // an error's own event closes the connection
		}
		buf = l.buf
	}
}

func (c *Conn) receive(data []byte) {
	switch c.state {
	case arriving:
		c.receiveHead(data)
	case deciding:
		c.holdBehindHead(data)
	case open:
		if r := c.loop.rests[c]; r != nil {
			r.add(data)
			c.countHeld(false)
			return
		}
		c.take(data, c.allowance())
	case closing, awaiting:
		c.skim(data)
	case departing, lingering:
		c.countLate(len(data))
	}
}

// take works on what an open connection's client sent, until that has cost so much work. The rest waits.
func (c *Conn) take(data []byte, work time.Duration) {
	if c.as == asStream {
		c.ignore(data)
		return
	}
	c.receiveFrames(data, work)
}

func (c *Conn) receiveFrames(data []byte, work time.Duration) {
	l := c.loop
	completed := false
	size := len(data)
	fragments, pings, others := 0, 0, -1 // a pong answers our ping
	for enough := l.spent + work; c.state == open && l.spent < enough; {
		m, rest, more, err := c.in.next(data, l.srv.cfg.MaxMessage, c.Deflate() != NoDeflate)
		if m.deflated && err == nil {
			err = l.inflate(&m)
		}
		if err != nil {
			c.answerPings()
			data = rest
			c.refuseFrame(err)
			break
		}
		if data = rest; !more {
			break
		}
		l.spend(frameCost)
		switch m.op {
		case OpContinuation:
			fragments++
			continue
		case OpPing:
			pings++
			l.pongs.add(m.payload)
		case OpPong:
			others++
		case OpText, OpBinary:
			if c.answerPings(); c.state != open {
				continue // the write found that the client is gone
			}
			l.spend(messageCost(len(m.payload)))
			c.peer.Message(m.op, m.payload)
		case OpClose:
			c.answerPings()
			c.answerClose(m.payload)
		}
		l.count.framesIn.Add(1)
		completed = completed || !c.in.midMessage()
	}
	l.inflater.letGo()
	if c.state != open {
		c.receive(data) // the rest
		return
	}
	c.answerPings()
	c.postpone(data)
	c.countHeld(completed)
	c.countChatter(max(fragments-(size-len(data))/thinFragment, 0) + pings + max(others, 0))
}

func (c *Conn) answerClose(payload []byte) {
	code, _, err := parseClose(payload)
	switch {
	case err != nil:
		c.refuseFrame(err)
	case code == codeNone:
		c.end(ByPeer, AppendFrame(nil, OpClose, nil))
	default:
		c.end(ByPeer, AppendClose(nil, code, ""))
	}
}

// refuseFrame ends c for what its peer sent.
func (c *Conn) refuseFrame(err *protocolError) {
	cause, next := ProtocolError, departing
	switch {
	case err == errDeflate:
		cause = InvalidDeflate
	case err == errBomb, err == errManyBlocks:
		cause, next = InflateBomb, closing
	case err.code == InvalidText.Code:
		cause = InvalidText
	case err.code == TooBig.Code:
		cause, next = TooBig, closing // its frames can still be told from each other
	}
	c.loop.broke = err.reason
	c.part(cause, AppendClose(nil, err.code, err.reason), next)
	c.loop.broke = ""
}

// Broke says, while Peer.Closed runs, which rule of RFC 6455 the client broke, if that is why the connection ends.
func (c *Conn) Broke() string { return c.loop.broke }

// holding is the account of a half-received head, body or message.
type holding struct {
	held  int32  // bytes, as last counted
	since uint32 // the tick that it began in
}

// held is the memory that half-received input holds.
func (c *Conn) held() int32 {
	n := 0
	if t := c.transit; t != nil {
		n = cap(t.buf)
		if t.exchange != nil {
			n += t.exchange.size
		}
	} else {
		n = c.in.held()
	}
	if r := c.loop.rests[c]; r != nil {
		n += r.size
	}
	if c.loop.layers != nil {
		n += c.loop.layers[c].held()
	}
	return int32(n)
}

// countHeld keeps account of held. anew says that a message was completed since the last time: what is held
// now began after it.
func (c *Conn) countHeld(anew bool) {
	l := c.loop
	if c.in.p == nil && c.transit == nil && len(l.partials) == 0 && len(l.rests) == 0 && l.layers == nil {
		return // by far the most
	}
	was, counted := l.partials[c]
	now := holding{held: c.held(), since: l.now}
	total := l.count.partial.Add(int64(now.held - was.held))
	switch {
	case now.held == 0:
		delete(l.partials, c)
	case counted && !anew:
		l.partials[c] = holding{now.held, was.since}
	default:
		l.partials[c] = now
	}
	if total > l.share(l.srv.cfg.MaxPartial) {
		l.askRelief()
	}
}

// due is called when c's time in the wheel has come.
func (c *Conn) due() {
	switch c.state {
	case hailing, shaking:
		c.lateHello()
	case arriving:
		if c.transit.exchange != nil {
			c.refuse(refuseLate)
			return
		}
		c.refuseHead(c.transit.buf, &Refusal{Status: 408, Reason: "handshake not completed in time"})
	case deciding:
		c.refuse(c.undecided())
	case open:
		c.heartbeat()
	case closing, awaiting, departing:
		c.leave()
	case lingering:
		c.linger()
	case ended:
		c.cut()
	}
}

// PingFrame is the one ping frame of RFC 6455 that all connections share. Nobody changes it.
var PingFrame = []byte{0x89, 0x00}

// silent reports whether the peer has shown no life since the last ping. After a time in which nothing ran, answers may
// wait with the kernel; and what the peer takes of what stands before the ping shows that its answer may come yet. A
// stream's client answers no ping: its kernel does, by acknowledging the bytes.
func (c *Conn) silent() bool {
	d := c.loop.srv.cfg.Heartbeat
	if c.as == asStream {
		return c.socket.stuck(d + d/4) // a ping may be late, and an event have left a moment ago
	}
	return !c.socket.unread() && !c.socket.flows(d)
}

// heartbeat sends a ping; if nothing was heard since the last one, and nothing left to the peer, it is dead.
func (c *Conn) heartbeat() {
	if c.pinged && c.silent() {
		c.Close(HeartbeatMissed)
		return
	}
	c.pinged = true
	c.loop.count.pings.Add(1)
	c.loop.conns.set(c, c.loop.due(c.loop.heartbeat(c.loop.srv.cfg.Heartbeat, false)))
	c.send(c.peer.Ping())
}

// Peer is what Accept, or Become, was given, nil before and after.
func (c *Conn) Peer() Peer { return c.peer }

// Become puts peer in place of the connection's Peer, which hears nothing more, not even of the end. False means that
// the connection is not open any more; peer then never hears of it.
func (c *Conn) Become(peer Peer) bool {
	if c.state != open {
		return false
	}
	c.peer = peer
	return true
}

// Deliver gives the Peer a message that did not come by the connection, of a size that may come so. False means that the
// connection is not open any more.
func (c *Conn) Deliver(op Opcode, payload []byte) bool {
	if c.state != open {
		return false
	}
	c.loop.spend(messageCost(len(payload)))
	c.loop.guard(c, func() { c.peer.Message(op, payload) })
	return true
}
