package pubsub

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// subscriber is one connection's life.
type subscriber struct {
	*Redis
	feed *feed
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

var errLate = errors.New("no probe came back in time")

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
		r.trouble.Warn().Err(err).Str("redis", r.opt.Addr).Stringer("retry_in", wait.Round(time.Millisecond)).Msg("not connected to redis")
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
	doomed := time.AfterFunc(r.cfg.ProbeDeadline, func() { cancel(errLate) })
	defer doomed.Stop()
	feed, end, err := r.dialFeed(ctx)
	if err != nil {
		return false, errors.Join(context.Cause(ctx), err)
	}
	defer end()
	s := &subscriber{
		Redis: r, feed: feed, ready: make(chan struct{}), returned: r.round.Load(), doomed: doomed,
		doubts: doubts{work: make(chan struct{}, 1)}, incomplete: make(chan struct{}, 1),
	}
	r.list.setUnread("the list was not read yet")
	base := []string{everyNode, r.nodeChannel, addressedName, r.cfg.Broadcast}
	s.base = len(base)
	if err := feed.send("SUBSCRIBE", base...); err != nil {
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

// receive takes what comes in, until the connection ends.
func (s *subscriber) receive(context.Context) error {
	for {
		h, err := s.feed.hear()
		if err != nil {
			return fmt.Errorf("receive: %w", err)
		}
		switch h.signal {
		case message:
			s.take(h.channel, h.payload)
		case oversize:
			s.stats.received.Add(1)
			s.drop(TooBig, h.channel)
		case pong:
			s.pong, _ = strconv.ParseUint(string(h.payload), 10, 64)
			s.roundTrip()
		default:
			s.acknowledge(h)
		}
	}
}

// acknowledge takes an answer to SUBSCRIBE or UNSUBSCRIBE.
func (s *subscriber) acknowledge(h heard) {
	switch {
	case s.base > 0:
		if s.base--; s.base == 0 {
			close(s.ready)
			s.scripts.Store(nil) // the server may be another one, or have become a master again
			s.follows.begin()
		}
	case h.signal == unsubscribed:
		s.follows.unsubscribed(h.channel)
	case s.follows.subscribed(h.channel):
		s.check(h.channel)
	default:
		s.delivery.mu.Lock()
		done := s.confirm(h.channel, nil)
		s.delivery.mu.Unlock()
		answer(done)
	}
}

// write sends what the table of follows wants, batch after batch.
func (s *subscriber) write(ctx context.Context) error {
	for {
		subscribe, unsubscribe := s.follows.next()
		if len(subscribe) > 0 {
			if err := s.feed.send("SUBSCRIBE", subscribe...); err != nil {
				return fmt.Errorf("subscribe: %w", err)
			}
		}
		if len(unsubscribe) > 0 {
			if err := s.feed.send("UNSUBSCRIBE", unsubscribe...); err != nil {
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
func (s *subscriber) take(channel string, data []byte) {
	s.stats.received.Add(1)
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
		s.hear(channel, string(data))
	default:
		ev, ok := parsePayload(data)
		if !ok {
			s.drop(BadEnvelope, channel)
			return
		}
		s.arrive(channel, ev)
	}
}

func (r *Redis) drop(why Drop, channel string) { r.drops(why, 1, channel) }

func (r *Redis) drops(why Drop, n uint64, channel string) {
	r.stats.drops[why].Add(n)
	r.flood.Warn().Stringer("reason", why).Str("channel", channel).Msg("dropped a message from redis")
}
