package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/golang-jwt/jwt/v5"
)

// reasonLine is a log line about a refusal.
type reasonLine struct{ Level, Kind, Rule, Session, User, Addr, Topic, Reason, Message string }

// awaitReason returns the line with this kind and rule whose reason holds text.
func (h *hubInside) awaitReason(t *testing.T, kind, rule, text string) (found reasonLine) {
	t.Helper()
	eventually(t, func() error {
		for line := range strings.Lines(h.log.String()) {
			var l reasonLine
			if json.Unmarshal([]byte(line), &l) == nil && l.Kind == kind && l.Rule == rule && strings.Contains(l.Reason, text) {
				found = l
				return nil
			}
		}
		return fmt.Errorf("no line of %s, %s with %q in\n%s", kind, rule, text, h.log)
	})
	if found.Level != "debug" {
		t.Errorf("%+v", found)
	}
	return found
}

// claimed is a token with these claims, signed by the hub's secret.
func (h *closedHub) claimed(m map[string]any) string {
	h.t.Helper()
	all := jwt.MapClaims{"sub": "42", "exp": time.Now().Add(time.Hour).Unix(), "iss": "login", "aud": "hub"}
	for name, value := range m {
		if all[name] = value; value == nil {
			delete(all, name)
		}
	}
	text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, all).SignedString([]byte(secret))
	if err != nil {
		h.t.Fatal(err)
	}
	return h.remember(text)
}

func TestTheLogSaysWhichRuleRefusedAClient(t *testing.T) {
	h := startClosed(t, "--jwt-iss=login", "--jwt-aud=hub", "--log-level=debug", "--message-burst=5", "--message-rate=1", "--default-subscribe=channel")
	now := time.Now()
	for _, c := range []struct {
		claims           map[string]any
		rule, text, user string
	}{
		{map[string]any{"aud": "app"}, "aud", `aud is "app", want one of ["hub"]`, "42"},
		{map[string]any{"iss": "me"}, "iss", `iss is "me", want "login"`, "42"},
		{map[string]any{"sub": nil}, "sub", "is missing", ""},
		{map[string]any{"nbf": now.Add(time.Hour).Unix()}, "nbf", "ahead", "42"},
		{map[string]any{"exp": now.Add(-time.Hour).Unix()}, "exp", "exp was 1h0m", "42"},
		{map[string]any{"topics": "news"}, "topics", "want {", "42"},
	} {
		dialWith(t, c.rule, h.public, websocket.DialOptions{Subprotocols: []string{"hub.v1.json", "bearer." + h.claimed(c.claims)}}).wantEnd()
		if l := h.awaitReason(t, "token", c.rule, c.text); l.User != c.user || !strings.HasPrefix(l.Addr, "127.0.0.1:") {
			t.Errorf("%+v", l)
		}
	}
	dial(t, "no token", h.public, "hub.v1.json").wantEnd()
	h.awaitReason(t, "token", "missing", "no token")
	good := h.claimed(nil)
	for _, c := range []struct {
		name, path       string
		header           []string
		kind, rule, text string
	}{
		{"an origin", "?token=" + good, append([]string{"Origin", "https://evil.example"}, upgrade...), "handshake", "origin", `"https://evil.example"`},
		{"a topic", "?topic=secret&token=" + good, upgrade, "handshake", "topic", `"secret": no pattern matches of: channel`},
		{"no WebSocket", "", nil, "handshake", "no_websocket", ""},
		{"a path", "/none", upgrade, "handshake", "path", ""},
		{"a user", "?user=42&token=" + good, upgrade, "handshake", "forbidden", "?user= is not trusted"},
	} {
		if status, _, _ := ask(t, "GET", "http"+strings.TrimPrefix(h.public, "ws")+c.path, "", c.header...); status < 400 {
			t.Errorf("%s is answered %d", c.name, status)
		}
		if l := h.awaitReason(t, c.kind, c.rule, c.text); !strings.HasPrefix(l.Addr, "127.0.0.1:") {
			t.Errorf("%+v", l)
		}
	}
	v1 := h.v1(good)
	session := strings.Split(v1.want(`{"type":"welcome"`), `"`)[7]
	for _, c := range []struct{ say, rule, text string }{
		{`{"type":"subscribe","id":1,"topic":"sport"}`, "forbidden", "follow: this topic is not for this session: by the defaults (--default-subscribe, --default-publish), no pattern matches of: channel"},
		{`{"type":"subscribe","id":1,"topic":"user:43"}`, "forbidden", "another user's own topic"},
		{`{"type":"publish","id":1,"topic":"news","data":"hidden"}`, "forbidden", "publish to: "},
		{`{"type":"history","id":1,"topic":"$x"}`, "forbidden", "channels or subs"},
	} {
		v1.say(c.say)
		v1.want(`{"type":"error"`)
		if l := h.awaitReason(t, "topic", c.rule, c.text); l.Session != session || l.User != "42" || l.Topic == "" || l.Addr == "" {
			t.Errorf("%+v", l)
		}
	}
	v1.say(`{"type":"auth","id":1,"token":"` + h.claimed(map[string]any{"sub": "43"}) + `"}`)
	v1.want(`{"type":"error"`)
	h.awaitReason(t, "token", "sub", `is of user "43"`)
	for range 3 {
		v1.say(`{"type":"ping"}`)
	}
	h.awaitReason(t, "drop", "rate_limit", "--message-rate")
	ask(t, "POST", h.control+"/api/disconnect", `{"user":"42"}`, withKey...)
	v1.wantEnd()
	if l := h.awaitReason(t, "cut", "disconnect", "/api/disconnect"); l.Session != session || l.User != "42" || l.Addr == "" {
		t.Errorf("%+v", l)
	}
	revoked := h.v1(good)
	revoked.want(`{"type":"welcome"`)
	ask(t, "POST", h.control+"/api/revoke", `{"user":"42"}`, withKey...)
	revoked.wantEnd()
	h.awaitReason(t, "cut", "bad_token", "was revoked")
	h.v1(good).wantEnd()
	h.awaitReason(t, "token", "revoked", "/api/revoke")
	if strings.Contains(h.log.String(), "hidden") {
		t.Errorf("data is in the log:\n%s", h.log)
	}
	h.keepsSecrets()
}

func TestAnOperatorIsToldHowAClientBrokeTheProtocol(t *testing.T) {
	h := startInside(t, "--log-level=debug", "--max-message=100")
	for rule, frame := range map[string]struct{ bytes, text string }{
		"protocol":     {"\x81\x01a", "mask"},
		"too_big":      {"\x81\xfe\xff\xff\x00\x00\x00\x00", "--max-message"},
		"invalid_text": {"\x81\x81\x00\x00\x00\x00\xff", "not UTF-8"},
		"binary":       {"\x82\x81\x00\x00\x00\x00a", "text frames only"},
	} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(strings.TrimSuffix(h.public, "/notification"), "ws://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		head := "GET /notification HTTP/1.1\r\nHost: localhost\r\n"
		for i := 0; i < len(upgrade); i += 2 {
			head += upgrade[i] + ": " + upgrade[i+1] + "\r\n"
		}
		if _, err := conn.Write([]byte(head + "\r\n" + frame.bytes)); err != nil {
			t.Fatal(err)
		}
		if l := h.awaitReason(t, "cut", rule, frame.text); l.Session == "" || l.Addr != conn.LocalAddr().String() {
			t.Errorf("%+v", l)
		}
	}
}

func TestAllThatHappensToATracedUserIsLogged(t *testing.T) {
	h := startInside(t, "--trace-user=42", "--log-level=info", "--history=*=10")
	other := dial(t, "other", h.public+"?user=43", "hub.v1.json")
	other.want(`{"type":"welcome"`)
	c := dial(t, "traced", h.public+"?user=42", "hub.v1.json")
	ticket := strings.Split(c.want(`{"type":"welcome"`), `"token":"`)[1]
	for _, step := range []struct{ say, want string }{
		{`{"type":"subscribe","id":1,"topic":"news"}`, `"id":1`}, {`{"type":"publish","id":2,"topic":"news","data":"hidden"}`, `"data":"hidden"`},
		{`{"type":"history","id":3,"topic":"news"}`, `"id":3`}, {`{"type":"subscribe","id":4,"topic":"user:43"}`, `"id":4`}, {`{"type":"unsubscribe","id":5,"topic":"news"}`, `"id":5`},
	} {
		c.say(step.say)
		c.until("message", step.want, func(s string) bool { return strings.Contains(s, step.want) })
	}
	ask(t, "POST", h.control+"/api/disconnect", `{"user":"42"}`, asJSON...)
	c.wantEnd()
	lines := func() (list []string) {
		for line := range strings.Lines(h.log.String()) {
			var l struct{ Message, User, Topic string }
			if json.Unmarshal([]byte(line), &l) == nil && strings.HasPrefix(l.Message, "trace: ") {
				list = append(list, strings.TrimPrefix(l.Message, "trace: ")+" "+l.Topic)
				if l.User != "42" {
					t.Errorf("traced: %s", line)
				}
			}
		}
		return list
	}
	for _, want := range []string{"open ", "message ", "subscribe news", "publish news", "events news", "history news", "unsubscribe news", "topic user:43", "error ", "cut "} {
		eventually(t, func() error {
			if list := lines(); !strings.Contains(strings.Join(list, "\n")+"\n", want+"\n") {
				return fmt.Errorf("no %q in %q", want, list)
			}
			return nil
		})
	}
	if text := h.log.String(); strings.Contains(text, "hidden") || strings.Contains(text, ticket[:20]) {
		t.Errorf("data or a token is in the log:\n%s", text)
	}
}

func TestHubTokenVerifyExplainsAToken(t *testing.T) {
	env := map[string]string{"HUB_JWT_SECRET": secret}
	mint := func(args ...string) string {
		_, stdout, _ := call(t, env, append([]string{"token"}, args...)...)
		return strings.TrimSpace(stdout)
	}
	good := mint("--sub=42", "--subscribe=news:*", "--publish=chat")
	for _, c := range []struct {
		token string
		args  []string
		code  int
		want  []string
	}{
		{good, nil, 0, []string{`good. Its user is "42"`, "may follow: news:*, and user:42", "may publish to: chat", "by its claims"}},
		{mint("--sub=42"), []string{"--default-subscribe=a:*"}, 0, []string{"may follow: a:*, and user:42", "may publish to: nothing", "--default-subscribe"}},
		{"Bearer " + good, nil, 0, []string{"good"}},
		{good, []string{"--jwt-aud=me", "--jwt-iss=you"}, 1, []string{"refused", "aud: the claim aud is missing", "iss: the claim iss is missing"}},
		{good[:len(good)-4] + "AAAA", nil, 1, []string{"signature: alg"}},
		{"nonsense", nil, 1, []string{"malformed"}},
	} {
		code, stdout, stderr := call(t, env, append([]string{"token", "verify", c.token}, c.args...)...)
		for _, want := range c.want {
			if code != c.code || !strings.Contains(stdout, want) {
				t.Errorf("%v ends with %d, no %q in %s%s", c.args, code, want, stdout, stderr)
			}
		}
		if strings.Contains(stdout+stderr, c.token) {
			t.Errorf("the token is printed: %s%s", stdout, stderr)
		}
	}
	var out strings.Builder
	if err := verifyToken(t.Context(), commandOf(t, env, "token", "verify"), strings.NewReader(good+"\n"), &out); err != nil || !strings.Contains(out.String(), "is good") {
		t.Errorf("from standard input: %v, %s", err, &out)
	}
	if err := verifyToken(t.Context(), commandOf(t, env, "token", "verify"), strings.NewReader("\n"), &out); exitCode(err) != 2 {
		t.Errorf("nothing: %v", err)
	}
	if code, _, stderr := call(t, nil, "token", "verify", good); code != 2 || !strings.Contains(stderr, "open") {
		t.Errorf("an open hub ends with %d: %s", code, stderr)
	}
}

// commandOf is what the program makes of args.
func commandOf(t *testing.T, env map[string]string, args ...string) *settings {
	t.Helper()
	s, err := parse(args, os.Stdout, os.Stderr, environment{vars: env})
	if err != nil {
		t.Fatal(err)
	}
	return s
}
