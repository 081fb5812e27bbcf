package pubsub

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"wshub/pubsub/redistest"
	"wshub/pubsub/redistest/drills"
)

// These tests hold Sentinel and Cluster to what a single server does: TestNothingIsStoredThatIsRefused,
// TestTooManyClientsIsNoDoubt and TestAServerThatTakesNoWritesIsLoggedAndNotReady.

// sets are the homes with several servers.
func sets() []string {
	kinds := slices.Sorted(maps.Keys(homes))
	return slices.DeleteFunc(kinds, func(kind string) bool { return kind == "single" })
}

// server is the one that serves topic to r.
func (h *home) server(t testing.TB, r *Redis, topic string) *redistest.Server {
	t.Helper()
	m, err := r.route(partition(topic))
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(h.servers, func(s *redistest.Server) bool { return s.Addr() == m.addr })
	return h.servers[i]
}

// tryPublish publishes one event, with a key unless that is empty.
func tryPublish(t testing.TB, r *Redis, topic, data, key string) Result {
	return r.Publish(t.Context(), []Publication{{Topic: topic, Data: []byte(data), Key: key}})[0]
}

func TestNothingIsStoredThatSetsOfServersRefuse(t *testing.T) {
	drills.InProcess(t)
	t.Parallel()
	for _, kind := range sets() {
		t.Run(kind, func(t *testing.T) {
			h := homes[kind](t)
			r, _ := running(t, RedisConfig{URL: h.url, History: keepAll})
			publishing := strings.ToLower(r.names.publishCommand())
			for i, right := range []string{"-" + publishing, "-xadd", "-pexpire", "-set", "resetchannels"} {
				for _, key := range []string{"", "k"} {
					topic := fmt.Sprint("h:", i, key)
					at := number(t, r, topic, 1, 1)
					allow([]string{right}, h.servers...)
					if err := tryPublish(t, r, topic, "2", key).Err; !errors.Is(err, ErrRefused) {
						t.Errorf("%s: %v", right, err)
					}
					allow(h.rule, h.servers...)
					ready(t, r)
					wantReplay(t, "what was refused", replay(t, r, topic, Start, 10), at[1], true, 1, 1)
					two := tryPublish(t, r, topic, "2", key)
					wantReplay(t, "allowed again", replay(t, r, topic, Start, 10), two.Position, true, 1, 2)
				}
			}
		})
	}
}

// TestTooManyClientsOfOneOfTheServersIsNoDoubt has a master turn away new connections, and ends those of hubs.
func TestTooManyClientsOfOneOfTheServersIsNoDoubt(t *testing.T) {
	drills.InProcess(t)
	t.Parallel()
	for _, kind := range sets() {
		t.Run(kind, func(t *testing.T) {
			h := homes[kind](t)
			r, _ := running(t, RedisConfig{URL: h.url, History: keepAll})
			for _, topic := range []string{"h:a", neighbour("h:a")} {
				mustPublish(t, r, topic, "1")
			}
			full := h.server(t, r, "h:a")
			admin := redis.NewClient(&redis.Options{Addr: full.Addr(), PoolSize: 1})
			defer admin.Close()
			if err := admin.ConfigSet(t.Context(), "maxclients", "1").Err(); err != nil {
				t.Fatal(err)
			}
			if err := admin.ClientKillByFilter(t.Context(), "user", "hub").Err(); err != nil {
				t.Fatal(err)
			}
			for _, topic := range []string{"h:a", neighbour("h:a")} {
				tryPublish(t, r, topic, "2", "") // on a connection that was killed: it is in doubt
				for range 50 {
					if err := tryPublish(t, r, topic, "3", "").Err; !errors.Is(err, ErrUnavailable) {
						t.Fatalf("%s: %v", topic, err)
					}
				}
			}
			for other := range 100 {
				if topic := fmt.Sprint("h:", other); h.server(t, r, topic) != full {
					mustPublish(t, r, topic, "1")
				}
			}
			if err := admin.ConfigSet(t.Context(), "maxclients", "10000").Err(); err != nil {
				t.Fatal(err)
			}
			eventually(t, "publishing", func() bool { return tryPublish(t, r, "h:a", "4", "").Err == nil })
			ready(t, r)
		})
	}
}

// TestAFullServerOfSeveralRefusesItsTopicsOnly has one master run out of memory.
func TestAFullServerOfSeveralRefusesItsTopicsOnly(t *testing.T) {
	drills.InProcess(t)
	t.Parallel()
	for _, kind := range sets() {
		t.Run(kind, func(t *testing.T) {
			h := homes[kind](t)
			var log lines
			r, sink := running(t, RedisConfig{URL: h.url, History: keepAll, Log: log.logger()})
			mustFollow(t, r, "raw", 0)
			full := h.server(t, r, "raw")
			full.CLI("config", "set", "maxmemory", "1")
			refused, taken := 0, 0
			for i := range 300 {
				topic := fmt.Sprint("h:", i)
				err := tryPublish(t, r, topic, "1", "").Err
				if h.server(t, r, topic) != full {
					taken++
					if err != nil {
						t.Fatalf("%s: %v", topic, err)
					}
				} else if refused++; !errors.Is(err, ErrRefused) {
					t.Fatalf("%s: %v", topic, err)
				}
			}
			if refused == 0 || kind == "cluster" && taken == 0 {
				t.Fatalf("%d refused, %d taken", refused, taken)
			}
			if n := log.count("redis refuses publications"); n < 1 || n > 10 || !log.contains("OOM") {
				t.Errorf("%d lines for %d refusals", n, refused)
			}
			eventually(t, "not ready", func() bool { return errors.Is(r.Ready(), ErrRefused) })
			if why := r.Ready().Error(); !strings.Contains(why, full.Addr()) || !strings.Contains(why, "OOM") {
				t.Errorf("not ready: %s", why)
			}
			mustPublish(t, r, "raw", "1") // it is not stored
			wantEvents(t, sink, "raw", 1, 1)
			full.CLI("config", "set", "maxmemory", "0")
			ready(t, r)
			eventually(t, "all are taken", func() bool {
				return !slices.ContainsFunc([]int{1, 2, 3, 4, 5}, func(i int) bool { return tryPublish(t, r, fmt.Sprint("h:", i), "2", "").Err != nil })
			})
			if n := r.Stats().Reconnects; n > 0 {
				t.Errorf("%d reconnects", n)
			}
		})
	}
}

// TestAllMastersThatRefuseAreNamed looks at several at once.
func TestAllMastersThatRefuseAreNamed(t *testing.T) {
	drills.InProcess(t)
	t.Parallel()
	h := homes["cluster"](t)
	r, _ := running(t, RedisConfig{URL: h.url, History: keepAll})
	first, third := h.servers[0], h.servers[2]
	for _, s := range []*redistest.Server{first, third} {
		s.CLI("config", "set", "maxmemory", "1")
	}
	eventually(t, "both are named", func() bool {
		why := fmt.Sprint(r.Ready())
		return strings.Contains(why, first.Addr()) && strings.Contains(why, third.Addr()) && !strings.Contains(why, h.servers[1].Addr())
	})
}
