package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"wshub/engine"
	"wshub/pubsub"
	"wshub/session/reasons"
	"wshub/session/token"
)

// traceBurst bounds the lines about traced users, in a second: a line costs a loop some 2 µs.
const traceBurst = 1000

// Hub joins connections and topics. It is the engine.Handler of a server and the pubsub.Sink of a broker.
type Hub struct {
	// Fixed at birth, or by Attach.
	cfg           Config
	broker        Broker
	workers       *workers
	couriers      *workers // bring messages to other nodes
	readers       *readers
	changes       *changes
	protocols     []Protocol         // by Session.speaks
	wallOf        []string           // by Session.speaks, see Walled
	walls         []string           // those that are there
	keepers       []bool             // by Session.speaks, see Keeper
	kept          []string           // that are there
	paths         map[string][]uint8 // which of them are spoken at a path of the public port
	shards        []*shard
	heartbeat     time.Duration
	maxBytes      int           // of one message, from the server's configuration
	maxChunk      int           // that is handed at a time to a connection that has something queued
	announceAgain time.Duration // see announce
	log           zerolog.Logger
	traceLog      zerolog.Logger // of all levels
	sampledLog    zerolog.Logger // lets through few of the lines that other programs at the broker can cause
	reasons       *reasons.Log
	born          time.Time

	// Shared.
	users       users
	revocations revocations
	generations generations
	found       found
	tracing     tracing
	draining    atomic.Bool
	rebalancing atomic.Bool
	sealer      atomic.Pointer[token.Sealer] // nil until UseSealer

	// brought are the loops whose inboxes have something new. The broker's, which calls from one goroutine at a time.
	brought pubsub.Loops
}

// Broker is what a Hub needs of pubsub.Memory or pubsub.Redis.
type Broker interface {
	pubsub.Broker
	// Notify brings message to Hub.Control of one node, or with node "" of all.
	Notify(ctx context.Context, node string, message []byte) error
	// Revoke brings v to Hub.Revoked of all nodes, also of those that are away now.
	Revoke(ctx context.Context, v pubsub.Revocation) error
}

// NewHub checks cfg. The hub serves once a server is attached and Run is called.
func NewHub(cfg Config, broker Broker) (*Hub, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	log := cfg.Log.With().Str("part", "session").Logger()
	h := &Hub{
		cfg:     cfg,
		broker:  broker,
		readers: newReaders(cfg.Workers, cfg.PublishTimeout, broker.Replay),
		log:     log,
		reasons: reasons.New(log),
		users:   users{limit: cfg.MaxSessionsPerUser},
		found:   found{come: make(chan struct{}, 1)},
		born:    time.Now(),
		paths:   make(map[string][]uint8),

		announceAgain: replaceAgain,
		sampledLog:    log.Sample(&zerolog.BurstSampler{Burst: 10, Period: 10 * time.Second}),
		traceLog:      log.Level(zerolog.TraceLevel).Sample(&zerolog.BurstSampler{Burst: traceBurst, Period: time.Second}),
	}
	h.workers = newWorkers(cfg, h.publish)
	h.couriers = newCouriers(cfg)
	h.changes = newChanges(broker)
	return h, nil
}

// Attach makes s, whose handler is h, the server that h works on. Call it once, before Run of either.
func (h *Hub) Attach(s *engine.Server) {
	h.heartbeat = s.Config().Heartbeat
	h.maxBytes = s.Config().MaxMessage
	h.maxChunk = s.Config().MaxQueued / 2
	for _, loop := range s.Loops() {
		sh := newShard(h, loop)
		sh.lobby.limit = max(s.Config().MaxConnections/lobbyShare/len(s.Loops()), 1)
		h.shards = append(h.shards, sh)
	}
}

// Run works until ctx ends and returns when its goroutines have. Messages that clients sent before are still
// published. The server must not end before Run does.
func (h *Hub) Run(ctx context.Context) error {
	brokerCtx, endBroker := context.WithCancel(context.WithoutCancel(ctx))
	defer endBroker()
	var children errgroup.Group
	children.Go(func() error { return h.broker.Run(brokerCtx, h) })
	children.Go(func() error { h.found.share(ctx, h.broker.Revoke); return nil })
	children.Go(func() error {
		defer endBroker()
		var others sync.WaitGroup
		others.Go(func() { h.changes.serve(ctx) })
		others.Go(func() { h.couriers.serve(ctx) })
		h.workers.serve(ctx)
		others.Wait()
		return nil
	})
	children.Go(func() error { h.readers.serve(ctx); return nil })
	return children.Wait()
}

// Deliver implements pubsub.Sink.
func (h *Hub) Deliver(ev *pubsub.Event, loops pubsub.Loops) {
	m := &message{topic: ev.Topic, event: ev, position: ev.Position}
	if h.cfg.OnFanout != nil {
		m.came = time.Since(h.born)
	}
	h.push(m, loops)
}

// Gap implements pubsub.Sink.
func (h *Hub) Gap(topic string, loops pubsub.Loops, loss pubsub.Loss) {
	h.push(&message{topic: topic, position: loss.At, loss: &loss}, loops)
}

// Moved implements pubsub.Sink. Loops where nobody watches a presence do not hear of it.
func (h *Hub) Moved(moved *pubsub.Moved, loops pubsub.Loops) {
	if h.cfg.Presence == nil {
		return
	}
	var m *message
	for loop := range loops.All {
		sh := h.shards[loop]
		if sh.presence.watching.Load() == 0 {
			continue
		}
		if m == nil {
			m = &message{topic: moved.Topic, news: &news{moved: moved}}
		}
		h.push(m, pubsub.Loops(0).With(loop))
	}
}

// push puts m into the inboxes of loops, which HandOver has them look into.
func (h *Hub) push(m *message, loops pubsub.Loops) {
	for loop := range loops.All {
		h.shards[loop].push(m)
	}
	h.brought |= loops
}

// HandOver implements pubsub.Sink.
func (h *Hub) HandOver() {
	for loop := range h.brought.All {
		h.shards[loop].schedule()
	}
	h.brought = 0
}

// ErrBadPublication: a Publication is not fit to be published; the error's text says why.
var ErrBadPublication = errors.New("bad publication")

// Publish publishes a batch, in its order, on behalf of a backend, which may use every topic. Each result tells of one, its error being one of the broker's. With an ErrBadPublication, for whichever
// of them, none was published.
func (h *Hub) Publish(ctx context.Context, batch []pubsub.Publication) ([]pubsub.Result, error) {
	for i, p := range batch {
		switch err := h.validate(p); {
		case err != nil && len(batch) == 1:
			return nil, fmt.Errorf("%w: %w", ErrBadPublication, err)
		case err != nil:
			return nil, fmt.Errorf("%w: event %d of %d: %w", ErrBadPublication, i+1, len(batch), err)
		}
	}
	return h.publish(ctx, batch), nil
}

// publish has the broker publish batch.
func (h *Hub) publish(ctx context.Context, batch []pubsub.Publication) []pubsub.Result {
	if h.cfg.OnPublished == nil {
		return h.broker.Publish(ctx, batch)
	}
	began := time.Now()
	results := h.broker.Publish(ctx, batch)
	h.cfg.OnPublished(time.Since(began))
	return results
}

func (h *Hub) validate(p pubsub.Publication) error {
	switch err := validateTopic(p.Topic); {
	case err != nil:
		return err
	case len(p.Data) > h.maxBytes:
		return fmt.Errorf("data has %d bytes, at most %d are allowed", len(p.Data), h.maxBytes)
	case !utf8.Valid(p.Data) || !json.Valid(p.Data):
		return errors.New("data is not JSON")
	case len(p.Key) > MaxKey:
		return fmt.Errorf("key has %d bytes, at most %d are allowed", len(p.Key), MaxKey)
	}
	if a := p.Attributes; a != nil && a.Except != "" {
		if _, ok := parseName(a.Except); !ok {
			return errors.New("except: want a session's name as in welcome")
		}
	}
	return p.Attributes.Validate()
}

// Config is the hub's configuration, defaults filled in.
func (h *Hub) Config() Config { return h.cfg }

// Heartbeat is how often a client is asked whether it is there.
func (h *Hub) Heartbeat() time.Duration { return h.heartbeat }

// MaxBytes bounds the data of one event.
func (h *Hub) MaxBytes() int { return h.maxBytes }

// UseSealer makes the hub give resume tokens, and take those that s opens. It may come after Run: until
// then sessions have none.
func (h *Hub) UseSealer(s *token.Sealer) { h.sealer.Store(s) }

// Keeps reports whether the broker keeps topic's history.
func (h *Hub) Keeps(topic string) bool { return h.keeps(topic) }

func (h *Hub) keeps(topic string) bool {
	_, ok := h.cfg.History.For(topic)
	return ok
}

// Ready is nil while the hub can do its work: it does not drain, and its broker was seen working.
func (h *Hub) Ready() error {
	if h.draining.Load() {
		return errors.New("draining")
	}
	return h.broker.Ready()
}

// clock is the time in milliseconds since the hub's birth; it wraps after 49 days.
func (h *Hub) clock() uint32 { return uint32(time.Since(h.born).Milliseconds()) }

// sessionID is never 0, and its public name has always the same length.
func (h *Hub) sessionID() uint64 { return rand.Uint64() | 1<<63 }

func (h *Hub) now() time.Time { return time.Now() }
