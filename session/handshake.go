package session

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"wshub/engine"
)

// The subprotocols that the hub speaks. Without one a client is in plain mode, too.
const (
	protocolV1    = "hub.v1.json"
	protocolPlain = "hub.v1.plain"
	// bearerPrefix begins an offered "subprotocol" that is a credential; it is never echoed.
	bearerPrefix = "bearer."
)

// admission is what a handshake asks for, once checked.
type admission struct {
	protocol string // to be echoed; "" for none
	user     string
	topics   []string // plain mode: what the URL names
}

// Handshake implements engine.Handler.
func (h *Hub) Handshake(hs *engine.Handshake) {
	sh := h.shards[hs.Conn().Loop().Index]
	a, refusal := h.judge(hs.Request)
	if refusal == nil && sh.draining {
		refusal = later("node drains, connect again")
	}
	if refusal == nil && !h.users.enter(a.user) {
		refusal = &engine.Refusal{Status: http.StatusTooManyRequests, Reason: "the user has too many sessions"}
	}
	if refusal != nil {
		hs.Refuse(refusal)
		return
	}
	if !sh.open(hs, a) {
		h.users.leave(a.user)
	}
}

func later(reason string) *engine.Refusal {
	return &engine.Refusal{Status: http.StatusServiceUnavailable, Reason: reason, Header: http.Header{"Retry-After": {"1"}}}
}

func refuse(format string, args ...any) *engine.Refusal {
	return &engine.Refusal{Status: http.StatusBadRequest, Reason: fmt.Sprintf(format, args...)}
}

// judge reads a request.
func (h *Hub) judge(r *engine.Request) (admission, *engine.Refusal) {
	var a admission
	protocol, ok := choose(r.Subprotocols)
	if !ok {
		return a, refuse("none of the offered subprotocols is spoken here; offer %s or %s, or none", protocolV1, protocolPlain)
	}
	a.protocol = protocol
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return a, refuse("the query is malformed")
	}
	if query.Has("user") {
		if !h.cfg.TrustUserParam {
			return a, &engine.Refusal{Status: http.StatusForbidden, Reason: "?user= is not trusted here"}
		}
		a.user = query.Get("user")
		if err := checkUser(a.user); err != nil {
			return a, refuse("%v", err)
		}
	}
	a.topics = query["topic"]
	if protocol == protocolV1 && len(a.topics) > 0 {
		return a, refuse("?topic= is for plain clients; with %s send subscribe", protocolV1)
	}
	return a, h.judgeTopics(&a)
}

// judgeTopics checks the topics that a plain client's URL names.
func (h *Hub) judgeTopics(a *admission) *engine.Refusal {
	own := userPrefix + a.user
	if len(a.topics) >= h.cfg.MaxTopics {
		return refuse("at most %d topics", h.cfg.MaxTopics-1) // and the own one
	}
	slices.Sort(a.topics[min(1, len(a.topics)):]) // the first one stays: it is published to
	a.topics = slices.Compact(a.topics)
	for i, name := range a.topics {
		if err := checkTopic(name); err != nil {
			return refuse("%v", err)
		}
		if slices.Contains(a.topics[:i], name) {
			return refuse("a topic is named twice")
		}
		if reserved(name, own) || name == own {
			return &engine.Refusal{Status: http.StatusForbidden, Reason: "a topic of the URL is not for this session"}
		}
	}
	return nil
}

// choose picks what to speak from what a client offers. A client that offers protocols, none of which is
// ours, is not ok: a browser would reject an answer that selects none.
func choose(offered []string) (protocol string, ok bool) {
	ok = true
	for _, p := range offered {
		switch {
		case p == protocolV1, p == protocolPlain:
			return p, true
		case !strings.HasPrefix(p, bearerPrefix):
			ok = false
		}
	}
	return "", ok
}

// open makes the session and lets the client in, or returns false if the client is gone.
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
	var first []byte
	sessions := &sh.count.plain
	if s.v1 {
		s.format = enveloped
		first = textFrame(s.welcome())
		sessions = &sh.count.v1
	}
	sessions.Add(1)
	if !hs.Accept(a.protocol, s, first) {
		sessions.Add(-1)
		return false
	}
	switch {
	case s.v1 && s.own != "":
		s.extra().silence = sh.loop.After(silenceTime, s.followOwn)
	case !s.v1:
		sh.followPlain(s, a)
	}
	return true
}

// followPlain subscribes a plain session to its topics.
func (sh *shard) followPlain(s *Session, a admission) {
	if len(a.topics) == 0 {
		s.subscribe(sh.hub.cfg.Broadcast, nil, false, nil)
	} else {
		s.extra().target = strings.Clone(a.topics[0])
		for _, name := range a.topics {
			s.subscribe(strings.Clone(name), nil, false, nil)
		}
	}
	if s.own != "" {
		s.subscribe(s.own, nil, false, nil)
	}
}
