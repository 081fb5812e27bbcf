package session

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/rs/zerolog"

	"wshub/engine"
	"wshub/session/reasons"
	"wshub/session/token"
)

// Admission is what a client asks for at its handshake. A Protocol's Judge fills it in.
type Admission struct {
	Subprotocol string  // is echoed; "" for none
	User        string  // "" for an anonymous client
	Format      *Format // of its events
	// Topics are the topics that the client names at its handshake: without a right to one of them it is refused at once,
	// by a status.
	Topics []string
	// Begins is how many topics the session follows from the start, its user's own not counted.
	Begins int
	// Returning: the client comes back with a resume token, and goes before strangers.
	Returning bool
	// MayReplace: it may resume a session, and then takes its place among those of its user.
	MayReplace bool
	// Named: the session can be found by its name.
	Named bool
	// Tokenless: no token is asked for.
	Tokenless bool
	// Turned, where not nil, is why the client can't stay: it is let in for as long as it takes to hear that.
	Turned *engine.Cause
	// Lobby, where not nil, makes the connection's Peer until a message of the client says who it is: see Enter.
	Lobby func(*engine.Conn) engine.Peer
	// Data is the protocol's own.
	Data any
	// Body is what an engine.Post sent. The hub fills it in, before Judge. It is never changed.
	Body []byte
	// Claims are what the client's token says; zero in an open hub. The hub fills them in, behind Judge.
	Claims token.Claims

	speaks uint8
	grant  *grant // what the token says; nil in the open hub
	place  *place // in the lobby; nil outside
}

// Entrance is where a client waits to be let in: its handshake, or a protocol's Lobby.
type Entrance interface {
	Conn() *engine.Conn
	// Accept makes peer the connection's Peer, and writes first. False means that the connection is gone.
	Accept(subprotocol string, peer engine.Peer, first []byte) bool
	// Refuse refuses the client for good: its request can't succeed, now or later.
	Refuse(*engine.Refusal)
	// Dismiss sends the client away for who it is.
	Dismiss(*engine.Cause)
}

// door is the Entrance of a client whose handshake is still to be answered.
type door struct {
	*engine.Handshake
	protocol    Protocol
	subprotocol string
}

// Dismiss lets the client in for long enough to hear why it can't stay: a browser does not show a page the status of a
// refused handshake. Of a stream it shows that there is one, and does not try again.
func (d door) Dismiss(cause *engine.Cause) {
	if d.Kind == engine.Stream {
		d.Refuse(dismissal(cause))
		return
	}
	if d.Accept(d.subprotocol, stranger{d.protocol}, nil) {
		d.Conn().Close(cause)
	}
}

// dismissal is the answer to a stream's client that is sent away for cause.
func dismissal(cause *engine.Cause) *engine.Refusal {
	switch cause {
	case Unidentified, TokenExpired:
		return unauthorized(cause)
	case TooManySessions:
		return &engine.Refusal{Status: http.StatusServiceUnavailable, Reason: cause.Reason, Header: http.Header{"Retry-After": {"10"}}}
	}
	return Forbid(cause.Reason)
}

// Handshake implements engine.Handler.
func (h *Hub) Handshake(hs *engine.Handshake) {
	sh := h.shards[hs.Conn().Loop().Index]
	query, err := url.ParseQuery(hs.URL.RawQuery)
	if err != nil {
		h.refuse(hs, "", "", Refuse("the query is malformed"))
		return
	}
	if hs.Kind == engine.Post && !h.streams(hs.URL.Path) {
		sh.post(hs, query)
		return
	}
	a, refusal := h.judge(hs, query)
	rule := ""
	if refusal == nil {
		refusal, rule = sh.pace(a.Returning)
	}
	switch {
	case refusal != nil:
		h.turnDown(hs, a, rule, refusal)
	case a.Turned != nil:
		h.note(hs.Conn(), reasons.Reason{Kind: reasons.Handshake, Rule: a.Turned.Name}, static(a.Turned.Reason))
		door{hs, h.protocols[a.speaks], a.Subprotocol}.Dismiss(a.Turned)
	case a.Lobby != nil:
		if hs.Accept(a.Subprotocol, a.Lobby(hs.Conn()), nil) {
			sh.lobby.enter(a, hs.Conn())
		}
	case h.cfg.Verifier == nil || a.Tokenless:
		sh.anonymous(door{hs, h.protocols[a.speaks], a.Subprotocol}, a)
	default:
		raw, err := token.FromRequest(hs.Header, hs.Subprotocols, query)
		sh.identify(door{hs, h.protocols[a.speaks], a.Subprotocol}, a, raw, err)
	}
}

// turnDown refuses a handshake, by the words of its protocol where that has some. a is nil for one that asks for what can't be.
func (h *Hub) turnDown(hs *engine.Handshake, a *Admission, rule string, r *engine.Refusal) {
	if a != nil {
		if p, ok := h.protocols[a.speaks].(Explainer); ok {
			if cause := p.Explain(r); cause != nil {
				h.noteRefusal(hs.Conn(), "", rule, r)
				door{hs, p, a.Subprotocol}.Dismiss(cause)
				return
			}
		}
	}
	h.refuse(hs, "", rule, r)
}

// refuser is a handshake, or a client in a lobby.
type refuser interface {
	Conn() *engine.Conn
	Refuse(*engine.Refusal)
}

// refuse sends away who came by e, and notes why. rule is "" for the status' own.
func (h *Hub) refuse(e refuser, user, rule string, r *engine.Refusal) {
	h.noteRefusal(e.Conn(), user, rule, r)
	e.Refuse(r)
}

// Enter lets in a client that was in a lobby of the protocol that a was judged by, and now has shown its token, "" for
// none.
func (h *Hub) Enter(e Entrance, a *Admission, raw string) {
	sh := h.shards[e.Conn().Loop().Index]
	switch {
	case sh.draining:
		sh.count.drops.Add("draining")
		h.refuse(e, "", "draining", later("node drains, connect again"))
	case h.cfg.Verifier == nil:
		sh.anonymous(e, a)
	case raw == "":
		sh.turnAway(e, "", token.ErrMissing)
	default:
		sh.identify(e, a, raw, nil)
	}
}

// anonymous lets in a client of an open hub.
func (sh *shard) anonymous(e Entrance, a *Admission) {
	if refusal := sh.hub.judgeRights(a, sh.hub.cfg.Rights); refusal != nil {
		sh.hub.refuse(e, a.User, "topic", refusal)
		return
	}
	sh.admit(e, a)
}

// pace refuses who comes while the node drains, or faster than HandshakeRate. A quarter of the rate is kept
// for those who come back.
func (sh *shard) pace(returning bool) (refusal *engine.Refusal, rule string) {
	cfg := &sh.hub.cfg
	if sh.draining {
		sh.count.drops.Add("draining")
		return later("node drains, connect again"), "draining"
	}
	if cfg.HandshakeRate <= 0 {
		return nil, ""
	}
	rate := max(cfg.HandshakeRate/len(sh.hub.shards), 1)
	reserve := rate / 4
	if returning {
		reserve = 0
	}
	if !sh.arrivals.spendAbove(sh.hub.clock(), rate, rate, reserve) {
		sh.count.drops.Add("handshake_rate")
		return later("too many connect at once, try again"), "handshake_rate"
	}
	return nil, ""
}

func later(reason string) *engine.Refusal {
	return &engine.Refusal{Status: http.StatusServiceUnavailable, Reason: reason, Header: http.Header{"Retry-After": {"1"}}}
}

// Refuse makes the answer to a handshake that asks for what can't be.
func Refuse(format string, args ...any) *engine.Refusal {
	return &engine.Refusal{Status: http.StatusBadRequest, Reason: fmt.Sprintf(format, args...)}
}

// Forbid makes the answer to a handshake that asks for a topic or user that is not the client's.
func Forbid(reason string) *engine.Refusal {
	return &engine.Refusal{Status: http.StatusForbidden, Reason: reason}
}

// forbidTopic makes the answer to a handshake that names a topic of another's.
func forbidTopic(detail string) *engine.Refusal {
	r := Forbid("a topic of the URL is not for this session")
	r.Detail = detail
	return r
}

// judge reads what a request asks for.
func (h *Hub) judge(hs *engine.Handshake, query url.Values) (*Admission, *engine.Refusal) {
	r, a := hs.Request, &Admission{Body: hs.Body()}
	spoken := h.spoken(r.URL.Path)
	ok := false
	offered := r.Subprotocols
	switch r.Kind {
	case engine.Stream:
		offered = eventStreams
	case engine.Post:
		offered = jsonStreams
	}
	if a.speaks, a.Subprotocol, ok = h.choose(spoken, offered); !ok {
		if r.Kind == engine.Stream {
			return nil, &engine.Refusal{Status: http.StatusMethodNotAllowed, Reason: "there are no server-sent events at this path, but POST"}
		}
		return nil, Refuse("none of the offered subprotocols is spoken here; offer %s too, or none", h.names(spoken))
	}
	var refusal *engine.Refusal
	if a.User, refusal = h.claimed(query); refusal != nil {
		return nil, refusal
	}
	if ticket := query.Get("resume"); ticket != "" {
		if sealer := h.sealer.Load(); sealer != nil {
			_, err := sealer.Open(ticket)
			a.Returning = err == nil
		}
	}
	if refusal = h.protocols[a.speaks].Judge(a, r, query); refusal != nil {
		return nil, refusal
	}
	if len(a.Topics) >= h.cfg.MaxTopics {
		return nil, Refuse("at most %d topics", h.cfg.MaxTopics-1) // and the own one
	}
	for i, name := range a.Topics {
		if err := validateTopic(name); err != nil {
			return nil, Refuse("%v", err)
		}
		if slices.Contains(a.Topics[:i], name) {
			return nil, Refuse("a topic is named twice")
		}
		if h.outside(h.wallOf[a.speaks], h.keepers[a.speaks], name) {
			return nil, forbidTopic(fmt.Sprintf("%.255q belongs to an application of another protocol", name))
		}
		if foreign(name, "") {
			return nil, forbidTopic(fmt.Sprintf("%.255q: user:… is followed by that user's sessions without being asked for", name))
		}
	}
	return a, nil
}

// One for all handshakes.
var (
	eventStreams = []string{engine.EventStream}
	jsonStreams  = []string{engine.JSONStream}
)

// streams reports whether a POST at a path is answered by a stream.
func (h *Hub) streams(path string) bool {
	_, _, ok := h.choose(h.spoken(path), jsonStreams)
	return ok
}

// claimed is the user that a client says it is of.
func (h *Hub) claimed(query url.Values) (user string, refusal *engine.Refusal) {
	if !query.Has("user") {
		return "", nil
	}
	if !h.cfg.TrustUserParam || h.cfg.Verifier != nil {
		return "", Forbid("?user= is not trusted here")
	}
	user = query.Get("user")
	if err := validateUser(user); err != nil {
		return "", Refuse("%v", err)
	}
	return user, nil
}

// choose picks what to speak, of those spoken at a path, from what a client offers. A client that offers something, but
// no protocol of ours, is not ok: a browser would reject an answer that selects none.
func (h *Hub) choose(spoken []uint8, offered []string) (speaks uint8, subprotocol string, ok bool) {
	if len(offered) == 0 {
		offered = []string{""}
	}
	for _, name := range offered {
		for _, i := range spoken {
			if slices.Contains(h.protocols[i].Subprotocols(), name) {
				return i, name, true
			}
		}
	}
	return 0, "", false
}

// names are the subprotocols that can be asked for.
func (h *Hub) names(spoken []uint8) string {
	var all []string
	for _, i := range spoken {
		for _, name := range h.protocols[i].Subprotocols() {
			if name != "" && name != engine.EventStream && name != engine.JSONStream {
				all = append(all, name)
			}
		}
	}
	return strings.Join(all, " or ")
}

// identify finds out who the client is, later if a key must be fetched for that. err is what was wrong with how the token
// came.
func (sh *shard) identify(e Entrance, a *Admission, raw string, err error) {
	if err != nil {
		sh.turnAway(e, "", err)
		return
	}
	hub := sh.hub
	claims, err := hub.cfg.Verifier.Verify(raw)
	if !errors.Is(err, token.ErrNeedsFetch) {
		sh.identified(e, a, claims, err)
		return
	}
	accepted := hub.cfg.Verifier.VerifyLater(raw, func(claims token.Claims, err error) {
		sh.loop.Post(func() { sh.identified(e, a, claims, err) })
	})
	if !accepted {
		sh.count.drops.Add("key_wait_full")
		sh.hub.refuse(e, "", "key_wait_full", later("too many tokens wait for their key, try again"))
	}
}

func (sh *shard) identified(e Entrance, a *Admission, claims token.Claims, err error) {
	switch {
	case errors.Is(err, token.ErrUnavailable):
		sh.hub.refuse(e, "", "keys_unavailable", later("tokens can't be checked at the moment"))
		return
	case err == nil:
		if a.grant = sh.hub.grant(claims); a.grant == nil {
			err = errRevoked
		}
	}
	if err != nil {
		sh.turnAway(e, claims.User, err)
		return
	}
	a.User, a.Claims = claims.User, claims
	sh.hub.logNotes(claims.Notes)
	if refusal := sh.hub.judgeRights(a, a.grant.rights); refusal != nil {
		sh.hub.refuse(e, a.User, "topic", refusal)
		return
	}
	sh.admit(e, a)
}

// judgeRights tells a plain client early, by a status, of a topic that it may not follow.
func (h *Hub) judgeRights(a *Admission, rights *token.Rights) *engine.Refusal {
	for _, name := range a.Topics {
		if !rights.MaySubscribe(a.User, name) {
			r := forbidTopic(fmt.Sprintf("%.255q: %s", name, rights.WhyNot(a.User, name, false)))
			if strings.Contains(name, "*") {
				r.Reason += "; a * in a topic's name stands for itself: name each topic"
			}
			return r
		}
	}
	return nil
}

// turnAway sends away a client whose token, of user where that is known, is not accepted.
func (sh *shard) turnAway(e Entrance, user string, err error) {
	sh.hub.noteToken(e.Conn(), "", user, "handshake", err)
	sh.count.errors.Add(string(BadToken))
	e.Dismiss(causeOf(err))
}

// stranger is the Peer of a connection that is about to be closed.
type stranger struct{ Protocol }

func (stranger) Message(engine.Opcode, []byte) {}
func (stranger) Overhead(int)                  {}
func (stranger) Ping() []byte                  { return engine.PingFrame }
func (stranger) Closed(*engine.Cause)          {}

// admit makes the session and lets the client in.
func (sh *shard) admit(e Entrance, a *Admission) {
	begins := a.Begins
	if begins > 0 && a.User != "" {
		begins++ // the own one
	}
	if begins > sh.room() {
		sh.count.drops.Add("node_topics")
		sh.hub.refuse(e, a.User, "node_topics", later("the node has no room for more subscriptions"))
		return
	}
	surplus := 0
	if a.MayReplace {
		surplus = sh.hub.cfg.MaxSessionsPerUser
	}
	if !sh.hub.users.enter(a.User, surplus) {
		sh.hub.note(e.Conn(), reasons.Reason{Kind: reasons.Cut, Rule: TooManySessions.Name, User: a.User},
			static(fmt.Sprintf("the user has %d sessions on this node already (--max-sessions-per-user)", sh.hub.cfg.MaxSessionsPerUser)))
		e.Dismiss(TooManySessions)
		return
	}
	if !sh.open(e, a) {
		sh.hub.users.leave(a.User)
	}
}

// open opens the session, or returns false if the client is gone.
func (sh *shard) open(e Entrance, a *Admission) bool {
	s := &Session{conn: e.Conn(), shard: sh, id: sh.hub.sessionID(), speaks: a.speaks, format: a.Format.id, traced: sh.hub.traces(a.User)}
	if a.User != "" {
		s.own = userPrefix + a.User
	}
	if a.grant != nil {
		s.extra().grant = a.grant
	}
	if sh.hub.users.crowded(a.User) {
		s.extra().surplus = true
	}
	p := s.protocol()
	sessions := &sh.count.sessions[s.speaks]
	sessions.Add(1)
	if !e.Accept(a.Subprotocol, s, p.First(s)) {
		sessions.Add(-1)
		return false
	}
	s.format |= deflateMark(s.conn.Deflate())
	if s.traced {
		s.trace("open", "", func(e *zerolog.Event) { e.Str("addr", addr(s.conn)).Str("mode", p.Name()) })
	}
	sh.opens.add(s, sh.hub.clock())
	if !s.Open() { // it ended while the 101 was written
		return true
	}
	sh.members.add(s)
	s.setInfo(a.Claims.Info)
	if a.Named {
		sh.named[s.id] = s
	}
	if s.watchGrant(); s.Open() {
		p.Opened(s, a)
	}
	if s.Open() && !s.unopened() {
		s.beginLife()
	}
	return true
}
