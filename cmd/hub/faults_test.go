package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/golang-jwt/jwt/v5"

	"wshub/pubsub/redistest"
	"wshub/pubsub/redistest/drills"
)

// TestTenFaultsAreFoundByTheLogAlone plays what goes wrong at an operator's against a hub of its own process. One line of
// the log names the cause, whom it concerns and what to do.
func TestTenFaultsAreFoundByTheLogAlone(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	redis.CLI("acl", "setuser", "hub", "on", ">1", "allkeys", "allchannels", "+@all")
	misspelt := filepath.Join(t.TempDir(), "misspelt")
	if err := os.WriteFile(misspelt, []byte("#!/bin/sh\nHUB_MAX_CONECTIONS=5 exec "+buildHub(t)+` "$@"`+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	h := startHub(t, misspelt, strings.Replace(redis.URL(), "//", "//hub:1@", 1), "--jwt-secret="+secret, "--jwt-aud=hub", "--api-key="+apiKey,
		"--auth-grace=100ms", "--jwt-skew=0s", "--max-queued=64KiB", "--send-buffer=4KiB", "--message-rate=0", "--workers=1")
	h.await("connected to redis")
	signed := func(more jwt.MapClaims) string {
		claims := jwt.MapClaims{"sub": "42", "aud": "hub", "exp": time.Now().Add(time.Hour).Unix(), "topics": map[string]any{"subscribe": []string{"news"}, "publish": []string{"news"}}}
		for name, value := range more {
			if claims[name] = value; value == nil {
				delete(claims, name)
			}
		}
		text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(secret))
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	enter := func(token string) *client {
		return dialWith(t, "client", h.public, websocket.DialOptions{Subprotocols: []string{"hub.v1.json", "bearer." + token}})
	}
	session := func(c *client) string { return strings.Split(c.want(`{"type":"welcome"`), `"`)[7] }

	t.Run("misspelt variable", func(t *testing.T) {
		h.wantLine(t, "HUB_MAX_CONECTIONS", "did you mean HUB_MAX_CONNECTIONS")
	})
	t.Run("wrong audience", func(t *testing.T) {
		enter(signed(jwt.MapClaims{"aud": "app"})).wantEnd()
		h.wantLine(t, "aud is", `"app"`, `"user":"42"`, `"addr":"127.0.0.1:`, "--jwt-aud")
	})
	t.Run("missing sub", func(t *testing.T) {
		enter(signed(jwt.MapClaims{"sub": nil})).wantEnd()
		h.wantLine(t, "the claim sub, which names the user, is missing", `"addr":"127.0.0.1:`, "the issuer puts the user's id into sub")
	})
	t.Run("expired token", func(t *testing.T) {
		enter(signed(jwt.MapClaims{"exp": time.Now().Add(-time.Hour).Unix()})).wantEnd()
		h.wantLine(t, "exp was 1h0m", `"user":"42"`, `"addr":"127.0.0.1:`, "--jwt-skew")
	})
	t.Run("token that expires", func(t *testing.T) {
		c := enter(signed(nil))
		name := session(c)
		ask(t, "POST", h.control+"/api/refresh", `{"session":"`+name+`","expired":true}`, withKey...)
		c.wantEnd()
		h.wantLine(t, "its token expired", `"session":"`+name, `"user":"42"`, `"addr":"127.0.0.1:`, "--auth-grace")
	})
	t.Run("origin", func(t *testing.T) {
		_, answer, err := websocket.Dial(t.Context(), h.public, &websocket.DialOptions{HTTPHeader: http.Header{"Origin": {"https://app.example"}}})
		if err == nil || answer.StatusCode != 403 {
			t.Errorf("%v", err)
		}
		h.wantLine(t, "https://app.example", `"rule":"origin"`, `"addr":"127.0.0.1:`, "--origins")
	})
	t.Run("missing right", func(t *testing.T) {
		c := enter(signed(nil))
		name := session(c)
		c.say(`{"type":"subscribe","id":1,"topic":"payroll"}`)
		c.until("message", "error", func(s string) bool { return strings.HasPrefix(s, `{"type":"error","id":1`) })
		h.wantLine(t, `"topic":"payroll"`, "by the token, no pattern matches of: news", `"session":"`+name, `"user":"42"`, `"addr":"127.0.0.1:`, "claim topics")
	})
	t.Run("slow client", func(t *testing.T) {
		conn := h.deaf(t, "?topic=news&token="+signed(nil))
		data := fmt.Sprintf(`{"topic":"news","data":"%s"}`, strings.Repeat("x", 60_000))
		eventually(t, func() error {
			ask(t, "POST", h.control+"/api/publish", data, withKey...)
			if !strings.Contains(h.text(), `"rule":"slow_consumer"`) {
				return fmt.Errorf("nobody is cut")
			}
			return nil
		})
		h.wantLine(t, "does not read fast enough", `"user":"42"`, `"addr":"`+conn.LocalAddr().String(), "bytes wait for it", "--max-queued")
	})
	t.Run("ACL at Redis", func(t *testing.T) {
		redis.CLI("acl", "setuser", "hub", "-zscan")
		h.wantLine(t, "the user lacks +zscan", `"redis":"127.0.0.1:`, "ACL SETUSER")
		redis.CLI("acl", "setuser", "hub", "+@all")
	})
	publisher := enter(signed(nil))
	name := session(publisher)
	redis.Freeze()
	t.Run("full queue", func(t *testing.T) {
		for range 6000 {
			publisher.say(`{"type":"publish","topic":"news","data":1}`)
		}
		h.wantLine(t, `"rule":"worker_queue_full"`, "too many publications wait", `"session":"`+name, `"user":"42"`, `"topic":"news"`, `"addr":"127.0.0.1:`, "--workers")
	})
	t.Run("frozen Redis", func(t *testing.T) { // 6 s
		drills.Programs(t)
		h.wantLine(t, `"message":"not connected to redis"`, "redis does not answer", `"redis":"127.0.0.1:`)
	})
	redis.Thaw()
	if strings.Contains(h.text(), signed(nil)[:40]) || strings.Contains(h.text(), secret) {
		t.Error("a token or the secret is in the log")
	}
}

// TestRemediesNameWhatExists looks at what the log and check say of remedies.
func TestRemediesNameWhatExists(t *testing.T) {
	known := map[string]bool{"connect": true}
	for _, f := range parsed(t, nil).flags {
		known[f.Name] = true
	}
	for _, file := range []string{"../../session/reasons/remedies.go", "../../pubsub/remedy.go", "../../pubsub/check.go"} {
		for _, found := range regexp.MustCompile(`--([a-z][a-z-]+)`).FindAllStringSubmatch(read(t, file), -1) {
			if !known[found[1]] {
				t.Errorf("%s: there is no --%s", file, found[1])
			}
		}
	}
}

// wantLine waits for a line of the log that holds all of these texts.
func (p *process) wantLine(t *testing.T, texts ...string) {
	t.Helper()
	quoted := make([]string, len(texts))
	for i, text := range texts {
		b, _ := json.Marshal(text) // as it stands within a string of the line, unless it has fields' names itself
		quoted[i] = strings.Trim(string(b), `"`)
	}
	eventually(t, func() error {
		for line := range strings.Lines(p.text()) {
			all := true
			for i := range texts {
				all = all && (strings.Contains(line, texts[i]) || strings.Contains(line, quoted[i]))
			}
			if all {
				return nil
			}
		}
		return fmt.Errorf("no line has all of %q", texts)
	})
}

// deaf connects a plain client that reads nothing.
func (p *process) deaf(t *testing.T, query string) net.Conn {
	t.Helper()
	addr, path, _ := strings.Cut(strings.TrimPrefix(p.public, "ws://"), "/")
	conn, err := net.Dial("tcp", addr)
	if err == nil {
		err = conn.(*net.TCPConn).SetReadBuffer(4096)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	head := "GET /" + path + query + " HTTP/1.1\r\nHost: localhost\r\n"
	for i := 0; i < len(upgrade); i += 2 {
		head += upgrade[i] + ": " + upgrade[i+1] + "\r\n"
	}
	if _, err := conn.Write([]byte(head + "\r\n")); err != nil {
		t.Fatal(err)
	}
	return conn
}
