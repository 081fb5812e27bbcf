package fleet

import (
	"strconv"

	"golang.org/x/sys/unix"

	"wshub/bench/probe"
	"wshub/bench/wire"
)

// half is a message whose last fragment has not come.
type half struct {
	op   wire.Opcode
	data []byte
}

// read takes what the socket has, once: epoll is level-triggered, and no client may keep the others
// waiting.
func (l *loop) read(c *client) {
	kept := copy(l.buf, c.partial)
	n, errno := rawRead(int(c.fd), l.buf[kept:])
	switch {
	case errno == unix.EAGAIN || errno == unix.EINTR:
		return
	case errno != 0:
		l.lost(c, causeOf(errno))
		return
	case n == 0:
		l.lost(c, "1006")
		return
	}
	l.counts.Reads++
	l.counts.Bytes += uint64(n)
	turn := c.turn
	data := l.buf[:kept+n]
	if c.state == greeting {
		size := l.answered(c, data)
		if c.turn != turn {
			return
		}
		if c.state == greeting {
			l.keep(c, data)
			return
		}
		data = data[size:]
	}
	rest := l.frames(c, data, probe.Now())
	if c.turn == turn {
		l.keep(c, rest)
	}
}

// keep puts what is left of a read aside until the next one.
func (l *loop) keep(c *client, rest []byte) {
	if len(rest) == 0 {
		if c.partial != nil {
			l.spare = append(l.spare, c.partial[:0])
			c.partial = nil
		}
		return
	}
	if c.partial == nil && len(l.spare) > 0 {
		c.partial = l.spare[len(l.spare)-1]
		l.spare = l.spare[:len(l.spare)-1]
	}
	c.partial = append(c.partial[:0], rest...)
	if len(rest) == len(l.buf) {
		l.buf = make([]byte, 2*len(l.buf)) // one frame fills it; MaxMessage bounds that
	}
}

// frames acts on every whole frame in data and returns what is left.
func (l *loop) frames(c *client, data []byte, now int64) []byte {
	turn := c.turn
	for len(data) > 0 {
		f, n, err := wire.Parse(data, l.cfg.MaxMessage)
		if err != nil {
			l.violated(c, err.Error(), data)
			return nil
		}
		if n == 0 {
			break
		}
		data = data[n:]
		if f.Op == wire.Text && f.Fin && len(l.halves) == 0 {
			l.message(c, f.Payload, now)
		} else {
			l.rare(c, f, now)
		}
		if c.turn != turn {
			return nil
		}
	}
	return data
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
	case f.Op == wire.Binary:
		l.violated(c, "binary message", f.Payload)
	case (f.Op == wire.Continuation) != (h != nil):
		l.violated(c, "fragments out of order", f.Payload)
	case h == nil && f.Fin:
		l.message(c, f.Payload, now)
	case h == nil:
		l.halves[l.place(c)] = &half{f.Op, append([]byte(nil), f.Payload...)}
	case len(h.data)+len(f.Payload) > l.cfg.MaxMessage:
		l.violated(c, "message over the limit", nil)
	default:
		h.data = append(h.data, f.Payload...)
		if f.Fin {
			delete(l.halves, l.place(c))
			l.message(c, h.data, now)
		}
	}
}

// message judges one text message and acts on what is no event.
func (l *loop) message(c *client, text []byte, now int64) {
	if l.known(c, text, now) {
		return
	}
	m := l.text(c, text, now)
	switch m.Kind {
	case Subscribed:
		l.subscribed(c, m)
	case Gap:
		l.counts.Gaps++
		c.away = true
	case Goodbye:
		l.goodbyes[l.place(c)] = m.After
	case Failure:
		count(&l.counts.Errors, m.Code, 1)
		if c.state == opening {
			l.lost(c, "subscribe: "+m.Code)
		}
	case Ack:
		l.counts.Acked++
	}
}

func (l *loop) subscribed(c *client, m Message) {
	if m.Topic == l.topology.Name(l.topology.Of(int(c.number))) {
		switch {
		case c.position == nil || *c.position == "":
			c.position = &m.Position
		case m.Recovered:
			c.away = false // everything since its position follows
		default:
			l.counts.Gaps++
		}
	}
	if c.awaited > 0 {
		c.awaited--
	}
	if c.state == opening && c.awaited == 0 {
		l.nowReady(c)
	}
}

// violated counts a breach of the protocol and drops the connection.
func (l *loop) violated(c *client, why string, data []byte) {
	l.corrupt(c, why, data)
	l.lost(c, "protocol violation")
}
