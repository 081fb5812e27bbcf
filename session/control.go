package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"wshub/engine"
)

// ErrBadTarget: a Target names no sessions; the error's text says why.
var ErrBadTarget = errors.New("bad target")

// control is what nodes tell each other: Replace or Disconnect.
type control struct {
	Replace    []replacement `json:"replace,omitempty"`
	From       string        `json:"from,omitempty"` // with Replace: the node that tells
	Disconnect *Target       `json:"disconnect,omitempty"`
}

// Target names sessions: all of a user, or one by its public name.
type Target struct {
	User    string `json:"user,omitempty"`
	Session string `json:"session,omitempty"`
}

// check is nil if the target names exactly one thing.
func (t Target) check() error {
	switch {
	case (t.User == "") == (t.Session == ""):
		return fmt.Errorf("%w: want either user or session", ErrBadTarget)
	case t.User != "":
		if err := checkUser(t.User); err != nil {
			return fmt.Errorf("%w: %w", ErrBadTarget, err)
		}
	default:
		if _, ok := parseName(t.Session); !ok {
			return fmt.Errorf("%w: session: want a name as welcome tells it", ErrBadTarget)
		}
	}
	return nil
}

// tell brings order to one node, or with node "" to all, this one too.
func (h *Hub) tell(ctx context.Context, node string, order control) error {
	message, err := json.Marshal(order)
	if err != nil {
		return err
	}
	return h.broker.Tell(ctx, node, message)
}

// Control takes what another node has told this one: it is the broker's OnControl. It does not block.
func (h *Hub) Control(message []byte) {
	var order control
	if err := json.Unmarshal(message, &order); err != nil {
		h.log.Warn().Err(err).Msg("a control message can't be read")
		return
	}
	for _, sh := range h.shards {
		sh.loop.Post(func() { sh.obey(order) })
	}
}

func (sh *shard) obey(order control) {
	sh.replaceAll(order.Replace, order.From)
	if d := order.Disconnect; d != nil {
		sh.close(*d, Disconnected)
	}
}

// Disconnect closes the connections that target names, on every node. The clients may come back.
func (h *Hub) Disconnect(ctx context.Context, target Target) error {
	if err := target.check(); err != nil {
		return err
	}
	return h.tell(ctx, "", control{Disconnect: &target})
}

// close ends the sessions that target names, on this loop.
func (sh *shard) close(target Target, cause *engine.Cause) {
	for _, s := range sh.find(target) {
		s.conn.Close(cause)
	}
}

// find returns the sessions that target names, on this loop.
func (sh *shard) find(target Target) []*Session {
	if target.User != "" {
		return sh.members.of(userPrefix + target.User)
	}
	if id, ok := parseName(target.Session); ok {
		if s := sh.named[id]; s != nil {
			return []*Session{s}
		}
	}
	return nil
}
