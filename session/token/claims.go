package token

import (
	"fmt"
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
	IssuedAt time.Time // zero if the token does not say
	Expires  time.Time // until then Verify accepts the token: exp and the skew; zero if for ever
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
	c := Claims{User: strings.Clone(user), Rights: v.cfg.Default, IssuedAt: date(m, "iat"), Expires: date(m, "exp")}
	if !c.Expires.IsZero() {
		c.Expires = c.Expires.Add(v.cfg.Skew)
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

// validTime tells whether date is a NumericDate of this era. The library takes 0 for an absent date.
func validTime(date any) bool {
	seconds, ok := date.(float64)
	return ok && seconds >= 1 && seconds <= maxTime
}

// date is that of a valid NumericDate, or zero.
func date(m jwt.MapClaims, name string) time.Time {
	if seconds, ok := m[name].(float64); ok {
		return time.Unix(int64(seconds), 0)
	}
	return time.Time{}
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
