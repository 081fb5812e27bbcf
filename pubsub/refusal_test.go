package pubsub

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"wshub/pubsub/redistest"
)

// noWrites are the ways of a server to take no writes.
var noWrites = map[string]struct{ spoil, repair []string }{
	"OOM":        {[]string{"config", "set", "maxmemory", "1"}, []string{"config", "set", "maxmemory", "0"}},
	"NOREPLICAS": {[]string{"config", "set", "min-replicas-to-write", "1"}, []string{"config", "set", "min-replicas-to-write", "0"}},
}

func TestAServerThatTakesNoWritesIsLoggedAndNotReady(t *testing.T) {
	t.Parallel()
	for name, c := range noWrites {
		t.Run(name, func(t *testing.T) {
			server := redistest.Start(t)
			var log lines
			r, _ := running(t, RedisConfig{URL: server.URL(), History: keepAll, Log: log.logger(), ProbeEvery: time.Hour, ProbeDeadline: time.Hour})
			server.CLI(c.spoil...)
			for i := range 1000 {
				if err := r.Publish(t.Context(), []Publication{{Topic: "h:a", Data: []byte(fmt.Sprint(i))}})[0].Err; !errors.Is(err, ErrRefused) {
					t.Fatal(err)
				}
			}
			if n := log.count("redis refuses publications"); n < 1 || n > 10 || !log.contains(name) {
				t.Errorf("%d lines for 1,000 refusals", n)
			}
			if err := r.Ready(); !errors.Is(err, ErrRefused) {
				t.Errorf("Ready says %v", err)
			}
		})
	}
}

// TestReadinessFollowsWhetherTheServerTakesWrites publishes nothing: a hub that gets no traffic must see it,
// too, and see when it is over.
func TestReadinessFollowsWhetherTheServerTakesWrites(t *testing.T) {
	t.Parallel()
	for name, c := range noWrites {
		t.Run(name, func(t *testing.T) {
			server := redistest.Start(t)
			r, sink := running(t, RedisConfig{URL: server.URL(), History: keepAll})
			mustFollow(t, r, "raw", 0)
			server.CLI(c.spoil...)
			eventually(t, "not ready", func() bool { return errors.Is(r.Ready(), ErrRefused) })
			server.CLI("publish", "hub:t:raw", "1")
			wantEvents(t, sink, "raw", 1, 1)
			server.CLI(c.repair...)
			ready(t, r)
			if n := r.Stats().Reconnects; n > 0 {
				t.Errorf("%d reconnects", n)
			}
		})
	}
}

// TestAReplicaIsUnavailable makes the server a replica and a master again, beneath the hub.
func TestAReplicaIsUnavailable(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	r, sink := running(t, RedisConfig{URL: server.URL(), History: keepAll})
	mustFollow(t, r, "h:a", 0)
	server.CLI("replicaof", "127.0.0.1", "1")
	eventually(t, "not ready", func() bool { return errors.Is(r.Ready(), ErrUnavailable) })
	if why := r.Ready().Error(); !strings.Contains(why, "is a replica") {
		t.Errorf("not ready: %s", why)
	}
	for _, topic := range []string{"h:a", "raw", "channel"} {
		if err := r.Publish(t.Context(), []Publication{{Topic: topic, Data: []byte("0")}})[0].Err; !errors.Is(err, ErrUnavailable) {
			t.Errorf("%s: %v", topic, err)
		}
	}
	server.CLI("replicaof", "no", "one")
	ready(t, r)
	mustPublish(t, r, "h:a", "1")
	wantEvents(t, sink, "h:a", 1, 1)
}

func TestAFullServerHarmsNobodyWhoStoresNothing(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	r, _ := running(t, RedisConfig{URL: server.URL()})
	server.CLI(noWrites["OOM"].spoil...)
	round := r.only().round.Load()
	eventually(t, "probes", func() bool { return r.only().round.Load() > round+3 })
	if err := r.Ready(); err != nil {
		t.Error(err)
	}
	mustPublish(t, r, "news", "1")
}

// serverError is an error that a server answered.
type serverError string

func (e serverError) Error() string { return string(e) }
func (serverError) RedisError()     {}

func TestWhatBecameOfACommandIsReadFromItsError(t *testing.T) {
	for text, want := range map[string]error{
		"OOM command not allowed":                      ErrRefused,
		"NOPERM this user may not PUBLISH here":        ErrRefused,
		"STORED but NOPERM this user":                  ErrUnknownOutcome,
		"LOADING Redis is loading":                     ErrUnavailable,
		"BUSY Redis is busy running a script":          ErrUnavailable,
		"NOSCRIPT No matching script":                  ErrUnavailable,
		"ERR max number of clients reached":            ErrUnavailable,
		"MASTERDOWN Link with MASTER is down":          ErrUnavailable,
		"WRONGTYPE Operation against a key":            ErrRefused,
		"ERR the record is not a hub's":                ErrRefused,
		"READONLY You can't write against a replica":   ErrUnavailable,
		"MOVED 7 127.0.0.1:1":                          ErrUnavailable,
		"ASK 7 127.0.0.1:1":                            ErrUnavailable,
		"TRYAGAIN Multiple keys request during resize": ErrUnavailable,
	} {
		if got := classify(serverError(text)); got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
	for err, want := range map[error]error{
		errors.New("EOF"):                                         ErrUnknownOutcome,
		&unsent{errReplica}:                                       ErrUnavailable,
		&unsent{errNobody}:                                        ErrUnavailable,
		&stored{errFewReplicas}:                                   ErrUnknownOutcome,
		&unsent{errors.New("EOF")}:                                ErrUnavailable,
		&unsent{serverError("WRONGPASS invalid")}:                 ErrRefused,
		fmt.Errorf("x: %w", context.DeadlineExceeded):             ErrUnavailable,
		&unsent{serverError("ERR max number of clients reached")}: ErrUnavailable,
	} {
		if got := classify(err); got != want {
			t.Errorf("%v: %v, want %v", err, got, want)
		}
	}
}
