package session

import (
	"slices"
	"strings"

	"wshub/pubsub"
)

// owner is the one that wants a subscription: a request, a group of them, or nobody.
type owner interface {
	// onOutcome is called exactly once for each subscription. True starts the subscription, if there is one; the owner
	// may start it later instead.
	onOutcome(sub *subscribing, o Outcome) (start bool)
	// patient reports whether what can't be had now is tried for again rather than refused.
	patient() bool
	// gathers reports whether the owner starts subscriptions later than it is told of them.
	gathers() bool
}

// Outcome is the outcome of a subscription.
type Outcome struct {
	Topic string
	Refusal
	Asked     bool // the client said where it left off
	Recovered bool // all that it missed follows
	// Position is where the client stands before anything follows. With missed events on their way that is where it
	// left off, so that it can come back with it if the connection breaks before they arrive. Zero for a topic without
	// a history, and before the first event.
	Position pubsub.Position
	// Head is where the topic stands. Zero for a topic without a history.
	Head pubsub.Position
	// Presence is who was there when the session began to watch, it included; nil for one that does not watch. Members are
	// nil where they are too many.
	Presence *pubsub.Presence
	// Later: nothing has come out yet, and it is tried again. Refusal says why.
	Later bool
}

// asker is the owner of a subscription that a client asked for.
type asker func(Outcome)

func (a asker) patient() bool { return false }
func (a asker) gathers() bool { return false }

func (a asker) onOutcome(_ *subscribing, o Outcome) bool {
	a(o)
	return o.None()
}

// Subscribe begins to follow a topic, if the session may, behind position since, or with nil from now on. report is
// called exactly once, now or later, with the outcome; missed events leave behind what report writes.
func (s *Session) Subscribe(topic string, since *pubsub.Position, report func(Outcome)) {
	s.subscribe(topic, since, asker(report))
}

// SubscribeWatching is Subscribe for a client that also watches the topic's presence: it is a member when report is called,
// with Outcome.Presence, and gets all changes behind that, by Words.Moved. Besides Subscribe's refusals there are NoPresence,
// and Forbidden for who may not see it.
func (s *Session) SubscribeWatching(topic string, since *pubsub.Position, report func(Outcome)) {
	s.subscribeWatching(topic, since, true, asker(report))
}

// decliner is the owner of a subscription that a client asked for and may decline before it is a member.
type decliner struct {
	asker
	declines func(Outcome) bool
}

// SubscribeWatchingUnless is SubscribeWatching, but that declines hears the outcome, yet without the presence, before the session is a member.
// True ends the subscription, which report is then told as NotSubscribed, and others have not seen the session come and go.
func (s *Session) SubscribeWatchingUnless(topic string, since *pubsub.Position, declines func(Outcome) bool, report func(Outcome)) {
	s.subscribeWatching(topic, since, true, decliner{report, declines})
}

// unasked is the owner of subscriptions that nobody waits for: to a user's own topic, and to those of a plain client's
// URL. They are tried for until they are there.
type unasked struct{ s *Session }

func (u unasked) patient() bool { return true }
func (u unasked) gathers() bool { return false }

func (u unasked) onOutcome(_ *subscribing, o Outcome) bool {
	if !o.None() {
		u.s.missOwn(o.Topic) // the node may have room for it later
	}
	u.s.protocol().Unasked(u.s, o)
	return o.None()
}

// SubscribeUnasked follows a topic that no request names, as soon as that can be done. Protocol.Unasked reports its
// outcome, and each time that it must be tried again.
func (s *Session) SubscribeUnasked(topic string, since *pubsub.Position) {
	s.subscribe(topic, since, unasked{s})
}

// PendingUnasked reports whether the session is about to follow topics that no request named, and no try has failed yet.
func (s *Session) PendingUnasked() bool {
	w := s.busy()
	return w != nil && slices.ContainsFunc(w.pending, func(sub *subscribing) bool {
		_, ok := sub.owner.(unasked)
		return ok && !sub.reported && sub.tries == 0
	})
}

// Wanted is a topic that a client wants to follow together with others.
type Wanted struct {
	Topic string
	Since *pubsub.Position
	// Refusal, where there is one, is the outcome: the request for this topic can't be read.
	Refusal Refusal
}

// group owns subscriptions that are followed as one: the client is told of all of them before the first missed event.
type group struct {
	s       *Session
	waiting int // topics without an outcome yet
	members []joined
	report  func([]Outcome)
	orders  []*following // of a backend, that wait until the client is told
}

// joined is one topic's outcome.
type joined struct {
	Outcome
	sub *subscribing // to be started
}

// SubscribeAll begins to follow topics together. report is called once, now or later, with all outcomes, by name;
// never if the session has ended by then. Missed events leave behind what report writes.
func (s *Session) SubscribeAll(wanted []Wanted, report func([]Outcome)) {
	g := &group{s: s, waiting: 1, report: report}
	s.working().group = g
	for _, w := range wanted {
		g.waiting++
		if !w.Refusal.None() {
			g.onOutcome(nil, Outcome{Topic: w.Topic, Refusal: w.Refusal})
		} else {
			s.subscribe(w.Topic, w.Since, g)
		}
	}
	g.done() // the 1 that waiting began with
}

func (g *group) patient() bool { return false }
func (g *group) gathers() bool { return true }

func (g *group) onOutcome(sub *subscribing, o Outcome) (start bool) {
	if !o.None() {
		sub = nil
	}
	g.members = append(g.members, joined{o, sub})
	g.done()
	return false
}

// done reports once every topic has an outcome, and lets the missed events follow.
func (g *group) done() {
	if g.waiting--; g.waiting > 0 || g.s.conn.Peer() == nil {
		return
	}
	outcomes := make([]Outcome, len(g.members))
	slices.SortFunc(g.members, func(a, b joined) int { return strings.Compare(a.Topic, b.Topic) })
	for i := range g.members {
		g.members[i].reauthorize(g.s)
		outcomes[i] = g.members[i].Outcome
	}
	g.report(outcomes)
	for _, m := range g.members {
		if m.sub != nil {
			m.sub.start()
		}
	}
	g.end()
}

// end is behind all: what waited for the group goes on.
func (g *group) end() {
	s := g.s
	if w := s.busy(); w != nil && w.group == g {
		w.group = nil
		s.trim()
	}
	for _, f := range g.orders {
		if s.Open() {
			s.followForBackend(f)
		}
	}
}

// gathering is the group of topics that the client is still to be told of, nil without: what is followed meanwhile by
// itself would be told before.
func (s *Session) gathering() *group {
	if w := s.busy(); w != nil {
		return w.group
	}
	return nil
}

// reauthorize asks again whether the topic may be followed: other topics may have been slow, and another token have come.
func (m *joined) reauthorize(s *Session) {
	switch sub := m.sub; {
	case sub == nil:
	case sub.stage == over: // left meanwhile
		m.sub, m.Refusal = nil, Refusal{Code: NotSubscribed, Text: "the topic was left before it was followed"}
	default:
		if r := s.mayFollow(m.Topic); !r.None() {
			m.sub, m.Refusal = nil, r
			sub.end(Refusal{Code: r.Code})
		}
	}
}

// Unsubscribe leaves a topic that the session follows or is about to; but for its user's own, which is not left.
func (s *Session) Unsubscribe(topic string) Refusal {
	s.trace("unsubscribe", topic, nil)
	if s.own != "" && topic == s.own {
		return Refusal{Forbidden, "a session can't leave its user's own topic"}
	}
	if sub := s.waitingFor(topic); sub != nil {
		sub.end(Refusal{NotSubscribed, "the topic was left before it was followed"})
	} else if i := s.following(topic); i >= 0 {
		s.unfollow(i)
	} else {
		s.dropPass(topic)
		return Refusal{NotSubscribed, "the session does not follow this topic"}
	}
	return Refusal{}
}

// MaxTopics is how many topics the session may follow.
func (s *Session) MaxTopics() int { return s.shard.hub.cfg.MaxTopics }

// Follows reports whether the session follows topic, or is about to.
func (s *Session) Follows(topic string) bool {
	return s.following(topic) >= 0 || s.waitingFor(topic) != nil
}
