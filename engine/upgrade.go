package engine

import (
	"bytes"
	"strconv"
)

// Handler decides about opening handshakes.
type Handler interface {
	// Handshake is called on the connection's loop. The handler calls h.Accept or h.Refuse, once,
	// then or later, on that loop.
	Handshake(h *Handshake)
}

// Handshake is a client that wants to come in, or with a Post or Call an answer. Its request keeps the rules of its Kind, and its
// origin is allowed.
type Handshake struct {
	*Request
	conn *Conn
	// asking is true while Handler.Handshake runs.
	asking bool
}

// Conn is the connection in question. Nothing can be written to it before Accept.
func (h *Handshake) Conn() *Conn { return h.conn }

// Accept opens the connection for peer, with subprotocol unless it is "". first, frames made by the
// Append functions, leaves in the same write as the 101. False means that the connection is gone by now;
// peer then never hears of it. Of a Stream the head takes the place of the 101, no subprotocol is named, and first is the
// beginning of the response's body; so it is of a Post whose answer is a stream, of type JSONStream. A Call is not accepted,
// but answered.
func (h *Handshake) Accept(subprotocol string, peer Peer, first []byte) bool {
	c := h.conn
	if c.state != deciding || h.Kind == Call {
		return false
	}
	l := c.loop
	c.state, c.peer = open, peer
	c.born = minutes(l.age)
	l.count.open.Add(1)
	l.count.upgraded.Add(1)
	if f := l.srv.cfg.OnUpgraded; f != nil {
		f(l.age - c.transit.since)
	}
	l.conns.set(c, l.due(l.heartbeat(l.srv.cfg.Heartbeat, true)))
	switch h.Kind {
	case Stream:
		c.as = asStream
		l.out = appendStreamHead(l.out[:0], EventStream, h.Header.Get("Origin"))
	case Post:
		c.as = asStream
		l.out = appendStreamHead(l.out[:0], JSONStream, h.Header.Get("Origin"))
	default:
		terms, extension := h.offer.agree(l.srv.cfg.Deflate)
		if c.as = asWith(terms); terms != NoDeflate {
			l.count.deflates.Add(1)
		}
		l.out = appendSwitch(l.out[:0], h.key, subprotocol, extension)
	}
	l.out = append(l.out, first...)
	var behind []byte
	if h.Kind != Post { // there it is the body, which the handler has had
		behind = c.transit.buf
	}
	c.transit = nil
	c.postpone(behind) // not now: the caller may not be done with its peer
	c.countHeld(true)
	c.send(l.out)
	return true
}

// Refuse answers with an HTTP error and ends the connection. Config.OnRefused does not hear of it.
func (h *Handshake) Refuse(r *Refusal) {
	if h.conn.state == deciding {
		h.conn.reject(r)
	}
}

// receiveHead collects the head. Most come in one piece; of others each byte is scanned once.
func (c *Conn) receiveHead(data []byte) {
	t, limit := c.transit, c.loop.srv.cfg.MaxHead
	if t.exchange != nil {
		c.receiveBody(data)
		return
	}
	had := len(t.buf)
	if had == 0 && tokenByte[data[0]] {
		if n := headEnd(data); n > 0 && n <= limit {
			c.decide(data[:n], data[n:])
			return
		}
	}
	t.buf = gather(t.buf, data[:min(len(data), limit-had)], limit)
	n, refusal := t.scan.next(t.buf[had:])
	switch {
	case refusal != nil:
		c.refuseHead(t.buf, foreign(t.buf, refusal))
	case n > 0:
		c.decide(t.buf[:had+n], data[n:])
	case len(t.buf) == limit:
		c.refuseHead(t.buf, &Refusal{Status: 431, Reason: "request head over " + inBytes(limit)})
	default:
		c.countHeld(false)
	}
}

// decide judges a whole head. behind is what the client sent after it without waiting for the answer.
func (c *Conn) decide(head, behind []byte) {
	l := c.loop
	req, refusal := l.heads.parse(head, l.srv.cfg.Paths, l.srv.cfg.Origins)
	c.findClient(l.heads.header)
	l.heads.header = nil // a token may stand in it
	if refusal != nil && req != nil && req.Kind != WebSocket {
		c.transit.exchange = &exchange{request: req}
	} else if refusal != nil && req != nil {
		if p := l.srv.pageFor(req); p != nil {
			c.serve(p.to(req.Header))
			return
		}
	}
	switch {
	case refusal != nil && req == nil:
		c.refuseHead(head, refusal)
	case refusal != nil:
		c.refuse(refusal)
	case req.Kind != WebSocket:
		c.begin(req, len(head), behind)
	default:
		c.transit.buf = nil
		c.ask(req, behind)
	}
}

// ask has the handler decide about a request that is there as a whole.
func (c *Conn) ask(req *Request, behind []byte) {
	l := c.loop
	if refusal := l.srv.enter(c); refusal != nil {
		if refusal != refuseFull || !c.sendAway(req, behind) {
			c.refuse(refusal)
		}
		return
	}
	h := &Handshake{Request: req, conn: c, asking: true}
	c.move(deciding)
	c.countHeld(false)
	l.srv.handler.Handshake(h)
	h.asking = false
	switch c.state {
	case deciding:
		c.holdBehindHead(behind)
	default: // it was let in, perhaps closed again, or refused
		c.receive(behind)
	}
}

// holdBehindHead keeps what comes before frames can be worked on. Behind a plain HTTP request nothing is wanted.
func (c *Conn) holdBehindHead(data []byte) {
	if c.transit.exchange != nil {
		c.countLate(len(data))
		return
	}
	limit := c.loop.srv.cfg.MaxHead
	if len(c.transit.buf)+len(data) > limit {
		c.refuse(&Refusal{Status: 400, Reason: "over " + inBytes(limit) + " sent before the answer"})
		return
	}
	c.transit.buf = gather(c.transit.buf, data, limit)
	c.countHeld(false)
}

// refuseHead refuses a head that is not whole or breaks a rule, in the form of the answers to a Post or a HEAD if it began as one.
func (c *Conn) refuseHead(head []byte, r *Refusal) {
	switch {
	case len(c.loop.srv.cfg.HTTPPaths) > 0 && bytes.HasPrefix(head, []byte("POST ")):
		c.transit.exchange = &exchange{request: &Request{Kind: Post}}
	case bytes.HasPrefix(head, []byte("HEAD ")):
		c.transit.bare = true
	}
	c.refuse(r)
}

// refuse is for a handshake that the engine itself refuses.
func (c *Conn) refuse(r *Refusal) {
	if told := c.loop.srv.cfg.OnRefused; told != nil {
		told(c, r)
	}
	c.reject(r)
}

// reject answers a handshake with an HTTP error and ends c.
func (c *Conn) reject(r *Refusal) {
	c.loop.count.refused.Add(r.Status)
	if x := c.transit.exchange; x != nil {
		c.answer(x.appendRefusal(nil, r, c.loop.srv.cfg.PostError))
		return
	}
	if c.transit.bare {
		c.answer(r.appendHead(nil))
		return
	}
	c.answer(r.append(nil))
}

// answer sends a whole HTTP response and ends c.
func (c *Conn) answer(response []byte) {
	c.move(departing)
	c.transit.buf, c.transit.exchange = nil, nil
	c.countHeld(false)
	c.send(response)
	c.leave()
}

// inBytes writes a size as operators set it.
func inBytes(n int) string {
	if n%(1<<10) == 0 {
		return strconv.Itoa(n>>10) + " KiB"
	}
	return strconv.Itoa(n) + " bytes"
}
