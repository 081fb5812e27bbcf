package token

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

func TestSubscriptionTokens(t *testing.T) {
	type m = jwt.MapClaims
	unix := func(d time.Duration) int64 { return epoch.Add(d).Unix() }
	for _, c := range []struct {
		name   string
		change m
		cfg    Config
		want   error
	}{
		{"good", m{}, Config{}, nil},
		{"expired", m{"exp": unix(-30 * time.Second)}, Config{}, ErrExpired},
		{"not yet", m{"nbf": unix(time.Minute)}, Config{}, ErrNotYet},
		{"no exp", m{"exp": nil}, Config{}, ErrBadClaims},
		{"no exp, allowed", m{"exp": nil}, Config{AllowForever: true}, nil},
		{"another user", m{"sub": "43"}, Config{}, ErrBadClaims},
		{"no user", m{"sub": nil}, Config{}, ErrBadClaims},
		{"no channel", m{"channel": nil}, Config{}, ErrBadClaims},
		{"empty channel", m{"channel": ""}, Config{}, ErrBadClaims},
		{"channel is a list", m{"channel": []string{"$a"}}, Config{}, ErrBadClaims},
		{"channel with a control character", m{"channel": "a\n"}, Config{}, ErrBadClaims},
		{"channel too long", m{"channel": strings.Repeat("x", 256)}, Config{}, ErrBadClaims},
		{"iss right", m{"iss": "login"}, Config{Issuer: "login"}, nil},
		{"iss wrong", m{"iss": "other"}, Config{Issuer: "login"}, ErrBadClaims},
		{"aud wrong", m{"aud": "other"}, Config{Audience: []string{"hub"}}, ErrBadClaims},
	} {
		c.cfg.Secrets = []string{secret}
		v := verifier(t, c.cfg)
		all := claims(m{"channel": "$a"})
		for name, value := range c.change {
			if all[name] = value; value == nil {
				delete(all, name)
			}
		}
		text := sign(t, "HS256", []byte(secret), nil, all)
		got, err := v.VerifySubscription(text, "42")
		if !errors.Is(err, c.want) || err != nil && !reflect.DeepEqual(got, SubscriptionClaims{}) {
			t.Errorf("%s: %+v, %v, want %v", c.name, got, err, c.want)
		}
		if err == nil && (got.Channel != "$a" || got.User != "42" || !got.IssuedAt.Equal(epoch) || got.Fingerprint == (Fingerprint{})) {
			t.Errorf("%s: %+v", c.name, got)
		}
		if err == nil && !strings.Contains(c.name, "no exp") && !got.Expires.Equal(epoch.Add(time.Hour+30*time.Second)) {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
	v := verifier(t, Config{Secrets: []string{secret}})
	for _, text := range []string{"", "a.b.c", sign(t, "HS256", []byte(strings.ToUpper(secret)), nil, claims(m{"channel": "a"}))} {
		if _, err := v.VerifySubscription(text, "42"); !errors.Is(err, ErrBadToken) && !errors.Is(err, ErrBadSignature) {
			t.Errorf("%.20q: %v", text, err)
		}
	}
}

// It would get the rights of tokens that have no claims.
func TestASubscriptionTokenLetsNobodyConnect(t *testing.T) {
	v := verifier(t, Config{Secrets: []string{secret}, Default: Everything})
	if c, err := v.Verify(sign(t, "HS256", []byte(secret), nil, claims(jwt.MapClaims{"channel": "$a"}))); !errors.Is(err, ErrBadClaims) {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestASubscriptionTokenWaitsForItsKey(t *testing.T) {
	set := asSet(t, asJWK(t, "P-256", "1"))
	good := sign(t, "ES256", pairs()["P-256"], map[string]any{"kid": "1"}, claims(jwt.MapClaims{"channel": "$a"}))
	other := sign(t, "ES256", pairs()["P-256"], map[string]any{"kid": "2"}, claims(jwt.MapClaims{"channel": "$a"}))
	synctest.Test(t, func(t *testing.T) {
		v := verifier(t, Config{JWKS: setURL, Transport: &issuer{text: set}})
		type verdict struct {
			SubscriptionClaims
			error
		}
		got := make(chan verdict, 3)
		for _, c := range []struct{ text, user string }{{good, "42"}, {good, "43"}, {other, "42"}} {
			if _, err := v.VerifySubscription(c.text, c.user); !errors.Is(err, ErrNeedsFetch) {
				t.Errorf("before a fetch: %v", err)
			}
			if !v.VerifySubscriptionLater(c.text, c.user, func(c SubscriptionClaims, err error) { got <- verdict{c, err} }) {
				t.Error("not accepted")
			}
		}
		run(t, v)
		var channels []string
		var bad, unknown int
		for range 3 {
			switch one := <-got; {
			case one.error == nil:
				channels = append(channels, one.Channel)
			case errors.Is(one.error, ErrBadClaims):
				bad++
			case errors.Is(one.error, ErrUnknownKey):
				unknown++
			}
		}
		if len(channels) != 1 || channels[0] != "$a" || bad != 1 || unknown != 1 {
			t.Errorf("%v, %d bad, %d unknown", channels, bad, unknown)
		}
	})
}
