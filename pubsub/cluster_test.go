package pubsub

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"wshub/pubsub/redistest"
	"wshub/pubsub/redistest/drills"
)

// slot is that of topic's partition.
func slot(topic string) uint16 { return slotOf("{" + tags[partition(topic)] + "}") }

// other is a master that does not serve topic.
func other(set *redistest.ClusterSet, topic string) *redistest.Server {
	for _, s := range set.Servers {
		if s != set.Master(slot(topic)) {
			return s
		}
	}
	panic("one master")
}

// A partition moves to another master and back while its topics are published to: their events stay in order, and
// nobody else is told anything.
func TestAMovedPartitionCostsItsOwnTopicsOnly(t *testing.T) {
	t.Parallel()
	set := redistest.StartCluster(t, 3, 0)
	r, sink := running(t, RedisConfig{URL: set.URL(), History: keepAll})
	stays := "raw stays"
	for i := 0; slot(stays) == slot("h:moves"); i++ {
		stays = fmt.Sprint("raw stays ", i)
	}
	raw := strings.Replace(neighbour("h:moves"), "c:", "raw:", 1)
	for i := 0; slot(raw) != slot("h:moves"); i++ {
		raw = fmt.Sprint("raw moves ", i)
	}
	for _, topic := range []string{"h:moves", raw, stays} {
		mustFollow(t, r, topic, 0)
	}
	home := set.Master(slot("h:moves"))
	n := 0
	batch := func() {
		var list []Publication
		for range 10 {
			n++
			list = append(list, Publication{Topic: "h:moves", Data: fmt.Append(nil, n)})
		}
		for _, result := range r.Publish(t.Context(), list) {
			if result.Err != nil {
				t.Fatal(result.Err)
			}
		}
	}
	batch()
	wantEvents(t, sink, "h:moves", 1, n)
	for round, to := range []*redistest.Server{other(set, "h:moves"), home} {
		set.MoveSlot(slot("h:moves"), to)
		from := n + 1
		batch()
		gaps := 0
		for at := from; at <= n; {
			switch d := sink.next(t); {
			case d.Event == nil && d.topic == raw:
				gaps++
			case d.Event == nil || string(d.Data) != fmt.Sprint(at):
				t.Fatalf("got %s, want event %d", d, at)
			default:
				at++
			}
		}
		if gaps == 0 {
			sink.gap(t, raw)
		}
		mustPublish(t, r, stays, "1")
		sink.event(t, stays)
		s := r.Stats()
		if s.Topologies["moved"]+s.Topologies["sunsubscribe"]+s.Topologies["periodic"] != uint64(round+1) || s.Silences.Count < uint64(round+1) {
			t.Errorf("round %d: counted %v, %d silences", round, s.Topologies, s.Silences.Count)
		}
		if s.Reconnects > 0 || s.Unowned > 0 || s.Masters != 3 {
			t.Errorf("%d reconnects, %d without owner, %d masters", s.Reconnects, s.Unowned, s.Masters)
		}
	}
}

// A master that stands still costs its own topics only, once that is noticed: a batch does not wait for it.
func TestASilentMasterHoldsUpNoOther(t *testing.T) {
	drills.InProcess(t)
	t.Parallel()
	set := redistest.StartCluster(t, 3, 0)
	r, _ := running(t, RedisConfig{URL: set.URL(), History: keepAll, ProbeDeadline: 500 * time.Millisecond})
	moves, stays := "h:a", "h:b"
	for i := 0; set.Master(slot(stays)) == set.Master(slot(moves)); i++ {
		stays = fmt.Sprint("h:b", i)
	}
	frozen := set.Master(slot(moves))
	mustPublish(t, r, moves, "1")
	mustPublish(t, r, stays, "1")
	frozen.Freeze()
	defer frozen.Thaw()
	eventually(t, "it is silent", func() bool { return r.routes[partition(moves)].Load().silent.Load() })
	begin := time.Now()
	results := r.Publish(t.Context(), []Publication{{Topic: moves, Data: []byte("2")}, {Topic: stays, Data: []byte("2")}})
	if !errors.Is(results[0].Err, ErrUnavailable) || results[1].Err != nil {
		t.Errorf("%v", results)
	}
	if took := time.Since(begin); took > ioTimeout/2 {
		t.Errorf("after %s", took)
	}
	frozen.Thaw()
	eventually(t, "it is back", func() bool {
		return r.Publish(t.Context(), []Publication{{Topic: moves, Data: []byte("3")}})[0].Err == nil
	})
}

// Each node of a cluster gets a message for all nodes. A node that comes later gets a revocation, too.
func TestAllNodesOfAClusterAreTold(t *testing.T) {
	drills.InProcess(t)
	t.Parallel()
	set := redistest.StartCluster(t, 3, 0)
	const nodes = 4
	told := make(chan string, 100)
	var hubs []*Redis
	add := func(name string) *Redis {
		r, _ := running(t, RedisConfig{
			URL: set.URL(), Node: name,
			OnControl: func(message []byte) { told <- name + " " + string(message) },
			OnRevoked: func(list []Revocation) {
				for _, v := range list {
					told <- name + " revokes " + v.Subject
				}
			},
		})
		return r
	}
	want := func(what string) {
		t.Helper()
		missing := map[string]bool{}
		for i := range len(hubs) {
			missing[fmt.Sprint("node", i, " ", what)] = true
		}
		late := time.After(patience)
		for len(missing) > 0 {
			select {
			case got := <-told:
				delete(missing, got)
			case <-late:
				t.Fatalf("not told: %v", missing)
			}
		}
	}
	for i := range nodes {
		hubs = append(hubs, add(fmt.Sprint("node", i)))
	}
	eventually(t, "all are on the list", func() bool {
		list, err := hubs[0].listedNodes(t.Context(), 0)
		return err == nil && len(list) == nodes
	})
	if err := hubs[0].Notify(t.Context(), "", []byte("x")); err != nil {
		t.Fatal(err)
	}
	want("x")
	if err := hubs[2].Revoke(t.Context(), Revocation{Subject: "user:1", Until: time.Now().Add(time.Minute)}); err != nil {
		t.Fatal(err)
	}
	want("revokes user:1")
	hubs = append(hubs, add(fmt.Sprint("node", nodes)))
	for late := time.After(patience); ; {
		select {
		case got := <-told:
			if got == "node4 revokes user:1" {
				return
			}
		case <-late:
			t.Fatal("the node that came later does not know")
		}
	}
}

// Of calls that went astray those of a topic are sent again that no later one of that topic has overtaken.
func TestNoCallIsSentAgainBehindALaterOneOfItsTopic(t *testing.T) {
	ok, moved := redis.NewCmd(t.Context()), redis.NewCmd(t.Context())
	moved.SetErr(serverError("MOVED 7 127.0.0.1:1"))
	calls := []call{{topic: "a"}, {topic: "b"}, {topic: "a"}, {topic: "a"}, {}, {topic: "b"}}
	replies := []*redis.Cmd{moved, moved, ok, moved, moved, moved}
	if got := failed(calls, []int{0, 1, 2, 3, 4, 5}, replies, isAstray); fmt.Sprint(got) != "[1 3 4 5]" {
		t.Errorf("again: %v", got)
	}
	moved.SetErr(serverError("NOSCRIPT No matching script. Please use EVAL."))
	if got := failed(calls, []int{0, 1, 2, 3, 4, 5}, replies, isUnknown); fmt.Sprint(got) != "[1 3 4 5]" {
		t.Errorf("scripts that were unknown, again: %v", got)
	}
}

// The key of the format may be on a master that has no partition.
func TestTheFormatMayBeOnAMasterOfNoPartition(t *testing.T) {
	drills.InProcess(t)
	t.Parallel()
	set := redistest.StartCluster(t, 2, 0)
	key := slotOf(plainNames.format())
	if slotOf("{"+tags[partitionOf(key)]+"}") == key {
		t.Fatal("a partition has the slot")
	}
	empty := set.Servers[0]
	if set.Master(key) == empty {
		empty = set.Servers[1]
	}
	for p := range tags { // what it serves is no partition's
		if at := slotOf("{" + tags[p] + "}"); set.Master(at) == empty {
			set.MoveSlot(at, set.Master(key))
		}
	}
	set.MoveSlot(key, empty)
	running(t, RedisConfig{URL: set.URL()})
	if got := empty.CLI("get", plainNames.format()); got != formatNumber {
		t.Errorf("the format is %q", got)
	}
}

// While slots have no master, all of the cluster refuses to publish, probes too. No connection is to blame: topics
// elsewhere are not told of a gap again and again.
func TestAClusterThatIsDownCostsNoConnection(t *testing.T) {
	drills.InProcess(t)
	t.Parallel()
	set := redistest.StartCluster(t, 3, 0)
	r, _ := running(t, RedisConfig{URL: set.URL(), ProbeDeadline: 2 * time.Second})
	well, dead := set.Servers[0], set.Servers[1]
	connection := func() string {
		for line := range strings.Lines(well.CLI("client", "list")) {
			if strings.Contains(line, " ssub=") && !strings.Contains(line, " ssub=0 ") {
				return strings.Fields(line)[0]
			}
		}
		return ""
	}
	before := connection()
	if before == "" {
		t.Fatal("no connection hears of a shard")
	}
	dead.Kill()
	m := r.masterAt(well.Addr())
	eventually(t, "probes are long overdue", func() bool { return m.age(r) > 5*time.Second })
	if after := connection(); after != before {
		t.Errorf("the connection was %s, and is %s", before, after)
	}
	if r.Ready() == nil {
		t.Error("ready")
	}
	dead.Restart()
	ready(t, r)
}
