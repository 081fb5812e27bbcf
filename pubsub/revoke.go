package pubsub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Revocation says which tokens of Subject are refused. It can be forgotten after Until, when none of them would be
// valid any more. The broker carries it and reads nothing of it but Until.
type Revocation struct {
	// Subject names a user or a session, in a form that those who ask agree on.
	Subject string `json:"subject"`
	// At is when it was made, on the clock of the instance that made it.
	At    time.Time `json:"at"`
	Until time.Time `json:"until"`
	// Before refuses tokens issued before it, on their issuer's clock. Zero in what older versions made: tokens issued
	// until At are refused.
	Before time.Time `json:"before,omitzero"`
	// InUse refuses the tokens that are in use where it arrives, too: each instance adds theirs, as another
	// Revocation with Tokens.
	InUse bool `json:"in_use,omitempty"`
	// Tokens are fingerprints of refused tokens, whenever they were issued.
	Tokens []string `json:"tokens,omitempty"`
	// Live says that it was made a moment ago, whatever the clocks say. Of one that was read, or written back, it is false.
	Live bool `json:"-"`
}

// wholeMark is in the list since a node went through it and found none missing. Where it is not, the
// list is new, or was lost. Its score is random, leastMark or more: a list that was lost and made anew has another.
const (
	wholeMark = "whole"
	leastMark = 1 << 52
)

// Revoke gives v to OnRevoked of every instance, also of those that are away: they get it when they
// come back, until v.Until. ErrUnavailable, ErrUnknownOutcome or ErrRefused as with Publish; to repeat
// it does no harm.
func (r *Redis) Revoke(ctx context.Context, v Revocation) error {
	ctx, cancel := context.WithTimeout(ctx, ioTimeout)
	defer cancel()
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("revoke %q: %w", v.Subject, err)
	}
	fail := func(err error) error { return fmt.Errorf("revoke %q: %w: %s", v.Subject, classify(err), err) }
	key := r.names.revoked()
	var held error // it is in the list, and too few replicas have it
	for _, reply := range r.run(ctx, []call{
		{partition: common, topic: key, args: []any{"zremrangebyscore", key, "-inf", r.earlierClock().Unix() - 1}},
		{partition: common, topic: key, args: []any{"zadd", key, v.Until.Unix(), text}, stores: true},
	}) {
		if err := reply.Err(); errors.As(err, new(*stored)) {
			held = err
		} else if err != nil {
			return fail(err)
		}
	}
	if _, err := r.notifyAll(ctx, append([]byte{revokedMark}, text...), true); err != nil {
		return fail(err)
	}
	if held != nil {
		return fail(held)
	}
	return nil
}

// earlierClock is the time by this machine's clock or the server's, whichever is behind: one that was set ahead must not
// have revocations forgotten that still hold.
func (r *Redis) earlierClock() time.Time {
	now := time.Now()
	if m, err := r.route(common); err == nil {
		if ms, ok := m.clock.time(); ok && ms < now.UnixMilli() {
			return time.UnixMilli(ms)
		}
	}
	return now
}

// revoked takes one that a node made just now, which is live, or wrote back.
func (s *subscriber) revoked(text string, live bool) {
	v, ok := s.parseRevocation(text, s.names.everyNode)
	v.Live = live
	if ok && s.cfg.OnRevoked != nil {
		s.cfg.OnRevoked([]Revocation{v})
	}
}

func (r *Redis) parseRevocation(text, from string) (v Revocation, ok bool) {
	if json.Unmarshal([]byte(text), &v) != nil {
		r.drop(BadControl, from)
		return v, false
	}
	return v, true
}

// Revoke gives v to OnRevoked. See Redis.Revoke.
func (m *Memory) Revoke(_ context.Context, v Revocation) error {
	if m.cfg.OnRevoked != nil {
		m.cfg.OnRevoked([]Revocation{v})
	}
	return nil
}
