package pusher_test

import (
	"net/http"
	"testing"
	"time"

	"wshub/pubsub"
	"wshub/session/pusher"
)

// entries are a batch of entries of the lifecycle.
func entries(texts ...string) *pubsub.LifecycleBatch {
	b := &pubsub.LifecycleBatch{}
	for _, text := range texts {
		b.Entries = append(b.Entries, pubsub.LifecycleEntry{Event: []byte(text)})
	}
	return b
}

func TestAWebhookTellsOfTheChannelsOfItsApplication(t *testing.T) {
	b := entries(
		`{"seq":1,"type":"reset","epoch":"1","time":1}`,
		`{"seq":2,"type":"session_opened","session":"s_1","user":"u","time":2}`,
		`{"seq":3,"type":"topic_occupied","topic":"pusher:1:news","time":3}`,
		`{"seq":4,"type":"topic_occupied","topic":"pusher:1:presence-a","time":4}`,
		`{"seq":5,"type":"user_joined","topic":"pusher:1:presence-a","user":"7 <ä>","time":5}`,
		`{"seq":6,"type":"user_joined","topic":"pusher:1:news","user":"7","time":6}`,
		`{"seq":7,"type":"topic_occupied","topic":"pusher:11:news","time":7}`,
		`{"seq":8,"type":"topic_occupied","topic":"shared","time":8}`,
		`{"seq":9,"type":"topic_occupied","topic":"a:colon","time":8}`,
		`{"seq":10,"type":"topic_occupied","topic":"pusher:1:#server-to-user-7","time":9}`,
		`{"seq":11,"type":"topic_occupied","topic":"pusher:1:#watch-7","time":10}`,
		`{"seq":12,"type":"user_left","topic":"pusher:1:presence-a","user":"7 <ä>","time":11}`,
		`{"seq":13,"type":"topic_vacated","topic":"pusher:1:presence-a","time":12}`,
		`no JSON`,
		`{"seq":14,"type":"user_offline","user":"u","time":13}`,
	)
	for id, want := range map[string]string{
		"1": `{"time_ms":12,"events":[{"name":"channel_occupied","channel":"news"},{"name":"channel_occupied","channel":"presence-a"},` +
			`{"name":"member_added","channel":"presence-a","user_id":"7 \u003cä\u003e"},{"name":"member_removed","channel":"presence-a","user_id":"7 \u003cä\u003e"},` +
			`{"name":"channel_vacated","channel":"presence-a"}]}`,
		"11": `{"time_ms":7,"events":[{"name":"channel_occupied","channel":"news"}]}`,
		"2":  "",
		"0":  `{"time_ms":8,"events":[{"name":"channel_occupied","channel":"shared"}]}`,
	} {
		app := &pusher.App{ID: id, Key: "key", Secret: "app-secret", Shared: id == "0"}
		body, events := pusher.NewHook(app).Body(b)
		if string(body) != want || (events > 0) != (want != "") {
			t.Errorf("application %s: %d events %s, want %s", id, events, body, want)
		}
	}
}

// The signature is of the body by the secret, as the documentation of Pusher says; the libraries of Pusher verify it in package main.
func TestAWebhookIsSignedByTheSecretThatHoldsNow(t *testing.T) {
	h := pusher.NewHook(&pusher.App{ID: "1", Key: "key", Secret: "app-secret"})
	sign := func() string {
		header := http.Header{}
		h.Sign(header, []byte("{}"), time.Now())
		return header.Get("X-Pusher-Key") + " " + header.Get("X-Pusher-Signature")
	}
	// printf '{}' | openssl dgst -sha256 -hmac app-secret
	if got := sign(); got != "key bd9549eb87a414d3df28b5a60ea86d4a11e2f1c6258edbd18f56d3c23c0f908d" {
		t.Error(got)
	}
	name := h.Reader()
	h.UseSecret("other-secret")
	if got := sign(); got != "key 49ff20d3788cde794e4e3424e5e655e8b8a288e92628d313ea1c811c7677925c" || h.Reader() != name {
		t.Error(got, h.Reader())
	}
}

func TestUsersAreToldOfPresenceChannelsOnly(t *testing.T) {
	walled, shared := &pusher.App{ID: "1"}, &pusher.App{ID: "2", Shared: true}
	for topic, want := range map[string][2]bool{
		"pusher:1:presence-a": {true, false}, "presence-a": {false, true}, "pusher:1:news": {}, "news": {}, "pusher:2:presence-a": {}, "presence-a:b": {},
	} {
		if got := [2]bool{walled.TellsUsers(topic), shared.TellsUsers(topic)}; got != want {
			t.Errorf("%s: %v, want %v", topic, got, want)
		}
	}
}
