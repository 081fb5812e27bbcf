package token

import (
	"encoding/json"
	"strings"
	"time"
)

// SubscriptionClaims are what a checked subscription token says: that one user may follow one topic.
type SubscriptionClaims struct {
	Channel  string // the topic
	User     string
	IssuedAt time.Time // in microseconds; zero if the token does not say
	// Expires is when the right ends: the token's expire_at, or else exp, and the skew; zero if never.
	Expires time.Time
	// Info is what the token says of the user in this topic: a JSON object of up to 1 KiB, nil without one.
	Info json.RawMessage
	// Notes say, for an operator, what was left out of a token that is good otherwise.
	Notes       []string
	Fingerprint Fingerprint
}

// VerifySubscription checks a subscription token as Verify does one for connecting, by the same keys and rules. Its claim
// channel is required, and sub must be user; expire_at, info and b64info are optional. Errors are those of Verify. With
// ErrNeedsFetch: ask VerifySubscriptionLater.
func (v *Verifier) VerifySubscription(token, user string) (SubscriptionClaims, error) {
	return twice(v, func() (SubscriptionClaims, error) { return v.verifySubscription(token, user) })
}

// VerifySubscriptionLater is for a token on which VerifySubscription said ErrNeedsFetch. It promises what VerifyLater
// does, and counts into the same bounds.
func (v *Verifier) VerifySubscriptionLater(token, user string, done func(SubscriptionClaims, error)) (accepted bool) {
	return later(v, token, func() (SubscriptionClaims, error) { return v.verifySubscription(token, user) }, done)
}

func (v *Verifier) verifySubscription(token, user string) (SubscriptionClaims, error) {
	s, err := v.open(token)
	if err != nil {
		return SubscriptionClaims{}, err
	}
	sub, err := v.validate(s)
	switch {
	case err != nil:
		return SubscriptionClaims{}, err
	case sub != user:
		return SubscriptionClaims{}, s.wrong(badClaim("sub"), sub, "sub", "the token's user is %s, the session's is %s", clip(sub), clip(user))
	}
	channel, _ := s.MapClaims["channel"].(string)
	if !validName(channel, maxTopic) {
		return SubscriptionClaims{}, s.wrong(badClaim("channel"), sub, "channel", "channel: want the name of a topic")
	}
	c := SubscriptionClaims{Channel: strings.Clone(channel), User: sub, IssuedAt: date(s.MapClaims, "iat"), Fingerprint: s.fingerprint}
	var left notes
	if c.Expires, err = v.expiry(s, &left); err != nil {
		return SubscriptionClaims{}, s.wrong(err, sub, "expire_at", "expire_at has passed")
	}
	if s.hasAny("info", "b64info") {
		c.Info = readInfo(s.members(), "", &left)
	}
	c.Notes = left
	return c, nil
}
