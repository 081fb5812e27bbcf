package fleet

import "math"

// Pace is a schedule of evenly spaced moments: it says when things should happen and is indifferent to
// when they did.
type Pace struct {
	start int64 // ns
	rate  float64
	n     int64 // taken so far
}

// NewPace returns the schedule of rate moments a second, the first of them at start.
func NewPace(start int64, rate float64) Pace { return Pace{start: start, rate: rate} }

// Next returns the earliest moment that Take has not returned.
func (p *Pace) Next() int64 {
	return p.start + int64(math.Round(float64(p.n)/p.rate*1e9))
}

// Take returns the earliest moment and moves on, if it has come by now.
func (p *Pace) Take(now int64) (int64, bool) {
	at := p.Next()
	if at > now {
		return 0, false
	}
	p.n++
	return at, true
}
