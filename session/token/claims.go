package token

import (
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
	Expires  time.Time // until then Verify accepts the token: exp and the skew; zero if for ever
	// Fingerprint tells this token from every other, also from those of the same second with the same claims
	// if their signatures differ.
	Fingerprint Fingerprint
}

// read checks the claims of a token whose signature is good, and takes what the hub wants to know.
func (v *Verifier) read(m jwt.MapClaims) (Claims, error) {
	// First of all, as what the library makes of a date out of range depends on the machine.
	for _, name := range [...]string{"exp", "nbf", "iat"} {
		if date, ok := m[name]; ok && !validTime(date) {
			return Claims{}, badClaim(name)
		}
	}
	if err := v.validator.Validate(m); err != nil {
		return Claims{}, explain(err)
	}
	user, _ := m["sub"].(string)
	if !validName(user, maxUser) {
		return Claims{}, badClaim("sub")
	}
	c := Claims{User: strings.Clone(user), Rights: v.cfg.Default, IssuedAt: date(m, "iat")}
	if exp := date(m, "exp"); !exp.IsZero() {
		c.Expires = exp.Truncate(time.Second).Add(v.cfg.Skew) // as the library compares it
	}
	topics, ok := m["topics"]
	if !ok {
		return c, nil
	}
	subscribe, publish, ok := readTopics(topics)
	if !ok {
		return Claims{}, badClaim("topics")
	}
	rights, err := v.interned.rights(subscribe, publish)
	if err != nil {
		return Claims{}, fmt.Errorf("%w: topics: %w", ErrBadClaims, err)
	}
	c.Rights = rights
	return c, nil
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

// readTopics reads a topics claim in either form. What it does not know it refuses: a misspelt list would
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
