package pubsub

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"wshub/pubsub/redistest"
)

func TestMembersOfANodeThatDiedLeave(t *testing.T) {
	t.Parallel()
	for kind, begin := range homes {
		t.Run(kind, func(t *testing.T) {
			ofOneServer(t, kind)
			t.Parallel()
			h := begin(t)
			a, b := instanceOf(t, RedisConfig{URL: h.url, Node: "a", Presence: PresenceConfig{Grace: time.Hour}}), instanceOf(t, RedisConfig{URL: h.url, Node: "b"})
			b.watch(t, presenceTopics...)
			var batch []Change
			for _, topic := range presenceTopics {
				batch = append(batch, enter(topic, "s1", "u"), enter(topic, "s2", "u"))
			}
			a.change(t, batch...)
			b.change(t, enter("p:1", "s3", ""))
			for range 2*len(presenceTopics) + 1 {
				b.sink.next(t)
			}
			boot := a.presence.boot()
			a.stop()
			a.expire(h.server(t, b.Redis, topicIn(common)))
			got := map[string][]string{}
			for range 2 * len(presenceTopics) {
				d := b.sink.next(t)
				if d.moved == nil || !d.moved.Left || d.moved.Last != (len(got[d.topic]) == 1) {
					t.Fatalf("told: %s", d)
				}
				got[d.topic] = append(got[d.topic], d.moved.Member.Session)
			}
			for _, topic := range presenceTopics {
				if slices.Sort(got[topic]); fmt.Sprint(got[topic]) != "[s1 s2]" {
					t.Errorf("%s: %v left", topic, got[topic])
				}
			}
			wantPresent(t, b, "p:1", "s3")
			eventually(t, "the boot is forgotten", func() bool {
				server := h.server(t, b.Redis, topicIn(common))
				return server.CLI("zscore", b.names.leases(), boot) == ""
			})
			for _, topic := range presenceTopics {
				p := partition(topic)
				server := h.server(t, b.Redis, topic)
				if found := server.CLI("exists", b.names.entries(p, boot)) + server.CLI("sismember", b.names.boots(p), boot); found != "00" {
					t.Errorf("%s: something is left of it: %s", topic, found)
				}
			}
			if s := b.Stats().Presence; s["swept"] != uint64(2*len(presenceTopics)) || s["fenced"] != 0 {
				t.Errorf("counted: %v", s)
			}
			for _, s := range h.servers {
				if refusals := s.CLI("acl", "log"); strings.Contains(refusals, "username") {
					t.Errorf("refused: %s", refusals)
				}
			}
		})
	}
}

func TestWhoComesBackElsewhereBeforeTheSweepIsNotTold(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	a := instanceOf(t, RedisConfig{URL: server.URL(), Node: "a", Presence: PresenceConfig{Grace: time.Hour}})
	b := instanceOf(t, RedisConfig{URL: server.URL(), Node: "b"})
	b.watch(t, "p:1")
	a.change(t, enter("p:1", "returns", "u"), enter("p:1", "stays-away", "u"))
	b.sink.moved(t, "p:1")
	b.sink.moved(t, "p:1")
	boot := a.presence.boot()
	a.stop()
	again := enter("p:1", "returns", "u")
	again.Member.Generation = 1
	b.change(t, again)
	late := leave("p:1", "returns") // of the node before
	for _, reply := range b.changeAs(t.Context(), boot, []Change{late}) {
		if reply.n != 0 || reply.err != nil {
			t.Errorf("a late leave: %d, %v", reply.n, reply.err)
		}
	}
	a.expire(server)
	wantMoved(t, b.sink, "p:1", "-stays-away u 1 1")
	b.quiet(t, "p:1")
	wantPresent(t, b, "p:1", "returns")
}

// One who goes away while members are listed may be listed twice, as one who follows and as one who is away.
func TestAMemberThatIsListedTwiceIsNotEnteredAgain(t *testing.T) {
	t.Parallel()
	n := prepare(t, RedisConfig{URL: redistest.Start(t).URL(), Node: "a", Lifecycle: LifecycleConfig{On: true}})
	once := n.cfg.Presence.Members
	n.cfg.Presence.Members = func(ctx context.Context, p byte, yield func(string, Member)) error {
		return once(ctx, p, func(topic string, m Member) { yield(topic, m); yield(topic, m) })
	}
	n.run(t)
	n.change(t, enter("p:1", "s", "u"))
	eventually(t, "nothing is due", func() bool {
		n.presence.mu.Lock()
		defer n.presence.mu.Unlock()
		return !n.presence.due[partition("p:1")].IsZero()
	})
	before := n.Stats().Presence["repaired"]
	if err := n.compare(t.Context(), partition("p:1")); err != nil || n.Stats().Presence["repaired"] != before {
		t.Errorf("%v, %d repaired", err, n.Stats().Presence["repaired"]-before)
	}
}

// A leave that a failover lost, of a session whose earlier connection is still waited for on another loop.
func TestALaterGenerationThatANodeHasNoMoreHasLeft(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	a, b := instanceOf(t, RedisConfig{URL: server.URL(), Node: "a"}), instanceOf(t, RedisConfig{URL: server.URL(), Node: "b"})
	b.watch(t, "p:1")
	was, now := enter("p:1", "s", "u"), enter("p:1", "s", "u")
	was.Member.Generation, now.Member.Generation = 3, 5
	a.change(t, now)
	wantMoved(t, b.sink, "p:1", "+s u first 1 1")
	a.know(was)
	a.RepairPresence("p:1")
	wantMoved(t, b.sink, "p:1", "-s u last 0 0")
	a.know(leave("p:1", "s"))
}

// TestADeadNodesMembersLeaveThoughTheClockWasAhead has leases and claims that were written before the server's clock stepped
// back by an hour.
func TestADeadNodesMembersLeaveThoughTheClockWasAhead(t *testing.T) {
	t.Parallel()
	for name, sign := range map[string]int64{"a lease": 1, "a claim": -1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			a, b := instanceOf(t, RedisConfig{URL: server.URL(), Node: "a", Presence: PresenceConfig{Grace: time.Hour}}), instanceOf(t, RedisConfig{URL: server.URL(), Node: "b"})
			b.watch(t, "p:1")
			a.change(t, enter("p:1", "s", "u"))
			b.change(t, enter("p:1", "stays", "v"))
			a.stop()
			server.CLI("zadd", b.names.leases(), fmt.Sprint(sign*time.Now().Add(time.Hour).UnixMilli()), a.presence.boot())
			wantPresent(t, b, "p:1", "stays")
			if n := b.Stats().Presence["fenced"]; n != 0 {
				t.Errorf("the node that lives was fenced %d times", n)
			}
		})
	}
}

// TestANodeThatWasTakenForDeadEntersItsMembersAnew cuts a node off until it is swept.
func TestANodeThatWasTakenForDeadEntersItsMembersAnew(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr())
	a, b := instanceOf(t, RedisConfig{URL: proxy.URL(), Node: "a"}), instanceOf(t, RedisConfig{URL: server.URL(), Node: "b"})
	b.watch(t, "p:1", "p:2")
	a.change(t, enter("p:1", "s", "u"))
	wantMoved(t, b.sink, "p:1", "+s u first 1 1")
	old := a.presence.boot()
	proxy.Freeze(redistest.Both)
	a.expire(server)
	wantMoved(t, b.sink, "p:1", "-s u last 0 0")
	for _, reply := range b.changeAs(t.Context(), old, []Change{enter("p:1", "late", "u"), enter("p:1", "s", "u")}) {
		if !isFenced(reply.err) {
			t.Errorf("a late write: %v", reply)
		}
	}
	a.know(enter("p:2", "while-away", "v"))
	proxy.Thaw(redistest.Both)
	got := map[string]string{}
	for range 2 {
		d := b.sink.next(t)
		if d.moved == nil {
			t.Fatalf("told: %s", d)
		}
		got[d.topic] = describe(d.moved)
	}
	if got["p:1"] != "+s u first 1 1" || got["p:2"] != "+while-away v first 1 1" {
		t.Errorf("got %v", got)
	}
	if boot := a.presence.boot(); boot == old {
		t.Error("it goes on under its old boot")
	}
	if n := a.Stats().Presence["fenced"]; n != 1 {
		t.Errorf("fenced %d times", n)
	}
	b.quiet(t, "p:1")
}

// TestAnOutageOfRedisMakesNobodyLeave has Redis away until all leases have run out by its clock.
func TestAnOutageOfRedisMakesNobodyLeave(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	a, b := prepare(t, RedisConfig{URL: server.URL(), Node: "a"}), prepare(t, RedisConfig{URL: server.URL(), Node: "b"})
	for _, n := range []*instance{a, b} {
		n.presence.vigil, n.presence.stranger = vigil, strangerTime
		n.run(t)
	}
	b.watch(t, "p:1")
	a.change(t, enter("p:1", "a", "u"))
	b.change(t, enter("p:1", "b", "u"))
	b.sink.moved(t, "p:1")
	b.sink.moved(t, "p:1")
	server.Kill()
	server.SetClock(time.Minute)
	server.Restart()
	if m := b.sink.moved(t, "p:1"); !m.Version.IsZero() {
		t.Errorf("told: %+v", m)
	}
	later := time.Now().Add(time.Minute).UnixMilli()
	for _, n := range []*instance{a, b} {
		eventually(t, "the lease is renewed", func() bool {
			return server.CLI("zcount", n.names.leases(), fmt.Sprint(later), "+inf") == "2"
		})
		ready(t, n.Redis)
	}
	publishing(t, b.Redis)
	b.quiet(t, "p:1")
	wantPresent(t, a, "p:1", "a b")
	if s := a.Stats().Presence; s["swept"]+s["fenced"]+b.Stats().Presence["swept"] > 0 {
		t.Errorf("counted: %v", s)
	}
}

func TestLostMembersAreRepaired(t *testing.T) {
	t.Parallel()
	for kind, begin := range homes {
		t.Run(kind, func(t *testing.T) {
			ofOneServer(t, kind)
			t.Parallel()
			h := begin(t)
			a, b := instanceOf(t, RedisConfig{URL: h.url, Node: "a"}), instanceOf(t, RedisConfig{URL: h.url, Node: "b"})
			for _, topic := range presenceTopics {
				a.change(t, enter(topic, "a", "u"))
				b.change(t, enter(topic, "b", "v"))
			}
			for _, topic := range presenceTopics {
				h.server(t, a.Redis, topic).CLI("flushall")
			}
			for _, topic := range presenceTopics {
				wantPresent(t, a, topic, "a b")
			}
		})
	}
}

// TestLostMembersAreRepairedThoughOthersEnter has a member enter at a server between its loss and the hub's next look, in the partition in
// which the hub looks.
func TestLostMembersAreRepairedThoughOthersEnter(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	r := prepare(t, RedisConfig{URL: server.URL(), Node: "a"})
	t.Cleanup(r.closeMasters)
	r.presence.renewed(r.presence.name, true)
	topic := "p:"
	for i := 0; partition(topic) != common; i++ {
		topic = fmt.Sprint("p:", i)
	}
	look := func(want int, when string) {
		t.Helper()
		r.touchMasters(t.Context())
		if due := r.presence.takeDue(time.Now()); len(due) != want {
			t.Errorf("%s %d partitions are to be compared, want %d", when, len(due), want)
		}
	}
	look(partitions, "at first")
	look(0, "while all is well")
	server.CLI("flushall")
	r.change(t, enter(topic, "s1", ""))
	look(partitions, "behind a loss")
	look(0, "once that is seen")
}

// TestAFailedWriteIsRepaired refuses changes, and lets the hub go on.
func TestAFailedWriteIsRepaired(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	a := instanceOf(t, RedisConfig{URL: server.URL(), Node: "a"})
	a.change(t, enter("p:1", "goes", "u"), enter("p:1", "stays", "u"))
	server.CLI("acl", "setuser", "default", "-hset", "-hdel")
	for _, c := range []Change{enter("p:1", "comes", "u"), leave("p:1", "goes")} {
		a.know(c)
		if err := a.ChangePresence(t.Context(), []Change{c})[0]; err == nil {
			t.Errorf("%+v succeeded", c)
		}
	}
	a.know(enter("p:2", "unasked", "u"))
	a.RepairPresence("p:2")
	server.CLI("acl", "setuser", "default", "+hset", "+hdel")
	wantPresent(t, a, "p:1", "comes stays")
	wantPresent(t, a, "p:2", "unasked")
	eventually(t, "the changes are counted", func() bool { // Redis shows them before it answers
		s := a.Stats().Presence
		return s["refused"] == 2 && s["repaired"] >= 3
	})
}

// TestAReplicaThatLacksTheLastIsRepaired promotes one that knows a member that has left, none of those who came, and a node
// that was swept.
func TestAReplicaThatLacksTheLastIsRepaired(t *testing.T) {
	t.Parallel()
	master := redistest.Start(t)
	replica := follower(t, master, -2*time.Second)
	proxy := redistest.NewProxy(t, master.Addr())
	a := instanceOf(t, RedisConfig{URL: proxy.URL(), Node: "a"})
	gone := instanceOf(t, RedisConfig{URL: master.URL(), Node: "gone"})
	gone.change(t, enter("p:1", "swept", "w"))
	a.change(t, enter("p:1", "left", "u"), enter("p:1", "stays", "u"))
	replica.CatchUp(master)
	replica.Promote()
	gone.stop()
	master.CLI("zadd", a.names.leases(), "1", gone.presence.name)
	a.change(t, leave("p:1", "left"), enter("p:1", "came", "v"))
	wantPresent(t, a, "p:1", "came stays")
	replica.CLI("zrem", a.names.leases(), gone.presence.name)
	master.Kill()
	proxy.Point(replica.Addr())
	last := ""
	defer func() {
		if t.Failed() {
			t.Logf("at last: %s; %v, ready: %v", last, a.Stats().Presence, a.Ready())
		}
	}()
	eventually(t, "repaired", func() bool {
		p, err := a.ReadPresence(t.Context(), "p:1", "", 10)
		last = fmt.Sprintf("%s of %d users, %v", sessions(p), p.Users, err)
		return err == nil && sessions(p) == "came stays" && p.Users == 2
	})
}

// TestASweepForgetsNoBootWhoseMembersAnotherServerHas has a replica, which knows a member that has left, take over as soon as the master
// has answered that there is none.
func TestASweepForgetsNoBootWhoseMembersAnotherServerHas(t *testing.T) {
	t.Parallel()
	master := redistest.Start(t)
	replica := follower(t, master, 0)
	proxy := redistest.NewProxy(t, master.Addr())
	gone := instanceOf(t, RedisConfig{URL: master.URL(), Node: "gone"})
	gone.change(t, enter("p:1", "swept", "w"))
	replica.CatchUp(master)
	replica.Promote()
	gone.change(t, leave("p:1", "swept"))
	boot := gone.presence.boot()
	gone.stop()

	var next atomic.Bool // the replica takes over behind the next answer
	a := newRedis(t, RedisConfig{URL: proxy.URL(), Presence: contractPresence, OnRoundTrip: func(time.Duration) {
		if next.Swap(false) {
			proxy.Point(replica.Addr())
		}
	}})
	t.Cleanup(a.closeMasters)
	p := partition("p:1")
	for _, of := range []byte{partition("p:2"), p} { // with the first one the master comes to know the script
		next.Store(of == p)
		if found, rest, err := a.fence(t.Context(), lapsed{boot, time.Now().UnixMilli()}, []byte{of}); len(found)+len(rest) > 0 || err != nil {
			t.Fatalf("found %v, rest %v, %v", found, rest, err)
		}
	}
	for server, want := range map[*redistest.Server]string{master: "0", replica: "1"} {
		if got := server.CLI("sismember", a.names.boots(p), boot); got != want {
			t.Errorf("%s knows of the boot: %s, want %s", server.Addr(), got, want)
		}
	}
}

// TestAMemberThatIsIdleCostsNothing watches the commands of two renewals.
func TestAMemberThatIsIdleCostsNothing(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	a := instanceOf(t, RedisConfig{URL: server.URL(), Node: "a"})
	a.change(t, enter("p:idle", "s", "u"))
	eventually(t, "the first look is over", func() bool { return len(a.presence.takeDue(time.Now())) == 0 })
	end := server.Monitor()
	was := server.CLI("zscore", a.names.leases(), a.presence.boot())
	eventually(t, "a renewal", func() bool { return server.CLI("zscore", a.names.leases(), a.presence.boot()) != was })
	for _, line := range end() {
		if strings.Contains(line, "p:idle") {
			t.Errorf("a command: %s", line)
		}
	}
}

// TestABootIsClaimedOnce runs the script of the leases.
func TestABootIsClaimedOnce(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	r := newRedis(t, RedisConfig{URL: server.URL()})
	t.Cleanup(r.closeMasters)
	now := time.Now().UnixMilli()
	renew := func(boot string, may bool, claimed, wantLease, wantClaimed string) {
		t.Helper()
		reply, err := bootsScript.Run(t.Context(), r.only().pub, []string{r.names.leases()}, boot, 60_000, 60_000, may, claimed).Slice()
		if err != nil {
			t.Fatal(err)
		}
		lease := str(reply, 1)
		switch ms, _ := strconv.ParseInt(lease, 10, 64); {
		case lease == "":
			lease = "none"
		case ms < 0:
			lease = "claimed"
		case ms < now:
			lease = "over"
		default:
			lease = "holds"
		}
		if got := str(reply, 2); lease != wantLease || got != wantClaimed {
			t.Errorf("%s: its lease: %s, it claimed %q", boot, lease, got)
		}
	}
	expire := func(boot string) { server.CLI("zadd", r.names.leases(), "5", boot) }
	expire("dead")
	renew("a", true, "", "none", "")
	expire("a")
	renew("a", true, "", "over", "")
	renew("a", false, "", "holds", "")
	renew("b", false, "", "none", "")
	renew("a", true, "", "holds", "dead")
	renew("b", true, "", "holds", "")
	renew("dead", true, "", "claimed", "")
	renew("a", true, "dead", "holds", "")
	server.CLI("zadd", r.names.leases(), fmt.Sprint(-now+1000), "dead") // the claim has run out
	renew("b", true, "", "holds", "dead")
	server.CLI("zrem", r.names.leases(), "dead")
	renew("b", true, "dead", "holds", "")
	if server.CLI("zscore", r.names.leases(), "dead") != "" {
		t.Error("a boot that is done with was claimed again")
	}
}

// TestAReconnectSaysThatChangesMayBeLost has topics with history, whose events are not lost, and without.
func TestAReconnectSaysThatChangesMayBeLost(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	a := instanceOf(t, RedisConfig{URL: server.URL(), Node: "a", History: History{{Prefix: "p:h", Count: 10}}})
	a.watch(t, "p:h", "p:1")
	mustFollow(t, a, "c:other", 0)
	mustPublish(t, a, "p:h", "1")
	a.sink.event(t, "p:h")
	server.CLI("client", "kill", "type", "pubsub")
	told := map[string]int{}
	for range 4 {
		switch d := a.sink.next(t); {
		case d.moved != nil && d.moved.Version.IsZero():
			told["moved "+d.topic]++
		case d.Event == nil && d.moved == nil:
			told["gap "+d.topic]++
		default:
			t.Errorf("told: %s", d)
		}
	}
	if told["moved p:h"] != 1 || told["moved p:1"] != 1 || told["gap p:1"] != 1 || told["gap c:other"] != 1 {
		t.Errorf("told: %v", told)
	}
	a.quiet(t, "p:h")
}

func TestAFullServerRefusesWhoEntersAndLetsGo(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	a := instanceOf(t, RedisConfig{URL: server.URL(), Node: "a"})
	a.watch(t, "p:1")
	a.change(t, enter("p:1", "goes", "u"), enter("p:1", "stays", "u"))
	wantMoved(t, a.sink, "p:1", "+goes u first 1 1")
	wantMoved(t, a.sink, "p:1", "+stays u 2 1")
	server.CLI("config", "set", "maxmemory", "1")
	a.know(enter("p:1", "comes", "v"))
	if err := a.ChangePresence(t.Context(), []Change{enter("p:1", "comes", "v")})[0]; !errors.Is(err, ErrRefused) {
		t.Errorf("got %v", err)
	}
	a.change(t, leave("p:1", "goes"))
	wantMoved(t, a.sink, "p:1", "-goes u 1 1")
	server.CLI("config", "set", "maxmemory", "0")
	wantMoved(t, a.sink, "p:1", "+comes v first 2 2")
}
