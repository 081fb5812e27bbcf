package pubsub

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"wshub/pubsub/redistest"
)

func TestARefusedPublicationWritesNothing(t *testing.T) {
	for name, c := range map[string]struct{ spoil, repair []string }{
		"out of memory": {[]string{"config", "set", "maxmemory", "1"}, []string{"config", "set", "maxmemory", "0"}},
	} {
		t.Run(name, func(t *testing.T) {
			server := redistest.Start(t)
			r, sink := running(t, RedisConfig{URL: server.URL(), History: keepAll})
			mustFollow(t, r, "h:a", 0)
			one := mustPublish(t, r, "h:a", "1")
			wantEvents(t, sink, "h:a", 1, 1)
			server.CLI(c.spoil...)
			res := r.Publish(t.Context(), []Publication{{Topic: "h:a", Data: []byte("2"), Key: "k"}})[0]
			if !errors.Is(res.Err, ErrRefused) || r.Stats().PublishErrors["refused"] != 1 {
				t.Errorf("got %v", res.Err)
			}
			wantReplay(t, "meanwhile", replay(t, r, "h:a", Start, 10), one, true, 1, 1)
			server.CLI(c.repair...)
			again := r.Publish(t.Context(), []Publication{{Topic: "h:a", Data: []byte("2"), Key: "k"}})[0]
			if again.Err != nil {
				t.Fatal(again.Err)
			}
			wantEvents(t, sink, "h:a", 2, 2)
		})
	}
}

func TestARetryWithAKeyAfterALostAnswerIsOneEvent(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr())
	publisher, _ := running(t, RedisConfig{URL: proxy.URL(), History: keepAll})
	follower, sink := running(t, RedisConfig{URL: server.URL(), History: keepAll})
	mustFollow(t, follower, "h:a", 0)
	mustPublish(t, publisher, "h:a", "1")
	wantEvents(t, sink, "h:a", 1, 1)
	batch := []Publication{{Topic: "h:a", Data: []byte("2"), Key: "k"}}
	proxy.Freeze(redistest.ToClient)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second) // a busy machine must have sent it by then
	defer cancel()
	if err := publisher.Publish(ctx, batch)[0].Err; !errors.Is(err, ErrUnknownOutcome) {
		t.Errorf("got %v", err)
	}
	wantEvents(t, sink, "h:a", 2, 2)
	proxy.Thaw(redistest.ToClient)
	again := publisher.Publish(t.Context(), batch)[0]
	if head := replay(t, follower, "h:a", Start, 0).Head; again.Err != nil || again.Position != head {
		t.Errorf("published at %s, %v; the topic is at %s", again.Position, again.Err, head)
	}
	mustPublish(t, publisher, "h:a", "3")
	wantEvents(t, sink, "h:a", 3, 3)
}

func TestScriptsThatTheServerForgotAreSentAgainInOrder(t *testing.T) {
	server := redistest.Start(t)
	r, sink := running(t, RedisConfig{URL: server.URL(), History: keepAll})
	mustFollow(t, r, "h:a", 0)
	for round := range 3 {
		server.CLI("script", "flush")
		batch := make([]Publication, 50)
		for i := range batch {
			batch[i] = Publication{Topic: "h:a", Data: []byte(strconv.Itoa(round*50 + i))}
		}
		for _, res := range r.Publish(t.Context(), batch) {
			if res.Err != nil {
				t.Fatal(res.Err)
			}
		}
	}
	wantEvents(t, sink, "h:a", 0, 149)
}

func TestBroadcastWithHistoryStaysOffTheRawChannel(t *testing.T) {
	server := redistest.Start(t)
	r, sink := running(t, RedisConfig{URL: server.URL(), History: History{{Prefix: "channel", Count: 10}}})
	mustFollow(t, r, "channel", 0)
	foreign := r.only().pub.Subscribe(t.Context(), "channel")
	defer foreign.Close()
	if _, err := foreign.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	if at := mustPublish(t, r, "channel", "1"); at.IsZero() {
		t.Error("no position")
	}
	wantEvents(t, sink, "channel", 1, 1)
	server.CLI("publish", "channel", "2")
	if d := sink.next(t); d.Event == nil || !d.at.IsZero() || string(d.Data) != "2" {
		t.Errorf("got %s", d)
	}
	if m, err := foreign.ReceiveMessage(t.Context()); err != nil || m.Payload != "2" {
		t.Errorf("a foreign subscriber got %v, %v", m, err)
	}
}

// TestAnIDIsNeverLessThanTheLast puts the record ahead of the clock, as a clock that steps back does.
func TestAnIDIsNeverLessThanTheLast(t *testing.T) {
	server := redistest.Start(t)
	r, _ := running(t, RedisConfig{URL: server.URL(), History: keepAll})
	mustPublish(t, r, "h:a", "1")
	keys := logKeys("h:a")
	setRecord(t, r, "h:a", ID{9000000000000, 7}, 3)
	server.CLI("del", keys[1])
	if at := mustPublish(t, r, "h:a", "2"); at.ID != (ID{9000000000000, 8}) {
		t.Errorf("published at %s", at)
	}
	if id, number, ok := parseRecord(r.only().pub.Get(t.Context(), keys[2]).Val()); id != (ID{9000000000000, 8}) || number != 4 || !ok {
		t.Errorf("the record is %s, number %d", id, number)
	}
}

func TestNothingIsWrittenForATopicThatNobodyPublishedTo(t *testing.T) {
	server := redistest.Start(t)
	r, _ := running(t, RedisConfig{URL: server.URL(), History: keepAll})
	for i := range 1000 {
		mustFollow(t, r, fmt.Sprintf("h:%d", i), 0)
		replay(t, r, fmt.Sprintf("h:other:%d", i), Start, 0)
	}
	for key := range strings.Lines(server.CLI("keys", "*")) {
		if key = strings.TrimSpace(key); !strings.HasSuffix(key, "}:epoch") && !strings.Contains(key, "}:alive:") && key != "hub:format" && key != r.names.nodes() {
			t.Errorf("key %s", key)
		}
	}
}

func TestStoredKeysExpire(t *testing.T) {
	server := redistest.Start(t)
	r, _ := running(t, RedisConfig{URL: server.URL(), History: keepAll})
	r.Publish(t.Context(), []Publication{{Topic: "h:a", Data: []byte("1"), Key: "k"}, {Topic: "plain", Data: []byte("1"), Key: "k"}})
	for key := range strings.Lines(server.CLI("keys", "*")) {
		key = strings.TrimSpace(key)
		if life := server.CLI("ttl", key); (life == "-1") != (strings.HasSuffix(key, ":epoch") || key == "hub:format" || key == r.names.nodes()) {
			t.Errorf("%s lives for %s s", key, life)
		}
	}
}
