package token

import (
	"fmt"
	"slices"
	"strings"
)

// maxPatterns bounds each list of patterns: a check walks it.
const maxPatterns = 64

// placeholder stands for the user in a pattern.
const placeholder = "{sub}"

// privatePrefix begins the topics that nobody may follow whom no token lets follow that very topic.
const privatePrefix = "$"

// Rights say what a session may do with which topics. They never change and do not name a user, so that many sessions
// share one *Rights. A nil *Rights allows nothing.
type Rights struct {
	subscribe, publish []pattern
	extra              *extra // nil without
	bare               bool   // there is nothing but extra, and it replaces no defaults
}

// extra is what the claims channels, subs, caps and presence allow besides.
type extra struct {
	named                                 []string // to follow
	subscribe, publish, history, presence []pattern
	sees                                  []pattern // whose members are shown, by the claim presence
	says                                  bool      // there is that claim
}

var anything = []pattern{{parts: []string{""}, rest: true}}

// Everything is what an open hub's sessions may do.
var Everything = &Rights{subscribe: anything, publish: anything, extra: &extra{presence: anything}}

// DefaultRights are for sessions whose token has no claim: to follow the broadcast topic and the user's own
// one, and to publish nothing. broadcast is a name, not a pattern.
func DefaultRights(broadcast string) *Rights {
	return &Rights{subscribe: []pattern{{parts: []string{broadcast}}, {parts: []string{"user:", ""}}}}
}

// NewRights allows what the patterns match: up to 64 in each list, of 1 to 255 bytes. The package comment
// says what a pattern is.
func NewRights(subscribe, publish []string) (*Rights, error) {
	s, err := parsePatterns(subscribe)
	if err != nil {
		return nil, fmt.Errorf("subscribe: %w", err)
	}
	p, err := parsePatterns(publish)
	if err != nil {
		return nil, fmt.Errorf("publish: %w", err)
	}
	return &Rights{subscribe: s, publish: p}, nil
}

// PresenceRights let who has them see the members of the topics that the patterns match, and nothing else. Patterns are as those
// of NewRights.
func PresenceRights(patterns []string) (*Rights, error) {
	sees, err := parsePatterns(patterns)
	if err != nil {
		return nil, err
	}
	return &Rights{extra: &extra{sees: sees, says: true}}, nil
}

// SaysPresence reports whether the rights come from a token that says by its claim presence whose members may be seen.
func (r *Rights) SaysPresence() bool { return r != nil && r.extra != nil && r.extra.says }

// Patterns are the topics that the rights let user follow and publish to, as patterns: those that a token names by
// channels, subs and caps as well. {sub} stays as it is.
func (r *Rights) Patterns() (subscribe, publish []string) {
	if r == nil {
		return nil, nil
	}
	subscribe, publish = patternTexts(r.subscribe), patternTexts(r.publish)
	if x := r.extra; x != nil {
		subscribe = slices.Concat(subscribe, x.named, patternTexts(x.subscribe))
		publish = slices.Concat(publish, patternTexts(x.publish))
	}
	return subscribe, publish
}

func patternTexts(patterns []pattern) (texts []string) {
	for _, p := range patterns {
		text := strings.Join(p.parts, placeholder)
		if p.rest {
			text += "*"
		}
		texts = append(texts, text)
	}
	return texts
}

// WhyNot says, for an operator, why the rights do not let user publish to topic, or follow it and read its log. It is for
// what they do not allow.
func (r *Rights) WhyNot(user, topic string, publish bool) string {
	subscribe, publishing := r.Patterns()
	patterns, claim := subscribe, "channels or subs"
	if publish {
		patterns, claim = publishing, "topics.publish that begins with $"
	}
	_, has := userList(topic, user)
	switch {
	case private(topic) && publish:
		return "the topic begins with $, which takes a pattern in " + claim
	case private(topic):
		return "the topic begins with $, so the token's claim " + claim + " must name this very topic"
	case has:
		return "the topic's name ends in a list of users, and the user is not on it"
	case len(patterns) == 0:
		return "no pattern is allowed"
	}
	const most = 8
	shown := strings.Join(patterns[:min(len(patterns), most)], ", ")
	if len(patterns) > most {
		shown += ", …"
	}
	return "no pattern matches of: " + shown
}

// with returns r and x together.
func (r *Rights) with(x *extra) *Rights {
	if r == nil {
		return &Rights{extra: x, bare: true}
	}
	if had := r.extra; had != nil {
		x = &extra{
			named: slices.Concat(had.named, x.named), subscribe: slices.Concat(had.subscribe, x.subscribe),
			publish: slices.Concat(had.publish, x.publish), history: slices.Concat(had.history, x.history),
			presence: slices.Concat(had.presence, x.presence),
			sees:     slices.Concat(had.sees, x.sees), says: had.says || x.says,
		}
	}
	return &Rights{subscribe: r.subscribe, publish: r.publish, extra: x}
}

// Or returns r, and defaults where no topics claim and no Config.Default have replaced them.
func (r *Rights) Or(defaults *Rights) *Rights {
	switch {
	case r == nil:
		return defaults
	case r.bare:
		return defaults.with(r.extra)
	}
	return r
}

// MaySubscribe reports whether a session of user may follow topic; user is "" for an anonymous one. A topic that begins
// with "$" must be one of the token's channels. One that ends in a list of users, as in "dialog#42,43", is for those, and
// for whom a right names it, not just a pattern with "*"; so it is with reading, and with publishing what rights allow.
func (r *Rights) MaySubscribe(user, topic string) bool {
	return r.mayFollow(user, topic) || r.caps(topic) != nil && anyMatches(r.extra.subscribe, user, topic)
}

// MayReadHistory reports whether a session of user may read topic's log without following it.
func (r *Rights) MayReadHistory(user, topic string) bool {
	return r.mayFollow(user, topic) || r.caps(topic) != nil && anyMatches(r.extra.history, user, topic)
}

// MaySeePresence reports whether a session of user may ask who follows topic, and watch that.
func (r *Rights) MaySeePresence(user, topic string) bool {
	if r != nil && r.extra != nil && anyMatches(r.extra.sees, user, topic) {
		return true
	}
	return r.caps(topic) != nil && anyMatches(r.extra.presence, user, topic)
}

// MayPublish reports whether a session of user may publish to topic; user is "" for an anonymous one. For a topic that
// begins with "$", only patterns count that do, too.
func (r *Rights) MayPublish(user, topic string) bool {
	switch {
	case r == nil:
		return false
	case anyMatches(r.publish, user, topic):
		return true
	}
	return r.extra != nil && anyMatches(r.extra.publish, user, topic)
}

// mayFollow reports whether user may follow topic by more than a cap.
func (r *Rights) mayFollow(user, topic string) bool {
	switch {
	case r == nil:
		return false
	case r.extra != nil && slices.Contains(r.extra.named, topic):
		return true
	case private(topic):
		return false
	}
	listed, _ := userList(topic, user)
	return listed || anyMatches(r.subscribe, user, topic)
}

// caps is nil where no cap lets anybody listen to topic.
func (r *Rights) caps(topic string) *extra {
	if r == nil || private(topic) {
		return nil
	}
	return r.extra
}

func private(topic string) bool { return strings.HasPrefix(topic, privatePrefix) }

func anyMatches(patterns []pattern, user, topic string) bool {
	for i := range patterns {
		if patterns[i].matches(user, topic) {
			return true
		}
	}
	return false
}

// pattern matches a topic that is its parts, joined by the user, and then anything if rest is set.
type pattern struct {
	parts []string
	rest  bool
}

func parsePatterns(texts []string) ([]pattern, error) {
	if len(texts) > maxPatterns {
		return nil, fmt.Errorf("%d patterns, at most %d are allowed", len(texts), maxPatterns)
	}
	patterns := make([]pattern, len(texts))
	for i, text := range texts {
		name, rest := strings.CutSuffix(text, "*")
		switch {
		case !validName(text, maxTopic):
			return nil, fmt.Errorf("pattern %d is not 1 to %d bytes of UTF-8 without control characters", i+1, maxTopic)
		case strings.Contains(name, "*"):
			return nil, fmt.Errorf("pattern %d has a * that is not at its end", i+1)
		}
		// The text may be a slice of the token, or of something larger.
		patterns[i] = pattern{parts: strings.Split(strings.Clone(name), placeholder), rest: rest}
	}
	return slices.Clip(patterns), nil
}

func (p *pattern) matches(user, topic string) bool {
	switch {
	case len(p.parts) > 1 && user == "":
		return false // else "{sub}*" would let the anonymous in everywhere
	case private(topic) && !private(p.parts[0]):
		return false // nobody who wrote "*" meant these; nor may a user's name make one
	}
	if p.rest {
		if listed, has := userList(topic, user); has && !listed {
			return false // nor these
		}
	}
	for i, part := range p.parts {
		ok := true
		if i > 0 {
			topic, ok = strings.CutPrefix(topic, user)
		}
		if ok {
			topic, ok = strings.CutPrefix(topic, part)
		}
		if !ok {
			return false
		}
	}
	return p.rest || topic == ""
}
