package pubsub

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"wshub/pubsub/redistest"
)

// lifecycleOf is an instance whose lifecycle is written.
func lifecycleOf(t testing.TB, cfg RedisConfig) *instance {
	cfg.Lifecycle.On = true
	return instanceOf(t, cfg)
}

// knows waits until a consumer that goes on reading knows what is there.
func (l *lifeReader) knows(t testing.TB, want string) {
	t.Helper()
	var failed error
	eventually(t, "the consumer knows: "+want, func() bool {
		if err := l.read(t); err != nil {
			failed = errors.Join(failed, err)
		}
		return l.String() == want
	})
	if failed != nil {
		t.Errorf("%v; it read\n%s", failed, strings.Join(l.told, "\n"))
	}
}

func TestTheSessionsOfAHubThatDiedEnd(t *testing.T) {
	t.Parallel()
	for kind, begin := range homes {
		t.Run(kind, func(t *testing.T) {
			ofOneServer(t, kind)
			t.Parallel()
			h := begin(t)
			a := lifecycleOf(t, RedisConfig{URL: h.url, Node: "a", Presence: PresenceConfig{Grace: time.Hour}})
			b := lifecycleOf(t, RedisConfig{URL: h.url, Node: "b"})
			readers := map[byte]*lifeReader{}
			for p := range partitions {
				part := b.names.lifecyclePart(byte(p))
				readers[part] = newLifeReader(b.Redis, part)
			}
			fold := func() (sessions, users, topics, lost int) {
				for _, r := range readers {
					if err := r.read(t); err != nil {
						t.Fatal(err)
					}
					sessions, users, topics = sessions+len(r.sessions), users+len(r.users), topics+len(r.topics)
					lost += strings.Count(strings.Join(r.told, "\n"), `"cause":"hub_lost"`)
				}
				return sessions, users, topics, lost
			}
			var batch []Change
			for i := range 40 {
				user := []string{fmt.Sprint("u", i/2), ""}[i%2]
				batch = append(batch, opened(fmt.Sprint("s_", i), user), enter(fmt.Sprint("p:", i%7), fmt.Sprint("s_", i), user))
			}
			a.change(t, batch...)
			b.change(t, opened("s_0b", "u0"), enter("p:0", "s_0b", "u0"))
			if sessions, users, topics, _ := fold(); sessions != 41 || users != 20 || topics != 7 {
				t.Fatalf("%d sessions, %d users, %d topics", sessions, users, topics)
			}
			a.stop()
			a.expire(h.server(t, b.Redis, topicIn(common)))
			eventually(t, "the sessions have ended", func() bool {
				sessions, users, topics, lost := fold()
				return sessions == 1 && users == 1 && topics == 1 && lost == 40
			})
			for _, s := range h.servers {
				if refusals := s.CLI("acl", "log"); strings.Contains(refusals, "username") {
					t.Errorf("refused: %s", refusals)
				}
			}
		})
	}
}

// TestAConsumerKnowsTheTruthBehindAFailover has a replica take over that lacks the last entries, with a clock that is behind.
func TestAConsumerKnowsTheTruthBehindAFailover(t *testing.T) {
	t.Parallel()
	master := redistest.Start(t)
	replica := follower(t, master, -2*time.Second)
	proxy := redistest.NewProxy(t, master.Addr())
	a := lifecycleOf(t, RedisConfig{URL: proxy.URL(), Node: "a"})
	b := lifecycleOf(t, RedisConfig{URL: proxy.URL(), Node: "b"})
	consumer := newLifeReader(b.Redis, common)
	a.change(t, opened("s_1", "x"), opened("s_2", "y"), opened("s_3", "z"), enter("p:1", "s_1", "x"))
	consumer.knows(t, "sessions s_1 s_2 s_3; users x y z; topics p:1")
	replica.CatchUp(master)
	replica.Promote()
	// All this is lost: one comes and stays, one comes and goes, one goes, one moves.
	moved := opened("s_3", "z")
	moved.Member.Generation = 1
	a.change(t, opened("s_4", "v"), opened("s_5", "w"), enter("p:2", "s_5", "w"), closed("s_2", "y"))
	b.change(t, moved)
	a.know(Change{Topic: moved.Topic, Member: moved.Member, Leave: true})
	consumer.knows(t, "sessions s_1 s_3 s_4 s_5; users v w x z; topics p:1 p:2")
	a.change(t, closed("s_5", "w"), leave("p:2", "s_5")) // which the consumer does not read
	master.Kill()
	proxy.Point(replica.Addr())
	consumer.knows(t, "sessions s_1 s_3 s_4; users v x z; topics p:1")
	told := strings.Join(consumer.told, "\n")
	resets, counted := strings.Count(told, `"reset"`), a.Stats().Lifecycle.Resets+b.Stats().Lifecycle.Resets
	if resets != 2 || counted > 2 { // an answer that gets lost with the master is counted by nobody
		t.Errorf("%d resets, %d counted, want one at the beginning and one behind the failover:\n%s", resets, counted, told)
	}
}

// TestAConsumerKnowsTheTruthWhenRedisForgetsAll has it read on behind the loss, whenever that is told.
func TestAConsumerKnowsTheTruthWhenRedisForgetsAll(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	a := lifecycleOf(t, RedisConfig{URL: server.URL(), Node: "a"})
	consumer := newLifeReader(a.Redis, common)
	a.change(t, opened("s_1", "x"), opened("s_2", ""), enter("p:1", "s_1", "x"))
	consumer.knows(t, "sessions s_1 s_2; users x; topics p:1")
	server.CLI("flushall")
	eventually(t, "it is told of the loss", func() bool {
		if err := consumer.read(t); err != nil {
			t.Error(err)
		}
		return strings.Count(strings.Join(consumer.told, "\n"), `"reset"`) == 2
	})
	consumer.knows(t, "sessions s_1 s_2; users x; topics p:1")
}

// TestAConsumerMissesNothingOfTwoLossesInARow has the stream begin anew behind each by a hub that knows of none between.
func TestAConsumerMissesNothingOfTwoLossesInARow(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	var hubs []*Redis
	for _, node := range []string{"a", "b"} {
		r := newRedis(t, RedisConfig{URL: server.URL(), Node: node, Presence: contractPresence, Lifecycle: LifecycleConfig{On: true}})
		t.Cleanup(r.closeMasters)
		hubs = append(hubs, r)
	}
	tell := func(hub *Redis, sessions ...string) {
		t.Helper()
		for _, s := range sessions {
			if got := hub.changeAs(t.Context(), "boot", []Change{opened(s, "")}); got[0].err != nil {
				t.Fatal(got[0].err)
			}
		}
	}
	consumer := newLifeReader(hubs[0], common)
	tell(hubs[0], "s_1", "s_2")
	for _, hub := range hubs {
		if err := hub.touchStream(t.Context(), common); err != nil {
			t.Fatal(err)
		}
	}
	consumer.knows(t, "sessions s_1 s_2; users ; topics ")
	server.CLI("flushall")
	tell(hubs[0], "s_1", "s_2", "s_3")
	consumer.knows(t, "sessions s_1 s_2 s_3; users ; topics ")
	server.CLI("flushall")
	tell(hubs[1], "s_4")
	consumer.knows(t, "sessions s_4; users ; topics ")
}

func TestWithoutALifecycleNothingIsWrittenOfIt(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	a := instanceOf(t, RedisConfig{URL: server.URL(), Node: "a"})
	end := server.Monitor()
	a.change(t, enter("p:1", "s_1", "x"), leave("p:1", "s_1"))
	for _, line := range end() {
		if text := strings.ToLower(line); !strings.Contains(text, `"eval"`) && (strings.Contains(text, "xadd") || strings.Contains(text, "lifecycle")) {
			t.Errorf("the server was asked %s", line)
		}
	}
	if keys := server.CLI("keys", "*"); strings.Contains(keys, "lifecycle") || a.LifecycleStreams() != nil {
		t.Errorf("there are the keys %s", keys)
	}
}

func TestAnEntryThatIsRefusedRefusesTheChange(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	a := lifecycleOf(t, RedisConfig{URL: server.URL(), Node: "a"})
	a.change(t, opened("s_1", "x"), enter("p:1", "s_1", "x"))
	stream := a.names.lifecycle(common)
	server.CLI("rename", stream, "kept")
	server.CLI("set", stream, "no stream")
	changes := []Change{opened("s_2", "y"), closed("s_1", "x"), leave("p:1", "s_1"), enter("p:2", "s_2", "y")}
	a.know(changes...)
	for i, err := range a.ChangePresence(t.Context(), changes) {
		if !errors.Is(err, ErrRefused) {
			t.Errorf("%+v: %v", changes[i], err)
		}
	}
	if p := mustRead(t, a, "p:1", "", 1); p.Clients != 1 {
		t.Errorf("a refused leave leaves %+v", p)
	}
	server.CLI("rename", "kept", stream)
	consumer := newLifeReader(a.Redis, common)
	eventually(t, "the consumer knows", func() bool {
		_ = consumer.read(t) // the numbers that were refused are missing
		return consumer.String() == "sessions s_2; users y; topics p:2"
	})
}

func TestAStreamKeepsAboutSoManyEntries(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	a := lifecycleOf(t, RedisConfig{URL: server.URL(), Node: "a", Lifecycle: LifecycleConfig{MaxEntries: 300}})
	for i := range 20 {
		var batch []Change
		for k := range 50 {
			batch = append(batch, opened(fmt.Sprint("s_", i, "_", k), "x"))
		}
		a.change(t, batch...)
	}
	list := streamAfter(t, a.Redis, common, "-")
	if n := len(list); n < 300 || n > 300+100 { // it trims nodes of 100
		t.Errorf("%d entries are kept", n)
	}
	if first, last := parseLifecycle(t, list[0]), parseLifecycle(t, list[len(list)-1]); last.Seq != 1002 || int(last.Seq-first.Seq) != len(list)-1 {
		t.Errorf("from %d to %d", first.Seq, last.Seq)
	}
}

func TestAClusterHasAStreamForEachPartition(t *testing.T) {
	one := newRedis(t, RedisConfig{URL: "redis://127.0.0.1:1", Lifecycle: LifecycleConfig{On: true}})
	many := newRedis(t, RedisConfig{URL: "redis+cluster://127.0.0.1:1", Lifecycle: LifecycleConfig{On: true}})
	if list := one.LifecycleStreams(); len(list) != 1 || list[0] != one.names.lifecycle(200) {
		t.Errorf("one server has %q", list)
	}
	list := many.LifecycleStreams()
	if len(list) != partitions {
		t.Fatalf("a cluster has %d", len(list))
	}
	for p, key := range list {
		if key != many.names.lifecycle(byte(p)) || slotOf(key) != slotOf(many.names.boots(byte(p))) {
			t.Errorf("partition %d has %q", p, key)
		}
	}
}

// besideAnother are a hub, and another one that has a session of user u in topic. Both have looked at their stream, and do not run.
func besideAnother(t *testing.T, topic string) (hub, other *instance) {
	t.Helper()
	server := redistest.Start(t)
	begin := func(node string) *instance {
		h := prepare(t, RedisConfig{URL: server.URL(), Node: node, Lifecycle: contractLifecycle})
		t.Cleanup(h.closeMasters)
		h.presence.renewed(h.presence.name, true)
		if err := h.touchStream(t.Context(), common); err != nil { // the partition of the stream is compared first
			t.Fatal(err)
		}
		return h
	}
	hub, other = begin("hub"), begin("other")
	other.change(t, enter(topic, "s_1", "u"), opened("s_1", "u"))
	return hub, other
}

// missed has the hub miss c at the server when it compares its members, before the change arrives.
func (n *instance) missed(t *testing.T, c Change) {
	t.Helper()
	n.know(c)
	if err := n.compare(t.Context(), partition(c.Topic)); err != nil {
		t.Fatal(err)
	}
	mustChange(t, n, c)
}

// TestAMemberOnItsWayIsToldOnce has members enter beside one of the same user on another hub.
func TestAMemberOnItsWayIsToldOnce(t *testing.T) {
	t.Parallel()
	const topic = "p:told"
	hub, _ := besideAnother(t, topic)
	for _, m := range []Member{
		{Session: "s_2", User: "u"}, // at the hub's first comparison
		{Session: "s_3", User: "u"},
		{Session: "s_3", User: "u", Generation: 1}, // resumed
	} {
		hub.missed(t, Change{Topic: topic, Member: m})
		hub.missed(t, Change{Topic: UserSessions("u"), Member: m})
	}
	wantTold(t, hub.Redis, topic, "topic_occupied", "user_joined u")
	wantTold(t, hub.Redis, UserSessions("u"), "session_opened s_1 other", "user_online", "session_opened s_2 hub", "session_opened s_3 hub")
}

// TestAMemberThatRedisMayHaveLostIsToldAnew: those beside it may be untold, and leave so.
func TestAMemberThatRedisMayHaveLostIsToldAnew(t *testing.T) {
	t.Parallel()
	const topic = "p:told"
	for name, lose := range map[string]func(*instance, *master){
		"another epoch":     func(hub *instance, _ *master) { hub.lifecycle.seen(common, "next", hub.lifecycle.epochs[common].now) },
		"a nameless server": func(hub *instance, m *master) { m.scripts.Store(hub.nameless) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hub, _ := besideAnother(t, topic)
			m, err := hub.route(common)
			if err != nil {
				t.Fatal(err)
			}
			lose(hub, m)
			hub.missed(t, enter(topic, "s_2", "u"))
			wantTold(t, hub.Redis, topic, "topic_occupied", "user_joined u", "topic_occupied", "user_joined u")
		})
	}
}
