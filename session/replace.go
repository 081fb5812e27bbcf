package session

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"wshub/session/token"
)

// A session that is resumed ends its older connections, wherever they are: the one that was resumed last stays. Which
// that is, all nodes must agree on.

// generation orders the connections of one session: the time of its resume in steps of 10 ms, modulo 2^32, which is
// 497 days; of two, the one up to half of that ahead is the newer. 0 for a session that was never resumed.
type generation uint32

const generationStep = 10 * time.Millisecond

// newer tells whether g is newer than other.
func (g generation) newer(other generation) bool { return g != 0 && (other == 0 || int32(g-other) > 0) }

// generations gives out a node's generations, each once.
type generations struct{ last atomic.Uint32 }

// next is the generation of a session that was of generation after and is resumed at time now.
func (g *generations) next(after generation, now time.Time) generation {
	for {
		last := g.last.Load()
		next := generation(now.UnixNano() / int64(generationStep))
		for _, earlier := range [...]generation{after, generation(last)} {
			if earlier != 0 && !next.newer(earlier) {
				next = earlier + 1
			}
		}
		next = max(next, 1)
		if g.last.CompareAndSwap(last, uint32(next)) {
			return next
		}
	}
}

// replacement is what the node of a resumed session tells all nodes: its older connections are to be closed.
type replacement struct {
	Session    uint64     `json:"session"`
	Generation generation `json:"generation"`
}

const (
	// replaceDelay is how long orders are gathered: a crowd that comes back after a crash must not cost the broker a
	// command per client.
	replaceDelay = 100 * time.Millisecond
	// replaceBatch bounds the orders in one message, about 25 KiB.
	replaceBatch = 512
)

// takeOver makes the session that which an earlier connection was, and has older connections of it closed: those of
// this node at once, others as soon as their node hears of it.
func (s *Session) takeOver(ticket token.Resume) {
	sh := s.shard
	delete(sh.resumable, s.id)
	s.id, s.resumed = ticket.Session, true
	s.generation = sh.hub.generations.next(generation(ticket.Generation), sh.hub.now())
	if older := sh.resumable[s.id]; older != nil {
		older.conn.Close(Replaced)
	}
	sh.resumable[s.id] = s

	order := replacement{s.id, s.generation}
	for _, other := range sh.hub.shards {
		if other != sh {
			other.loop.Post(func() { other.replace(order, true) })
		}
	}
	if len(sh.replacing) == 0 {
		sh.loop.After(replaceDelay, sh.tellReplacements)
	}
	sh.replacing = append(sh.replacing, order)
}

// replace closes the session's connection on this loop if it is older than the resumed one. later tells which of two of
// the same generation was resumed on the node that counts as the later one.
func (sh *shard) replace(r replacement, later bool) {
	s := sh.resumable[r.Session]
	if s != nil && (r.Generation.newer(s.generation) || r.Generation == s.generation && later) {
		s.conn.Close(Replaced)
	}
}

func (sh *shard) tellReplacements() {
	hub := sh.hub
	for batch := range slices.Chunk(sh.replacing, replaceBatch) {
		hub.workers.do(batch[0].Session, func(ctx context.Context) {
			if err := hub.tell(ctx, "", control{Replace: batch, From: hub.cfg.Node}); err != nil {
				hub.log.Debug().Err(err).Msg("other nodes could not be told of resumed sessions")
			}
		})
	}
	sh.replacing = nil
}
