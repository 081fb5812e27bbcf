package session

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"wshub/pubsub"
	"wshub/session/token"
)

const (
	// clockMargin is how far the nodes' clocks may be apart for a revocation that arrives late to close who was there before it:
	// who came later than that is let be. One that arrives live closes whoever is there.
	clockMargin = 5 * time.Second
	// maxAhead is how far in the future Revoke's before may be: an issuer's clock may be ahead, and may not lock a
	// user out for days.
	maxAhead = time.Hour
	// revokedPart is how many revocations a loop applies in one job, some 50 µs where nobody is closed. At a node's
	// start a million may come at once.
	revokedPart = 256
	// maxFound bounds the tokens that one loop finds in use, of one revocation. Over it all are refused that
	// were issued until the latest of them.
	maxFound = 256
)

// Revoke refuses, on every node, tokens of target, and closes its connections that came with one of these.
//
// With before, on the issuer's clock: tokens issued before it. A token issued at before or later is good.
//
// Without, which is before being zero: tokens issued before the second of now on this node's clock, and those that are
// in use on any node when the revocation arrives there, whenever they were issued. So a token of that very second is
// good if it was not seen yet. An issuer's clock that is behind makes new tokens refused for as long.
func (h *Hub) Revoke(ctx context.Context, target Target, before time.Time) error {
	if err := target.validate(); err != nil {
		return err
	}
	if target.Of != "" || len(target.Keep) > 0 {
		return fmt.Errorf("%w: all of a user's tokens are revoked, or a session's", ErrBadTarget)
	}
	now := h.now().UTC().Truncate(time.Millisecond)
	before = before.UTC().Truncate(time.Microsecond)
	v := pubsub.Revocation{Subject: target.subject(), At: now, Before: before, Live: true}
	switch {
	case before.IsZero():
		v.Before, v.InUse = now.Truncate(time.Second), true
		// Each node passes over one that is no later than what it knows of the subject. Another hub's clock may be ahead of this one.
		if held, ok := h.revocations.get(v.Subject, now); ok && held.at >= now.UnixMilli() {
			v.At = time.UnixMilli(held.at + 1).UTC()
		}
	case before.After(now.Add(maxAhead)):
		return fmt.Errorf("%w: before is more than an hour ahead", ErrBadTarget)
	}
	v.Until = latest(v.At, before).Add(h.cfg.TokenLife)
	if err := h.broker.Revoke(ctx, v); err != nil {
		return err
	}
	h.Revoked([]pubsub.Revocation{v}) // who asks here next is judged by it, however long it is on its way
	return nil
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// sessionPrefix begins a Revocation's subject that is a session; that of a user is the user's own topic.
const sessionPrefix = "session:"

// subject names the target in a Revocation.
func (t Target) subject() string {
	if t.Session != "" {
		return sessionPrefix + t.Session
	}
	return userPrefix + t.User
}

// targetOf is the reverse of subject.
func targetOf(subject string) Target {
	if name, ok := strings.CutPrefix(subject, sessionPrefix); ok {
		return Target{Session: name}
	}
	return Target{User: strings.TrimPrefix(subject, userPrefix)}
}

// Revoked takes revocations that hold, in any order and as often as they come: it is the broker's OnRevoked. It does
// not block.
func (h *Hub) Revoked(list []pubsub.Revocation) {
	for part := range slices.Chunk(list, revokedPart) {
		changes := h.revocations.add(part, h.now())
		if len(changes) == 0 {
			continue
		}
		for _, sh := range h.shards {
			sh.loop.Post(func() {
				for i := range changes {
					sh.endRevoked(&changes[i])
				}
			})
		}
	}
}

// endRevoked closes the sessions whose tokens c refuses, and has those tokens refused that are in use and that c can't
// tell from newer ones by their time.
func (sh *shard) endRevoked(c *change) {
	target := targetOf(c.Subject)
	var used []*grant
	var refused []*Session
	for _, s := range sh.find(target) {
		g := s.granted()
		switch {
		case g == nil:
		case g.seen >= c.version:
			continue // it was let in by what c says
		case g.issued < c.before, slices.Contains(c.tokens, g.fingerprint):
		case c.inUse && (c.Live && len(c.Tokens) == 0 || g.accepted <= c.sealed+clockMargin.Milliseconds()):
			used = append(used, g)
		default:
			continue
		}
		refused = append(refused, s)
	}
	sh.close(refused, Unidentified)
	if len(used) > 0 && target.User != "" {
		sh.hub.refuseUsed(c.Revocation, used)
	}
}

// refuseUsed refuses the tokens of grants, here at once and elsewhere soon.
func (h *Hub) refuseUsed(v pubsub.Revocation, grants []*grant) {
	var last int64
	known := make(map[token.Fingerprint]struct{})
	for _, g := range grants {
		last = max(last, g.issued)
		known[g.fingerprint] = struct{}{}
	}
	if len(known) > maxFound {
		v.Before = time.UnixMicro(last + 1)
	} else {
		for f := range known {
			v.Tokens = append(v.Tokens, f.String())
		}
	}
	h.Revoked([]pubsub.Revocation{v})
	if !h.found.put(v) {
		h.log.Error().Msg("too many revocations wait for the broker: other nodes do not learn of all tokens that were in use here")
	}
}

// resumeRevoked reports whether a resume token is refused.
func (h *Hub) resumeRevoked(t token.Resume) bool {
	now := h.now()
	return h.revocations.refusesResume(Target{User: t.User}.subject(), t, now) ||
		h.revocations.refusesResume(Target{Session: sessionName(t.Session)}.subject(), t, now)
}

// found are the revocations of tokens that this node found in use, until the others know them.
type found struct {
	come chan struct{} // wakes share

	mu   sync.Mutex
	list []pubsub.Revocation
}

const (
	// maxUnshared bounds the revocations that wait to be shared: as many as a broker takes in some seconds.
	maxUnshared = 4096
	// shareAgain is the pause after the broker could not be told.
	shareAgain = time.Second
)

// put hands v to share, and returns false if too many wait.
func (f *found) put(v pubsub.Revocation) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.list) == maxUnshared {
		return false
	}
	f.list = append(f.list, v)
	select {
	case f.come <- struct{}{}:
	default:
	}
	return true
}

func (f *found) take() (list []pubsub.Revocation) {
	f.mu.Lock()
	defer f.mu.Unlock()
	list, f.list = f.list, nil
	return list
}

// share gives each to revoke, again and again until it is taken, until ctx ends.
func (f *found) share(ctx context.Context, revoke func(context.Context, pubsub.Revocation) error) {
	for ctx.Err() == nil {
		for _, v := range f.take() {
			for revoke(ctx, v) != nil && time.Now().Before(v.Until) {
				select {
				case <-ctx.Done():
					return
				case <-time.After(shareAgain):
				}
			}
		}
		select {
		case <-ctx.Done():
		case <-f.come:
		}
	}
}
