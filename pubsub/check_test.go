package pubsub

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"wshub/pubsub/redistest"
	"wshub/pubsub/redistest/drills"
)

// trying is what Check finds with cfg.
func trying(t testing.TB, cfg RedisConfig) Report {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return newRedis(t, cfg).Check(ctx)
}

func TestCheckFindsNothingWrongAndLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	for kind, begin := range homes {
		t.Run(kind, func(t *testing.T) {
			ofOneServer(t, kind)
			t.Parallel()
			h := begin(t)
			for _, history := range []History{nil, keepAll} {
				report := trying(t, RedisConfig{URL: h.url, History: history})
				if err := report.Err(); err != nil {
					t.Fatal(err)
				}
				for _, f := range report {
					if len(f.Facts) == 0 || len(f.Doubts) > 0 {
						t.Errorf("%s", f)
					}
				}
				for _, s := range h.servers {
					eventually(t, s.Addr()+" is empty", func() bool { return s.CLI("dbsize") == "0" })
				}
			}
		})
	}
}

// TestCheckIsHeardByNobody has it beside a hub that follows topics and keeps revocations.
func TestCheckIsHeardByNobody(t *testing.T) {
	t.Parallel()
	for kind, begin := range homes {
		t.Run(kind, func(t *testing.T) {
			ofOneServer(t, kind)
			t.Parallel()
			h := begin(t)
			cfg := RedisConfig{URL: h.url, History: keepAll, Node: "alone"}
			cfg.OnControl = func(message []byte) { t.Errorf("a hub was told %q", message) }
			cfg.OnRevoked = func(list []Revocation) { t.Errorf("a hub was told of %v", list) }
			cfg.HeldRevocations = func(func(Revocation) bool) {}
			r, sink := running(t, cfg)
			for _, topic := range []string{"channel", "h:a", "user:1"} {
				mustFollow(t, r, topic, 0)
			}
			mustPublish(t, r, "h:a", "1")
			keys := func() (list []string) {
				for _, s := range h.servers {
					list = append(list, strings.Fields(s.CLI("keys", "*"))...)
				}
				slices.Sort(list)
				return slices.Compact(list) // a replica may still lack what its master has
			}
			sink.event(t, "h:a")
			eventually(t, "all is there", func() bool { return strings.Contains(fmt.Sprint(keys()), "revoked") })
			before, marked := keys(), r.list.mark.Load()
			cfg.Node = "check"
			if err := trying(t, cfg).Err(); err != nil {
				t.Fatal(err)
			}
			eventually(t, "what it wrote is gone", func() bool { return slices.Equal(keys(), before) })
			mustPublish(t, r, "h:a", "2")
			if got := sink.event(t, "h:a"); got != "2" {
				t.Errorf("heard %s", got)
			}
			if s := r.Stats(); s.Reconnects > 0 || s.Gaps > 0 || r.list.mark.Load() != marked {
				t.Errorf("%+v", s)
			}
			for why, n := range r.Stats().Drops {
				if n > 0 {
					t.Errorf("%d dropped as %s", n, why)
				}
			}
		})
	}
}

func TestCheckSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		begin func(*testing.T) RedisConfig
		want  string
	}{
		"nobody is there": {func(t *testing.T) RedisConfig { return RedisConfig{URL: "redis://127.0.0.1:1"} }, "connection refused"},
		"a replica": {func(t *testing.T) RedisConfig {
			master, replica := redistest.Start(t), redistest.Start(t)
			replica.Follow(master)
			return RedisConfig{URL: replica.URL()}
		}, "replica"},
		"a wrong password": {func(t *testing.T) RedisConfig {
			return RedisConfig{URL: asUser(redistest.Start(t).URL())}
		}, "WRONGPASS"},
		"a cluster, by the form of one server": {func(t *testing.T) RedisConfig {
			drills.InProcess(t)
			return RedisConfig{URL: redistest.StartCluster(t, 1, 0).Servers[0].URL()}
		}, "redis+cluster://"},
		"one server, by the form of a cluster": {func(t *testing.T) RedisConfig {
			return RedisConfig{URL: strings.Replace(redistest.Start(t).URL(), "redis:", "redis+cluster:", 1)}
		}, "cluster support disabled"},
		"a server, by the form of sentinels": {func(t *testing.T) RedisConfig {
			return RedisConfig{URL: strings.Replace(redistest.Start(t).URL(), "redis:", "redis+sentinel:", 1) + "/main"}
		}, "no majority of them names a master"},
		"slots that nobody serves": {func(t *testing.T) RedisConfig {
			drills.InProcess(t)
			set := redistest.StartCluster(t, 1, 0)
			set.Servers[0].CLI("cluster", "delslots", fmt.Sprint(slotOf("{"+tags[7]+"}")))
			return RedisConfig{URL: set.URL()}
		}, "nobody serves 1 of 256 partitions"},
		"another format": {func(t *testing.T) RedisConfig {
			server := redistest.Start(t)
			server.CLI("set", "hub:format", "7")
			return RedisConfig{URL: server.URL()}
		}, "another format"},
		"a resume key of another length": {func(t *testing.T) RedisConfig {
			server := redistest.Start(t)
			server.CLI("set", (&names{prefix: "hub"}).resumeKey(), "short")
			return RedisConfig{URL: server.URL()}
		}, "does not hold 32 bytes"},
		"too few replicas": {func(t *testing.T) RedisConfig {
			return RedisConfig{URL: redistest.Start(t).URL(), Wait: 1}
		}, "too few replicas confirm an event, wanted are 1"},
		"no memory": {func(t *testing.T) RedisConfig {
			return RedisConfig{URL: redistest.Start(t, "--maxmemory", "1").URL()}
		}, "OOM"},
		"eviction": {func(t *testing.T) RedisConfig {
			return RedisConfig{URL: redistest.Start(t, "--maxmemory-policy", "allkeys-lru").URL()}
		}, "doubtful: redis has maxmemory-policy allkeys-lru"},
		"a clock that is behind": {func(t *testing.T) RedisConfig {
			server := redistest.Start(t)
			server.SetClock(-time.Minute)
			server.Restart()
			return RedisConfig{URL: server.URL()}
		}, "apart: a failover may give positions twice"},
		"sentinels that let nobody ask": {func(t *testing.T) RedisConfig {
			drills.InProcess(t)
			set := redistest.StartSentinel(t)
			allow([]string{"on", ">password", "-@all", "resetchannels"}, set.Sentinels...)
			return RedisConfig{URL: set.URL() + "?sentinel_user=hub&sentinel_password=password"}
		}, "the user lacks +sentinel|get-master-addr-by-name +ping +subscribe"},
		"sentinels that are not all there": {func(t *testing.T) RedisConfig {
			drills.InProcess(t)
			set := redistest.StartSentinel(t)
			set.Sentinels[0].Kill()
			return RedisConfig{URL: set.URL()}
		}, "doubtful: dial tcp"},
		"nodes that do not tell who serves what": {func(t *testing.T) RedisConfig {
			drills.InProcess(t)
			set := redistest.StartCluster(t, 1, 0)
			allow(slices.DeleteFunc(rule(t, ruleOfCluster), func(w string) bool { return strings.HasPrefix(w, "+cluster") }), set.Servers...)
			return RedisConfig{URL: asUser(set.URL())}
		}, "the user lacks +cluster|info +cluster|slots"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := c.begin(t)
			cfg.History = keepAll
			report := trying(t, cfg)
			text := fmt.Sprint(report)
			if !strings.Contains(text, c.want) {
				t.Errorf("it says %s; %v", text, report.Err())
			}
			doubtful := strings.Contains(text, "doubtful: redis") || strings.Contains(c.want, "apart") || strings.Contains(c.want, "dial tcp")
			if (report.Err() == nil) != doubtful {
				t.Errorf("it ends with %v", report.Err())
			}
		})
	}
}

// TestCheckEndsInTime has it meet a server that is frozen.
func TestCheckEndsInTime(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr())
	proxy.Freeze(redistest.ToClient)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	began := time.Now()
	err := newRedis(t, RedisConfig{URL: proxy.URL()}).Check(ctx).Err()
	if err == nil || errors.Is(err, ErrUnavailable) || time.Since(began) > ioTimeout {
		t.Errorf("%v after %s", err, time.Since(began))
	}
}
