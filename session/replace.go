package session

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"wshub/pubsub"
	"wshub/session/token"
)

// A session that is resumed ends its older connections, wherever they are: the one that was resumed last stays. Which
// that is, all nodes must agree on.

// generation orders the connections of one session: the time of its resume in steps of 100 µs, modulo 2^32, which is
// 5 days; of two, the one up to half of that ahead is the newer. A resume token lives one day. 0 for a session that was
// never resumed.
type generation uint32

const generationStep = 100 * time.Microsecond

// newer reports whether g is newer than other.
func (g generation) newer(other generation) bool { return g != 0 && (other == 0 || int32(g-other) > 0) }

// after is g, or the next one behind earlier if that is not older.
func (g generation) after(earlier generation) generation {
	if earlier != 0 && !g.newer(earlier) {
		g = earlier + 1
	}
	return max(g, 1)
}

// generations gives out a node's generations, each once and in order. They run ahead of the clock while more than 10,000
// sessions are resumed in a second.
type generations struct{ last atomic.Uint32 }

// next is the generation of a session that was of generation before and is resumed at time now.
func (g *generations) next(before generation, now time.Time) generation {
	for {
		last := g.last.Load()
		next := generation(now.UnixNano() / int64(generationStep)).after(before).after(generation(last))
		if g.last.CompareAndSwap(last, uint32(next)) {
			return next
		}
	}
}

// replacement is the order of a resumed session's node to all nodes: close its older connections.
type replacement struct {
	Session    uint64     `json:"session"`
	Generation generation `json:"generation"`
}

const (
	// replaceDelay is how long orders are gathered: a crowd that comes back after a crash must not cost the broker a
	// command per client.
	replaceDelay = 100 * time.Millisecond
	// replaceRetry is the wait before failed orders are sent again.
	replaceRetry = time.Second
	// replaceAgain is the wait before orders are sent a second time: a node whose connection to the broker was down the
	// first time has one again.
	replaceAgain = 10 * time.Second
	// replaceBatch bounds the orders in one message, about 32 KiB.
	replaceBatch = 512
)

// takeOver gives the session the name of an earlier one, and closes older connections of that: those of this node at
// once, others as soon as the order reaches their node.
func (s *Session) takeOver(ticket token.Resume) {
	sh := s.shard
	delete(sh.named, s.id)
	member := s.memberOf()
	for _, t := range member {
		s.leave(t)
	}
	s.endLife(resumedCause)
	s.id = ticket.Session
	s.generation = sh.hub.generations.next(generation(ticket.Generation), sh.hub.now())
	if older := sh.named[s.id]; older != nil {
		older.conn.Close(Replaced) // first: where the session enters, this one is not waited for
	}
	for _, t := range member {
		s.enter(t, nil)
	}
	if s.unopened() {
		s.openDelayed()
	} else {
		s.beginLife()
	}
	sh.named[s.id] = s

	order := replacement{s.id, s.generation}
	for _, other := range sh.hub.shards {
		if other != sh {
			other.loop.Post(func() { other.replace(order, false) })
		}
	}
	sh.queueReplacement(order)
}

// replace closes the session's connection on this loop if it is older than one that was resumed elsewhere. later tells
// which of two of the same generation counts as the newer.
func (sh *shard) replace(r replacement, later bool) {
	s := sh.named[r.Session]
	if s != nil && (r.Generation.newer(s.generation) || r.Generation == s.generation && later) {
		s.conn.Close(Replaced)
	}
}

// replaceAll does what node from says. Of two connections of the same generation the one on the node that comes last by
// name is the newer. Where clocks are more than replaceDelay apart, two that were resumed with one token within that time
// may both stay: the one that seems newer may be dead, and its client be the other one, so it is not told to that node.
func (sh *shard) replaceAll(orders []replacement, from string) {
	for _, r := range orders {
		sh.replace(r, from > sh.hub.cfg.Node)
	}
}

// queueReplacement queues order for all nodes: it is sent soon, together with others.
func (sh *shard) queueReplacement(order replacement) {
	if len(sh.replacing) == 0 {
		sh.loop.After(replaceDelay, sh.announceReplacements)
	}
	sh.replacing = append(sh.replacing, order)
}

func (sh *shard) announceReplacements() {
	for batch := range slices.Chunk(sh.replacing, replaceBatch) {
		sh.announce(batch, 2)
	}
	sh.replacing = nil
}

// announce sends the orders that still hold to all nodes, so many times. A connection that broke off meanwhile replaces
// nobody, least of all the one with which its client has come back.
func (sh *shard) announce(orders []replacement, times int) {
	if orders = sh.standing(orders); len(orders) == 0 || times == 0 {
		return
	}
	hub := sh.hub
	sent := func(err error) {
		wait := hub.announceAgain
		if err != nil {
			wait, times = replaceRetry, times+1
		}
		sh.loop.After(wait, func() { sh.announce(orders, times-1) })
	}
	queued := hub.workers.do(orders[0].Session, func(ctx context.Context) {
		err := hub.sendOrder(ctx, "", control{Replace: orders, From: hub.cfg.Node})
		if err != nil {
			hub.log.Debug().Err(err).Msg("other nodes could not be notified of resumed sessions")
		}
		sh.loop.Post(func() { sent(err) })
	})
	if !queued {
		sent(pubsub.ErrUnavailable)
	}
}

// standing keeps of orders those whose connections are still there.
func (sh *shard) standing(orders []replacement) []replacement {
	return slices.DeleteFunc(orders, func(r replacement) bool {
		s := sh.named[r.Session]
		return s == nil || s.generation != r.Generation
	})
}
