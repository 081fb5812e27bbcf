package token

import (
	"slices"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"
)

func TestAFindingNamesTheRuleAndWhatBreaksIt(t *testing.T) {
	now := epoch
	v := verifier(t, Config{Secrets: []string{secret}, Issuer: "login", Audience: []string{"hub", "hub2"}})
	good := func(change func(m jwt.MapClaims)) string {
		m := jwt.MapClaims{"sub": "42", "exp": now.Unix() + 60, "iss": "login", "aud": "hub"}
		change(m)
		return sign(t, "HS256", []byte(secret), nil, m)
	}
	plain := jwt.MapClaims{"sub": "42", "exp": now.Unix() + 60, "iss": "login", "aud": "hub"}
	other := strings.Repeat("x", 32)
	for name, c := range map[string]struct {
		token, rule, text, user string
	}{
		"audience":      {good(func(m jwt.MapClaims) { m["aud"] = []string{"app", "api"} }), "aud", `aud is "app, api", want one of ["hub" "hub2"]`, "42"},
		"no audience":   {good(func(m jwt.MapClaims) { delete(m, "aud") }), "aud", "aud is missing", "42"},
		"issuer":        {good(func(m jwt.MapClaims) { m["iss"] = "me" }), "iss", `iss is "me", want "login"`, "42"},
		"no issuer":     {good(func(m jwt.MapClaims) { delete(m, "iss") }), "iss", "iss is missing", "42"},
		"expired":       {good(func(m jwt.MapClaims) { m["exp"] = now.Unix() - 90 }), "exp", "exp was 1m30s ago", "42"},
		"no expiry":     {good(func(m jwt.MapClaims) { delete(m, "exp") }), "exp", "exp is missing", "42"},
		"not yet":       {good(func(m jwt.MapClaims) { m["nbf"] = now.Unix() + 90 }), "nbf", "nbf is 1m30s ahead", "42"},
		"issued later":  {good(func(m jwt.MapClaims) { m["iat"] = now.Unix() + 90 }), "iat", "iat is 1m30s ahead", "42"},
		"a text date":   {good(func(m jwt.MapClaims) { m["exp"] = "tomorrow" }), "exp", "want a number", "42"},
		"no user":       {good(func(m jwt.MapClaims) { delete(m, "sub") }), "sub", "sub, which names the user, is missing", ""},
		"a number":      {good(func(m jwt.MapClaims) { m["sub"] = 42 }), "sub", "want a string", ""},
		"a bad user":    {good(func(m jwt.MapClaims) { m["sub"] = "a\nb" }), "sub", "control characters", ""},
		"topics":        {good(func(m jwt.MapClaims) { m["topics"] = map[string]any{"subscribed": []string{"a"}} }), "topics", `want {"subscribe"`, "42"},
		"a pattern":     {good(func(m jwt.MapClaims) { m["topics"] = []string{"a*b"} }), "topics", "a * that is not at its end", "42"},
		"channel":       {good(func(m jwt.MapClaims) { m["channel"] = "a" }), "channel", "subscription token", "42"},
		"expire_at":     {good(func(m jwt.MapClaims) { m["expire_at"] = now.Unix() - 90 }), "expire_at", "passed", "42"},
		"another key":   {sign(t, "HS256", []byte(other), nil, plain), "signature", `alg "HS256": keys here that fit this header: 1`, ""},
		"a foreign alg": {sign(t, "RS256", pairs()["RSA"], nil, plain), "key", `no key here is for this alg; the keys are for HS256, HS384, HS512`, ""},
		"none":          {sign(t, "none", jwt.UnsafeAllowNoneSignatureType, nil, plain), "signature", "never accepted", ""},
		"crit":          {sign(t, "HS256", []byte(secret), map[string]any{"crit": []string{"x"}}, plain), "malformed", "crit", ""},
		"two parts":     {"aaaa.bbbb", "malformed", "2 parts", ""},
		"a line end":    {good(func(jwt.MapClaims) {}) + "\n", "malformed", "no line end", ""},
		"long":          {strings.Repeat("a", maxToken+1), "malformed", "8193 bytes", ""},
		"no JSON":       {"aaaa.bbbb.cccc", "malformed", "no base64url of JSON", ""},
	} {
		_, err := v.Verify(c.token)
		got := Explain(err)
		if got.Rule != c.rule || !strings.Contains(got.Text, c.text) || got.User != c.user {
			t.Errorf("%s: %+v, want %s: %s of %q", name, got, c.rule, c.text, c.user)
		}
		if _, list := v.Examine(c.token); len(list) == 0 || list[0] != got {
			t.Errorf("%s: Examine finds %+v, Verify %+v", name, list, got)
		}
		if rule, user := RuleOf(err); rule != got.Rule || user != got.User {
			t.Errorf("%s: RuleOf says %s of %q", name, rule, user)
		}
		signature := c.token[strings.LastIndexByte(c.token, '.')+1:]
		if len(signature) > 8 && strings.Contains(got.Text, signature) || len(got.Text) > 400 {
			t.Errorf("%s: %s", name, got.Text)
		}
	}
	if claims, list := v.Examine(good(func(jwt.MapClaims) {})); claims.User != "42" || list != nil {
		t.Errorf("a good token: %+v, %+v", claims, list)
	}
	_, list := v.Examine(good(func(m jwt.MapClaims) { m["iss"], m["exp"] = "me", now.Unix()-90; delete(m, "sub") }))
	var rules []string
	for _, f := range list {
		rules = append(rules, f.Rule)
	}
	if !slices.Equal(rules, []string{"iss", "exp", "sub"}) {
		t.Errorf("a token with three faults breaks %q", rules)
	}
}

func TestWhyNotNamesTheRuleThatDenies(t *testing.T) {
	rights, err := NewRights([]string{"news:*", "room:{sub}"}, []string{"chat"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		topic   string
		publish bool
		want    string
	}{
		{"sport", false, "no pattern matches of: news:*, room:{sub}"}, {"news:1", true, "no pattern matches of: chat"}, {"$x", false, "channels or subs"},
		{"$x", true, "topics.publish that begins with $"}, {"news:1#7,8", false, "list of users"},
	} {
		if got := rights.WhyNot("42", c.topic, c.publish); !strings.Contains(got, c.want) {
			t.Errorf("%s: %s", c.topic, got)
		}
	}
	if got := (*Rights)(nil).WhyNot("42", "a", false); !strings.Contains(got, "no pattern is allowed") {
		t.Error(got)
	}
}
