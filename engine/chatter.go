package engine

const (
	// maxPongs bounds the pings of one read that are answered one by one. Of more only the newest is answered
	// (RFC 6455, 5.5.3).
	maxPongs = 16
	// quietChatter is how many control frames and small fragments a connection may send in a second before its
	// Peer hears of them.
	quietChatter = 8
	// thinFragment is the size in bytes, header included, from which on a fragment pays for itself: libraries
	// send a large message in pieces of 1 to 32 KiB.
	thinFragment = 512
)

// pongs are the answers to the pings of one read. They leave in one write, before whatever answers the next message.
type pongs struct {
	frames []byte
	n      int
}

func (p *pongs) add(payload []byte) {
	if p.n++; p.n > maxPongs {
		p.frames = p.frames[:0]
	}
	p.frames = AppendFrame(p.frames, OpPong, payload)
}

// answerPings sends the pongs that wait.
func (c *Conn) answerPings() {
	p := &c.loop.pongs
	if p.n > 0 {
		c.send(p.frames)
		p.frames, p.n = p.frames[:0], 0
	}
}

// countChatter takes note of n control frames and fragments that came in one read, and tells the Peer of those
// beyond what a quiet client sends.
func (c *Conn) countChatter(n int) {
	if n <= 0 || c.state != open {
		return
	}
	l := c.loop
	was := int(l.chatter[c])
	l.chatter[c] = int32(min(was+n, 1<<30))
	if over := was + n - max(was, quietChatter); over > 0 {
		c.peer.Overhead(over)
	}
}
