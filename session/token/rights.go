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

// Rights say which topics a session may subscribe and publish to. They never change and do not name a user, so
// that many sessions share one *Rights. A nil *Rights allows nothing.
type Rights struct {
	subscribe, publish []pattern
}

// Everything is what an open hub's sessions may do.
var Everything = &Rights{subscribe: []pattern{{parts: []string{""}, rest: true}}, publish: []pattern{{parts: []string{""}, rest: true}}}

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

// MaySubscribe tells whether a session of user may follow topic; user is "" for an anonymous one.
func (r *Rights) MaySubscribe(user, topic string) bool {
	return r != nil && anyMatches(r.subscribe, user, topic)
}

// MayPublish tells whether a session of user may publish to topic; user is "" for an anonymous one.
func (r *Rights) MayPublish(user, topic string) bool {
	return r != nil && anyMatches(r.publish, user, topic)
}

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
	if len(p.parts) > 1 && user == "" {
		return false // else "{sub}*" would let the anonymous in everywhere
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
