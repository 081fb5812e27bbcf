package pubsub

import (
	"errors"
	"fmt"
	"testing"

	"wshub/pubsub/redistest"
	"wshub/pubsub/redistest/drills"
)

// An error that a server answers to all there is, to the fence behind a batch too, ends the connection: else the batch
// would wait for ever.
func TestAServerThatRefusesAllIsLeft(t *testing.T) {
	r := newRedis(t, RedisConfig{URL: "redis+cluster://localhost:1"})
	for text, ends := range map[string]bool{
		"LOADING Redis is loading the dataset in memory": true, "NOAUTH Authentication required.": true, "ERR unknown": true,
		"MOVED 7 127.0.0.1:1": false, "CLUSTERDOWN Hash slot not served": false, "TRYAGAIN Multiple keys": false,
		"NOPERM this user has no permissions": false,
	} {
		s := &subscriber{Redis: r, link: r.newLink(), sharded: true}
		if err := s.refuse(text); (err != nil) != ends {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// A channel that this user may not hear costs its own topic only, also in a batch, and the connection stays.
func TestADeniedChannelCostsItsOwnTopicOnly(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		url func(testing.TB) (url string, cli func(...string))
		ok  string
	}{
		"single": {func(t testing.TB) (string, func(...string)) {
			server := redistest.Start(t)
			return server.URL(), func(args ...string) { server.CLI(args...) }
		}, "&hub:t:ok:*"},
		"cluster": {func(t testing.TB) (string, func(...string)) {
			set := redistest.StartCluster(t, 3, 0)
			return set.URL(), func(args ...string) {
				for _, server := range set.Servers {
					server.CLI(args...)
				}
			}
		}, "&hub:{*}:t:ok:*"},
	} {
		t.Run(name, func(t *testing.T) {
			if name != "single" {
				drills.InProcess(t)
			}
			url, cli := c.url(t)
			cli("acl", "setuser", "default", "resetchannels", c.ok, "&hub:n*", "&hub:{*}:n:*", "&hub:t:probe", "&hub:{*}:t:probe", "&hub:to", "&channel", "&hub:t:channel")
			r, sink := running(t, RedisConfig{URL: url})
			const topics = 40
			answers := make(map[string]chan error)
			for i := range topics {
				for _, kind := range []string{"ok", "no"} {
					topic, answer := fmt.Sprint(kind, ":", i), make(chan error, 1)
					answers[topic] = answer
					r.Follow(topic, 0, func(err error) { answer <- err })
				}
			}
			for topic, answer := range answers {
				if err := <-answer; topic[:2] == "ok" && err != nil || topic[:2] == "no" && !errors.Is(err, ErrRefused) {
					t.Errorf("%s: %v", topic, err)
				}
			}
			for i := range topics {
				topic := fmt.Sprint("ok:", i)
				mustPublish(t, r, topic, "1")
				sink.event(t, topic)
			}
			// Whoever follows them still hears of it, as soon as the server lets us.
			cli("acl", "setuser", "default", "allchannels")
			for range topics {
				if d := sink.next(t); d.Event != nil || d.topic[:2] != "no" {
					t.Fatalf("got %s, want a gap in what was denied", d)
				}
			}
			mustPublish(t, r, "no:0", "2")
			sink.event(t, "no:0")
			if n := r.Stats().Reconnects; n > 0 {
				t.Errorf("%d reconnects", n)
			}
		})
	}
}
