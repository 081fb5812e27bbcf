package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"wshub/engine"
)

// ErrBadTarget: a Target names no sessions; the error's text says why.
var ErrBadTarget = errors.New("bad target")

// control is a message between nodes: one of its members, From aside.
type control struct {
	Replace     []replacement `json:"replace,omitempty"`
	From        string        `json:"from,omitempty"` // with Replace: the node that tells
	Disconnect  *Target       `json:"disconnect,omitempty"`
	Subscribe   *following    `json:"subscribe,omitempty"`
	Unsubscribe *following    `json:"unsubscribe,omitempty"`
	Refresh     *renewal      `json:"refresh,omitempty"`
	Dismiss     string        `json:"dismiss,omitempty"` // a topic whose followers are disconnected
	Relay       *relay        `json:"relay,omitempty"`   // of one session, as is the next
	Relayed     *relayed      `json:"relayed,omitempty"`
}

// Target names sessions: all of a user, or one by its public name.
type Target struct {
	User    string `json:"user,omitempty"`
	Session string `json:"session,omitempty"`
	// Of is the user whose session it must be, where Session names one; "" for any.
	Of string `json:"of,omitempty"`
	// Keep are the public names of sessions that are left alone, 1,000 at most.
	Keep []string `json:"keep,omitempty"`
}

const maxKeep = 1000

// validate returns nil if the target names exactly one thing.
func (t Target) validate() error {
	switch {
	case len(t.Keep) > maxKeep:
		return fmt.Errorf("%w: more than %d sessions are to be left alone", ErrBadTarget, maxKeep)
	case (t.User == "") == (t.Session == ""):
		return fmt.Errorf("%w: want either user or session", ErrBadTarget)
	case t.User != "":
		if err := validateUser(t.User); err != nil {
			return fmt.Errorf("%w: %w", ErrBadTarget, err)
		}
	default:
		if _, ok := parseName(t.Session); !ok {
			return fmt.Errorf("%w: session: want a name as in welcome", ErrBadTarget)
		}
	}
	return nil
}

// sendOrder sends order to one node, or with node "" to all, this one too.
func (h *Hub) sendOrder(ctx context.Context, node string, order control) error {
	message, err := json.Marshal(order)
	if err != nil {
		return err
	}
	return h.broker.Notify(ctx, node, message)
}

// Control takes a message of another node: it is the broker's OnControl. It does not block.
func (h *Hub) Control(message []byte) {
	var order control
	if err := json.Unmarshal(message, &order); err != nil {
		h.sampledLog.Warn().Err(err).Msg("a control message can't be read")
		return
	}
	switch {
	case order.Relay != nil:
		h.obeyRelay(order.Relay)
	case order.Relayed != nil:
		h.obeyRelayed(order.Relayed)
	default:
		for _, sh := range h.shards {
			sh.loop.Post(func() { sh.obey(order) })
		}
	}
}

func (sh *shard) obey(order control) {
	sh.replaceAll(order.Replace, order.From)
	if d := order.Disconnect; d != nil {
		sh.close(sh.find(*d), Disconnected)
	}
	if order.Dismiss != "" {
		sh.close(sh.followers(order.Dismiss), Disconnected)
	}
	if f := order.Subscribe; f != nil {
		for _, s := range sh.find(f.Target) {
			s.followForBackend(f)
		}
	}
	if f := order.Unsubscribe; f != nil {
		for _, s := range sh.find(f.Target) {
			s.leaveForBackend(f.Topic)
		}
	}
	if r := order.Refresh; r != nil {
		for _, s := range sh.find(r.Target) {
			s.renew(r)
		}
	}
}

// Disconnect closes the connections that target names, on every node. The clients may come back.
func (h *Hub) Disconnect(ctx context.Context, target Target) error {
	if err := target.validate(); err != nil {
		return err
	}
	return h.sendOrder(ctx, "", control{Disconnect: &target})
}

// DisconnectFollowers closes the connections of all sessions that follow topic, or are about to, on every node. Errors as with
// Disconnect.
func (h *Hub) DisconnectFollowers(ctx context.Context, topic string) error {
	if err := validateTopic(topic); err != nil {
		return fmt.Errorf("%w: %w", ErrBadTarget, err)
	}
	return h.sendOrder(ctx, "", control{Dismiss: topic})
}

// followers are the sessions of this loop that follow a topic, or are about to.
func (sh *shard) followers(name string) (list []*Session) {
	t := sh.topics.get(name)
	if t == nil {
		return nil
	}
	for i := range t.followers.len() {
		list = append(list, t.followers.at(i))
	}
	if t.ext != nil {
		for _, sub := range t.ext.waiting {
			list = append(list, sub.s)
		}
	}
	return list
}

// close ends sessions of this loop, over as many turns as it takes.
func (sh *shard) close(list []*Session, cause *engine.Cause) {
	for i, s := range list {
		if sh.loop.Spent() {
			sh.loop.Post(func() { sh.close(list[i:], cause) })
			return
		}
		s.conn.Close(cause)
	}
}

// find returns the sessions that target names, on this loop.
func (sh *shard) find(target Target) (list []*Session) {
	if target.User != "" {
		list = sh.members.of(userPrefix + target.User)
	} else if id, ok := parseName(target.Session); ok {
		if s := sh.named[id]; s != nil {
			list = []*Session{s}
		}
	}
	if target.Of == "" && len(target.Keep) == 0 {
		return list
	}
	return slices.DeleteFunc(list, func(s *Session) bool {
		return target.Of != "" && s.user() != target.Of || slices.Contains(target.Keep, s.name())
	})
}
