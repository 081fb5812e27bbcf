package pubsub

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// subscriber is one connection's life: go-redis's own reconnecting, which subscribes everything in one
// command before anybody else hears of it, never happens, because its dialer works once.
type subscriber struct {
	*Redis
	ps *redis.PubSub
	// base is how many of the channels that are always heard are not acknowledged yet.
	// Owned by receive.
	base int
	// pong and probe are the last round that came back, each its own way; returned is the last
	// that came back both ways, or the last one before this connection. Owned by receive.
	pong, probe, returned uint64
	// ready is closed when base is 0.
	ready chan struct{}
	// doomed ends the connection unless a round comes back in time.
	doomed *time.Timer
	// doubts are the topics whose log must be looked at.
	doubts doubts
	// incomplete wakes keepRevoked: the list of revocations is not whole, or asked is true.
	incomplete chan struct{}
	// asked is true since another node missed revocations.
	asked atomic.Bool
}

var (
	errLate    = errors.New("no probe came back in time")
	errRefused = errors.New("refused by the server")
)

// stayConnected is one connection after the other, until ctx ends.
func (r *Redis) stayConnected(ctx context.Context) error {
	for attempt := 0; ; attempt++ {
		wasConnected, err := r.connection(ctx)
		if ctx.Err() != nil {
			return nil
		}
		r.stats.reconnects.Add(1)
		if wasConnected && !errors.Is(err, errRefused) {
			attempt = 0
		}
		wait := r.backoff(attempt)
		r.trouble.Warn().Err(err).Str("redis", r.opt.Addr).Dur("retry_in", wait).Msg("not connected to redis")
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// connection dials, subscribes and receives until ctx ends or the connection does, which err explains.
// wasConnected tells whether the server heard us.
func (r *Redis) connection(ctx context.Context) (wasConnected bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// Whatever ends the connection closes its socket: a read can't be timed out without losing its
	// place in the stream, and PubSub.Close waits for a write.
	var only socket
	defer context.AfterFunc(ctx, only.close)()
	client := r.newClient(1, only.dialOnce(redis.NewDialer(r.opt)))
	defer client.Close()
	s := &subscriber{
		Redis: r, ps: client.Subscribe(ctx), ready: make(chan struct{}), returned: r.round.Load(),
		doubts: doubts{work: make(chan struct{}, 1)}, incomplete: make(chan struct{}, 1),
	}
	defer s.ps.Close()
	s.doomed = time.AfterFunc(r.cfg.ProbeDeadline, func() { cancel(errLate) })
	defer s.doomed.Stop()

	r.list.setUnread("the list was not read yet")
	base := []string{everyNode, r.nodeChannel, addressedName, r.cfg.Broadcast}
	s.base = len(base)
	if err := s.ps.Subscribe(ctx, base...); err != nil {
		return false, fmt.Errorf("subscribe: %w", err)
	}
	var parts sync.WaitGroup
	for _, part := range []func(context.Context) error{s.receive, s.write, s.ask, s.catchUp, s.keepRevoked} {
		parts.Go(func() { cancel(part(ctx)) })
	}
	parts.Wait()
	r.connected.Store(false)
	r.follows.end()
	return s.base == 0, context.Cause(ctx)
}

// socket is the one that a connection has in its life.
type socket struct {
	mu     sync.Mutex
	conn   net.Conn
	closed bool
}

// dialOnce dials with dial the first time and fails from then on.
func (s *socket) dialOnce(dial dialer) dialer {
	var dialed atomic.Bool
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		if dialed.Swap(true) {
			return nil, net.ErrClosed
		}
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.conn = conn; s.closed {
			_ = conn.Close()
		}
		return conn, nil
	}
}

// close closes the socket, now or as soon as it is there.
func (s *socket) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed = true; s.conn != nil {
		_ = s.conn.Close()
	}
}

// receive takes what comes in, until the connection ends.
func (s *subscriber) receive(ctx context.Context) error {
	for {
		message, err := s.ps.Receive(ctx)
		var refusal redis.Error
		switch {
		case errors.As(err, &refusal):
			return fmt.Errorf("%w: %s", errRefused, refusal)
		case err != nil:
			return fmt.Errorf("receive: %w", err)
		}
		switch m := message.(type) {
		case *redis.Message:
			s.take(m.Channel, m.Payload)
		case *redis.Subscription:
			s.acknowledge(m)
		case *redis.Pong:
			s.pong, _ = strconv.ParseUint(m.Payload, 10, 64)
			s.roundTrip()
		}
	}
}

// acknowledge takes an answer to SUBSCRIBE or UNSUBSCRIBE.
func (s *subscriber) acknowledge(m *redis.Subscription) {
	switch {
	case s.base > 0:
		if s.base--; s.base == 0 {
			close(s.ready)
			s.scripts.Store(nil) // the server may be another one, or have become a master again
			s.follows.begin()
		}
	case m.Kind == "unsubscribe":
		s.follows.unsubscribed(m.Channel)
	case s.follows.subscribed(m.Channel):
		s.check(m.Channel)
	default:
		s.delivery.mu.Lock()
		done := s.confirm(m.Channel, nil)
		s.delivery.mu.Unlock()
		answer(done)
	}
}

// write sends what the table of follows wants, batch after batch.
func (s *subscriber) write(ctx context.Context) error {
	for {
		subscribe, unsubscribe := s.follows.next()
		if len(subscribe) > 0 {
			if err := s.ps.Subscribe(ctx, subscribe...); err != nil {
				return fmt.Errorf("subscribe: %w", err)
			}
		}
		if len(unsubscribe) > 0 {
			if err := s.ps.Unsubscribe(ctx, unsubscribe...); err != nil {
				return fmt.Errorf("unsubscribe: %w", err)
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.follows.work:
		}
	}
}

// take hands one message to whom it concerns, or drops it.
func (s *subscriber) take(channel, payload string) {
	s.stats.received.Add(1)
	data := []byte(payload)
	switch channel {
	case s.cfg.Broadcast:
		s.arrive(s.broadcastChannel, Event{Data: data})
	case addressedName:
		topic, data, why, ok := parseAddressed(data, s.cfg.MaxMessage)
		if !ok {
			s.drop(why, channel)
			return
		}
		s.arrive(topicChannel(topic), Event{Data: data})
	case s.nodeChannel, everyNode:
		s.hear(channel, payload)
	default:
		ev := Event{Data: data}
		if isEnvelope(data) {
			var ok bool
			if ev, ok = parseEnvelope(data); !ok {
				s.drop(BadEnvelope, channel)
				return
			}
		}
		s.arrive(channel, ev)
	}
}

func (r *Redis) drop(why Drop, channel string) { r.drops(why, 1, channel) }

func (r *Redis) drops(why Drop, n uint64, channel string) {
	r.stats.drops[why].Add(n)
	r.flood.Warn().Stringer("reason", why).Str("channel", channel).Msg("dropped a message from redis")
}
