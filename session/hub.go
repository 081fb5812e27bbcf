package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"wshub/engine"
	"wshub/pubsub"
)

// Hub joins connections and topics. It is the engine.Handler of a server and the pubsub.Sink of a broker.
type Hub struct {
	// Fixed at birth, or by Attach.
	cfg       Config
	broker    pubsub.Broker
	keeps     func(topic string) bool // whether the broker keeps a topic's history
	workers   *workers
	shards    []*shard
	heartbeat time.Duration
	maxBytes  int // of one message, from the server's configuration
	log       zerolog.Logger
	born      time.Time

	// Shared.
	users    users
	draining atomic.Bool
}

// NewHub checks cfg. The hub serves once a server is attached and Run is called.
func NewHub(cfg Config, broker pubsub.Broker) (*Hub, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Hub{
		cfg:     cfg,
		broker:  broker,
		keeps:   func(string) bool { return false },
		workers: newWorkers(cfg.Workers, cfg.WorkerQueue, cfg.PublishTimeout, broker.Publish),
		log:     cfg.Log.With().Str("part", "session").Logger(),
		users:   users{limit: cfg.MaxSessionsPerUser},
		born:    time.Now(),
	}, nil
}

// Attach makes s, whose handler is h, the server that h works on. Call it once, before Run of either.
func (h *Hub) Attach(s *engine.Server) {
	h.heartbeat = s.Config().Heartbeat
	h.maxBytes = s.Config().MaxMessage
	for _, loop := range s.Loops() {
		h.shards = append(h.shards, newShard(h, loop))
	}
}

// Run works until ctx ends and returns when its goroutines have. What clients sent before is still
// published. The server must not end before Run does.
func (h *Hub) Run(ctx context.Context) error {
	brokerCtx, endBroker := context.WithCancel(context.WithoutCancel(ctx))
	defer endBroker()
	var children errgroup.Group
	children.Go(func() error { return h.broker.Run(brokerCtx, h) })
	children.Go(func() error {
		defer endBroker()
		h.workers.serve(ctx)
		return nil
	})
	return children.Wait()
}

// Deliver implements pubsub.Sink.
func (h *Hub) Deliver(ev *pubsub.Event, loops pubsub.Loops) {
	h.push(&message{topic: ev.Topic, event: ev, position: ev.Position}, loops)
}

// Gap implements pubsub.Sink.
func (h *Hub) Gap(topic string, loops pubsub.Loops, at pubsub.Position) {
	h.push(&message{topic: topic, position: at}, loops)
}

func (h *Hub) push(m *message, loops pubsub.Loops) {
	for loop := range loops.All {
		h.shards[loop].push(m)
	}
}

// ErrBadPublication: a Publication is not fit to be published; the error's text says why.
var ErrBadPublication = errors.New("bad publication")

// Publish publishes on behalf of a backend, which may use every topic but the hub's own ("$…"). The error,
// if any, is an ErrBadPublication or one of the broker's.
func (h *Hub) Publish(ctx context.Context, p pubsub.Publication) pubsub.Result {
	if err := h.check(p); err != nil {
		return pubsub.Result{Err: fmt.Errorf("%w: %w", ErrBadPublication, err)}
	}
	return h.broker.Publish(ctx, []pubsub.Publication{p})[0]
}

func (h *Hub) check(p pubsub.Publication) error {
	switch err := checkTopic(p.Topic); {
	case err != nil:
		return err
	case p.Topic[0] == '$':
		return errors.New("topics that begin with $ are the hub's own")
	case len(p.Data) > h.maxBytes:
		return fmt.Errorf("data has %d bytes, at most %d are allowed", len(p.Data), h.maxBytes)
	case !utf8.Valid(p.Data) || !json.Valid(p.Data):
		return errors.New("data is not JSON")
	case len(p.Key) > maxKey:
		return fmt.Errorf("key has %d bytes, at most %d are allowed", len(p.Key), maxKey)
	}
	return nil
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

func (h *Hub) sessionID() uint64 { return rand.Uint64() }
