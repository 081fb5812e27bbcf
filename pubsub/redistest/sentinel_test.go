package redistest

import (
	"testing"
	"time"
)

func TestSentinelsReplaceAMaster(t *testing.T) {
	begin := time.Now()
	step := func(what string, set *SentinelSet) {
		t.Logf("%s: %s", time.Since(begin).Round(10*time.Millisecond), what)
		for _, x := range set.Servers {
			k, err := x.ask(glance, "get", "k")
			role, _ := x.ask(glance, "role")
			t.Log(x.Addr(), k, err, role)
		}
	}
	set := StartSentinel(t)
	first := set.Master()
	if first != set.Servers[0] {
		t.Fatalf("master %s", first.Addr())
	}
	first.CLI("set", "k", "v")
	step("started", set)

	set.Failover()
	second := set.WaitMaster(first)
	step("failed over", set)
	set.WaitHealthy()
	step("healthy", set)

	second.Kill()
	third := set.WaitMaster(second)
	step("after kill", set)
	if got := third.CLI("get", "k"); got != "v" {
		t.Fatalf("after two failovers k is %q", got)
	}
	second.Restart()
	set.WaitHealthy()
	step("after restart", set)
	if got := second.CLI("get", "k"); got != "v" {
		t.Fatalf("at the old master k is %q", got)
	}
}
