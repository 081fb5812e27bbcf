package pubsub

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"wshub/pubsub/redistest"
)

// lifecycleModel is sessions of users, members of a topic each, on three hubs: whose writes are lost or late, that are taken for dead, and whose
// server loses its data, or is replaced by one that lacks the last of it. A consumer reads the stream now and then.
type lifecycleModel struct {
	presenceModel
	consumer *lifeReader
	// replica is what another server has; failovers counts those that took over.
	replica   map[string]string
	failovers *int
}

// life are the topics of a session.
func (m *lifecycleModel) life(session string) []string {
	user := strings.TrimRight(session, "123")
	return []string{sessionsOf(session, user), m.topic}
}

// come has a session connect to a hub, perhaps from another one that learns of it.
func (m *lifecycleModel) come() {
	hub, session := m.hub(), rapid.SampledFrom([]string{"a1", "a2", "b1", "1"}).Draw(m.rt, "session")
	for _, c := range m.both(session) {
		for _, other := range m.hubs {
			if was, known := other.have[entryOf(c.Topic, session)]; known && other != hub {
				m.leave(other, c.Topic, was)
			}
		}
		hub.know(c)
		m.write(hub, c)
	}
}

func (m *lifecycleModel) leave(hub *instance, topic string, was Member) {
	c := Change{Topic: topic, Member: was, Leave: true, Cause: "gone"}
	hub.know(c)
	m.write(hub, c)
}

// goAway has a session of a hub's end.
func (m *lifecycleModel) goAway() {
	hub := m.hub()
	if len(hub.have) == 0 {
		return
	}
	entry := rapid.SampledFrom(slices.Sorted(maps.Keys(hub.have))).Draw(m.rt, "session")
	session := hub.have[entry].Session
	for _, topic := range m.life(session) {
		if was, known := hub.have[entryOf(topic, session)]; known {
			m.leave(hub, topic, was)
		}
	}
}

// parts are the partitions that anything is in.
func (m *lifecycleModel) parts() []byte {
	list := []byte{common, partition(m.topic)}
	for _, session := range []string{"a1", "b1", "1"} {
		list = append(list, partition(m.life(session)[0]))
	}
	return list
}

func (m *lifecycleModel) sweep() {
	hub := m.hub()
	hub.lifecycle.lapses.Add(1) // which it finds at its next renewal
	if err := m.watcher.sweep(m.t.Context(), lapsed{hub.presence.boot(), time.Now().UnixMilli()}, m.parts()); err != nil {
		m.rt.Fatal(err)
	}
}

func (m *lifecycleModel) repair(hub *instance) {
	for _, p := range m.parts() {
		for hub.compare(m.t.Context(), p) != nil { // it finds out that it was swept
			m.takeBoot(hub, hub.presence.name)
		}
	}
}

func (m *lifecycleModel) do(args ...any) *redis.Cmd {
	return m.watcher.command(m.t.Context(), common, args...)
}

// lose has the server lose its data, fences too. By then all hubs have looked there since the last time, and no write of a boot that was
// given up is under way any more.
func (m *lifecycleModel) lose() {
	m.touch()
	m.late = slices.DeleteFunc(m.late, func(w lateWrite) bool { return w.boot != w.hub.presence.boot() })
	m.do("flushall")
}

func (m *lifecycleModel) touch() {
	for _, hub := range append(slices.Clone(m.hubs), m.watcher) {
		if err := hub.touchStream(m.t.Context(), common); err != nil {
			m.rt.Fatal(err)
		}
	}
}

// sync has the replica have all there is by now.
func (m *lifecycleModel) sync() {
	m.replica = map[string]string{}
	keys, err := m.do("keys", "*").StringSlice()
	if err != nil {
		m.rt.Fatal(err)
	}
	for _, key := range keys {
		m.replica[key] = m.do("dump", key).Val().(string)
	}
}

// failover has the replica take over.
func (m *lifecycleModel) failover() {
	m.lose()
	for key, value := range m.replica {
		if err := m.do("restore", key, "0", value).Err(); err != nil {
			m.rt.Fatal(err)
		}
	}
	*m.failovers++
	name := fmt.Sprintf("server%010d", *m.failovers)
	for _, hub := range append(slices.Clone(m.hubs), m.watcher) {
		master, err := hub.route(common)
		if err != nil {
			m.rt.Fatal(err)
		}
		renamed := newScripts(name, false)
		for _, script := range renamed.list {
			if script != nil {
				script.Load(m.t.Context(), master.pub)
			}
		}
		master.scripts.Store(renamed)
	}
	m.touch() // as for each new layout
}

// settle has late writes arrive and all hubs repair: then the consumer knows the truth.
func (m *lifecycleModel) settle() {
	for len(m.late) > 0 {
		m.writeLate()
	}
	want := newLifeFold()
	m.sweepStrangers()
	for range 2 {
		for _, hub := range m.hubs {
			m.repair(hub)
		}
	}
	for _, hub := range m.hubs {
		for entry, member := range hub.have {
			if !isHidden(entry) {
				if want.topics[m.topic] = 1; member.User != "" {
					want.members[m.topic+"/"+member.User] = 1
				}
			} else if want.sessions[member.Session] = 1; member.User != "" {
				want.users[member.User] = 1
			}
		}
	}
	m.read()
	if got := m.consumer.String(); got != want.String() {
		m.rt.Fatalf("the consumer knows: %s\nthere are: %s\nit read\n%s", got, want, strings.Join(m.consumer.told, "\n"))
	}
}

// sweepStrangers takes the members of boots off that are none any more: with its data the server may have lost their fences.
func (m *lifecycleModel) sweepStrangers() {
	for _, p := range m.parts() {
		boots, err := m.watcher.command(m.t.Context(), p, "smembers", m.watcher.names.boots(p)).StringSlice()
		if err != nil {
			m.rt.Fatal(err)
		}
		for _, boot := range boots {
			if slices.ContainsFunc(m.hubs, func(hub *instance) bool { return hub.presence.boot() == boot }) {
				continue
			}
			if err := m.watcher.sweep(m.t.Context(), lapsed{boot, time.Now().UnixMilli()}, []byte{p}); err != nil {
				m.rt.Fatal(err)
			}
		}
	}
}

func (m *lifecycleModel) read() {
	if err := m.consumer.read(m.t); err != nil {
		m.rt.Fatalf("%v; it read\n%s", err, strings.Join(m.consumer.told, "\n"))
	}
}

// lifecycleModels makes models of the same three hubs and a server that has lost all.
func lifecycleModels(t *testing.T) func(*rapid.T) *lifecycleModel {
	server := redistest.Start(t)
	hubs := make([]*instance, 4)
	for i := range hubs {
		hubs[i] = prepare(t, RedisConfig{URL: server.URL(), Node: fmt.Sprint("hub", i), Lifecycle: LifecycleConfig{On: true, Users: func(string) bool { return true }}})
		hubs[i].presence.renewed(hubs[i].presence.name, true)
		t.Cleanup(hubs[i].closeMasters)
	}
	failovers := 0
	return func(rt *rapid.T) *lifecycleModel {
		m := &lifecycleModel{presenceModel: presenceModel{t: t, rt: rt, topic: "p:model", watcher: hubs[3], hubs: hubs[:3]}, failovers: &failovers}
		m.lose()
		m.consumer = newLifeReader(m.watcher.Redis, common)
		for _, hub := range hubs {
			clear(hub.have)
			hub.lifecycle.latest.Store(0) // each failover leaps
		}
		return m
	}
}

// A consumer that has read of a stream that began anew forgets all when a server with the older stream takes over. A hub that has told its
// sessions anew by then has another one of the same user come, whose first session is another hub's, and leaves before that has told it.
func TestWhoComesBesideAnUntoldSessionIsTold(t *testing.T) {
	t.Parallel()
	begin := lifecycleModels(t)
	rapid.Check(t, func(rt *rapid.T) {
		m := begin(rt)
		a, b := m.hubs[0], m.hubs[1]
		first, second := m.both("a1"), m.both("a2")
		a.change(t, first...)
		m.sync()
		m.lose()
		b.change(t, m.both("b1")...)
		m.read()
		m.failover()
		if rapid.Bool().Draw(rt, "b has looked") {
			m.repair(b)
		}
		b.change(t, second...)
		for i := range first {
			first[i].Leave = true
		}
		a.change(t, first...)
		m.settle()
	})
}

// both has a session connect, and be in the topic.
func (m *lifecycleModel) both(session string) (changes []Change) {
	m.generation++
	for _, topic := range m.life(session) {
		c := enter(topic, session, strings.TrimRight(session, "123"))
		c.Member.Generation = m.generation
		changes = append(changes, c)
	}
	return changes
}

func TestTheLifecycleFoldsToTheTruthWhateverFails(t *testing.T) {
	t.Parallel()
	begin := lifecycleModels(t)
	rapid.Check(t, func(rt *rapid.T) {
		m := begin(rt)
		rt.Repeat(map[string]func(*rapid.T){
			"come":       func(*rapid.T) { m.come() },
			"come on":    func(*rapid.T) { m.come() },
			"go":         func(*rapid.T) { m.goAway() },
			"write late": func(*rapid.T) { m.writeLate() },
			"sweep":      func(*rapid.T) { m.sweep() },
			"repair":     func(*rapid.T) { m.repair(m.hub()) },
			"settle":     func(*rapid.T) { m.settle() },
			"lose":       func(*rapid.T) { m.lose() },
			"sync":       func(*rapid.T) { m.sync() },
			"fail over":  func(*rapid.T) { m.failover() },
			"read":       func(*rapid.T) { m.read() },
		})
		m.settle()
	})
}
