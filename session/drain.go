package session

import (
	"context"
	"math"
	"math/rand/v2"
	"time"

	"wshub/engine"
)

// Clients are sent away at an even pace, when the hub ends (Drain) and when others should take some (Rebalance).

const (
	// departPace is how often a loop lets some of its clients go.
	departPace = 100 * time.Millisecond
	// comeback is the least time after which a client comes back that another hub takes, and how much of it is at random
	// besides.
	comeback = time.Second
)

// Departure is how clients are sent away.
type Departure struct {
	// Window is the time over which they leave, at an even pace.
	Window time.Duration
	// Elsewhere tells whether another hub takes clients now: those that leave are told to come back after one to two
	// seconds, else after a random time within Window. It is called on loops, and must not block. nil: no other does.
	Elsewhere func() bool
}

func (d *Departure) elsewhere() bool { return d.Elsewhere != nil && d.Elsewhere() }

// after is when a client that leaves now comes back.
func (d *Departure) after() time.Duration {
	if d.elsewhere() {
		return comeback + rand.N(comeback)
	}
	return rand.N(max(d.Window, time.Millisecond))
}

// Drain sends every client away: each is told, as far as its protocol has words for it, when to come back, and gets a Close
// frame for Drained. New ones are refused, and a Rebalance ends. It returns nil when nobody is left, or ctx's error. The
// server must run; call StopAccepting first.
func (h *Hub) Drain(ctx context.Context, d Departure) error {
	h.draining.Store(true)
	gone := make(chan struct{}, len(h.shards))
	for _, sh := range h.shards {
		sh.loop.Post(func() {
			sh.draining = true
			(&departure{Departure: d, sh: sh, cause: Drained, begun: time.Now(), window: d.Window}).drain(gone)
		})
	}
	for range h.shards {
		select {
		case <-gone:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// departure is that of one loop's clients. It lives on the loop.
type departure struct {
	Departure
	sh     *shard
	cause  *engine.Cause
	begun  time.Time
	window time.Duration // of queue, from begun on
	queue  []*engine.Conn
	gone   int  // how many of queue have been sent away, or had left
	behind bool // more are due
}

// drain sends away who is due, until nobody is left. Those that came meanwhile share the rest of the window.
func (d *departure) drain(gone chan<- struct{}) {
	loop := d.sh.loop
	if d.gone == len(d.queue) {
		if loop.Open() == 0 {
			gone <- struct{}{}
			return
		}
		d.queue, d.gone = d.queue[:0], 0
		loop.Each(func(c *engine.Conn) { d.queue = append(d.queue, c) })
		d.window -= time.Since(d.begun)
		d.begun = time.Now()
	}
	d.step()
	d.goOn(func() { d.drain(gone) })
}

// goOn has f called for the next step.
func (d *departure) goOn(f func()) {
	if d.behind {
		d.sh.loop.Post(f)
	} else {
		d.sh.loop.After(departPace, f)
	}
}

// step sends away who is due by now, as far as one turn goes, and returns how many sessions that were.
func (d *departure) step() (sessions int) {
	due := len(d.queue)
	if elapsed := time.Since(d.begun) + departPace; elapsed < d.window {
		due = int(math.Ceil(float64(due) * float64(elapsed) / float64(d.window)))
	}
	for d.behind = false; d.gone < due; d.gone++ {
		if d.behind = d.sh.loop.Spent(); d.behind {
			break
		}
		c := d.queue[d.gone]
		d.queue[d.gone] = nil
		switch peer := c.Peer().(type) {
		case nil: // its handshake is not answered, or it is gone
		case *Session:
			peer.protocol().Goodbye(peer, d.cause, d.after())
			c.Close(d.cause)
			sessions++
		default: // in a lobby: it has not said who it is, and stays unless the hub ends
			if d.cause == Drained {
				c.Close(Drained)
			}
		}
	}
	return sessions
}
