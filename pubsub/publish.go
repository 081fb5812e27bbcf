package pubsub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/redis/go-redis/v9"
)

// Publish implements Broker: the whole batch is one pipeline on one connection. It takes 2 s at most,
// less if ctx says so.
func (r *Redis) Publish(ctx context.Context, batch []Publication) []Result {
	ctx, cancel := context.WithTimeout(ctx, ioTimeout)
	defer cancel()
	results := make([]Result, len(batch))
	commands := make([]*redis.IntCmd, len(batch))
	pipe := r.pub.Pipeline()
	for i := range batch {
		p := &batch[i]
		if results[i].Err = checkPublication(p, r.cfg.MaxMessage); results[i].Err == nil {
			commands[i] = pipe.Publish(ctx, r.channelFor(p.Topic), p.Data)
		}
	}
	failed := exec(ctx, pipe)
	for i, command := range commands {
		if command != nil {
			results[i].Err = r.publishError(cmp.Or(failed, command.Err()))
		}
	}
	return results
}

// channelFor is where events of topic are published: the broadcast topic's on the channel that
// backends use too.
func (r *Redis) channelFor(topic string) string {
	if topic == r.cfg.Broadcast {
		return topic
	}
	return topicChannel(topic)
}

// exec runs pipe. It is nil when each command tells its own fate. They do not when the server turned
// a new connection away, at AUTH say: go-redis leaves the commands looking as if they had succeeded.
func exec(ctx context.Context, pipe redis.Pipeliner) error {
	commands, err := pipe.Exec(ctx)
	for _, command := range commands {
		if command.Err() != nil {
			return nil
		}
	}
	return err
}

// publishError counts err and makes it one of the broker's.
func (r *Redis) publishError(err error) error {
	if err == nil {
		return nil
	}
	kind := classify(err)
	switch kind {
	case ErrUnavailable:
		r.stats.unavailable.Add(1)
	case ErrRefused:
		r.stats.refused.Add(1)
	case ErrUnknownOutcome:
		r.stats.unknown.Add(1)
	}
	return fmt.Errorf("publish: %w: %s", kind, err)
}

// classify tells from go-redis's error what became of a command: ErrUnavailable if it surely was not
// executed and may be later, ErrRefused if the server said no, ErrUnknownOutcome otherwise.
func classify(err error) error {
	var answer redis.Error
	var dial *dialError
	switch {
	case redis.IsLoadingError(err), redis.IsMasterDownError(err), redis.IsClusterDownError(err),
		redis.IsTryAgainError(err), redis.IsMaxClientsError(err):
		return ErrUnavailable
	case errors.As(err, &answer):
		return ErrRefused
	case errors.As(err, &dial), errors.Is(err, redis.ErrPoolTimeout), errors.Is(err, redis.ErrPoolExhausted),
		errors.Is(err, redis.ErrClosed):
		return ErrUnavailable
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		// go-redis returns these only while it waits for a connection. A read's timeout is neither.
		return ErrUnavailable
	}
	return ErrUnknownOutcome
}

// dialError marks an error of dialing: nothing was sent.
type dialError struct{ error }

func (e *dialError) Unwrap() error { return e.error }

func tagDialErrors(dial dialer) dialer {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dial(ctx, network, addr)
		if err != nil {
			return nil, &dialError{err}
		}
		return c, nil
	}
}
