package session

import (
	"context"
	"math/rand/v2"
	"time"

	"wshub/engine"
)

// drainPace is how often a loop lets some of its clients go.
const drainPace = 100 * time.Millisecond

// Drain sends every client away, at an even pace over window: each is told, as far as its protocol has words for it, when
// to come back, a random time within window, and gets a Close frame for Drained. New ones are refused. It returns nil
// when nobody is left, or ctx's error. The server must run; call StopAccepting first.
func (h *Hub) Drain(ctx context.Context, window time.Duration) error {
	h.draining.Store(true)
	gone := make(chan struct{}, len(h.shards))
	for _, sh := range h.shards {
		sh.loop.Post(func() {
			sh.draining = true
			(&drain{sh: sh, window: window, gone: gone}).step()
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

// drain is one loop's drain. It lives on the loop.
type drain struct {
	sh     *shard
	window time.Duration
	queue  []*engine.Conn
	share  int // how many go at each step
	gone   chan<- struct{}
}

func (d *drain) step() {
	loop := d.sh.loop
	if len(d.queue) == 0 {
		if loop.Open() == 0 {
			d.gone <- struct{}{}
			return
		}
		loop.Each(func(c *engine.Conn) { d.queue = append(d.queue, c) })
		steps := max(int(d.window/drainPace), 1)
		d.share = (len(d.queue) + steps - 1) / steps
	}
	n := min(d.share, len(d.queue))
	for i, c := range d.queue[:n] {
		d.queue[i] = nil
		switch peer := c.Peer().(type) {
		case nil: // its handshake is not answered, or it is gone
		case *Session:
			peer.goodbye(rand.N(max(d.window, time.Millisecond)))
		default: // in a lobby
			c.Close(Drained)
		}
	}
	d.queue = d.queue[n:]
	loop.After(drainPace, d.step)
}

// goodbye sends the session away.
func (s *Session) goodbye(after time.Duration) {
	s.protocol().Goodbye(s, after)
	s.conn.Close(Drained)
}
