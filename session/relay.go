package session

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"wshub/engine"
	"wshub/session/token"
)

// A client whose connection is a stream sends by requests of their own. A balancer may bring them to any loop of any node.
// Each shows the session's secret, and is handed to the session as if it had come by the connection.

// Relayer is a Protocol whose clients send so, by POST at its path.
type Relayer interface {
	// Relayed reads a request, and calls p.Relay or p.Refuse, once. No token was asked for: the secret stands for it.
	Relayed(p *Post)
}

const (
	// relayTime is how long another node may take to answer. centrifuge-js waits for 5 s.
	relayTime = 3 * time.Second
	// maxRelay bounds a message for another node, in bytes: as an order it has four thirds of that, and the broker takes 1 MiB.
	maxRelay = 512 << 10
	// couriers is how many goroutines bring messages to other nodes, and answers back. Each waits for the broker with one at a
	// time, unlike those that publish in batches.
	couriers = 16
)

// newCouriers makes the workers that bring messages to other nodes. Nobody's publishing waits for them.
func newCouriers(cfg Config) *workers {
	cfg.Workers, cfg.MaxPublishing = couriers, cfg.MaxPublishing/4
	return newWorkers(cfg, nil)
}

// relay is the order to hand a message to a session.
type relay struct {
	To   token.Location `json:"to"`
	Data []byte         `json:"data"`
	// Node and Loop want to know, by Number, whether there is the session.
	Node   string `json:"node"`
	Loop   uint8  `json:"loop"`
	Number uint64 `json:"number"`
}

// relayed is the order that answers a relay.
type relayed struct {
	Loop   uint8  `json:"loop"`
	Number uint64 `json:"number"`
	Heard  bool   `json:"heard"`
}

// Secret is by what the session's client, which nobody else is, names the session in its requests. It holds while
// the sealer has its key. "" while the node has no key.
func (s *Session) Secret() string {
	sealer := s.shard.hub.sealer.Load()
	if sealer == nil {
		return ""
	}
	return sealer.Secret(token.Location{Node: s.shard.hub.cfg.Node, Loop: uint8(s.shard.loop.Index), Session: s.id})
}

// Relay hands data to the session that secret names on node, and answers: by 204 once the session has it, by 404 where there is
// no such session. The session's rate is charged as for a message.
func (p *Post) Relay(node, secret string, data []byte) {
	sh, hub := p.shard, p.shard.hub
	to, err := hub.locate(node, secret)
	switch {
	case err != nil:
		p.relayed(false)
	case len(data) > hub.maxBytes:
		p.Refuse(Refusal{TooLarge, fmt.Sprintf("too large: a message may have %d bytes", hub.maxBytes)})
	case node != hub.cfg.Node && len(data) > maxRelay:
		p.Refuse(Refusal{TooLarge, fmt.Sprintf("too large: a message for another node may have %d bytes", maxRelay)})
	case node == hub.cfg.Node:
		hub.hand(to, data, func(heard bool) { sh.loop.Post(func() { p.relayed(heard) }) })
	case !sh.posts.spend(secret, hub.clock(), &hub.cfg): // the other node charges the session, once it has the message
		sh.count.drops.Add("rate_limit")
		p.Refuse(Refusal{RateLimited, "too many messages; this one was dropped"})
	default:
		p.relayTo(to, data)
	}
}

// locate is the session that secret names on node.
func (h *Hub) locate(node, secret string) (token.Location, error) {
	sealer := h.sealer.Load()
	if sealer == nil {
		return token.Location{}, token.ErrUnknownKey
	}
	return sealer.Locate(node, secret)
}

// relayed answers p.
func (p *Post) relayed(heard bool) {
	if heard {
		p.Answer(http.StatusNoContent, nil)
		return
	}
	p.Handshake.Refuse(&engine.Refusal{Status: http.StatusNotFound, Reason: "no such session: it has ended, or never was; connect again"})
}

// hand gives data to a session of this node, and calls then, on the session's loop, with whether there is one.
func (h *Hub) hand(to token.Location, data []byte, then func(heard bool)) {
	if int(to.Loop) >= len(h.shards) { // it is of an earlier process of this name
		then(false)
		return
	}
	sh := h.shards[to.Loop]
	sh.loop.Post(func() {
		s := sh.named[to.Session]
		then(s != nil && s.conn.Deliver(engine.OpText, data))
	})
}

// relayTo sends data to another node. The answer comes by an order, too.
func (p *Post) relayTo(to token.Location, data []byte) {
	sh, hub := p.shard, p.shard.hub
	order := relay{To: to, Data: data, Node: hub.cfg.Node, Loop: uint8(sh.loop.Index), Number: rand.Uint64()}
	queued := hub.couriers.put(to.Session, task{bytes: len(data), run: func(ctx context.Context) {
		if err := hub.sendOrder(ctx, to.Node, control{Relay: &order}); err != nil {
			hub.sampledLog.Debug().Err(err).Str("node", to.Node).Msg("a client's message could not be brought to its session")
			sh.loop.Post(func() { sh.endRelay(order.Number, func(p *Post) { p.Refuse(explain(err)) }) })
		}
	}})
	if !queued {
		sh.count.drops.Add("worker_queue_full")
		p.Refuse(Refusal{Busy, "too much to do; the message was dropped"})
		return
	}
	p.Begin()
	if sh.relays == nil {
		sh.relays = make(map[uint64]relaying)
	}
	late := sh.loop.After(relayTime, func() {
		sh.endRelay(order.Number, func(p *Post) {
			p.Refuse(Refusal{UnknownOutcome, "the session's node has not answered: the message may or may not have come"})
		})
	})
	sh.relays[order.Number] = relaying{p, late}
}

// relaying is a request whose message is on its way to another node.
type relaying struct {
	post *Post
	late *engine.Timer
}

// endRelay has a request answered, unless it was before.
func (sh *shard) endRelay(number uint64, answer func(*Post)) {
	if r, ok := sh.relays[number]; ok {
		delete(sh.relays, number)
		sh.loop.Stop(r.late)
		answer(r.post)
	}
}

// obeyRelay hands another node's message to its session, and answers.
func (h *Hub) obeyRelay(r *relay) {
	h.hand(r.To, r.Data, func(heard bool) {
		queued := h.couriers.do(r.To.Session, func(ctx context.Context) {
			_ = h.sendOrder(ctx, r.Node, control{Relayed: &relayed{r.Loop, r.Number, heard}})
		})
		if !queued { // the other node hears nothing, and says so
			h.shards[0].count.drops.Add("worker_queue_full")
		}
	})
}

// obeyRelayed answers the request that waits for r.
func (h *Hub) obeyRelayed(r *relayed) {
	if int(r.Loop) < len(h.shards) {
		sh := h.shards[r.Loop]
		sh.loop.Post(func() { sh.endRelay(r.Number, func(p *Post) { p.relayed(r.Heard) }) })
	}
}
