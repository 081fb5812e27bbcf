package main

import (
	"errors"
	"net/url"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	pusherhttp "github.com/pusher/pusher-http-go/v5"
	"github.com/rs/zerolog"

	"wshub/pubsub"
	"wshub/session/pusher"
)

// A hub that is told to reads the secrets of its applications again. Who was let in stays; new signatures are judged by the new secret, at
// the API of both ports and in channels.
func TestTheSecretsOfPusherApplicationsAreReadAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "apps")
	write(t, file, pusherApp+"\n")
	t.Setenv("HUB_PUSHER_APP_FILE", file)
	h := startHub(t, buildHub(t), "", "--pusher-api=public")
	(&threeHubs{t: t}).awaitReady(h)
	backend := func(secret, address string) *pusherhttp.Client {
		return &pusherhttp.Client{AppID: "1", Key: "app-key", Secret: secret, Host: address}
	}
	(&threeHubs{t: t}).awaitReady(h)
	u, err := url.Parse(h.control)
	if err != nil {
		t.Fatal(err)
	}
	hangUp := func(said string) {
		t.Helper()
		h.signal(syscall.SIGHUP)
		h.await(said)
	}
	wantSecret := func(good, bad string) {
		t.Helper()
		for _, address := range []string{u.Host, h.addr()} {
			if err := backend(good, address).Trigger("private-a", "e", "1"); err != nil {
				t.Error(err)
			}
			if err := backend(bad, address).Trigger("private-a", "e", "1"); err == nil || !strings.Contains(err.Error(), "401") {
				t.Errorf("the other secret: %v", err)
			}
		}
	}
	wantSecret("app-secret", "newer-secret")
	first, socket := h.dialPusher("first")
	subscribePusher(t, first, backend("app-secret", ""), socket, "private-a", "")

	write(t, file, "1:app-key:newer-secret\n")
	hangUp("hold from now on")
	wantSecret("newer-secret", "app-secret")
	first.want(`{"event":"e","channel":"private-a","data":"1"}`)
	second, socket := h.dialPusher("second")
	subscribePusher(t, second, backend("newer-secret", ""), socket, "private-a", "")

	for _, other := range []string{"1:other-key:app-secret\n", "2:app-key:app-secret\n", pusherApp + "\n2:other:another-secret\n"} {
		write(t, file, other)
		hangUp("those from before hold")
		wantSecret("newer-secret", "app-secret")
	}
	if text := h.text(); strings.Contains(text, "newer-secret") || strings.Contains(text, "another-secret") || !strings.Contains(text, "takes a restart") {
		t.Errorf("the log shows a secret, or not why: %s", text)
	}
}

// By the time that secrets are read again a file of variables may share an application. That takes a restart: until then its channels are where
// its clients are, behind its wall, at the API and in webhooks, too.
func TestSecretsThatAreReadAgainMoveNoWall(t *testing.T) {
	config := func(secret string, more ...string) *config {
		return parsed(t, nil, append([]string{"--pusher-app=1:key:" + secret, "--pusher-app=2:other:another-secret", "--pusher-webhook=1=https://a.example/hook", "--lifecycle=on"}, more...)...).cfg
	}
	before, now := config("app-secret"), config("newer-secret", "--pusher-share=1")
	p := newPusherCaller(t)
	served := pusherInForce{map[string]pusher.Protocol{}, p.api}
	for _, id := range []string{"1", "2"} {
		served.protocols[id] = pusher.New(&pusher.App{ID: id}, false)
	}
	hooks, err := before.posting(zerolog.Nop(), nil)
	if err := errors.Join(err, before.sameApps(now), served.use(now), hooks.use(now)); err != nil {
		t.Fatal(err)
	}
	if status, answer := p.ask("POST", "/apps/1/events", "", pusherEventText); status != 401 {
		t.Errorf("by the former secret: %d %s", status, answer)
	}
	p.app = p.app.WithSecret("newer-secret")
	if status, answer := p.ask("POST", "/apps/1/events", "", pusherEventText); status != 200 || len(p.fake.published) != 1 || p.fake.published[0].Topic != "pusher:1:c" {
		t.Errorf("%d %s: %+v", status, answer, p.fake.published)
	}
	body, _ := hooks.forms["1"].Body(&pubsub.LifecycleBatch{Entries: []pubsub.LifecycleEntry{
		{Event: []byte(`{"seq":1,"type":"topic_occupied","topic":"pusher:1:news","time":1}`)}, {Event: []byte(`{"seq":2,"type":"topic_occupied","topic":"others","time":2}`)},
	}})
	if want := `{"time_ms":1,"events":[{"name":"channel_occupied","channel":"news"}]}`; string(body) != want {
		t.Errorf("webhooks tell %s, want %s", body, want)
	}
}
