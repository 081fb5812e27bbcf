package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"wshub/pubsub/redistest"
	"wshub/pubsub/redistest/drills"
)

// TestFailoverDrills has masters fail, and slots and networks come and go, while events flow through three hubs. In
// each, none may be lost, repeated or reordered unless the client is told, and nobody is told recovered of what is
// gone. A failover that is asynchronous may lose acknowledged events, unless --redis-wait has them confirmed by a
// replica.
func TestFailoverDrills(t *testing.T) {
	drills.Programs(t) // and nothing beside them: they have seconds to come to the truth
	path := buildHub(t)
	for _, one := range []struct {
		name string
		wait int
		run  func(d *setDrill)
	}{
		{"sentinel", 0, sentinelsFailOver},
		{"cluster", 0, aClusterFailsOver},
		{"sentinel, waiting", 1, aMasterDies},
		{"sentinel, waiting for all", 2, aMasterLives},
		{"cluster, waiting", 1, aClusterFailsOver},
	} {
		t.Run(one.name, func(t *testing.T) {
			drills.SideBySide(t)
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

// unreplicated is how long events are not replicated before their master is killed. With --redis-wait it is longer than
// the hub waits for replicas, and shorter than sentinels wait for a master.
func (d *setDrill) unreplicated() time.Duration {
	if d.wait > 0 {
		return 1500 * time.Millisecond
	}
	return 500 * time.Millisecond
}

// slowClock is how far the clocks of replicas are behind: so far that the one that is promoted lives again through times
// of which the old master has given positions, though it takes sentinels some seconds to promote it.
const slowClock = 5 * time.Second

// cutTime is how long the network is cut: longer than a hub needs to notice.
const cutTime = 6 * time.Second

// setDrill is a drill on several servers.
type setDrill struct {
	*drill
	wait  int // --redis-wait
	url   string
	table []string
}

// start starts three hubs, and clients.
func (d *setDrill) start(url string, servers []*redistest.Server) {
	d.t.Helper()
	d.url, d.servers = url, servers
	d.startHubs(3, url)
	d.follow()
	d.table = []string{fmt.Sprintf("| %-50s | acknowledged | lost by failover | resumes | gaps | not recovered | without delivery: median | longest |", d.t.Name())}
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
	c := d.endRound(name)
	median, longest := d.pauses()
	d.table = append(d.table, fmt.Sprintf("| %-50s | %12d | %16d | %7d | %4d | %13d | %24s | %7s | in %s",
		name, c.acked, c.failedOver, c.resumes, c.gaps, c.unrecovered, median, longest, time.Since(began).Round(time.Second)))
	switch {
	case may == keeps:
		d.costsNothing(c)
	case may == loses && d.wait == 0 && (c.failedOver == 0 || c.gaps == 0 || c.unrecovered == 0):
		d.t.Errorf("%s: %d acknowledged events were lost, %d gaps and %d recovered:false told: it proves nothing", name, c.failedOver, c.gaps, c.unrecovered)
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

// loseUnreplicated kills master when the others have not got its last events. A part of the clients goes away one
// after the other, so that they have seen more and more of these, and comes back when promoted returns. Others come
// back at once: to hubs that hardly hear the master, so that they read from its log what the hub has not heard.
func (d *setDrill) loseUnreplicated(master *redistest.Server, promoted func()) {
	d.t.Helper()
	var far, near []*follower
	for i, f := range d.clients {
		switch {
		case f.publishes:
		case i%2 == 1:
			far = append(far, f)
		default:
			near = append(near, f)
		}
	}
	master.Proxy.CutOff()
	d.far.shut()
	for i, f := range far {
		f.goFar()
		master.CLI("client", "kill", "type", "pubsub")
		near[i%len(near)].cut()
		d.pass(d.unreplicated() / time.Duration(len(far)))
	}
	master.Kill()
	promoted()
	master.Proxy.Rejoin()
	for _, f := range far {
		f.comeFromFar()
	}
	d.far.let()
	d.await("followed", (*follower).follows)
}

// downAfter is how long sentinels wait for a master. On two cores all servers, hubs and clients may not get on for a
// second.
const downAfter = 2 * time.Second

func sentinelPatience(set *redistest.SentinelSet, patience time.Duration) {
	for _, s := range set.Sentinels {
		s.CLI("sentinel", "set", "main", "down-after-milliseconds", fmt.Sprint(patience.Milliseconds()))
	}
}

// startSentinel starts what a drill with sentinels needs.
func (d *setDrill) startSentinel() *redistest.SentinelSet {
	d.t.Helper()
	set := redistest.StartSentinel(d.t, redistest.Proxied())
	sentinelPatience(set, downAfter)
	d.start(set.URL(), set.Servers)
	return set
}

// sentinelsFailOver is all that happens with sentinels.
func sentinelsFailOver(d *setDrill) {
	set := d.startSentinel()
	d.masterDies(set)
	d.masterLives(set)
	sentinelPatience(set, time.Minute)
	d.cutNetwork(set.Master())
	sentinelPatience(set, downAfter)
	d.clockIsSlow(set)
}

// aMasterDies: what one replica has confirmed is kept, because the sentinels promote the one that has most.
func aMasterDies(d *setDrill) {
	set := d.startSentinel()
	d.masterDies(set)
	d.clockIsSlow(set)
}

// aMasterLives on when another one is made: until the sentinels tell it, the other replica confirms what it writes.
// So --redis-wait must name all replicas here.
func aMasterLives(d *setDrill) { d.masterLives(d.startSentinel()) }

func (d *setDrill) masterDies(set *redistest.SentinelSet) {
	d.t.Helper()
	master := set.Master()
	d.during("a master is killed, a hub starts meanwhile", loses, func() {
		d.loseUnreplicated(master, func() {
			d.anotherHub()
			set.WaitMaster(master)
		})
	})
	d.during("it comes back as a replica", keeps, func() {
		master.Restart()
		set.WaitHealthy()
	})
}

func (d *setDrill) masterLives(set *redistest.SentinelSet) {
	d.t.Helper()
	d.during("SENTINEL FAILOVER", risks, func() {
		master := set.Master()
		set.Failover()
		set.WaitMaster(master)
		set.WaitHealthy()
	})
	for _, length := range d.scale.stands {
		d.during(fmt.Sprint("a master stands still for ", length), risks, func() {
			d.standStill(set.Master(), length)
			set.WaitHealthy()
		})
	}
}

// standStill freezes a master. Some clients come back meanwhile: what they ask may reach a master that is none
// any more, once it goes on.
func (d *setDrill) standStill(master *redistest.Server, length time.Duration) {
	d.t.Helper()
	const last = time.Second
	master.Freeze()
	d.pass(length - last)
	for _, f := range d.clients[:len(d.clients)/2] {
		f.cut()
		d.pass(last / time.Duration(len(d.clients)/2))
	}
	master.Thaw()
}

func (d *setDrill) clockIsSlow(set *redistest.SentinelSet) {
	d.t.Helper()
	master := set.Master()
	for _, replica := range set.Servers {
		if replica != master {
			replica.SetClock(-slowClock)
			replica.Restart()
			set.WaitHealthy()
		}
	}
	d.during("a replica with a slow clock is promoted", loses, func() {
		d.loseUnreplicated(master, func() { set.WaitMaster(master) })
		d.pass(slowClock - downAfter)
	})
}

func aClusterFailsOver(d *setDrill) {
	set := redistest.StartCluster(d.t, 3, 1, redistest.Proxied())
	d.start(set.URL(), set.Servers)
	const slot = 64*100 + 32
	master := set.Master(slot)
	d.during("a master is killed, a hub starts meanwhile", loses, func() {
		d.loseUnreplicated(master, func() {
			d.anotherHub()
			set.WaitMaster(slot, master)
		})
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
	for _, length := range d.scale.clusterStands {
		d.during(fmt.Sprint("a master stands still for ", length), risks, func() {
			d.standStill(set.Master(slot), length)
			set.WaitHealthy()
		})
	}
	if d.wait == 0 {
		d.cutNetwork(set.Master(slot))
	}
	d.during("slots move and come back", keeps, func() { d.moveSlots(set) })
}

// cutNetwork cuts the ways from one hub to a master, and from the master to another hub. The third one reaches it.
func (d *setDrill) cutNetwork(master *redistest.Server) {
	d.t.Helper()
	d.during("a hub is cut off to a master, another one from it", keeps, func() {
		master.Proxy.CutOffProcess(d.hub(0).cmd.Process.Pid, redistest.ToServer)
		master.Proxy.CutOffProcess(d.hub(1).cmd.Process.Pid, redistest.ToClient)
		d.pass(cutTime)
		master.Proxy.RejoinProcess()
	})
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
