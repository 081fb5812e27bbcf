package pubsub

import (
	"errors"
	"strings"
	"testing"
	"time"

	"wshub/pubsub/redistest"
	"wshub/pubsub/redistest/drills"
)

// Two deployments on one server hear nothing of each other, and have no key in common.
func TestDeploymentsWithDifferentPrefixesDoNotMeet(t *testing.T) {
	server := redistest.Start(t)
	var told [2]chan string
	var hubs [2]*Redis
	var sinks [2]recorder
	for i, prefix := range []string{"hub", "shop:eu"} {
		told[i] = make(chan string, 10)
		hubs[i], sinks[i] = running(t, RedisConfig{
			URL: server.URL(), Prefix: prefix, Node: "n", History: keepAll,
			OnControl: func(message []byte) { told[i] <- string(message) },
			OnRevoked: func(list []Revocation) {
				for _, v := range list {
					told[i] <- v.Subject
				}
			},
		})
		for _, topic := range []string{"h:a", "raw", "channel"} {
			mustFollow(t, hubs[i], topic, 0)
		}
	}
	for _, topic := range []string{"h:a", "raw", "channel"} {
		mustPublish(t, hubs[0], topic, `"hub"`)
		mustPublish(t, hubs[1], topic, `"shop"`)
		for i, want := range []string{`"hub"`, `"shop"`} {
			if got := sinks[i].event(t, topic); got != want {
				t.Errorf("%s: %s got %s", topic, want, got)
			}
		}
	}
	server.CLI("publish", "channel", "1")
	server.CLI("publish", "shop:eu:channel", "2")
	server.CLI("publish", "hub:to", `{"to":{"topic":"raw"},"data":3}`)
	server.CLI("publish", "shop:eu:to", `{"to":{"topic":"raw"},"data":4}`)
	for i, want := range []string{"1 3", "2 4"} {
		if got := sinks[i].event(t, "channel") + " " + sinks[i].event(t, "raw"); got != want {
			t.Errorf("deployment %d got %s", i, got)
		}
	}
	for i, name := range []string{"hub", "shop"} {
		for _, node := range []string{"", "n"} {
			if err := hubs[i].Notify(t.Context(), node, []byte(name)); err != nil {
				t.Fatal(err)
			}
		}
		if err := hubs[i].Revoke(t.Context(), Revocation{Subject: "of " + name, Until: time.Now().Add(time.Minute)}); err != nil {
			t.Fatal(err)
		}
	}
	for i, name := range []string{"hub", "shop"} {
		for _, want := range []string{name, name, "of " + name} {
			if got := <-told[i]; got != want {
				t.Errorf("%s was told %q, want %q", name, got, want)
			}
		}
	}
	for _, sink := range sinks {
		if len(sink) > 0 {
			t.Errorf("%s besides", <-sink)
		}
	}
	for key := range strings.Lines(server.CLI("keys", "*")) {
		if !strings.HasPrefix(key, "hub:") && !strings.HasPrefix(key, "shop:eu:") {
			t.Errorf("key %s", key)
		}
	}
}

func TestAHubOfAnotherFormatDoesNotStart(t *testing.T) {
	server := redistest.Start(t)
	server.CLI("set", "hub:format", "9")
	r := newRedis(t, RedisConfig{URL: server.URL()})
	if err := r.Run(t.Context(), newRecorder()); !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), "hub:format") {
		t.Errorf("Run: %v", err)
	}
	if n := server.CLI("get", "hub:format"); n != "9" {
		t.Errorf("the format is %s now", n)
	}
	other, _ := running(t, RedisConfig{URL: server.URL(), Prefix: "other"})
	mustPublish(t, other, "news", "1")
	if n := server.CLI("get", "other:format"); n != formatNumber {
		t.Errorf("the other's format is %s", n)
	}
}

func TestAServerOfAClusterIsNotTakenForASingleOne(t *testing.T) {
	drills.InProcess(t)
	t.Parallel()
	set := redistest.StartCluster(t, 3, 0)
	r := newRedis(t, RedisConfig{URL: set.Servers[0].URL(), History: keepAll})
	start(t, r)
	eventually(t, "it is said", func() bool {
		err := r.Ready()
		return err != nil && strings.Contains(err.Error(), "redis+cluster://")
	})
}
