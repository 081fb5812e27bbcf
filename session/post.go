package session

import (
	"bytes"
	"errors"
	"fmt"
	"hash/maphash"
	"net/http"
	"net/url"

	"wshub/engine"
	"wshub/pubsub"
	"wshub/session/reasons"
	"wshub/session/token"
)

// Poster is a Protocol that takes publications of clients without a session, by POST at its path.
type Poster interface {
	// Posted reads a request, and calls p.Publish, p.Refuse or p.Answer, so that it is answered once.
	Posted(p *Post)
}

// Post is a request that is no session's own connection, with the rights of its token. It lives on its loop.
type Post struct {
	*engine.Handshake
	shard *shard
	user  string
	grant *grant // what the token says; nil in the open hub
}

// User is who asks, "" for an anonymous client.
func (p *Post) User() string { return p.user }

// MaxBytes bounds the data of one event.
func (p *Post) MaxBytes() int { return p.shard.hub.maxBytes }

// post takes a request of a client without a session.
func (sh *shard) post(h *engine.Handshake, query url.Values) {
	p := &Post{Handshake: h, shard: sh}
	if relayer, ok := speaking[Relayer](sh.hub, h.URL.Path); ok {
		relayer.Relayed(p)
		return
	}
	poster, ok := speaking[Poster](sh.hub, h.URL.Path)
	if !ok {
		sh.hub.refuse(h, "", "", &engine.Refusal{Status: http.StatusMethodNotAllowed, Reason: "nothing is published by POST at this path"})
		return
	}
	if refusal, rule := sh.pace(false); refusal != nil {
		sh.hub.refuse(h, "", rule, refusal)
		return
	}
	if sh.hub.cfg.Verifier == nil {
		user, refusal := sh.hub.claimed(query)
		if refusal != nil {
			sh.hub.refuse(h, "", "", refusal)
			return
		}
		p.user = user
		p.begin(poster)
		return
	}
	raw, err := token.FromRequest(h.Header, nil, query)
	if err != nil {
		p.turnAway("", err)
		return
	}
	claims, err := sh.hub.cfg.Verifier.Verify(raw)
	if !errors.Is(err, token.ErrNeedsFetch) {
		p.identified(poster, claims, err)
		return
	}
	accepted := sh.hub.cfg.Verifier.VerifyLater(raw, func(claims token.Claims, err error) {
		sh.loop.Post(func() { p.identified(poster, claims, err) })
	})
	if !accepted {
		sh.count.drops.Add("key_wait_full")
		sh.hub.refuse(h, "", "key_wait_full", later("too many tokens wait for their key, try again"))
	}
}

// speaking is the protocol at a path that is a P, not ok without any.
func speaking[P any](h *Hub, path string) (p P, ok bool) {
	for _, i := range h.paths[path] {
		if p, ok = h.protocols[i].(P); ok {
			return p, true
		}
	}
	return p, false
}

func (p *Post) identified(poster Poster, claims token.Claims, err error) {
	hub := p.shard.hub
	switch {
	case errors.Is(err, token.ErrUnavailable):
		hub.refuse(p.Handshake, "", "keys_unavailable", later("tokens can't be checked at the moment"))
		return
	case err == nil:
		if p.grant = hub.grant(claims); p.grant == nil {
			err = errRevoked
		}
	}
	if err != nil {
		p.turnAway(claims.User, err)
		return
	}
	p.user = claims.User
	hub.logNotes(claims.Notes)
	p.begin(poster)
}

// turnAway refuses a token, of user where that is known.
func (p *Post) turnAway(user string, err error) {
	p.shard.hub.noteToken(p.Conn(), "", user, "post", err)
	p.shard.count.errors.Add(string(BadToken))
	p.Handshake.Refuse(unauthorized(causeOf(err)))
}

// unauthorized is the answer to a request whose token is not accepted, where the client can read a status.
func unauthorized(cause *engine.Cause) *engine.Refusal {
	return &engine.Refusal{Status: http.StatusUnauthorized, Reason: cause.Reason, Header: http.Header{"Www-Authenticate": {"Bearer"}}}
}

// begin hands p over, unless its user posts more than a session may send.
func (p *Post) begin(poster Poster) {
	sh := p.shard
	sh.count.messages.Add(1)
	if !sh.posts.spend(p.scope(), sh.hub.clock(), &sh.hub.cfg) {
		sh.count.drops.Add("rate_limit")
		p.Refuse(Refusal{RateLimited, "too many messages; this one was dropped"})
		return
	}
	poster.Posted(p)
}

// scope is whose the post is: the user's topic, or what can be known of an anonymous client, its address.
func (p *Post) scope() string {
	if p.user != "" {
		return userPrefix + p.user
	}
	return "addr:" + p.Conn().RemoteAddr().Addr().String()
}

// Refuse answers with an error.
func (p *Post) Refuse(r Refusal) {
	p.shard.count.errors.Add(string(r.Code))
	refusal := &engine.Refusal{Status: statusOf(r.Code), Code: string(r.Code), Reason: r.Text}
	if refusal.Status == http.StatusServiceUnavailable || refusal.Status == http.StatusTooManyRequests {
		refusal.Header = http.Header{"Retry-After": {"1"}}
	}
	p.Handshake.Refuse(refusal)
}

// statusOf is the HTTP status of an error.
func statusOf(c Code) int {
	switch c {
	case Forbidden:
		return http.StatusForbidden
	case BadToken, ExpiredToken:
		return http.StatusUnauthorized
	case TooLarge:
		return http.StatusRequestEntityTooLarge
	case RateLimited:
		return http.StatusTooManyRequests
	case Busy, Unavailable:
		return http.StatusServiceUnavailable
	case UnknownOutcome:
		return http.StatusGatewayTimeout
	case Refused:
		return http.StatusBadGateway
	case Internal:
		return http.StatusInternalServerError
	}
	return http.StatusBadRequest
}

// Publish publishes, if the rights allow it: the topic, the data, which may lie in the request's body, and the key. reply is
// called exactly once, now or later, on the loop, with where the event stands or why it was not published.
func (p *Post) Publish(pub pubsub.Publication, reply func(pubsub.Position, Refusal)) {
	sh := p.shard
	if r := p.mayPublishTo(pub.Topic); !r.None() {
		sh.hub.note(p.Conn(), reasons.Reason{Kind: reasons.Topic, Rule: string(r.Code), User: p.user, Topic: pub.Topic}, static(actPublish+": "+r.Text))
		reply(pubsub.Position{}, r)
		return
	}
	switch {
	case len(pub.Key) > MaxKey:
		reply(pubsub.Position{}, Refusal{BadRequest, fmt.Sprintf("key: at most %d bytes", MaxKey)})
		return
	case len(pub.Data) > sh.hub.maxBytes:
		reply(pubsub.Position{}, Refusal{TooLarge, fmt.Sprintf("too large: data may have %d bytes", sh.hub.maxBytes)})
		return
	}
	pub.Data, pub.Caller = bytes.Clone(pub.Data), p.scope()
	queued := sh.hub.workers.put(maphash.String(postSeed, pub.Caller), task{publication: pub, published: func(r pubsub.Result) {
		if r.Err == nil {
			sh.count.published.Add(1)
		}
		sh.loop.Post(func() {
			if r.Err != nil {
				reply(pubsub.Position{}, explain(r.Err))
			} else {
				reply(r.Position, Refusal{})
			}
		})
	}})
	if !queued {
		sh.count.drops.Add("worker_queue_full")
		reply(pubsub.Position{}, Refusal{Busy, "too much to do; the message was dropped"})
		return
	}
	p.Begin()
}

// postSeed spreads who posts over the workers: what one user posts keeps its order.
var postSeed = maphash.MakeSeed()

// posts bounds what clients without a session send, by who they are. It forgets all in each second: so it holds no more
// than came in one.
type posts struct {
	second uint32
	of     map[string]int
}

// spend counts one more of who, at the time now in milliseconds, and reports whether that is within a session's burst.
func (b *posts) spend(who string, now uint32, cfg *Config) bool {
	if cfg.MessageRate < 0 {
		return true
	}
	if second := now / 1000; b.of == nil || second != b.second {
		b.second, b.of = second, make(map[string]int)
	}
	b.of[who]++
	return b.of[who] <= cfg.MessageRate
}
