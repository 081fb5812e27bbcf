package pubsub

import (
	"testing"
	"time"

	"wshub/pubsub/redistest"
	"wshub/pubsub/redistest/drills"
)

// TestTheDeadLeaveInTime has the true times of leases: one node is cut off for good, one stands still for 20 s.
func TestTheDeadLeaveInTime(t *testing.T) {
	drills.InProcess(t)
	server := redistest.Start(t)
	var proxies []*redistest.Proxy
	var nodes []*instance
	for _, name := range []string{"killed", "frozen", "well"} {
		proxy := redistest.NewProxy(t, server.Addr())
		n := prepare(t, RedisConfig{URL: proxy.URL(), Node: name})
		n.presence.vigil, n.presence.stranger = vigil, strangerTime
		n.run(t)
		proxies, nodes = append(proxies, proxy), append(nodes, n)
	}
	well := nodes[2]
	well.watch(t, "p:1")
	for _, n := range nodes {
		n.change(t, enter("p:1", n.cfg.Node, n.cfg.Node))
		well.sink.moved(t, "p:1")
	}
	pause(t, vigil) // so long they have not renewed their leases yet
	cut := time.Now()
	proxies[0].Freeze(redistest.Both)
	proxies[1].Freeze(redistest.Both)
	for range 2 {
		if m := well.sink.moved(t, "p:1"); !m.Left || m.Member.Session == "well" {
			t.Errorf("told: %+v", m)
		}
		took := time.Since(cut)
		t.Logf("left after %v", took)
		if took > 15*time.Second || took < 5*time.Second {
			t.Errorf("left after %v", took)
		}
	}
	pause(t, 20*time.Second-time.Since(cut))
	back := time.Now()
	proxies[1].Thaw(redistest.Both)
	wantMoved(t, well.sink, "p:1", "+frozen frozen first 2 2")
	t.Logf("back after %v", time.Since(back))
	well.quiet(t, "p:1")
	for _, n := range nodes[1:] {
		wantPresent(t, n, "p:1", "frozen well")
	}
	if n := nodes[1].Stats().Presence["fenced"]; n != 1 {
		t.Errorf("fenced %d times", n)
	}
}
