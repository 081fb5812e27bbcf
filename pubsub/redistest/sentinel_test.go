package redistest

import (
	"slices"
	"strings"
	"testing"

	"wshub/pubsub/redistest/drills"
)

func TestSentinelsReplaceAMasterThatComesBackAsAReplica(t *testing.T) {
	drills.InProcess(t)
	t.Parallel()
	set := StartSentinel(t)
	first := set.Master()
	if first != set.Servers[0] {
		t.Fatalf("master %s", first.Addr())
	}
	first.CLI("set", "k", "v")
	set.Failover()
	second := set.WaitMaster(first)
	set.WaitHealthy()
	second.Kill()
	third := set.WaitMaster(second)
	wantCLI(t, third, "v", "get", "k")
	second.Restart()
	set.WaitHealthy()
	wantCLI(t, second, "v", "get", "k")
	wantCLI(t, second, "READONLY", "set", "k", "w")

	replica := set.Servers[0]
	if replica == third {
		replica = set.Servers[1]
	}
	replica.Restart()
	set.Sentinels[0].Restart()
	set.WaitHealthy()
	if set.Master() != third {
		t.Fatalf("the master is %s, not %s, after %s and a sentinel were restarted", set.Master().Addr(), third.Addr(), replica.Addr())
	}
}

// TestProxiedSentinelsSendClientsToTheProxies holds also that a frozen proxy stops no replica or sentinel, and that
// a master that is cut off from them is replaced though clients reach it.
func TestProxiedSentinelsSendClientsToTheProxies(t *testing.T) {
	drills.InProcess(t)
	t.Parallel()
	set := StartSentinel(t, Proxied())
	first := set.Master()
	host, port, _ := strings.Cut(first.Proxy.Addr(), ":")
	sentinel := dial(t, set.Sentinels[0].Proxy.Addr())
	sentinel.send("SENTINEL GET-MASTER-ADDR-BY-NAME main")
	for _, line := range []string{"*2", "$9", host, "$5", port} {
		sentinel.want(line)
	}
	client := dial(t, first.Proxy.Addr())
	first.Proxy.Freeze(ToClient)
	client.send("PING")
	replicates(t, first, 2)
	before := syncs(first)
	first.Proxy.Reset()
	replicates(t, first, 2)
	if after := syncs(first); len(after) == 0 || !slices.Equal(before, after) {
		t.Fatalf("replicas were reset: %q, before %q", after, before)
	}
	first.Proxy.Thaw(ToClient)

	client = dial(t, first.Proxy.Addr())
	first.Proxy.CutOff()
	set.WaitMaster(first)
	client.send("SET k v")
	client.want("+OK")
	first.Proxy.Rejoin()
	set.WaitHealthy()
	client = dial(t, first.Proxy.Addr())
	client.send("SET k v")
	client.want("-READONLY You can't write against a read only replica.")
}
