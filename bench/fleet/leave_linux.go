package fleet

import (
	"container/heap"
	"time"

	"wshub/bench/probe"
	"wshub/bench/wire"
)

// leave says goodbye in due form; the server ends the connection.
func (l *loop) leave(c *client) {
	if c.state != ready && c.state != opening {
		return
	}
	if l.target.request.Stream {
		l.cut(c) // it has no words for it
		return
	}
	l.landed(c)
	if c.state == ready {
		l.counts.Ready--
	}
	c.state = leaving
	l.counts.Pending++
	c.began = probe.Now()
	l.inflight = append(l.inflight, l.place(c)) // bounded by the same timeout as a dial
	l.frame = wire.AppendClose(l.frame[:0], 1000, l.rand.Uint32())
	l.write(c, l.frame)
}

// cut resets the connection: the server gets no word.
func (l *loop) cut(c *client) {
	if c.state == ready || c.state == opening {
		reset(int(c.fd))
		l.ended(c, "", true)
	}
}

// lost closes the socket of c and counts why.
func (l *loop) lost(c *client, cause string) {
	if c.fd >= 0 {
		reset(int(c.fd))
	}
	l.ended(c, cause, false)
}

// ended brings the books in order after the socket of c is gone.
func (l *loop) ended(c *client, cause string, ours bool) {
	was, place := c.state, l.place(c)
	l.landed(c)
	switch {
	case was == connecting || was == securing || was == greeting:
		l.counts.Failed++
		count(&l.counts.Failures, cause, 1)
		c.tries = min(c.tries+1, 10)
	case ours || was == leaving:
		l.counts.Left++
	default:
		l.counts.Closed++
		count(&l.counts.Closes, cause, 1)
	}
	if was == opening || was == ready || was == leaving {
		l.counts.Open--
	}
	if was == ready {
		l.counts.Ready--
	}
	c.fd, c.state, c.awaited = -1, resting, 0
	c.turn++
	c.away = c.away || was == ready || was == leaving
	l.keep(c, nil)
	delete(l.out, place)
	delete(l.halves, place)
	l.unsealed(place)
	l.comeAgain(c, was)
}

// comeBack is what the loop does about clients without a connection.
type comeBack struct {
	returning bool
	window    time.Duration
	goodbyes  map[int32]time.Duration // by place: the server named a time
	returns   returns
}

const (
	firstRetry = 100 * time.Millisecond // after a dial that failed, then doubled
	lastRetry  = 2 * time.Second
)

func (l *loop) comeAgain(c *client, was state) {
	if !l.returning {
		return
	}
	place := l.place(c)
	var wait time.Duration
	switch after, told := l.goodbyes[place]; {
	case told:
		wait = after
		delete(l.goodbyes, place)
	case was == connecting || was == securing || was == greeting:
		wait = min(firstRetry<<(c.tries-1), lastRetry)
		wait = wait/2 + time.Duration(l.rand.Int64N(int64(wait)))
	case l.window > 0:
		wait = time.Duration(l.rand.Int64N(int64(l.window)))
	}
	heap.Push(&l.returns, comeAt{probe.Now() + int64(wait), place})
}

func (l *loop) nextReturn() int64 {
	if len(l.returns) == 0 {
		return farAway
	}
	return l.returns[0].at
}

func (l *loop) returnDue(now int64) {
	for l.nextReturn() <= now {
		l.enqueue(&l.clients[heap.Pop(&l.returns).(comeAt).place])
	}
}

type comeAt struct {
	at    int64
	place int32
}

// returns is a heap by time.
type returns []comeAt

func (r returns) Len() int           { return len(r) }
func (r returns) Less(i, j int) bool { return r[i].at < r[j].at }
func (r returns) Swap(i, j int)      { r[i], r[j] = r[j], r[i] }
func (r *returns) Push(x any)        { *r = append(*r, x.(comeAt)) }
func (r *returns) Pop() any {
	last := (*r)[len(*r)-1]
	*r = (*r)[:len(*r)-1]
	return last
}

// churner lets clients leave in turn.
type churner struct {
	churning bool
	churns   Pace
	leavers  []int32
	nth      int
}

func (l *loop) startChurning(o Order) {
	l.leavers = l.leavers[:0]
	l.each(o.From, o.To, func(c *client) { l.leavers = append(l.leavers, l.place(c)) })
	if len(l.leavers) > 0 {
		share := o.Rate * float64(len(l.leavers)) / float64(o.To-o.From)
		l.churns, l.churning = NewPace(o.At, share), true
	}
}

func (l *loop) nextChurn() int64 {
	if !l.churning {
		return farAway
	}
	return l.churns.Next()
}

func (l *loop) churnDue(now int64) {
	for burst := 0; burst < dialBurst && l.churning; burst++ {
		if _, due := l.churns.Take(now); !due {
			return
		}
		l.leave(&l.clients[l.leavers[l.nth%len(l.leavers)]])
		l.nth++
	}
}
