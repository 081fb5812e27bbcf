package redistest

import (
	"fmt"
	"strings"
	"testing"

	"wshub/pubsub/redistest/drills"
)

const (
	slotOfK = 7629 // CLUSTER KEYSLOT k
	nodeOfK = 1    // of three masters the second
)

func TestAClusterMovesASlotAndReplacesItsMaster(t *testing.T) {
	drills.InProcess(t)
	t.Parallel()
	set := StartCluster(t, 3, 1)
	first, other := set.Master(slotOfK), set.Servers[0]
	if first != set.Servers[nodeOfK] {
		t.Fatalf("master %s", first.Addr())
	}
	first.CLI("mset", "{k}1", "one", "{k}2", "two")

	move := set.BeginMove(slotOfK, other)
	if n := move.MoveKeys(1); n != 1 {
		t.Fatalf("moved %d keys", n)
	}
	wantCLI(t, first, "TRYAGAIN", "mget", "{k}1", "{k}2")
	wantCLI(t, first, "ASK", "get", "{k}3")
	if n := move.MoveKeys(0); n != 1 {
		t.Fatalf("moved %d keys more", n)
	}
	move.End()
	if set.Master(slotOfK) != other {
		t.Fatal("the slot has not moved")
	}
	wantCLI(t, first, "MOVED", "get", "{k}1")
	set.MoveSlot(slotOfK, first)
	if set.WaitMaster(slotOfK, other) != first {
		t.Fatal("the slot has not moved back")
	}

	second := set.ReplicaOf(first)
	set.Failover(second)
	if set.WaitMaster(slotOfK, first) != second || set.ReplicaOf(second) != first {
		t.Fatal("they have not changed places")
	}
	second.Kill()
	if set.WaitMaster(slotOfK, second) != first {
		t.Fatal("the replica has not become the master")
	}
	second.Restart()
	set.WaitHealthy()
	if set.ReplicaOf(first) != second {
		t.Fatal("the old master has not become a replica")
	}
	wantCLI(t, first, "one\ntwo", "mget", "{k}1", "{k}2")
}

// TestAProxiedClusterSendsClientsToTheProxies holds also that a frozen proxy stops no replica.
func TestAProxiedClusterSendsClientsToTheProxies(t *testing.T) {
	drills.InProcess(t)
	t.Parallel()
	set := StartCluster(t, 3, 1, Proxied())
	master := set.Master(slotOfK)
	moved := fmt.Sprintf("MOVED %d %s", slotOfK, master.Proxy.Addr())
	wantCLI(t, set.Servers[0], moved, "get", "k")
	if !strings.Contains(set.URL(), master.Proxy.Addr()) {
		t.Fatalf("%s lacks %s", set.URL(), master.Proxy.Addr())
	}
	client := dial(t, master.Proxy.Addr())
	client.send("PING")
	client.want("+PONG")

	master.Proxy.Freeze(ToServer)
	client.send("SET k v")
	replicates(t, master, 1)
	wantCLI(t, master, "", "get", "k")
	master.Proxy.Thaw(ToServer)
	client.want("+OK")
	master.Proxy.Freeze(Both)
	set.Failover(set.ReplicaOf(master))
}

func TestShareIsWhatRedisCLIDeals(t *testing.T) {
	for n, want := range map[int]string{1: "0-16383", 3: "0-5460 5461-10922 10923-16383", 7: "0-2340 2341-4680 4681-7021 7022-9361 9362-11702 11703-14042 14043-16383"} {
		var got []string
		for i := range n {
			first, last := share(i, n)
			got = append(got, fmt.Sprintf("%d-%d", first, last))
		}
		if got := strings.Join(got, " "); got != want {
			t.Errorf("%d masters: %s, want %s", n, got, want)
		}
	}
}

func wantCLI(t *testing.T, s *Server, want string, args ...string) {
	t.Helper()
	if got := s.CLI(args...); !strings.HasPrefix(got, want) || want == "" && got != "" {
		t.Fatalf("%s: %q: %q, want %q", s.Addr(), args, got, want)
	}
}

// replicates writes to master, and has n replicas acknowledge it.
func replicates(t *testing.T, master *Server, n int) {
	t.Helper()
	conn := dial(t, master.Addr())
	conn.send("SET {k}written now")
	conn.want("+OK")
	conn.send(fmt.Sprintf("WAIT %d 5000", n))
	conn.want(fmt.Sprintf(":%d", n))
}

// syncs counts how often replicas have come to master.
func syncs(master *Server) (lines []string) {
	for line := range strings.Lines(master.CLI("info", "stats")) {
		if strings.HasPrefix(line, "sync_") {
			lines = append(lines, line)
		}
	}
	return lines
}
