package fleet

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strconv"

	"golang.org/x/sys/unix"

	"wshub/bench/probe"
	"wshub/bench/wire"
)

// half is a message whose last fragment has not come.
type half struct {
	data     []byte
	deflated bool
}

// read takes what the socket has, once: epoll is level-triggered, and no client may keep the others
// waiting. Of TLS it takes all, for epoll does not report what crypto/tls has read already.
func (l *loop) read(c *client) {
	if c.state == securing {
		l.feed(c)
		return
	}
	turn := c.turn
	for more := l.readOnce(c); more && c.turn == turn && l.target.tls != nil; {
		more = l.readOnce(c)
	}
}

// receive reads from the socket into b.
func (l *loop) receive(c *client, b []byte) (int, unix.Errno, error) {
	if l.target.tls != nil {
		return l.seals[l.place(c)].unseal(b)
	}
	n, errno := rawRead(int(c.fd), b)
	return n, errno, nil
}

// readOnce works on one read. False: there was nothing.
func (l *loop) readOnce(c *client) bool {
	kept := 0
	if c.partial {
		kept = copy(l.buf, l.parts[l.place(c)])
	}
	n, errno, err := l.receive(c, l.buf[kept:])
	switch {
	case errno == unix.EAGAIN || errno == unix.EINTR:
		return false
	case errno != 0:
		l.lost(c, causeOf(errno))
		return false
	case n == 0 && err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, io.EOF):
		l.lost(c, causeOf(err))
		return false
	case n == 0:
		l.lost(c, "1006")
		return false
	}
	l.counts.Reads++
	l.counts.Bytes += uint64(n)
	turn, now := c.turn, probe.Now()
	data := l.buf[:kept+n]
	if c.state == greeting {
		size := l.answered(c, data, now)
		if c.turn != turn {
			return false
		}
		if c.state == greeting {
			l.keep(c, data)
			return true
		}
		data = data[size:]
	}
	rest := l.frames(c, data, now)
	if c.turn == turn {
		l.keep(c, rest)
	}
	return true
}

// keep puts what is left of a read aside until the next one.
func (l *loop) keep(c *client, rest []byte) {
	if len(rest) == 0 && !c.partial {
		return
	}
	place := l.place(c)
	part := l.parts[place]
	if len(rest) == 0 {
		l.spare = append(l.spare, part)
		delete(l.parts, place)
		c.partial = false
		return
	}
	if !c.partial && len(l.spare) > 0 {
		part = l.spare[len(l.spare)-1]
		l.spare = l.spare[:len(l.spare)-1]
	}
	l.parts[place], c.partial = append(part[:0], rest...), true
	if len(rest) == len(l.buf) {
		l.buf = make([]byte, 2*len(l.buf)) // one frame fills it; MaxMessage bounds that
	}
}

// frames acts on every whole frame in data and returns what is left.
func (l *loop) frames(c *client, data []byte, now int64) []byte {
	turn := c.turn
	if l.target.request.Stream {
		return l.blocks(c, data, now)
	}
	for len(data) > 0 {
		f, n, err := wire.Parse(data, l.cfg.MaxMessage, l.cfg.Compression)
		if err != nil {
			l.violated(c, err.Error(), data)
			return nil
		}
		if n == 0 {
			break
		}
		data = data[n:]
		if f.Op == l.opcode && f.Fin && len(l.halves) == 0 {
			l.whole(c, f.Payload, f.Deflated, now)
		} else {
			l.rare(c, f, now)
		}
		if c.turn != turn {
			return nil
		}
	}
	return data
}

// blocks acts on every whole block of a stream in data and returns what is left.
func (l *loop) blocks(c *client, data []byte, now int64) []byte {
	turn := c.turn
	for len(data) > 0 {
		end := bytes.Index(data, []byte("\n\n"))
		switch {
		case end < 0 && len(data) > 2*l.cfg.MaxMessage:
			l.violated(c, "an event over the limit", nil)
			return nil
		case end < 0:
			return data
		}
		l.messages(c, data[:end], now)
		if c.turn != turn {
			return nil
		}
		data = data[end+2:]
	}
	return nil
}

// rare handles control frames and fragments.
func (l *loop) rare(c *client, f wire.Frame, now int64) {
	h := l.halves[l.place(c)]
	switch {
	case f.Op == wire.Ping:
		l.counts.Pings++
		l.frame = wire.Append(l.frame[:0], wire.Pong, f.Payload, l.rand.Uint32())
		l.write(c, l.frame)
	case f.Op == wire.Pong:
	case f.Op == wire.Close:
		code, err := wire.CloseCode(f.Payload)
		if err != nil {
			l.violated(c, err.Error(), f.Payload)
			return
		}
		if c.state != leaving {
			l.frame = wire.Append(l.frame[:0], wire.Close, f.Payload, l.rand.Uint32())
			l.write(c, l.frame)
		}
		l.lost(c, strconv.Itoa(code))
	case f.Op != wire.Continuation && f.Op != l.opcode:
		l.violated(c, "message of the wrong kind, text or binary", f.Payload)
	case (f.Op == wire.Continuation) != (h != nil):
		l.violated(c, "fragments out of order", f.Payload)
	case h == nil && f.Fin:
		l.whole(c, f.Payload, f.Deflated, now)
	case h == nil:
		l.halves[l.place(c)] = &half{append([]byte(nil), f.Payload...), f.Deflated}
	case len(h.data)+len(f.Payload) > l.cfg.MaxMessage:
		l.violated(c, "message over the limit", nil)
	default:
		h.data = append(h.data, f.Payload...)
		if f.Fin {
			delete(l.halves, l.place(c))
			l.whole(c, h.data, h.deflated, now)
		}
	}
}

// whole takes a whole message of WebSocket.
func (l *loop) whole(c *client, data []byte, deflated bool, now int64) {
	if deflated {
		l.counts.Compressed++
		var err error
		if data, err = l.inflate.message(data, l.cfg.MaxMessage); err != nil {
			l.violated(c, err.Error(), nil)
			return
		}
	}
	l.messages(c, data, now)
}

// messages takes the messages of one frame.
func (l *loop) messages(c *client, frame []byte, now int64) {
	turn := c.turn
	for {
		message, rest, err := l.protocol.Split(frame)
		if err != nil {
			l.violated(c, err.Error(), frame)
			return
		}
		if !l.known(c, message, now) {
			l.unknown(c, message, now)
		}
		if rest == nil || c.turn != turn {
			return
		}
		frame = rest
	}
}

// unknown judges the events of a message and acts on all else in it.
func (l *loop) unknown(c *client, message []byte, now int64) {
	turn := c.turn
	all := l.parse(c, message)
	if len(all) > 1 {
		message = nil
	}
	for i := range all {
		if m := &all[i]; m.Kind == Event {
			l.event(c, m, message, now)
		} else {
			l.act(c, m)
		}
		if c.turn != turn {
			return
		}
	}
}

func (l *loop) act(c *client, m *Message) {
	switch m.Kind {
	case Connected:
		c.pongs = m.Pong
		l.enter(c, string(m.Data))
	case Ping:
		l.counts.Pings++
		if c.pongs && c.state != leaving {
			l.send(c, m.Data)
		}
	case Subscribed:
		l.subscribed(c, m)
	case Unsubscribed:
		l.unsubscribed(c, m)
	case Gap:
		l.counts.Gaps++
		c.away = true
	case Goodbye:
		l.goodbyes[l.place(c)] = m.After
	case Disconnected:
		l.lost(c, m.Code)
	case Failure:
		count(&l.counts.Errors, m.Code, 1)
		if c.state == opening {
			l.lost(c, "refused: "+m.Code)
		}
	case Ack:
		l.counts.Acked++
	}
}

// enter says what c follows, where the server had to name the connection first.
func (l *loop) enter(c *client, connection string) {
	p, ok := l.protocol.(greeter)
	if !ok || c.state != opening {
		return
	}
	for _, message := range p.Enter(l.target.entry(l.topology, int(c.number), c.at()), connection) {
		l.send(c, message)
	}
}

func (l *loop) subscribed(c *client, m *Message) {
	switch {
	case m.Topic == "" || m.Topic == l.measured(c):
		l.resumed(c, m)
	case !l.topology.Users || m.Topic != l.topology.own(int(c.number)):
		return // a topic that the server has added: nobody waits for it
	}
	if c.awaited > 0 {
		c.awaited--
	}
	if c.state == opening && c.awaited == 0 {
		l.nowReady(c, probe.Now())
	}
}

// measured returns the name of the topic whose events c is to receive.
func (l *loop) measured(c *client) string { return l.topology.Name(l.topology.Of(int(c.number))) }

// resumed notes where c stands in its topic.
func (l *loop) resumed(c *client, m *Message) {
	at := m.Position
	switch {
	case !c.resumes():
		c.position = &at
	case m.Recovered:
		c.away = false // everything since its position follows
	default:
		l.counts.Gaps++
		c.position = &at
	}
}

// unsubscribed follows the topic once more, from where c stands. Until the server has answered c is not
// ready.
func (l *loop) unsubscribed(c *client, m *Message) {
	if c.state != ready || m.Topic != l.measured(c) {
		return
	}
	l.counts.Ready--
	c.state, c.awaited, c.away, c.began = opening, 1, true, probe.Now()
	l.counts.Pending++
	l.inflight = append(l.inflight, l.place(c)) // bounded by the same timeout as a dial
	l.send(c, l.protocol.Subscribe(nil, m.Topic, c.at()))
}

// violated counts a breach of the protocol and drops the connection.
func (l *loop) violated(c *client, why string, data []byte) {
	l.corrupt(c, why, data)
	l.lost(c, "protocol violation")
}
