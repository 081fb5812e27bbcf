package engine

// sendAway tells a WebSocket client that there is no place for it, by a Close frame of its protocol, as Config.OnFull has it: a page can't
// see the status of a refused handshake, and some protocols have a code that says when to come back. It is false for a client that has
// none, which gets the refusal. The client never has a place: its socket is one of those that close, which are as many as those that
// were refused, and as long.
func (c *Conn) sendAway(r *Request, behind []byte) bool {
	l := c.loop
	words := l.srv.cfg.OnFull
	if words == nil || r.Kind != WebSocket {
		return false
	}
	subprotocol, frames := words(r)
	if len(frames) == 0 {
		return false
	}
	if told := l.srv.cfg.OnRefused; told != nil {
		told(c, refuseFull)
	}
	l.count.refused.Add(refuseFull.Status)
	c.move(closing)
	c.transit.buf = nil
	c.countHeld(false)
	l.out = append(appendSwitch(l.out[:0], r.key, subprotocol, ""), frames...)
	c.send(l.out)
	c.leave()
	c.receive(behind)
	return true
}
