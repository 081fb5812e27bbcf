package pubsub

import (
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"wshub/pubsub/redistest"
)

// holder is what a session.Hub is to a broker: it holds the revocations that it heard of.
type holder struct {
	mu   sync.Mutex
	held map[string]Revocation
}

func (h *holder) add(list []Revocation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.held == nil {
		h.held = map[string]Revocation{}
	}
	for _, v := range list {
		h.held[v.Subject] = v
	}
}

func (h *holder) all(yield func(Revocation) bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, v := range h.held {
		if !yield(v) {
			return
		}
	}
}

func (h *holder) len() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.held)
}

func (h *holder) config(url string) RedisConfig {
	return RedisConfig{URL: url, OnRevoked: h.add, HeldRevocations: h.all}
}

// revokeMany revokes n users, some of them more often.
func revokeMany(t *testing.T, r *Redis, n int) {
	t.Helper()
	now := time.Now().Truncate(time.Second)
	pipe := r.only().pub.Pipeline()
	for i := range n {
		text, err := json.Marshal(Revocation{Subject: fmt.Sprint("user:", i), At: now, Until: now.Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		pipe.Do(t.Context(), "zadd", revokedKey, now.Add(time.Hour).Unix(), text)
	}
	if _, err := pipe.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestProbesGoOnWhileTheListIsRead holds up whoever reads it: the connection stays, and is ready when all is read.
func TestProbesGoOnWhileTheListIsRead(t *testing.T) {
	const revocations = 5 * revokedPage
	server := redistest.Start(t)
	writer := newRedis(t, RedisConfig{URL: server.URL()})
	start(t, writer)
	revokeMany(t, writer, revocations)
	var h holder
	gate := make(chan struct{})
	cfg := h.config(server.URL())
	cfg.OnRevoked = func(list []Revocation) {
		if len(list) > 2*revokedPage {
			t.Errorf("%d at once", len(list))
		}
		<-gate
		h.add(list)
	}
	r := newRedis(t, cfg)
	start(t, r)
	eventually(t, "probes come back", func() bool { return r.only().round.Load() > 5 && r.Stats().ProbeAge < r.cfg.ProbeDeadline })
	if err := r.Ready(); err == nil {
		t.Error("ready without the revocations")
	}
	close(gate)
	ready(t, r)
	if n := h.len(); n != revocations || r.Stats().Reconnects > 0 {
		t.Errorf("ready with %d revocations of %d, after %d reconnects", n, revocations, r.Stats().Reconnects)
	}
}

func TestAHubThatCantReadRevocationsIsNotReady(t *testing.T) {
	server := redistest.Start(t)
	server.CLI("acl", "setuser", "default", "-zscan")
	var h holder
	var log lines
	cfg := h.config(server.URL())
	cfg.Log = log.logger()
	r := newRedis(t, cfg)
	start(t, r)
	eventually(t, "it is logged", func() bool { return log.contains("revocations can't be read") })
	eventually(t, "probes come back", func() bool { return r.only().connected.Load() })
	if err := r.Ready(); err == nil {
		t.Error("ready")
	}
	server.CLI("acl", "setuser", "default", "+zscan")
	ready(t, r)
}

// TestALostListIsWrittenBack loses it in all ways: nodes that were there, and those that come, know all of it.
func TestALostListIsWrittenBack(t *testing.T) {
	t.Parallel()
	const revocations = 2*restoredPage + 10
	for name, lose := range map[string]func(*redistest.Server){
		"flushed":               func(s *redistest.Server) { s.CLI("flushall") },
		"deleted":               func(s *redistest.Server) { s.CLI("del", revokedKey) },
		"restarted empty":       func(s *redistest.Server) { s.Restart() },
		"flushed and used anew": func(s *redistest.Server) { s.CLI("flushall"); s.CLI("zadd", revokedKey, "9e9", "nonsense") },
		"flushed and taken for new": func(s *redistest.Server) {
			s.CLI("flushall")
			s.CLI("zadd", revokedKey, fmt.Sprint(leastMark+1), wholeMark)
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := redistest.Start(t)
			var old, fresh holder
			r, _ := running(t, old.config(server.URL()))
			revokeMany(t, r, revocations)
			server.CLI("client", "kill", "type", "pubsub")
			eventually(t, "all are read", func() bool { return old.len() == revocations && r.Ready() == nil })
			lose(server)
			eventually(t, "they are written back", func() bool {
				n, err := r.only().pub.ZCard(t.Context(), revokedKey).Result()
				return err == nil && n >= revocations+1
			})
			running(t, fresh.config(server.URL()))
			if n := fresh.len(); n != revocations {
				t.Errorf("a new node knows %d of %d", n, revocations)
			}
		})
	}
}

// TestAClockThatIsAheadForgetsNoRevocation revokes where this machine's clock is ahead of the server's, and of the truth.
func TestAClockThatIsAheadForgetsNoRevocation(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	server.SetClock(-2 * time.Hour)
	server.Restart()
	var h holder
	r, _ := running(t, h.config(server.URL()))
	eventually(t, "the server's clock is known", func() bool { return r.Stats().ClockDifference < -time.Hour })
	const holds, over = `{"subject":"user:holds"}`, `{"subject":"user:over"}`
	server.CLI("zadd", revokedKey, fmt.Sprint(time.Now().Add(-time.Hour).Unix()), holds, fmt.Sprint(time.Now().Add(-3*time.Hour).Unix()), over)
	if err := r.Revoke(t.Context(), Revocation{Subject: "user:42", At: time.Now(), Until: time.Now().Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	if server.CLI("zscore", revokedKey, holds) == "" {
		t.Error("a revocation that holds is forgotten")
	}
	if server.CLI("zscore", revokedKey, over) != "" {
		t.Error("one that is over by both clocks is not")
	}
}

// TestANodeThatComesAfterTheLossAsksTheOthers comes before they have noticed.
func TestANodeThatComesAfterTheLossAsksTheOthers(t *testing.T) {
	server := redistest.Start(t)
	var old, fresh holder
	cfg := old.config(server.URL())
	cfg.ProbeEvery, cfg.ProbeDeadline = 10*time.Second, time.Minute // a probe is not what tells it
	r, _ := running(t, cfg)
	v := Revocation{Subject: "user:42", At: time.Now(), Until: time.Now().Add(time.Hour)}
	if err := r.Revoke(t.Context(), v); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is heard", func() bool { return old.len() == 1 })
	server.CLI("flushall")
	cfg = fresh.config(server.URL())
	cfg.ProbeEvery, cfg.ProbeDeadline = 10*time.Second, time.Minute
	began := time.Now()
	running(t, cfg)
	if fresh.len() != 1 {
		t.Error("a new node is ready without it")
	}
	if d := time.Since(began); d > 5*time.Second {
		t.Errorf("it asked for %s", d)
	}
}

// TestRevocationsThatAFailoverLostAreWrittenBack promotes a replica that lacks the last one.
func TestRevocationsThatAFailoverLostAreWrittenBack(t *testing.T) {
	t.Parallel()
	master := redistest.Start(t)
	replica := follower(t, master, 0)
	proxy := redistest.NewProxy(t, master.Addr())
	var h holder
	r, _ := running(t, h.config(proxy.URL()))
	revoke := func(user string) {
		t.Helper()
		if err := r.Revoke(t.Context(), Revocation{Subject: user, At: time.Now(), Until: time.Now().Add(time.Hour)}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the list is whole", func() bool { return master.CLI("zcard", revokedKey) == "1" })
	revoke("user:1")
	replica.CatchUp(master)
	replica.Promote()
	revoke("user:2")
	eventually(t, "both are known", func() bool { return h.len() == 2 })
	master.Kill()
	proxy.Point(replica.Addr())
	eventually(t, "it is written back", func() bool { return replica.CLI("zcard", revokedKey) == "3" })
}

// TestAListThatIsLostWhileItIsLookedThroughIsWrittenBackAgain loses it when its comparison has just begun.
func TestAListThatIsLostWhileItIsLookedThroughIsWrittenBackAgain(t *testing.T) {
	server := redistest.Start(t)
	var h holder
	writer := newRedis(t, RedisConfig{URL: server.URL()})
	start(t, writer)
	revokeMany(t, writer, 100)
	cfg := h.config(server.URL())
	var once sync.Once
	cfg.HeldRevocations = func(yield func(Revocation) bool) {
		once.Do(func() { server.CLI("flushall") })
		h.all(yield)
	}
	running(t, cfg)
	eventually(t, "they are written back", func() bool { return server.CLI("zcard", revokedKey) == "101" })
}
