package session

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"wshub/engine"
	"wshub/pubsub"
	"wshub/session/token"
)

// The subprotocols that the hub speaks. Without one a client is in plain mode, too.
const (
	protocolV1    = "hub.v1.json"
	protocolPlain = "hub.v1.plain"
)

// admission is what a handshake asks for, once checked.
type admission struct {
	protocol string // to be echoed; "" for none
	user     string
	grant    *grant // what its token says; nil in the open hub
	// Plain mode: the topics that the URL names, and where the client left off in each.
	topics    []string
	since     []pubsub.Position
	positions bool // events come wrapped, with their positions
	returning bool // the client has a resume token, and goes before strangers
}

// Handshake implements engine.Handler.
func (h *Hub) Handshake(hs *engine.Handshake) {
	sh := h.shards[hs.Conn().Loop().Index]
	query, err := url.ParseQuery(hs.URL.RawQuery)
	if err != nil {
		hs.Refuse(refuse("the query is malformed"))
		return
	}
	a, refusal := h.judge(hs.Request, query)
	if refusal == nil {
		refusal = sh.pace(a.returning)
	}
	if refusal != nil {
		hs.Refuse(refusal)
		return
	}
	if h.cfg.Verifier == nil {
		if refusal := h.judgeRights(&a, h.cfg.Rights); refusal != nil {
			hs.Refuse(refusal)
			return
		}
		sh.admit(hs, a)
		return
	}
	sh.identify(hs, a, query)
}

// pace refuses who comes while the node drains, or faster than HandshakeRate. A quarter of the rate is kept
// for those who come back.
func (sh *shard) pace(returning bool) *engine.Refusal {
	cfg := &sh.hub.cfg
	if sh.draining {
		sh.count.drops.Add("draining")
		return later("node drains, connect again")
	}
	if cfg.HandshakeRate <= 0 {
		return nil
	}
	rate := max(cfg.HandshakeRate/len(sh.hub.shards), 1)
	reserve := rate / 4
	if returning {
		reserve = 0
	}
	if !sh.arrivals.takeAbove(sh.hub.clock(), rate, rate, reserve) {
		sh.count.drops.Add("handshake_rate")
		return later("too many connect at once, try again")
	}
	return nil
}

func later(reason string) *engine.Refusal {
	return &engine.Refusal{Status: http.StatusServiceUnavailable, Reason: reason, Header: http.Header{"Retry-After": {"1"}}}
}

func refuse(format string, args ...any) *engine.Refusal {
	return &engine.Refusal{Status: http.StatusBadRequest, Reason: fmt.Sprintf(format, args...)}
}

func forbid(reason string) *engine.Refusal {
	return &engine.Refusal{Status: http.StatusForbidden, Reason: reason}
}

// judge reads what a request asks for.
func (h *Hub) judge(r *engine.Request, query url.Values) (admission, *engine.Refusal) {
	var a admission
	protocol, ok := choose(r.Subprotocols)
	if !ok {
		return a, refuse("none of the offered subprotocols is spoken here; offer %s or %s too, or none", protocolV1, protocolPlain)
	}
	a.protocol = protocol
	if query.Has("user") {
		if !h.cfg.TrustUserParam || h.cfg.Verifier != nil {
			return a, forbid("?user= is not trusted here")
		}
		a.user = query.Get("user")
		if err := checkUser(a.user); err != nil {
			return a, refuse("%v", err)
		}
	}
	if ticket := query.Get("resume"); ticket != "" {
		if sealer := h.sealer.Load(); sealer != nil {
			_, err := sealer.Open(ticket)
			a.returning = err == nil
		}
	}
	if protocol == protocolV1 {
		for _, name := range []string{"topic", "since", "positions"} {
			if query.Has(name) {
				return a, refuse("?%s= is for plain clients; with %s send a message", name, protocolV1)
			}
		}
		return a, nil
	}
	a.topics = query["topic"]
	if refusal := h.judgeTopics(&a); refusal != nil {
		return a, refusal
	}
	return a, h.judgePositions(&a, query)
}

// judgeTopics checks the topics that a plain client's URL names.
func (h *Hub) judgeTopics(a *admission) *engine.Refusal {
	if len(a.topics) >= h.cfg.MaxTopics {
		return refuse("at most %d topics", h.cfg.MaxTopics-1) // and the own one
	}
	for i, name := range a.topics {
		if err := checkTopic(name); err != nil {
			return refuse("%v", err)
		}
		if slices.Contains(a.topics[:i], name) {
			return refuse("a topic is named twice")
		}
		if reserved(name, "") {
			return forbid("a topic of the URL is not for this session")
		}
	}
	return nil
}

// judgePositions reads ?since= and ?positions=. There is one since for each topic, in the same order.
func (h *Hub) judgePositions(a *admission, query url.Values) *engine.Refusal {
	switch query.Get("positions") {
	case "", "0":
	case "1":
		a.positions = true
	default:
		return refuse("positions: want 1 or 0")
	}
	since := query["since"]
	if len(since) > 0 && len(since) != max(len(a.topics), 1) {
		return refuse("want one since for each topic, in the same order")
	}
	for _, text := range since {
		p, err := pubsub.ParsePosition(text)
		if err != nil {
			return refuse("since: want positions as the hub gave them, or 0")
		}
		a.since = append(a.since, p)
	}
	return nil
}

// choose picks what to speak from what a client offers. A client that offers something, but no protocol of ours, is
// not ok: a browser would reject an answer that selects none.
func choose(offered []string) (protocol string, ok bool) {
	for _, p := range offered {
		if p == protocolV1 || p == protocolPlain {
			return p, true
		}
	}
	return "", len(offered) == 0
}

// identify finds out who the client is, later if a key must be fetched for that.
func (sh *shard) identify(hs *engine.Handshake, a admission, query url.Values) {
	raw, err := token.FromRequest(hs.Header, hs.Subprotocols, query)
	if err != nil {
		sh.turnAway(hs, a, err)
		return
	}
	hub := sh.hub
	claims, err := hub.cfg.Verifier.Verify(raw)
	if !errors.Is(err, token.ErrNeedsFetch) {
		sh.identified(hs, a, claims, err)
		return
	}
	accepted := hub.cfg.Verifier.VerifyLater(raw, func(claims token.Claims, err error) {
		sh.loop.Post(func() { sh.identified(hs, a, claims, err) })
	})
	if !accepted {
		sh.count.drops.Add("key_wait_full")
		hs.Refuse(later("too many tokens wait for their key, try again"))
	}
}

func (sh *shard) identified(hs *engine.Handshake, a admission, claims token.Claims, err error) {
	switch {
	case errors.Is(err, token.ErrUnavailable):
		hs.Refuse(later("tokens can't be checked at the moment"))
		return
	case err == nil:
		if a.grant = sh.hub.grant(claims); a.grant == nil {
			err = errRevoked
		}
	}
	if err != nil {
		sh.turnAway(hs, a, err)
		return
	}
	a.user = claims.User
	if refusal := sh.hub.judgeRights(&a, a.grant.rights); refusal != nil {
		hs.Refuse(refusal)
		return
	}
	sh.admit(hs, a)
}

// judgeRights tells a plain client early, by a status, of a topic that it may not follow.
func (h *Hub) judgeRights(a *admission, rights *token.Rights) *engine.Refusal {
	for _, name := range a.topics {
		if !rights.MaySubscribe(a.user, name) {
			return forbid("a topic of the URL is not for this session")
		}
	}
	return nil
}

// turnAway lets the client in to tell it why it can't stay: a browser does not show a page the status of a
// refused handshake.
func (sh *shard) turnAway(hs *engine.Handshake, a admission, err error) {
	sh.count.errors.Add(string(BadToken))
	if hs.Accept(a.protocol, stranger{}, nil) {
		hs.Conn().Close(causeOf(err))
	}
}

// stranger is the Peer of a connection that is about to be closed.
type stranger struct{}

func (stranger) Message(engine.Opcode, []byte) {}
func (stranger) Overhead(int)                  {}
func (stranger) Closed(*engine.Cause)          {}

// begins is how many topics the session follows from the start. A plain one that is to follow none counts as one.
func (a *admission) begins() int {
	switch {
	case a.protocol == protocolV1:
		return 0
	case a.user != "":
		return max(len(a.topics), 1) + 1
	}
	return max(len(a.topics), 1)
}

// admit makes the session and lets the client in.
func (sh *shard) admit(hs *engine.Handshake, a admission) {
	if a.begins() > sh.room() {
		sh.count.drops.Add("node_topics")
		hs.Refuse(later("the node has no room for more subscriptions"))
		return
	}
	surplus := 0
	if a.protocol == protocolV1 { // it may take the place of another one
		surplus = sh.hub.cfg.MaxSessionsPerUser
	}
	if !sh.hub.users.enter(a.user, surplus) {
		if hs.Accept(a.protocol, stranger{}, nil) {
			hs.Conn().Close(TooManySessions)
		}
		return
	}
	if !sh.open(hs, a) {
		sh.hub.users.leave(a.user)
	}
}

// open opens the session, or returns false if the client is gone.
func (sh *shard) open(hs *engine.Handshake, a admission) bool {
	s := &Session{
		conn:  hs.Conn(),
		shard: sh,
		id:    sh.hub.sessionID(),
		v1:    a.protocol == protocolV1,
	}
	if a.user != "" {
		s.own = userPrefix + a.user
	}
	if a.grant != nil {
		s.extra().grant = a.grant
	}
	if sh.hub.users.crowded(a.user) {
		s.extra().surplus = true
	}
	var first []byte
	sessions := &sh.count.plain
	if s.v1 || a.positions {
		s.format = enveloped
	}
	if s.v1 {
		first = textFrame(s.welcome())
		sessions = &sh.count.v1
	}
	sessions.Add(1)
	if !hs.Accept(a.protocol, s, first) {
		sessions.Add(-1)
		return false
	}
	if s.conn.Peer() == nil { // it ended while the 101 was written
		return true
	}
	sh.members.add(s)
	s.watchGrant()
	if !s.v1 {
		sh.followPlain(s, a)
		return true
	}
	sh.resumable[s.id] = s
	switch {
	case s.own == "":
	case a.returning:
		s.beginSilence(returnTime)
	default:
		s.beginSilence(silenceTime)
	}
	return true
}

// followPlain subscribes a plain session to its topics.
func (sh *shard) followPlain(s *Session, a admission) {
	topics := a.topics
	if len(topics) > 0 {
		s.extra().target = strings.Clone(topics[0])
	} else if s.maySubscribe(sh.hub.cfg.Broadcast) {
		topics = []string{sh.hub.cfg.Broadcast}
	}
	for i, name := range topics {
		var since *pubsub.Position
		if len(a.since) > 0 {
			since = &a.since[i]
		}
		s.subscribe(strings.Clone(name), since, unasked{s})
	}
	if s.own != "" {
		s.subscribe(s.own, nil, unasked{s})
	}
}
