package session

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"wshub/engine"
	"wshub/pubsub"
)

var (
	// ErrDraining: the hub sends all of its clients away.
	ErrDraining = errors.New("the hub drains")
	// ErrRebalancing: the hub sends some of its clients away already.
	ErrRebalancing = errors.New("a rebalance is under way")
)

// Rebalance is a part of the clients on their way to other hubs.
type Rebalance struct {
	// Chosen is how many connections were chosen. Those that end by themselves meanwhile, and those whose client has not
	// said who it is, are not sent away.
	Chosen int

	away atomic.Int64 // sessions
	left atomic.Int64 // loops that are not done
	over atomic.Bool  // nobody waits for it
	done chan struct{}
}

// Wait returns how many sessions were sent away by the end: all that were chosen have left, a drain has begun, or no other hub
// takes clients any more. The error is ctx's.
func (r *Rebalance) Wait(ctx context.Context) (away int, err error) {
	select {
	case <-r.done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	return int(r.away.Load()), err
}

// Rebalance begins to send percent (1 to 100) of this node's connections away as Drain does, with the cause Rebalanced. Which ones,
// chance decides. ErrDraining or ErrRebalancing; ErrUnavailable if ctx ends before they are chosen: then it ends, too.
func (h *Hub) Rebalance(ctx context.Context, percent int, d Departure) (*Rebalance, error) {
	if h.draining.Load() {
		return nil, ErrDraining
	}
	if !h.rebalancing.CompareAndSwap(false, true) {
		return nil, ErrRebalancing
	}
	r := &Rebalance{done: make(chan struct{})}
	r.left.Store(int64(len(h.shards)))
	chosen, ok := askLoops(h, func(sh *shard) int {
		part := &departure{Departure: d, sh: sh, cause: Rebalanced, begun: time.Now(), window: d.Window}
		due := rand.N(100) // the fraction of a connection is rounded by chance
		sh.loop.Each(func(c *engine.Conn) {
			if due += percent; due >= 100 {
				due -= 100
				part.queue = append(part.queue, c)
			}
		})
		rand.Shuffle(len(part.queue), func(i, j int) { part.queue[i], part.queue[j] = part.queue[j], part.queue[i] })
		n := len(part.queue)
		part.rebalance(r)
		return n
	})(ctx)
	if !ok {
		r.over.Store(true)
		return nil, fmt.Errorf("rebalance: %w: %w", pubsub.ErrUnavailable, ctx.Err())
	}
	for _, n := range chosen {
		r.Chosen += n
	}
	return r, nil
}

// rebalance sends away who is due, until the end of r.
func (d *departure) rebalance(r *Rebalance) {
	if !d.sh.draining && !r.over.Load() && d.elsewhere() {
		r.away.Add(int64(d.step()))
		if d.gone < len(d.queue) {
			d.goOn(func() { d.rebalance(r) })
			return
		}
	}
	if r.left.Add(-1) == 0 {
		d.sh.hub.rebalancing.Store(false)
		close(r.done)
	}
}
