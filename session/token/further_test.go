package token

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// signed42 is what a token of user 42 with these members says, and must be good.
func signed42(t testing.TB, v *Verifier, members string) Claims {
	t.Helper()
	c, err := v.Verify(signText(t, `{"sub":"42","exp":4000000000,`+members+`}`))
	if err != nil {
		t.Fatalf("%.200s: %v", members, err)
	}
	return c
}

func TestInfoIsAnObjectOfUpTo1KiB(t *testing.T) {
	v := verifier(t, Config{Secrets: []string{secret}})
	encoded := func(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }
	limit := `{"x":"` + strings.Repeat("x", maxInfo-8) + `"}`
	for _, c := range []struct {
		members, want, note string
	}{
		{`"info":{"name":"Ann","big":9007199254740993}`, `{"name":"Ann","big":9007199254740993}`, ""},
		{`"info":` + limit, limit, ""},
		{`"info":{ "x" : "` + strings.Repeat("x", maxInfo-8) + "\"\n}", limit, ""},
		{`"info":{"x":"` + strings.Repeat("x", maxInfo-7) + `"}`, "", "info: 1025 bytes, at most 1024 are allowed"},
		{`"info":null`, "", ""},
		{`"info":"text"`, "", "info: want a JSON object"},
		{`"info":[1]`, "", "info: want a JSON object"},
		{"\"info\":{\"x\":\"\xff\"}", "", "info: want a JSON object"},
		{`"Info":{"x":1}`, "", ""},
		{`"info":{"x":1},"info":{"x":2}`, `{"x":2}`, ""},
		{`"b64info":"` + encoded(`{"a": 1}`) + `"`, `{"a":1}`, ""},
		{`"info":{"x":1},"b64info":"` + encoded(`{"a":1}`) + `"`, `{"a":1}`, ""},
		{`"info":{"x":1},"b64info":""`, `{"x":1}`, ""},
		{`"info":{"x":1},"b64info":"#"`, "", "b64info: want base64"},
		{`"info":{"x":1},"b64info":7`, `{"x":1}`, "b64info: want a string"},
		{`"b64info":"` + encoded(`[]`) + `"`, "", "b64info: want a JSON object"},
		{`"b64info":"` + encoded(`{"a":`) + `"`, "", "b64info: want a JSON object"},
		{`"b64info":"` + encoded(" ") + `"`, "", "b64info: want a JSON object"},
		{`"b64info":"` + encoded(`{"x":"`+strings.Repeat("x", maxInfo)+`"}`) + `"`, "", "b64info: 1032 bytes, at most 1024 are allowed"},
	} {
		got := signed42(t, v, c.members)
		if string(got.Info) != c.want || strings.Join(got.Notes, "; ") != c.note {
			t.Errorf("%.60s: %.60s, %q", c.members, got.Info, got.Notes)
		}
		s, err := v.VerifySubscription(signText(t, `{"sub":"42","exp":4000000000,"channel":"$a",`+c.members+`}`), "42")
		if err != nil || string(s.Info) != c.want || strings.Join(s.Notes, "; ") != c.note {
			t.Errorf("for a subscription, %.60s: %+v, %v", c.members, s, err)
		}
	}
}

func TestChannelsAreARightToFollow(t *testing.T) {
	v := verifier(t, Config{Secrets: []string{secret}, Default: DefaultRights("channel")})
	many := make([]string, maxChannels+1)
	for i := range many {
		many[i] = fmt.Sprint("n", i)
	}
	for _, c := range []struct {
		members string
		want    []string
		info    map[string]json.RawMessage
		note    string
	}{
		{`"channels":["a","$b"]`, []string{"a", "$b"}, nil, ""},
		{`"subs":{"z":{},"b":null,"$a":{"recover":true,"info":{"x":1},"data":1}}`, []string{"$a", "b", "z"}, map[string]json.RawMessage{"$a": json.RawMessage(`{"x":1}`)}, ""},
		{`"channels":["b"],"subs":{"b":{"info":{"x":1}},"a":{}}`, []string{"b", "a"}, map[string]json.RawMessage{"b": json.RawMessage(`{"x":1}`)}, ""},
		{`"channels":["a","a","{sub}","*","user:42"]`, []string{"a", "{sub}", "*", "user:42"}, nil, ""},
		{`"channels":["","a\n","user:43","a"],"subs":{"user:4":{}}`, []string{"a"}, nil, "channels, subs: 4 are no names of topics, or another user's own topics"},
		{`"channels":` + toJSON(t, many), many[:maxChannels], nil, "channels, subs: 1 more than 128"},
		{`"channels":"a"`, nil, nil, "channels: want a list of names"},
		{`"channels":[1],"subs":{"a":{}}`, []string{"a"}, nil, "channels: want a list of names"},
		{`"channels":null,"subs":null`, nil, nil, ""},
		{`"subs":["a"]`, nil, nil, "subs: want an object of names and options"},
		{`"subs":{"a":7}`, []string{"a"}, nil, "subs: want an object of options"},
		{`"subs":{"a":{"info":7}}`, []string{"a"}, nil, "subs: info: want a JSON object"},
	} {
		got := signed42(t, v, c.members)
		if !slices.Equal(got.Channels, c.want) || !reflect.DeepEqual(got.ChannelInfo, c.info) || strings.Join(got.Notes, "; ") != c.note {
			t.Errorf("%.60s: %.200q, %s, %q", c.members, got.Channels, got.ChannelInfo, got.Notes)
		}
		for _, name := range c.want {
			if !got.Rights.MaySubscribe("42", name) || !got.Rights.MayReadHistory("42", name) || got.Rights.MayPublish("42", name) {
				t.Errorf("%.60s: %s is not a right to follow only", c.members, name)
			}
		}
		for topic, want := range map[string]bool{"channel": true, "user:42": true, "42": false, "else": false, "$else": false, "n128": false} {
			if got.Rights.MaySubscribe("42", topic) != want {
				t.Errorf("%.60s: MaySubscribe(%s) = %t", c.members, topic, !want)
			}
		}
	}
}

// allowed are the rights to topic by letter: subscribe, publish, history, presence.
func allowed(r *Rights, topic string) (letters string) {
	for _, right := range []struct {
		letter string
		may    func(user, topic string) bool
	}{{"s", r.MaySubscribe}, {"p", r.MayPublish}, {"h", r.MayReadHistory}, {"o", r.MaySeePresence}} {
		if right.may("42", topic) {
			letters += right.letter
		}
	}
	return letters
}

func TestCapsComeToTheOtherRights(t *testing.T) {
	v := verifier(t, Config{Secrets: []string{secret}, Default: DefaultRights("channel")})
	names := func(n int) string {
		list := make([]string, n)
		for i := range list {
			list[i] = fmt.Sprint("n", i)
		}
		return toJSON(t, list)
	}
	for _, c := range []struct {
		members string
		want    map[string]string // topics and their rights
		note    string
	}{
		{`"caps":[{"channels":["a"],"allow":["sub"]}]`, map[string]string{"a": "s", "ab": "", "channel": "sh"}, ""},
		{`"caps":[{"channels":["a"],"match":"","allow":["sub","pub","hst","prs"]}]`, map[string]string{"a": "spho"}, ""},
		{`"caps":[{"channels":["a"],"allow":["sub"]},{"channels":["a","b"],"allow":["hst"]}]`, map[string]string{"a": "sh", "b": "h"}, ""},
		{`"topics":["t"],"caps":[{"channels":["a"],"allow":["pub"]}]`, map[string]string{"a": "p", "t": "sh", "channel": ""}, ""},
		{`"channels":["c"],"caps":[{"channels":["c"],"allow":["prs"]}]`, map[string]string{"c": "sho"}, ""},
		{`"caps":[{"channels":["a*","{sub}"],"allow":["sub"]}]`, map[string]string{"a*": "s", "ab": "", "{sub}": "s", "42": ""}, ""},
		{`"caps":[{"channels":["a:*","b","{sub}:*"],"match":"wildcard","allow":["sub"]}]`, map[string]string{"a:": "s", "a:b": "s", "a": "", "b": "s", "bc": "", "42:a": ""}, ""},
		{`"caps":[{"channels":["*"],"match":"wildcard","allow":["sub","pub","hst","prs"]}]`, map[string]string{"x": "spho", "$x": ""}, ""},
		{`"caps":[{"channels":["$x"],"allow":["sub","pub","hst","prs"]}]`, map[string]string{"$x": "p", "$xy": ""}, ""},
		{`"caps":[{"channels":["$*"],"match":"wildcard","allow":["pub"]}]`, map[string]string{"$x": "p", "x": ""}, ""},
		{`"caps":[{"channels":[".*"],"match":"regex","allow":["sub"]},{"channels":["a"],"allow":["sub"]}]`, map[string]string{"x": "", ".*": "", "a": "s"}, "caps, entry 1: match regex is not supported"},
		{`"caps":[{"channels":["a"],"match":"glob","allow":["sub"]}]`, map[string]string{"a": ""}, "caps, entry 1: match is not known"},
		{`"caps":[{"channels":["a*b","**","","a"],"match":"wildcard","allow":["sub"]}]`, map[string]string{"a": "s", "axb": "", "a*b": ""}, "caps, entry 1: a channel is no name, or has a * that is not at its end"},
		{`"caps":[{"channels":["a"],"allow":["sub","sing"]}]`, map[string]string{"a": "s"}, "caps, entry 1: a right in allow is not known"},
		{`"caps":[{"channels":` + names(maxPatterns+1) + `,"allow":["sub"]}]`, map[string]string{"n63": "s", "n64": ""}, "caps, entry 1: more than 64 channels"},
		{`"caps":[{"channels":` + names(maxPatterns) + `,"allow":["sub"]},{"channels":["a"],"allow":["sub"]}]`, map[string]string{"n63": "s", "a": ""}, "caps, entry 2: with it there are more than 64 channels"},
		{`"caps":[{"channels":"a","allow":["sub"]}]`, map[string]string{"a": ""}, "caps, entry 1: channels and allow must be lists of strings, match a string"},
		{`"caps":[{},null]`, map[string]string{"a": ""}, ""},
		{`"caps":{"a":["sub"]}`, map[string]string{"a": ""}, "caps: want a list of objects"},
		{`"caps":[1]`, map[string]string{"a": ""}, "caps: want a list of objects"},
	} {
		got := signed42(t, v, c.members)
		if strings.Join(got.Notes, "; ") != c.note {
			t.Errorf("%.60s: %q", c.members, got.Notes)
		}
		for topic, want := range c.want {
			if letters := allowed(got.Rights, topic); letters != want {
				t.Errorf("%.60s: %s may be %q, want %q", c.members, topic, letters, want)
			}
		}
	}
	if got := signed42(t, v, `"caps":[`+strings.Repeat(`{"match":"regex"},`, 300)+`{}]`); len(got.Notes) != maxNotes {
		t.Errorf("%d notes", len(got.Notes))
	}
}

func TestPatternsForPrivateTopicsBeginAsThese(t *testing.T) {
	r, err := NewRights([]string{"*", "$x", "$*"}, []string{"*", "{sub}*", "$y", "$z:*"})
	if err != nil {
		t.Fatal(err)
	}
	for topic, want := range map[string]string{"x": "sph", "$x": "", "$y": "p", "$z:1": "p", "$": "", "$w": ""} {
		if letters := allowed(r, topic); letters != want {
			t.Errorf("%s may be %q, want %q", topic, letters, want)
		}
	}
	if r.MayPublish("$u", "$u1") || Everything.MaySubscribe("", "$x") || Everything.MayPublish("", "$x") || Everything.MayReadHistory("", "$x") || Everything.MaySeePresence("", "$x") {
		t.Error("a private topic is open")
	}
}

func TestDefaultsCanComeLater(t *testing.T) {
	defaults := DefaultRights("channel")
	for _, v := range []*Verifier{verifier(t, Config{Secrets: []string{secret}}), verifier(t, Config{Secrets: []string{secret}, Default: defaults})} {
		for members, want := range map[string]string{
			`"x":1`: "channel", `"topics":["a"]`: "a", `"channels":["c"]`: "c channel", `"topics":["a"],"channels":["c"]`: "c a", `"topics":[],"channels":["c"]`: "c",
		} {
			var got []string
			r := signed42(t, v, members).Rights.Or(defaults)
			for _, topic := range []string{"c", "a", "channel"} {
				if r.MaySubscribe("42", topic) {
					got = append(got, topic)
				}
			}
			if strings.Join(got, " ") != want {
				t.Errorf("%s: %v, want %s", members, got, want)
			}
		}
	}
	x := signed42(t, verifier(t, Config{Secrets: []string{secret}}), `"channels":["$c"],"caps":[{"channels":["a"],"allow":["prs"]}]`)
	if r := x.Rights.Or(Everything); allowed(r, "$c") != "sh" || allowed(r, "a") != "spho" || Everything.MaySubscribe("", "$c") {
		t.Error("rights and extra ones are not joined")
	}
}

func TestExpireAtTakesThePlaceOfExp(t *testing.T) {
	v := verifier(t, Config{Secrets: []string{secret}})
	at := func(d time.Duration) int64 { return epoch.Add(d).Unix() }
	hour := epoch.Add(time.Hour + 30*time.Second)
	for _, c := range []struct {
		expireAt any
		want     time.Time
		err      error
		notes    int
	}{
		{at(time.Minute), epoch.Add(time.Minute + 30*time.Second), nil, 0},
		{at(100 * time.Hour), epoch.Add(100*time.Hour + 30*time.Second), nil, 0},
		{0, time.Time{}, nil, 0},
		{at(-29 * time.Second), epoch.Add(time.Second), nil, 0},
		{at(-30 * time.Second), time.Time{}, ErrExpired, 0},
		{"never", hour, nil, 1},
		{-1, hour, nil, 1},
		{1e300, hour, nil, 1},
		{false, hour, nil, 1},
	} {
		members := jwt.MapClaims{"expire_at": c.expireAt}
		got, err := v.Verify(sign(t, "HS256", []byte(secret), nil, claims(members)))
		if !errors.Is(err, c.err) || !got.Expires.Equal(c.want) || len(got.Notes) != c.notes {
			t.Errorf("%v: %+v, %v", c.expireAt, got, err)
		}
		members["channel"] = "$a"
		s, err := v.VerifySubscription(sign(t, "HS256", []byte(secret), nil, claims(members)), "42")
		if !errors.Is(err, c.err) || !s.Expires.Equal(c.want) || len(s.Notes) != c.notes {
			t.Errorf("for a subscription, %v: %+v, %v", c.expireAt, s, err)
		}
	}
	if _, err := v.Verify(sign(t, "HS256", []byte(secret), nil, claims(jwt.MapClaims{"exp": at(-time.Hour), "expire_at": 0}))); !errors.Is(err, ErrExpired) {
		t.Errorf("a token that has expired itself: %v", err)
	}
}

func TestEqualFurtherClaimsShareRights(t *testing.T) {
	v := verifier(t, Config{Secrets: []string{secret}, Default: DefaultRights("channel")})
	caps := `"caps":[{"channels":["a"],"allow":["sub"]}]`
	seen := make(map[*Rights]string)
	for _, members := range []string{
		`"x":1`, `"topics":[]`, `"topics":["a"]`, caps, `"channels":["a"]`, `"channels":["a","b"]`, `"channels":["ab"]`, caps + `,"channels":["a"]`,
		`"topics":["a"],` + caps, `"topics":[],` + caps, `"caps":[{"channels":["b"],"allow":["sub"]}]`,
	} {
		one, two := signed42(t, v, members).Rights, signed42(t, v, members).Rights
		if one != two {
			t.Errorf("%s: two have rights of their own", members)
		}
		if other, ok := seen[one]; ok {
			t.Errorf("%s and %s are the same", members, other)
		}
		seen[one] = members
	}
}

// FuzzFurtherClaims: whatever an issuer signs, what is taken of it keeps its bounds.
func FuzzFurtherClaims(f *testing.F) {
	v := verifier(f, Config{Secrets: []string{secret}})
	for _, seed := range []string{
		`"info":{"a":1},"b64info":"e30="`, `"channels":["a","$b"],"subs":{"c":{"info":{}}}`, `"expire_at":0`,
		`"caps":[{"channels":["a","b:*"],"match":"wildcard","allow":["sub","pub","hst","prs"]},{"match":"regex"}]`, `"channel":"a"`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, members string) {
		text := signText(t, `{"sub":"42","exp":4000000000,`+members+`}`)
		if s, err := v.VerifySubscription(text, "42"); err == nil && (!validName(s.Channel, maxTopic) || s.User != "42") {
			t.Fatalf("accepted %+v", s)
		}
		c, err := v.Verify(text)
		if err != nil {
			return
		}
		if len(c.Channels) > maxChannels || len(c.Notes) > maxNotes || len(c.ChannelInfo) > len(c.Channels) {
			t.Fatalf("accepted %+v", c)
		}
		for _, info := range append(slices.Collect(maps.Values(c.ChannelInfo)), c.Info) {
			if info != nil && (len(info) > maxInfo || !json.Valid(info) || info[0] != '{' || strings.ContainsAny(string(info), "\n\r")) {
				t.Fatalf("info %q", info)
			}
		}
		for _, name := range c.Channels {
			if !validName(name, maxTopic) || !c.Rights.MaySubscribe("42", name) {
				t.Fatalf("channel %q", name)
			}
		}
		if x := c.Rights; x != nil && x.extra != nil && max(len(x.extra.subscribe), len(x.extra.publish), len(x.extra.history), len(x.extra.presence)) > maxPatterns {
			t.Fatalf("%d patterns", len(x.extra.subscribe))
		}
	})
}
