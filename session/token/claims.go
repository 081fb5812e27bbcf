package token

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// maxTime is the end of year 9999 in Unix seconds: beyond it times do not convert.
const maxTime = 253402300799

// Claims are what a checked token says.
type Claims struct {
	User     string
	Rights   *Rights
	IssuedAt time.Time // in microseconds; zero if the token does not say
	// Expires is when the connection ends that the token let in: its expire_at, or else exp, and the skew; zero if never.
	Expires time.Time
	// Info is what the token says of the user, for others to see: a JSON object of up to 1 KiB, nil without one.
	Info json.RawMessage
	// Channels are the topics that the connection is to follow from the start, up to 128 of them, each once. The Rights
	// allow to follow them.
	Channels []string
	// ChannelInfo is the Info of single ones of Channels.
	ChannelInfo map[string]json.RawMessage
	// Notes say, for an operator, what was left out of a token that is good otherwise. They quote none of it.
	Notes []string
	// Fingerprint tells this token from every other, also from those of the same second with the same claims
	// if their signatures differ.
	Fingerprint Fingerprint
}

// read checks the claims of a token whose signature is good, and takes what the hub wants to know.
func (v *Verifier) read(s signed) (Claims, error) {
	user, err := v.validate(s)
	if err != nil {
		return Claims{}, err
	}
	if _, ok := s.MapClaims["channel"].(string); ok {
		return Claims{}, s.wrong(badClaim("channel"), user, "channel", "it has a claim channel, so it is a subscription token: it lets its user follow one topic, and nobody connect")
	}
	c := Claims{User: user, IssuedAt: date(s.MapClaims, "iat"), Fingerprint: s.fingerprint}
	var more further
	if c.Expires, err = v.expiry(s, &more.notes); err != nil {
		return Claims{}, s.wrong(err, user, "expire_at", "expire_at has passed")
	}
	more.read(s, user)
	if c.Rights, err = v.rights(s, &more); err != nil {
		return Claims{}, s.wrong(err, user, "topics", `%v: want {"subscribe":[…],"publish":[…]} with patterns as strings, or a list for subscribe`, err)
	}
	c.Info, c.Channels, c.ChannelInfo, c.Notes = more.info, more.channels, more.channelInfo, more.notes
	return c, nil
}

// validate checks what every token must say, and returns whose it is.
func (v *Verifier) validate(s signed) (user string, err error) {
	// First of all, as what the library makes of a date out of range depends on the machine.
	for _, name := range [...]string{"exp", "nbf", "iat"} {
		if date, ok := s.MapClaims[name]; ok && !validTime(date) {
			return "", v.finding(s, badClaim(name))
		}
	}
	if err := v.validator.Validate(s.MapClaims); err != nil {
		return "", v.finding(s, explain(err))
	}
	user, _ = s.MapClaims["sub"].(string)
	if !validName(user, maxUser) {
		return "", v.finding(s, badClaim("sub"))
	}
	return strings.Clone(user), nil
}

// expiry is when a valid token's effect ends, zero for never: expire_at says it, or else exp.
func (v *Verifier) expiry(s signed, notes *notes) (time.Time, error) {
	ends := date(s.MapClaims, "exp")
	if at, ok := s.MapClaims["expire_at"]; ok {
		switch {
		case at == any(0.0):
			return time.Time{}, nil
		case validTime(at):
			ends = date(s.MapClaims, "expire_at")
		default:
			notes.add("expire_at: want seconds since 1970, or 0")
		}
	}
	if ends.IsZero() {
		return ends, nil
	}
	ends = ends.Truncate(time.Second).Add(v.cfg.Skew) // as the library compares exp
	if !v.cfg.Now().Before(ends) {
		return time.Time{}, ErrExpired
	}
	return ends, nil
}

// rights are what the claim topics says, or else the defaults, and more.
func (v *Verifier) rights(s signed, more *further) (*Rights, error) {
	base, key := v.cfg.Default, []byte{2}
	if topics, ok := s.MapClaims["topics"]; ok {
		subscribe, publish, ok := readTopics(topics)
		if !ok {
			return nil, badClaim("topics")
		}
		var err error
		if base, err = v.interned.rights(subscribe, publish); err != nil {
			return nil, fmt.Errorf("%w: topics: %w", ErrBadClaims, err)
		}
		key = internKey(subscribe, publish)
	}
	if !more.allowsAny() {
		return base, nil
	}
	return v.extended.find(more.appendKey(key), func() (*Rights, error) { return base.with(more.extra()), nil })
}

func badClaim(name string) error { return fmt.Errorf("%w: %s", ErrBadClaims, name) }

// Date is a NumericDate (RFC 7519, 2): seconds since 1970, in microseconds. It is not ok before the year 1970 is a second
// old or after the year 9999: the library takes 0 for an absent date.
func Date(seconds float64) (date time.Time, ok bool) {
	if !(seconds >= 1 && seconds <= maxTime) {
		return time.Time{}, false
	}
	return time.UnixMicro(int64(math.Round(seconds * 1e6))), true
}

func validTime(date any) bool {
	seconds, ok := date.(float64)
	if ok {
		_, ok = Date(seconds)
	}
	return ok
}

// date is that of a valid NumericDate, or zero.
func date(m jwt.MapClaims, name string) time.Time {
	seconds, _ := m[name].(float64)
	date, _ := Date(seconds)
	return date
}

// readTopics reads a topics claim in either form. It refuses unknown members: a misspelt list would
// be a silent denial.
func readTopics(claim any) (subscribe, publish []string, ok bool) {
	object, isObject := claim.(map[string]any)
	if !isObject {
		subscribe, ok = texts(claim)
		return subscribe, nil, ok
	}
	for name, list := range object {
		switch name {
		case "subscribe":
			subscribe, ok = texts(list)
		case "publish":
			publish, ok = texts(list)
		default:
			ok = false
		}
		if !ok {
			return nil, nil, false
		}
	}
	return subscribe, publish, true
}

func texts(value any) ([]string, bool) {
	list, ok := value.([]any)
	if !ok {
		return nil, false
	}
	texts := make([]string, len(list))
	for i, value := range list {
		if texts[i], ok = value.(string); !ok {
			return nil, false
		}
	}
	return texts, true
}
