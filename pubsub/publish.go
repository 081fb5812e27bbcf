package pubsub

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// Publish implements Broker: the whole batch is one pipeline for each master. It takes 2 s at most,
// less if ctx says so.
func (r *Redis) Publish(ctx context.Context, batch []Publication) []Result {
	ctx, cancel := context.WithTimeout(ctx, ioTimeout)
	defer cancel()
	results := make([]Result, len(batch))
	calls := make([]call, 0, len(batch))
	places := make([]int, 0, len(batch)) // in batch, of calls
	for i := range batch {
		if results[i].Err = validatePublication(&batch[i], r.cfg.MaxMessage); results[i].Err == nil {
			calls = append(calls, r.publication(&batch[i]))
			places = append(places, i)
		}
	}
	if len(calls) == 0 {
		return results
	}
	for i, reply := range r.run(ctx, calls) {
		results[places[i]] = r.result(batch[places[i]].Topic, reply)
	}
	return results
}

// publication is the command that publishes p.
func (r *Redis) publication(p *Publication) call {
	rule, keeps := r.cfg.History.For(p.Topic)
	c := call{partition: partition(p.Topic), topic: p.Topic}
	channel := r.names.topic(p.Topic)
	if keeps && !p.Unkept {
		c.kind, c.stores, c.keys = publish, true, r.names.log(p.Topic)
		if p.Key != "" {
			c.keys = append(c.keys, r.names.once(p))
		}
		c.args = []any{
			channel, p.body(), rule.Count, rule.Age.Milliseconds(), r.life(p.Topic).Milliseconds(),
			freshEpoch(), IdempotencyTime.Milliseconds(), r.ids.latest(c.partition),
		}
		return c
	}
	if p.Key != "" {
		c.kind, c.keys, c.args = once, []string{r.names.once(p)}, []any{channel, p.body(), IdempotencyTime.Milliseconds()}
		return c
	}
	command := r.names.publishCommand()
	switch {
	case p.Topic != r.cfg.Broadcast:
	case p.Attributes.empty():
		command, channel = "PUBLISH", r.names.broadcast // the one that backends use: foreign subscribers see it too
	case r.names.sharded:
		command, channel = "PUBLISH", r.names.attributed
	}
	c.args = []any{command, channel, p.body()}
	return c
}

// result reads the answer to a publication to topic: nothing but success, or where the event stands.
func (r *Redis) result(topic string, reply *redis.Cmd) Result {
	if err := reply.Err(); err != nil {
		return Result{Err: r.publishError(topic, err)}
	}
	place, ok := reply.Val().(string)
	if !ok || place == "" {
		return Result{}
	}
	if len(place) != 24 {
		return Result{Err: r.publishError(topic, errBadLog)}
	}
	number := func(i int) uint64 { return binary.BigEndian.Uint64([]byte(place[8*i : 8*i+8])) }
	at := Position{number(0), ID{number(1), number(2)}}
	if m, err := r.route(partition(topic)); err == nil {
		r.ids.given(partition(topic), at.ID, &m.clock)
	}
	return Result{Position: at}
}

// publishError counts err and makes it one of the broker's.
func (r *Redis) publishError(topic string, err error) error {
	kind := classify(err)
	switch kind {
	case ErrUnavailable:
		r.stats.unavailable.Add(1)
	case ErrRefused:
		r.stats.refused.Add(1)
	case ErrUnknownOutcome:
		r.stats.unknown.Add(1)
	}
	var answer redis.Error
	if m, routed := r.route(partition(topic)); routed == nil && errors.As(err, &answer) && (kind != ErrUnavailable || redis.IsReadOnlyError(err)) {
		m.refusal.published(err)
		if redis.IsReadOnlyError(err) {
			r.triggers.pull(onReplica)
		}
		r.refused.Error().Func(Because(err)).Msg("redis refuses publications")
	}
	return fmt.Errorf("publish: %w: %s", kind, err)
}

// classify derives the outcome of a command from go-redis's error: ErrUnavailable if it surely was not
// executed and may be later, ErrRefused if the server said no, ErrUnknownOutcome otherwise.
func classify(err error) error {
	var answer redis.Error
	var before *unsent
	switch {
	case errors.As(err, &before):
		if kind := classify(before.error); kind == ErrRefused {
			return kind
		}
		return ErrUnavailable
	case errors.As(err, new(*stored)), redis.HasErrorPrefix(err, "STORED "):
		return ErrUnknownOutcome // an event that was stored, but perhaps not published

	case errors.Is(err, errNobody), errors.Is(err, errSilent), errors.Is(err, errReplica), redis.IsReadOnlyError(err), isAstray(err):
		return ErrUnavailable
	case redis.IsLoadingError(err), redis.IsMasterDownError(err), redis.IsClusterDownError(err),
		redis.IsTryAgainError(err), redis.IsMaxClientsError(err), redis.HasErrorPrefix(err, "BUSY "), redis.HasErrorPrefix(err, "NOSCRIPT"):
		return ErrUnavailable
	case errors.As(err, &answer), errors.Is(err, errBadLog):
		return ErrRefused
	case errors.Is(err, redis.ErrPoolTimeout), errors.Is(err, redis.ErrPoolExhausted),
		errors.Is(err, redis.ErrClosed):
		return ErrUnavailable
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		// go-redis returns these only while it waits for a connection. A read's timeout is neither.
		return ErrUnavailable
	}
	return ErrUnknownOutcome
}
