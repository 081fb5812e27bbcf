package engine

import "time"

const (
	// maxInput is the work that the input of one connection may cost at once. The rest of what was read waits for a later
	// turn: a few small compressed frames may inflate to megabytes, and thousands of frames fit into a buffer.
	maxInput = turnWork / 8
	// leastInput is what plain input may cost when the turn's work is used up: a few messages.
	leastInput = 20 * time.Microsecond
	// restWork is what rests may cost in a turn that jobs have used up.
	restWork = turnWork / 2
)

// rest is what was read of an open connection and waits for a later turn. Until it is worked off nothing is read from the
// socket, unless the peer has hung up. Then the poller closes the socket at once, and all that the kernel held is
// added. Config.MaxPartial bounds the rests, too.
type rest struct {
	buf     []byte
	size    int    // of the memory that buf lies in, in bytes
	records int    // of TLS that are small, less the frames that were found in them
	end     func() // how the connection ends when the rest is worked off; nil: it goes on
	gone    bool   // the poller has closed the socket
}

func (r *rest) add(data []byte) {
	r.buf = append(r.buf, data...)
	r.size = max(r.size, cap(r.buf))
}

// allowance is the work that what was just read of c may cost. All reads of a turn have as much of it as everything else. Over that
// plain input goes on in little pieces. Compressed input waits: a message may be dear, however small it is.
func (c *Conn) allowance() time.Duration {
	least := leastInput
	if c.Deflate() != NoDeflate {
		least = 0
	}
	return min(max(2*turnWork-c.loop.spent, least), maxInput)
}

// postpone has data, which c's client sent, worked on in a later turn. Inside goOn data is the end of c's rest.
func (c *Conn) postpone(data []byte) {
	if len(data) == 0 {
		return
	}
	l := c.loop
	if r := l.rests[c]; r != nil {
		r.buf = data
	} else {
		r = new(rest)
		r.add(data)
		l.rests[c] = r
	}
	l.resting.push(c)
	l.wake()
}

// restQueue are connections with a rest, in the order in which they go on. It is apart from what was posted: however many
// send too much, jobs do not wait for all of them.
type restQueue struct {
	now, later []*Conn // later are those behind a turn
	next       int     // in now
}

func (q *restQueue) push(c *Conn) { q.later = append(q.later, c) }

func (q *restQueue) empty() bool { return q.next == len(q.now) && len(q.later) == 0 }

// pop takes the next one, nil if there is none before a turn. It may be closed by now.
func (q *restQueue) pop() *Conn {
	if q.next == len(q.now) {
		return nil
	}
	c := q.now[q.next]
	q.now[q.next] = nil
	q.next++
	return c
}

// turn has pop take those that came behind the last turn, once all before them have been taken.
func (q *restQueue) turn() {
	if q.next == len(q.now) {
		q.now, q.later, q.next = q.later, q.now[:0], 0
	}
}

// workOffRests goes on with connections that have a rest, each once in a turn: for what the turn's jobs have left, and
// restWork at least.
func (l *Loop) workOffRests() {
	l.resting.turn()
	for enough := max(turnWork, l.spent+restWork); l.spent < enough; {
		c := l.resting.pop()
		if c == nil {
			return
		}
		l.spend(jobCost)
		l.guard(c, c.goOn)
	}
}

// goOn works on c's rest.
func (c *Conn) goOn() {
	l := c.loop
	r := l.rests[c]
	if r == nil {
		return // c was closed meanwhile
	}
	data := r.buf
	r.buf = nil
	frames := l.count.framesIn.Load()
	c.take(data, maxInput)
	r.records -= int(l.count.framesIn.Load() - frames)
	if l.rests[c] != r || len(r.buf) > 0 {
		return // c was closed, or goes on later
	}
	delete(l.rests, c)
	c.countHeld(false)
	c.countChatter(r.records)
	if r.end != nil {
		r.end()
	}
}

// behindRest ends c by end as soon as c's input is worked off.
func (c *Conn) behindRest(end func()) {
	if r := c.loop.rests[c]; r != nil {
		r.end = end
		return
	}
	end()
}

// dropRest forgets c's rest, and returns it.
func (c *Conn) dropRest() []byte {
	r := c.loop.rests[c]
	if r == nil {
		return nil
	}
	delete(c.loop.rests, c)
	if r.gone {
		c.loop.Post(c.gone)
	}
	return r.buf
}
