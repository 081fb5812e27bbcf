package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"wshub/pubsub/redistest"
)

// TestFailoverDrills has masters fail, and slots and networks come and go, while events flow through three hubs. In
// each, none may be lost, repeated or reordered unless the client is told, and nobody is told recovered of what is
// gone. A failover that is asynchronous may lose acknowledged events, unless --redis-wait has them confirmed by a
// replica.
func TestFailoverDrills(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	path := buildHub(t)
	for _, one := range []struct {
		name string
		wait int
		run  func(d *setDrill)
	}{
		{"sentinel", 0, sentinelsFailOver},
		{"cluster", 0, aClusterFailsOver},
		{"sentinel, waiting", 1, sentinelsFailOver},
		{"cluster, waiting", 1, aClusterFailsOver},
		{"sentinel, waiting for all", 2, sentinelsAreTold},
	} {
		t.Run(one.name, func(t *testing.T) {
			if !drillScale().full {
				t.Parallel()
			}
			d := &setDrill{drill: newDrillWithout(t, path), wait: one.wait}
			defer d.end()
			d.topics = d.topics[:min(len(d.topics), setTopics)]
			d.scale.topics, d.scale.each = len(d.topics), 2
			if one.wait > 0 {
				d.args = append(d.args, fmt.Sprint("--redis-wait=", one.wait))
			}
			one.run(d)
			for _, line := range d.table {
				t.Log(line)
			}
		})
	}
}

// setTopics is how many topics a drill on a set of servers has at most: it has one minute of two cores.
const setTopics = 40

// unreplicated is how long events are not replicated before their master is killed.
const unreplicated = 500 * time.Millisecond

// cutTime is how long the network is cut: longer than a hub needs to notice.
const cutTime = 6 * time.Second

// setDrill is a drill on several servers.
type setDrill struct {
	*drill
	wait    int // --redis-wait
	url     string
	healthy func() // waits until the servers are
	table   []string
}

// start starts three hubs, and clients.
func (d *setDrill) start(url string, servers []*redistest.Server, healthy func()) {
	d.t.Helper()
	d.url, d.servers, d.healthy = url, servers, healthy
	d.startHubs(3, url)
	d.follow()
	d.table = []string{fmt.Sprintf("| %-46s | acknowledged | lost by failover | resumes | gaps | not recovered | without delivery: median | longest |", d.t.Name())}
}

// fate is what a failure may do to acknowledged events.
type fate int

const (
	keeps fate = iota // nothing: clients are told of no loss
	risks             // lose some, unless --redis-wait is on
	loses             // the same, and it does
)

// during is one drill: strike does something to the servers while events flow, and returns when that is over.
func (d *setDrill) during(name string, may fate, strike func()) {
	d.t.Helper()
	began := time.Now()
	d.publish()
	d.pass(500 * time.Millisecond)
	strike()
	d.advance()
	c := d.settle(name)
	median, longest := d.pauses()
	d.table = append(d.table, fmt.Sprintf("| %-46s | %12d | %16d | %7d | %4d | %13d | %24s | %7s | in %s",
		name, c.acked, c.failedOver, c.resumes, c.gaps, c.unrecovered, median, longest, time.Since(began).Round(time.Second)))
	switch {
	case may == keeps:
		d.costsNothing(c)
	case may == loses && d.wait == 0 && (c.failedOver == 0 || c.gaps == 0):
		d.t.Errorf("%s: %d acknowledged events were lost, and %d gaps told: it proves nothing", name, c.failedOver, c.gaps)
	}
	if (may == keeps || d.wait > 0) && c.failedOver > 0 {
		d.t.Errorf("%s: %d acknowledged events were lost", name, c.failedOver)
	}
	if len(c.refused) > 0 {
		d.t.Errorf("%s: publishers were refused: %v", name, c.refused)
	}
}

// anotherHub starts one more hub, and lets one go whose clients come to it or to others.
func (d *setDrill) anotherHub() {
	d.t.Helper()
	old := d.hub(0)
	d.startHubs(1, d.url)
	old.terminate()
	d.leave(old)
}

// loseUnreplicated kills master when the others have not got its last events.
func (d *setDrill) loseUnreplicated(master *redistest.Server) {
	d.t.Helper()
	master.Proxy.CutOff()
	d.pass(unreplicated)
	master.Kill()
}

func sentinelsFailOver(d *setDrill) {
	set := redistest.StartSentinel(d.t, redistest.Proxied())
	d.start(set.URL(), set.Servers, set.WaitHealthy)
	master := set.Master()
	d.during("a master is killed, a hub starts meanwhile", loses, func() {
		d.loseUnreplicated(master)
		d.anotherHub()
		set.WaitMaster(master)
		master.Proxy.Rejoin()
	})
	d.during("it comes back as a replica", keeps, func() {
		master.Restart()
		set.WaitHealthy()
	})
	if d.wait == 0 {
		d.sentinelFailover(set)
	}
	for _, length := range d.scale.stands {
		d.during(fmt.Sprint("a master stands still for ", length), risks, func() {
			master = set.Master()
			master.Freeze()
			d.pass(length)
			master.Thaw()
			set.WaitHealthy()
		})
	}
	if d.wait == 0 {
		d.cutNetwork(set.Master())
	}
	master = set.Master()
	for _, replica := range set.Servers {
		if replica != master {
			replica.SetClock(-clockBehind)
			replica.Restart()
			set.WaitHealthy()
		}
	}
	d.during("a replica with a slow clock is promoted", loses, func() {
		d.loseUnreplicated(master)
		set.WaitMaster(master)
		master.Proxy.Rejoin()
		d.pass(clockBehind)
	})
}

// sentinelsAreTold to make a replica the master. Meanwhile the old master goes on, and the other replica confirms
// what it writes: a --redis-wait of less than all replicas does not help.
func sentinelsAreTold(d *setDrill) {
	set := redistest.StartSentinel(d.t, redistest.Proxied())
	d.start(set.URL(), set.Servers, set.WaitHealthy)
	d.sentinelFailover(set)
}

func (d *setDrill) sentinelFailover(set *redistest.SentinelSet) {
	d.t.Helper()
	d.during("SENTINEL FAILOVER", risks, func() {
		master := set.Master()
		set.Failover()
		set.WaitMaster(master)
		set.WaitHealthy()
	})
}

func aClusterFailsOver(d *setDrill) {
	set := redistest.StartCluster(d.t, 3, 1, redistest.Proxied())
	d.start(set.URL(), set.Servers, set.WaitHealthy)
	const slot = 64*100 + 32
	master := set.Master(slot)
	d.during("a master is killed, a hub starts meanwhile", loses, func() {
		d.loseUnreplicated(master)
		d.anotherHub()
		set.WaitMaster(slot, master)
		master.Proxy.Rejoin()
		if d.wait > 0 { // nothing can be confirmed before there is a replica again
			d.pass(time.Second)
			master.Restart()
			set.WaitHealthy()
		}
	})
	if d.wait == 0 {
		d.during("it comes back as a replica", keeps, func() {
			master.Restart()
			set.WaitHealthy()
		})
	}
	d.during("CLUSTER FAILOVER", keeps, func() {
		set.Failover(set.ReplicaOf(set.Master(slot)))
		set.WaitHealthy()
	})
	for _, length := range d.scale.stands {
		d.during(fmt.Sprint("a master stands still for ", length), risks, func() {
			master = set.Master(slot)
			master.Freeze()
			d.pass(length)
			master.Thaw()
			set.WaitHealthy()
		})
	}
	if d.wait == 0 {
		d.cutNetwork(set.Master(slot))
		d.during("slots move and come back", keeps, func() { d.moveSlots(set) })
	}
}

// cutNetwork cuts one hub off from a master, one way at a time. The others reach it.
func (d *setDrill) cutNetwork(master *redistest.Server) {
	d.t.Helper()
	for _, one := range []struct {
		name string
		way  redistest.Way
	}{{"to", redistest.ToServer}, {"from", redistest.ToClient}} {
		d.during("one hub is cut off "+one.name+" a master", keeps, func() {
			master.Proxy.CutOffProcess(d.hub(0).cmd.Process.Pid, one.way)
			d.pass(cutTime)
			master.Proxy.RejoinProcess()
		})
	}
}

// moveSlots moves the slots of the topics that one master has to the others, and back. One move stands still amid
// its keys.
func (d *setDrill) moveSlots(set *redistest.ClusterSet) {
	d.t.Helper()
	slots := d.slots(set)
	first := set.Master(slots[0])
	slots = slices.DeleteFunc(slots, func(slot uint16) bool { return set.Master(slot) != first })
	if len(slots) < 3 {
		d.t.Fatalf("one master has topics of slots %d only", slots)
	}
	var others []*redistest.Server
	for _, slot := range []uint16{32, slotsOfCluster / 2, slotsOfCluster - 32} {
		if m := set.Master(slot); m != first {
			others = append(others, m)
		}
	}
	for i, slot := range slots {
		move := set.BeginMove(slot, others[i%len(others)])
		if i == 0 {
			d.pass(d.scale.stuck)
			move.MoveKeys(1)
			d.pass(d.scale.stuck)
		}
		move.MoveKeys(0)
		move.End()
	}
	d.advance()
	for _, slot := range slots {
		set.MoveSlot(slot, first)
	}
}

const slotsOfCluster = 16384

// slots are those of the topics' partitions.
func (d *setDrill) slots(set *redistest.ClusterSet) (slots []uint16) {
	d.t.Helper()
	for _, s := range set.Servers {
		if !strings.HasPrefix(s.CLI("role"), "master") {
			continue
		}
		for key := range strings.Lines(s.CLI("keys", "hub:{*}:s:drill:*")) {
			key = strings.TrimSpace(key)
			if _, topic, _ := strings.Cut(key, "}:s:"); !slices.ContainsFunc(d.topics, func(t *drillTopic) bool { return t.name == topic }) {
				continue
			}
			slot, err := strconv.ParseUint(s.CLI("cluster", "keyslot", key), 10, 16)
			if err != nil {
				d.t.Fatal(err)
			}
			slots = append(slots, uint16(slot))
		}
	}
	slices.Sort(slots)
	return slices.Compact(slots)
}
