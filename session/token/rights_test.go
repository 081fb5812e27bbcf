package token

import (
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/golang-jwt/jwt/v5"
	"pgregory.net/rapid"
)

func TestPatterns(t *testing.T) {
	for _, c := range []struct {
		pattern, user, topic string
		want                 bool
	}{
		{"news", "42", "news", true},
		{"news", "42", "news:a", false},
		{"news", "42", "new", false},
		{"news:*", "42", "news:", true},
		{"news:*", "42", "news:a:b", true},
		{"news:*", "42", "news", false},
		{"news:*", "42", "News:a", false},
		{"*", "42", "anything", true},
		{"user:{sub}", "42", "user:42", true},
		{"user:{sub}", "42", "user:421", false},
		{"user:{sub}", "42", "user:{sub}", false},
		{"user:{sub}", "*", "user:43", false},
		{"user:{sub}", "*", "user:*", true},
		{"user:{sub}", "{sub}", "user:{sub}", true},
		{"room:{sub}:*", "42", "room:42:x", true},
		{"room:{sub}:*", "42", "room:42", false},
		{"room:{sub}:*", "*", "room:43:x", false},
		{"{sub}-{sub}", "a", "a-a", true},
		{"{sub}-{sub}", "a", "a-b", false},
		{"{sub}{sub}", "ab", "abab", true},
		{"{sub}*", "", "anything", false},
		{"user:{sub}", "", "user:", false},
		{"{SUB}", "a", "{SUB}", true},
		{"$sys", "42", "$sys", false}, // no pattern lets follow these
	} {
		r, err := NewRights([]string{"no", c.pattern}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := r.MaySubscribe(c.user, c.topic); got != c.want {
			t.Errorf("%s for %q: MaySubscribe(%q) = %t", c.pattern, c.user, c.topic, got)
		}
		if r.MayPublish(c.user, c.topic) {
			t.Errorf("%s: MayPublish(%q)", c.pattern, c.topic)
		}
	}
}

func TestBadPatternsAreRefused(t *testing.T) {
	for _, text := range []string{"", "a*b", "**", "*a", "a\n", "\xff", strings.Repeat("a", 256)} {
		for _, lists := range [][2][]string{{{text}, nil}, {nil, {text}}} {
			if _, err := NewRights(lists[0], lists[1]); err == nil {
				t.Errorf("%.20q: accepted", text)
			}
		}
	}
}

func TestRightsWithoutAClaim(t *testing.T) {
	v := verifier(t, Config{Secrets: []string{secret}, Default: DefaultRights("channel*")})
	c, err := v.Verify(sign(t, "HS256", []byte(secret), nil, claims(nil)))
	if err != nil {
		t.Fatal(err)
	}
	for topic, want := range map[string]bool{"channel*": true, "channels": false, "user:42": true, "user:43": false, "news": false} {
		if c.Rights.MaySubscribe("42", topic) != want || c.Rights.MayPublish("42", topic) {
			t.Errorf("%s: the defaults are wrong", topic)
		}
	}
	var none *Rights
	if none.MaySubscribe("42", "channel") || none.MayPublish("42", "channel") {
		t.Error("nil rights allow something")
	}
	if !Everything.MaySubscribe("", "x") || !Everything.MayPublish("", "x") {
		t.Error("Everything does not allow everything")
	}
}

func TestAClaimReplacesTheDefaults(t *testing.T) {
	v := verifier(t, Config{Secrets: []string{secret}, Default: Everything})
	for _, c := range []struct {
		claim              any
		subscribe, publish bool // to "a"
	}{
		{jwt.MapClaims{}, false, false},
		{jwt.MapClaims{"subscribe": []string{"a"}}, true, false},
		{jwt.MapClaims{"publish": []string{"a"}}, false, true},
		{jwt.MapClaims{"subscribe": []string{"a"}, "publish": []string{"a"}}, true, true},
		{[]string{"a"}, true, false},
		{[]string{}, false, false},
	} {
		got, err := v.Verify(sign(t, "HS256", []byte(secret), nil, claims(jwt.MapClaims{"topics": c.claim})))
		if err != nil || got.Rights.MaySubscribe("42", "a") != c.subscribe || got.Rights.MayPublish("42", "a") != c.publish {
			t.Errorf("%v: %+v, %v", c.claim, got.Rights, err)
		}
	}
}

// model says what a pattern means: a regular expression with the user in it, quoted.
func model(pattern, user string) *regexp.Regexp {
	name, rest := strings.CutSuffix(pattern, "*")
	expression := strings.ReplaceAll(regexp.QuoteMeta(name), regexp.QuoteMeta(placeholder), regexp.QuoteMeta(user))
	if rest {
		expression += "(?s:.*)"
	}
	return regexp.MustCompile(`\A` + expression + `\z`)
}

func assertMatchesModel(t interface{ Fatalf(string, ...any) }, pattern, user, topic string) {
	r, err := NewRights(nil, []string{pattern})
	if err != nil || !validName(user, maxUser) || !validName(topic, maxTopic) {
		return
	}
	want := model(pattern, user).MatchString(topic) && (topic[0] != '$' || pattern[0] == '$')
	if got := r.MayPublish(user, topic); got != want {
		t.Fatalf("pattern %q, user %q: MayPublish(%q) = %t", pattern, user, topic, got)
	}
}

func TestPatternsMeanWhatTheModelSays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		piece := rapid.SampledFrom([]string{"a", "b", ":", "$", "é", "{sub}", "{sub", "ab"})
		join := func(label string) string { return strings.Join(rapid.SliceOfN(piece, 0, 5).Draw(t, label), "") }
		pattern := join("pattern") + rapid.SampledFrom([]string{"", "*"}).Draw(t, "rest")
		user := rapid.SampledFrom([]string{"a", "ab", "*", "{sub}", "b:", "$", "é"}).Draw(t, "user")
		topic := join("topic")
		if rapid.Bool().Draw(t, "close") { // else hardly anything matches
			topic = strings.ReplaceAll(strings.TrimSuffix(pattern, "*"), placeholder, user) + rapid.SampledFrom([]string{"", "", "a"}).Draw(t, "more")
		}
		assertMatchesModel(t, pattern, user, topic)
	})
}

func FuzzPattern(f *testing.F) {
	f.Add("room:{sub}:*", "42", "room:42:x")
	f.Add("{sub}{sub}", "aa", "aaaa")
	f.Add("*", "*", "*")
	f.Fuzz(func(t *testing.T, pattern, user, topic string) { assertMatchesModel(t, pattern, user, topic) })
}

func TestACheckAllocatesNothing(t *testing.T) {
	r, err := NewRights([]string{"news:*", "room:{sub}:*"}, []string{"chat:{sub}"})
	if err != nil {
		t.Fatal(err)
	}
	n := testing.AllocsPerRun(100, func() {
		if !r.MaySubscribe("42", "room:42:a") || r.MayPublish("42", "chat:43") {
			t.Error("wrong")
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestEqualClaimsShareRights(t *testing.T) {
	v := verifier(t, Config{Secrets: []string{secret}, Default: DefaultRights("channel")})
	rights := func(sub string, topics any) *Rights {
		c, err := v.Verify(sign(t, "HS256", []byte(secret), nil, claims(jwt.MapClaims{"sub": sub, "topics": topics})))
		if err != nil {
			t.Fatal(err)
		}
		return c.Rights
	}
	role := jwt.MapClaims{"subscribe": []string{"news:*", "user:{sub}"}}
	if rights("1", role) != rights("2", role) {
		t.Error("two users of a role have rights of their own")
	}
	if rights("1", nil) != rights("2", nil) {
		t.Error("two users without a claim have rights of their own")
	}
	different := []any{
		jwt.MapClaims{"subscribe": []string{"a", "b"}}, jwt.MapClaims{"subscribe": []string{"ab"}},
		jwt.MapClaims{"publish": []string{"a", "b"}}, jwt.MapClaims{"subscribe": []string{"a"}, "publish": []string{"b"}}, jwt.MapClaims{},
	}
	seen := make(map[*Rights]int)
	for i, claim := range different {
		if other, ok := seen[rights("1", claim)]; ok {
			t.Errorf("%v and %v are the same", claim, different[other])
		}
		seen[rights("1", claim)] = i
	}
}

func TestTheInternTableIsBounded(t *testing.T) {
	var table intern
	var all sync.WaitGroup
	for g := range 4 {
		all.Go(func() {
			for i := range maxInterned {
				topic := strconv.Itoa(g) + ":" + strconv.Itoa(i)
				r, err := table.rights([]string{topic}, nil)
				if err != nil || !r.MaySubscribe("", topic) || r.MaySubscribe("", "x") {
					t.Errorf("%s: %+v, %v", topic, r, err)
				}
			}
		})
	}
	all.Wait()
	if n := len(table.known); n != maxInterned {
		t.Errorf("%d entries", n)
	}
}
