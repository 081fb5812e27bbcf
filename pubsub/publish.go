package pubsub

import (
	"context"
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"net"

	"github.com/redis/go-redis/v9"
)

//go:embed publish.lua
var publishSource string

//go:embed once.lua
var onceSource string

var (
	publishScript = redis.NewScript(publishSource)
	onceScript    = redis.NewScript(onceSource)
)

// Publish implements Broker: the whole batch is one pipeline on one connection. It takes 2 s at most,
// less if ctx says so.
func (r *Redis) Publish(ctx context.Context, batch []Publication) []Result {
	ctx, cancel := context.WithTimeout(ctx, ioTimeout)
	defer cancel()
	results := make([]Result, len(batch))
	calls := make([]scriptCall, 0, len(batch))
	places := make([]int, 0, len(batch)) // in batch, of calls
	for i := range batch {
		if results[i].Err = checkPublication(&batch[i], r.cfg.MaxMessage); results[i].Err == nil {
			calls = append(calls, r.publication(&batch[i]))
			places = append(places, i)
		}
	}
	if len(calls) == 0 {
		return results
	}
	for i, reply := range r.run(ctx, calls) {
		results[places[i]] = r.result(reply)
	}
	return results
}

// publication is the command that publishes p.
func (r *Redis) publication(p *Publication) scriptCall {
	rule, keeps := r.cfg.History.For(p.Topic)
	if keeps {
		keys := logKeys(p.Topic)
		if p.Key != "" {
			keys = append(keys, onceKey(p))
		}
		return scriptCall{publishScript, keys, []any{
			topicChannel(p.Topic), p.Data, rule.Count, rule.Age.Milliseconds(), r.life(p.Topic).Milliseconds(),
			freshEpoch(), IdempotencyTime.Milliseconds(),
		}}
	}
	channel := topicChannel(p.Topic)
	if p.Topic == r.cfg.Broadcast {
		channel = p.Topic // the one that backends use: foreign subscribers see it too
	}
	if p.Key != "" {
		return scriptCall{onceScript, []string{onceKey(p)}, []any{channel, p.Data, IdempotencyTime.Milliseconds()}}
	}
	return scriptCall{args: []any{channel, p.Data}}
}

// result reads the answer to a publication: nothing but success, or where the event stands.
func (r *Redis) result(reply *redis.Cmd) Result {
	if err := reply.Err(); err != nil {
		return Result{Err: r.publishError(err)}
	}
	place, ok := reply.Val().(string)
	if !ok || place == "" {
		return Result{}
	}
	if len(place) != 24 {
		return Result{Err: r.publishError(errBadLog)}
	}
	number := func(i int) uint64 { return binary.BigEndian.Uint64([]byte(place[8*i : 8*i+8])) }
	return Result{Position: Position{number(0), ID{number(1), number(2)}}}
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
		redis.IsTryAgainError(err), redis.IsMaxClientsError(err), redis.HasErrorPrefix(err, "BUSY "):
		return ErrUnavailable
	case errors.As(err, &answer), errors.Is(err, errBadLog):
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
