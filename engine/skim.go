package engine

import (
	"math"
	"time"
)

// skimmer goes over what a client sends while our Close frame waits for the client's, for that frame alone: it keeps
// no payload, and unmasks none. Its zero value is at the beginning of a frame, in no message.
type skimmer struct {
	left       int // bytes of the frame at hand that are still to come
	head       [maxHeader]byte
	headSize   uint8
	closing    bool // the frame at hand is a Close
	fragmented bool // a fragmented message has begun
	deflate    bool // messages may be compressed
}

// skimmer goes on where r stands.
func (r *reader) skimmer() (s skimmer) {
	p := r.p
	if p == nil {
		return s
	}
	s.headSize = uint8(copy(s.head[:], p.head[:p.headSize]))
	s.fragmented = p.begun()
	if p.inside {
		s.left, s.closing = p.frame.length, p.frame.op == OpClose
		s.fragmented = s.fragmented && (p.frame.op.control() || !p.frame.fin)
	}
	return s
}

// next takes all of data. frames is how many began in it. closed is true once a whole Close frame has come. After
// an error the frames can't be told from each other any more.
func (s *skimmer) next(data []byte) (frames int, closed bool, err *protocolError) {
	for {
		n := min(s.left, len(data))
		s.left -= n
		data = data[n:]
		if s.left == 0 && s.closing {
			return frames, true, nil
		}
		if len(data) == 0 {
			return frames, false, nil
		}
		n = copy(s.head[s.headSize:], data)
		h, size, err := parseHeader(s.head[:int(s.headSize)+n], s.fragmented, math.MaxInt, s.deflate && !s.fragmented)
		if err != nil {
			return frames, false, err
		}
		if size == 0 {
			s.headSize += uint8(n)
			return frames, false, nil
		}
		data = data[size-int(s.headSize):]
		frames++
		s.left, s.headSize, s.closing = h.length, 0, h.op == OpClose
		if !h.op.control() {
			s.fragmented = !h.fin
		}
	}
}

const (
	// maxLate bounds what a client may send while it closes, beyond one message, in bytes: more than was under way
	// when it was told.
	maxLate = 16 << 20
	// lateFrame is what a frame counts for besides its bytes: going over an empty one takes as long.
	lateFrame = 64
)

// skim looks for the peer's Close frame, behind which our FIN may follow.
func (c *Conn) skim(data []byte) {
	frames, closed, err := c.transit.skimmer.next(data)
	c.loop.spend(time.Duration(frames) * frameCost)
	if closed || err != nil {
		c.move(departing)
		c.leave()
	}
	c.countLate(len(data) + frames*lateFrame)
}

// countLate keeps account of what comes while c closes, and cuts a peer that only goes on sending.
func (c *Conn) countLate(n int) {
	if c.state == ended {
		return
	}
	if c.transit.late += n; c.transit.late > maxLate+c.loop.srv.cfg.MaxMessage {
		c.loop.srv.dropped.Add("flood")
		c.cut()
	}
}
