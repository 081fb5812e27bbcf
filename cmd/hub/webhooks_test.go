package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"wshub/pubsub/redistest/drills"
	"wshub/session/webhook"
)

const (
	webhookSecret1 = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
	webhookSecret2 = "whsec_QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY="
)

// hookArgs are the settings of a hub that posts to url.
func hookArgs(url string, more ...string) []string {
	return append([]string{"--lifecycle=on", "--webhook=" + url, "--webhook-secret=" + webhookSecret1, "--webhook-allow-private"}, more...)
}

func TestEachSettingOfWebhooksReachesItsPackage(t *testing.T) {
	c := parsed(t, nil, hookArgs("https://a.example/x?k=1", "--webhook=http://b.internal/y", "--webhook-secret="+webhookSecret2, "--webhook-retry=3m", "--webhook-events=user_online,user_offline")...).cfg
	got, err := c.webhookConfig()
	if err != nil {
		t.Fatal(err)
	}
	secrets, err := webhook.ParseSecrets([]string{webhookSecret1, webhookSecret2})
	if err != nil {
		t.Fatal(err)
	}
	if len(got.URLs) != 2 || got.URLs[0].String() != "https://a.example/x?k=1" || got.URLs[1].Host != "b.internal" {
		t.Errorf("URLs %v", got.URLs)
	}
	got.URLs = nil
	if want := (webhook.Config{Secrets: secrets, Retry: 3 * time.Minute, Events: []string{"user_online", "user_offline"}, AllowPrivate: true}); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if !c.lifecycle().Readers || parsed(t, nil, "--lifecycle=on").cfg.lifecycle().Readers {
		t.Error("the broker is not told whether the lifecycle is read")
	}
}

func TestWebhooksThatCanNotWorkAreRefusedWithTheRemedy(t *testing.T) {
	url, secret := "--webhook=https://a.example/", "--webhook-secret="+webhookSecret1
	for want, args := range map[string][]string{
		"--webhook-secret":                                 {"--lifecycle=on", url},
		"without --lifecycle=on":                           {url, secret},
		"--webhook-allow-private":                          {"--lifecycle=on", "--webhook=http://a.example/", secret},
		"169.254.169.254 is private":                       {"--lifecycle=on", "--webhook=https://169.254.169.254/latest", secret},
		"is public, and http":                              {"--lifecycle=on", "--webhook=http://8.8.8.8/", secret, "--webhook-allow-private"},
		"another one has the same host and path":           {"--lifecycle=on", url, url + "?b=c", secret},
		"a blank %20":                                      {"--lifecycle=on", "--webhook=https://a.example/a b", secret},
		"there are session_opened, session_closed, user_o": {"--lifecycle=on", url, secret, "--webhook-events=user_gone"},
	} {
		if code, _, stderr := call(t, nil, append([]string{"check"}, args...)...); code != 2 || !strings.Contains(stderr, want) {
			t.Errorf("%q ends with %d: %s", args, code, stderr)
		}
	}
	for _, args := range [][]string{{"--lifecycle=on", url, secret}, {secret}, hookArgs("http://127.0.0.1:9000/hook")} {
		if code, _, stderr := call(t, nil, append([]string{"check"}, args...)...); code != 0 {
			t.Errorf("%q ends with %d: %s", args, code, stderr)
		}
	}
}

func TestNoSecretOfAWebhookIsShown(t *testing.T) {
	const key = "s3cr3t-code"
	args := hookArgs("https://a.example/hook?v=1&code="+key, "--webhook-secret="+webhookSecret2)
	code, stdout, stderr := call(t, nil, append([]string{"check"}, args...)...)
	if all := stdout + stderr; code != 0 || strings.Contains(all, key) || strings.Contains(all, webhookSecret1) || strings.Contains(all, webhookSecret2) ||
		!strings.Contains(stdout, "https://a.example/hook?v=***&code=***") || !regexp.MustCompile(`--webhook-secret +\*\*\*,\*\*\*`).MatchString(stdout) {
		t.Errorf("ends with %d: %s%s", code, stdout, stderr)
	}
	s := parsed(t, nil, args...)
	if text, _ := json.Marshal(s.shown()); strings.Contains(string(text), key) || strings.Contains(string(text), "whsec_MDEy") {
		t.Errorf("shown: %s", text)
	}
	var log strings.Builder
	logger, _ := newLogger(s.cfg, &log)
	logger.Info().Str("url", s.cfg.Webhook[0]).Msg(webhookSecret2)
	if strings.Contains(log.String(), key) || strings.Contains(log.String(), webhookSecret2) {
		t.Errorf("logged: %s", log.String())
	}
	for _, bad := range []string{"https://Wc9secret@a.example/", "https://u:Wc9secret@a.example/", "https://a.example/?k=Wc9#secret", "https://a.example/%zz?Wc9secret"} {
		if code, stdout, stderr := call(t, nil, "check", "--webhook="+bad); code != 2 || strings.Contains(stdout+stderr, "Wc9") {
			t.Errorf("%s ends with %d: %s%s", bad, code, stdout, stderr)
		}
	}
}

// hookProgram is an endpoint in Node that prints lines.
type hookProgram struct {
	url   string
	lines chan string
}

// startHookProgram runs an endpoint, which prints its port first.
func startHookProgram(t *testing.T, dir, file string, env ...string) *hookProgram {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		if os.Getenv("WSHUB_REQUIRE_NODE") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	cmd := exec.CommandContext(t.Context(), node, file)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), append(env, "HUB_WEBHOOK_SECRET="+webhookSecret1)...)
	p := &hookProgram{lines: make(chan string, 1000)}
	runClients(t, cmd, func(line []byte) { p.lines <- string(line) })
	p.url = "http://127.0.0.1:" + strings.TrimPrefix(p.next(t), "port ") + "/hook"
	return p
}

func (p *hookProgram) next(t *testing.T) string {
	t.Helper()
	select {
	case line := <-p.lines:
		return line
	case <-time.After(patience):
		t.Fatal("the endpoint prints nothing")
		return ""
	}
}

// posted is a request as testdata/webhooks.mjs prints it.
type posted struct {
	ID, Refused, Stream string
	Status              int
	Fence               uint64
	Events              []struct {
		Seq                        uint64
		Type, User, Session, Cause string
	}
}

// An endpoint that verifies with the library of Standard Webhooks takes what a hub posts, and what it refused at first. So it does when the
// hub signs with two secrets, of which it knows the second.
func TestStandardWebhooksVerifiesWhatAHubPosts(t *testing.T) {
	drills.InProcess(t)
	if _, err := os.Stat("testdata/node_modules/standardwebhooks"); err != nil {
		if os.Getenv("WSHUB_REQUIRE_NODE") == "1" {
			t.Fatal(err)
		}
		t.Skip("no standardwebhooks (npm ci --prefix cmd/hub/testdata)")
	}
	p := startHookProgram(t, "testdata", "webhooks.mjs")
	h := startInside(t, hookArgs(p.url, "--webhook-secret="+webhookSecret2+"\n"+webhookSecret1, "--presence-grace=100ms")...)
	h.awaitReady(t)
	c := connect(t, h, "42")
	defer c.CloseNow()
	var types []string
	var fence, seq uint64
	for !slices.Contains(types, "user_offline") {
		var in posted
		if line := p.next(t); json.Unmarshal([]byte(line), &in) != nil || in.Refused != "" {
			t.Fatal(line)
		}
		if in.Stream == "" || fence != 0 && in.Fence != fence {
			t.Errorf("%+v, after fence %d", in, fence)
		}
		fence = in.Fence
		for _, e := range in.Events {
			if in.Status == 204 {
				if types = append(types, e.Type); e.Seq != seq+1 {
					t.Errorf("%s has number %d, after %d", e.Type, e.Seq, seq)
				}
				seq = e.Seq
			}
			if e.Type == "user_online" {
				c.CloseNow()
			}
		}
	}
	for _, want := range []string{"session_opened", "user_online", "session_closed", "user_offline"} {
		if !slices.Contains(types, want) {
			t.Errorf("no %s among %q", want, types)
		}
	}
	eventually(t, func() error {
		_, text, _ := ask(t, "GET", h.control+"/metrics", "")
		for _, want := range []string{`wshub_webhook_events_total{outcome="delivered"} ` + fmt.Sprint(len(types)), `wshub_webhook_streams{host="` + strings.Split(p.url, "/")[2] + `"} 1`} {
			if !strings.Contains(text, want+"\n") {
				return fmt.Errorf("metrics have no %s", want)
			}
		}
		return nil
	})
	if strings.Contains(h.log.String(), "whsec_") {
		t.Error("a secret is in the log")
	}
}

// The endpoint of README.md sends a mail to who is gone for good, and to nobody else.
func TestTheReadmesEndpointSendsItsMails(t *testing.T) {
	drills.InProcess(t)
	_, text, _ := strings.Cut(read(t, readme), "\n### Webhooks")
	dir := t.TempDir()
	write(t, filepath.Join(dir, "hook.mjs"), block(t, text, "js"))
	p := startHookProgram(t, dir, "hook.mjs", "PORT=0", "WAIT_MS=3000")
	h := startInside(t, hookArgs(p.url, "--presence-grace=100ms")...)
	h.awaitReady(t)
	taken := func() float64 { return metricOf(t, h.control, `wshub_webhook_events_total{outcome="delivered"}`) }
	for _, user := range []string{"stays", "gone"} {
		before := taken()
		c := connect(t, h, user)
		eventually(t, func() error { return atLeast(taken(), before+2) })
		c.CloseNow()
		eventually(t, func() error { return atLeast(taken(), before+4) })
		if user == "stays" {
			defer connect(t, h, user).CloseNow()
			eventually(t, func() error { return atLeast(taken(), before+6) })
		}
	}
	if line := p.next(t); line != "mail to gone" {
		t.Errorf("printed %q", line)
	}
	forged, err := http.Post(p.url, "application/json", strings.NewReader(`{"events":[{"type":"user_offline","user":"forged","time":0}]}`))
	if err != nil || forged.StatusCode != http.StatusUnauthorized {
		t.Errorf("a request without a signature: %v, %v", forged, err)
	}
	forged.Body.Close()
	if len(p.lines) > 0 {
		t.Errorf("printed %q", <-p.lines)
	}
}

// atLeast is an error if n is less than least.
func atLeast(n, least float64) error {
	if n < least {
		return fmt.Errorf("%v, want %v at least", n, least)
	}
	return nil
}

// connect is a session of user, which its hub has welcomed.
func connect(t *testing.T, h *hubInside, user string) *websocket.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, _, err := websocket.Dial(ctx, h.public+"?user="+user, &websocket.DialOptions{Subprotocols: []string{"hub.v1.json"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, text, err := c.Read(ctx); err != nil || !strings.HasPrefix(string(text), `{"type":"welcome"`) {
		t.Fatalf("%s, %v", text, err)
	}
	return c
}

// metricOf is what /metrics shows under a name; 0 where it shows nothing.
func metricOf(t *testing.T, control, name string) (n float64) {
	t.Helper()
	_, text, _ := ask(t, "GET", control+"/metrics", "")
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			_, _ = fmt.Sscan(value, &n)
		}
	}
	return n
}
