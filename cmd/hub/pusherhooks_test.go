package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	pusherhttp "github.com/pusher/pusher-http-go/v5"

	"wshub/pubsub/redistest/drills"
)

// pusherHookArgs are the settings of a hub that posts webhooks of the tests' application to url.
func pusherHookArgs(url string, more ...string) []string {
	return append([]string{"--pusher-app=" + pusherApp, "--pusher-webhook=1=" + url, "--lifecycle=on", "--webhook-allow-private"}, more...)
}

func TestPusherWebhooksThatCanNotWorkAreRefusedWithTheRemedy(t *testing.T) {
	app, hook, on := "--pusher-app="+pusherApp, "--pusher-webhook=1=https://a.example/hook", "--lifecycle=on"
	for want, args := range map[string][]string{
		"without --lifecycle=on":                 {app, hook},
		"want the id of a --pusher-app":          {app, on, "--pusher-webhook=2=https://a.example/hook"},
		"want a URL":                             {app, on, "--pusher-webhook=1="},
		"--webhook-allow-private":                {app, on, "--pusher-webhook=1=http://a.example/"},
		"is private":                             {app, on, "--pusher-webhook=1=https://10.0.0.1/"},
		"another one has the same host and path": {app, on, hook, hook + "?b=c"},
	} {
		if code, _, stderr := call(t, nil, append([]string{"check"}, args...)...); code != 2 || !strings.Contains(stderr, want) || !strings.Contains(stderr, "--pusher-webhook") {
			t.Errorf("%q ends with %d: %s", args, code, stderr)
		}
	}
	two := "--pusher-app=2:other:another-secret"
	for _, args := range [][]string{{app, hook, on}, {app, two, hook, on, "--pusher-webhook=2=https://a.example/hook"}, append(hookArgs("https://a.example/hook"), app, hook)} {
		if code, _, stderr := call(t, nil, append([]string{"check"}, args...)...); code != 0 {
			t.Errorf("%q ends with %d: %s", args, code, stderr)
		}
	}
}

func TestNoSecretOfAPusherWebhookIsShown(t *testing.T) {
	const key = "s3cr3t-code"
	args := []string{"--pusher-app=" + pusherApp, "--pusher-webhook=1=https://a.example/hook?code=" + key, "--lifecycle=on"}
	code, stdout, stderr := call(t, nil, append([]string{"check"}, args...)...)
	if all := stdout + stderr; code != 0 || strings.Contains(all, key) || strings.Contains(all, "app-secret") || !strings.Contains(stdout, "1=https://a.example/hook?code=***") {
		t.Errorf("ends with %d: %s%s", code, stdout, stderr)
	}
	s := parsed(t, nil, args...)
	var log strings.Builder
	logger, _ := newLogger(s.cfg, &log)
	logger.Info().Msg(s.cfg.PusherWebhook[0])
	if strings.Contains(log.String(), key) {
		t.Errorf("logged: %s", log.String())
	}
	for _, bad := range []string{"Wc9secret", "1=https://u:Wc9secret@a.example/", "1=https://a.example/?k=Wc9#secret", "1=https://a.example/%zz?Wc9secret"} {
		if code, stdout, stderr := call(t, nil, "check", "--pusher-app="+pusherApp, "--lifecycle=on", "--pusher-webhook="+bad); code != 2 || strings.Contains(stdout+stderr, "Wc9") {
			t.Errorf("%s ends with %d: %s%s", bad, code, stdout, stderr)
		}
	}
}

// hookVisits has clients of the application come to channels of h and leave them: told is what a webhook tells of it, in the order of each channel.
func hookVisits(t *testing.T, h *hubInside) (told map[string][]string) {
	t.Helper()
	b := &pusherhttp.Client{AppID: "1", Key: "app-key", Secret: "app-secret"}
	var clients []*client
	for i, user := range []string{"7", "7", "8"} {
		c, socket := dialPusher(t, h.addr(), fmt.Sprint("client", i))
		subscribePusher(t, c, b, socket, "news", "")
		subscribePusher(t, c, b, socket, "private-news", "")
		subscribePusher(t, c, b, socket, "presence-room", user)
		clients = append(clients, c)
	}
	connect(t, h, "42").CloseNow() // is none of the application's business
	for _, channel := range []string{"news", "private-news", "presence-room"} {
		for _, c := range []*client{clients[0], clients[2], clients[1]} {
			c.say(`{"event":"pusher:unsubscribe","data":{"channel":"` + channel + `"}}`)
			c.say(`{"event":"pusher:ping","data":{}}`)
			c.want(`{"event":"pusher:pong"`)
		}
	}
	return map[string][]string{
		"news": {"channel_occupied", "channel_vacated"}, "private-news": {"channel_occupied", "channel_vacated"},
		"presence-room": {"channel_occupied", "member_added 7", "member_added 8", "member_removed 8", "member_removed 7", "channel_vacated"},
	}
}

// hookFold takes what webhooks tell until all channels are vacated.
type hookFold map[string][]string

func (f hookFold) take(events []pusherhttp.WebhookEvent) {
	for _, e := range events {
		f[e.Channel] = append(f[e.Channel], strings.TrimSpace(e.Name+" "+e.UserID))
	}
}

func (f hookFold) whole() bool {
	for _, channel := range []string{"news", "private-news", "presence-room"} {
		if !slices.Contains(f[channel], "channel_vacated") {
			return false
		}
	}
	return true
}

// Pusher's Go library verifies what the hub posts, and not with another secret. A batch that was refused comes again.
func TestPusherBackendsInGoVerifyWebhooks(t *testing.T) {
	t.Parallel()
	b, forged := &pusherhttp.Client{Key: "app-key", Secret: "app-secret"}, &pusherhttp.Client{Key: "app-key", Secret: "app-secre7"}
	hooks, failed := make(chan *pusherhttp.Webhook, 100), false
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		hook, err := b.Webhook(r.Header, body)
		if _, bad := forged.Webhook(r.Header, body); err != nil || bad == nil || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%v %s: %v, %v", r.Header, body, err, bad)
			return
		}
		if !failed {
			failed = true // one request at a time, as there is one stream
			w.WriteHeader(500)
			return
		}
		hooks <- hook
	}))
	t.Cleanup(endpoint.Close)
	h := startInside(t, pusherHookArgs(endpoint.URL+"/hook", "--presence-grace=100ms")...)
	h.awaitReady(t)
	want, got := hookVisits(t, h), hookFold{}
	for !got.whole() {
		select {
		case hook := <-hooks:
			if age := time.Since(time.UnixMilli(int64(hook.TimeMs))); len(hook.Events) == 0 || age < -time.Second || age > patience {
				t.Errorf("%+v", hook)
			}
			got.take(hook.Events)
		case <-time.After(patience):
			t.Fatalf("only %v came", got)
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(hookFold(want)) {
		t.Errorf("told %v, want %v", got, want)
	}
	if n := metricOf(t, h.control, `wshub_webhook_tries_total{outcome="status"}`); n != 1 {
		t.Errorf("%v tries failed", n)
	}
}

// So does npm's.
func TestPusherBackendsOfNpmVerifyWebhooks(t *testing.T) {
	drills.Programs(t)
	if _, err := os.Stat("testdata/node_modules/pusher"); err != nil {
		if os.Getenv("WSHUB_REQUIRE_NODE") == "1" {
			t.Fatal(err)
		}
		t.Skip("no pusher (npm ci --prefix cmd/hub/testdata)")
	}
	p := startHookProgram(t, "testdata", "pusherhooks.mjs")
	h := startInside(t, pusherHookArgs(p.url, "--presence-grace=100ms")...)
	h.awaitReady(t)
	want, got, failed := hookVisits(t, h), hookFold{}, 0
	for !got.whole() {
		var in struct {
			Refused string
			Status  int
			Events  []pusherhttp.WebhookEvent
		}
		if line := p.next(t); json.Unmarshal([]byte(line), &in) != nil || in.Refused != "" || len(in.Events) == 0 {
			t.Fatal(line)
		}
		if in.Status == 500 {
			failed++
			continue
		}
		got.take(in.Events)
	}
	if fmt.Sprint(got) != fmt.Sprint(hookFold(want)) || failed == 0 {
		t.Errorf("told %v behind %d failures, want %v", got, failed, want)
	}
}
