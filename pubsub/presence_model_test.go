package pubsub

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"wshub/pubsub/redistest"
)

// presenceModel is one topic on three hubs, whose writes are lost or late, that are taken for dead, and whose server loses its data.
// A watcher folds what it is told.
type presenceModel struct {
	t       *testing.T
	rt      *rapid.T
	topic   string
	hubs    []*instance // that don't run
	watcher *instance

	generation uint32
	late       []lateWrite
	// Of the watcher.
	folded  map[string]bool
	version Version
	clients int
}

type lateWrite struct {
	hub    *instance
	boot   string
	change Change
}

// write makes a change of hub's known to Redis, or not, or later.
func (m *presenceModel) write(hub *instance, c Change) {
	switch boot := hub.presence.boot(); rapid.SampledFrom([]string{"now", "never", "late"}).Draw(m.rt, "write") {
	case "now":
		m.rewrite(hub, boot, c)
	case "late":
		m.late = append(m.late, lateWrite{hub, boot, c})
	}
}

func (m *presenceModel) rewrite(hub *instance, boot string, c Change) {
	for _, reply := range hub.changeAs(m.t.Context(), boot, []Change{c}) {
		if err := reply.err; isFenced(err) {
			m.takeBoot(hub, boot)
		} else if err != nil {
			m.rt.Fatal(err)
		}
	}
}

// takeBoot gives hub another boot than this one, if it is of it.
func (m *presenceModel) takeBoot(hub *instance, boot string) {
	hub.presence.fenced(boot)
	hub.presence.renewed(hub.presence.name, true)
}

func (m *presenceModel) hub() *instance {
	return m.hubs[rapid.IntRange(0, len(m.hubs)-1).Draw(m.rt, "hub")]
}

// come has a session connect to a hub, perhaps from another one that learns of it.
func (m *presenceModel) come() {
	hub, session := m.hub(), rapid.SampledFrom([]string{"a", "b"}).Draw(m.rt, "session")
	m.generation++
	c := enter(m.topic, session, session[:1]+"'s")
	c.Member.Generation = m.generation
	for _, other := range m.hubs {
		if was, known := other.have[entryOf(m.topic, session)]; known && other != hub {
			gone := Change{Topic: m.topic, Member: was, Leave: true}
			other.know(gone)
			m.write(other, gone)
		}
	}
	hub.know(c)
	m.write(hub, c)
}

// goAway has a session of a hub's end.
func (m *presenceModel) goAway() {
	hub := m.hub()
	if len(hub.have) == 0 {
		return
	}
	entry := rapid.SampledFrom(slices.Sorted(maps.Keys(hub.have))).Draw(m.rt, "session")
	c := Change{Topic: m.topic, Member: hub.have[entry], Leave: true}
	hub.know(c)
	m.write(hub, c)
}

func (m *presenceModel) writeLate() {
	if len(m.late) == 0 {
		return
	}
	i := rapid.IntRange(0, len(m.late)-1).Draw(m.rt, "which")
	w := m.late[i]
	m.late = slices.Delete(m.late, i, i+1)
	m.rewrite(w.hub, w.boot, w.change)
}

// sweep takes a hub for dead, which it learns of at its next write.
func (m *presenceModel) sweep() {
	boot := m.hub().presence.boot()
	if err := m.watcher.sweep(m.t.Context(), lapsed{boot, time.Now().UnixMilli()}, []byte{partition(m.topic)}); err != nil {
		m.rt.Fatal(err)
	}
}

func (m *presenceModel) repair(hub *instance) {
	for range 2 { // the first may find out that it was swept
		if err := hub.compare(m.t.Context(), partition(m.topic)); err == nil {
			return
		}
		m.takeBoot(hub, hub.presence.name)
	}
	if err := hub.compare(m.t.Context(), partition(m.topic)); err != nil {
		m.rt.Fatal(err)
	}
}

// fold takes what the watcher was told until now, and holds it to what is read.
func (m *presenceModel) fold() {
	mustPublish(m.t, m.watcher, m.topic, "1")
	jumped := false
	for d := m.watcher.sink.next(m.t); d.Event == nil; d = m.watcher.sink.next(m.t) {
		news := d.moved
		if news == nil || news.Version.IsZero() {
			m.rt.Fatalf("told: %s", d)
		}
		session := news.Member.Session
		switch {
		case jumped || !news.Version.Follows(m.version): // the server lost its data
			jumped = true
		case news.Left == m.folded[session]:
			if m.folded[session] = true; news.Left {
				delete(m.folded, session)
			}
			m.clients = news.Clients
		default:
			m.rt.Fatalf("told: %s, among %v", d, m.folded)
		}
		m.version = news.Version
	}
	p := mustRead(m.t, m.watcher, m.topic, "", 100)
	if jumped || m.version.Epoch != p.Version.Epoch && p.Clients == 0 {
		m.folded, m.clients = map[string]bool{}, p.Clients
		for _, member := range p.Members {
			m.folded[member.Session] = true
		}
	}
	if got := strings.Join(slices.Sorted(maps.Keys(m.folded)), " "); got != sessions(p) || p.Clients != len(p.Members) || p.Users != p.Clients || m.clients != p.Clients {
		m.rt.Fatalf("folded %q with %d, read %+v", got, m.clients, p)
	}
}

// settle has late writes arrive and all hubs repair: then the truth is there.
func (m *presenceModel) settle() {
	for len(m.late) > 0 {
		m.writeLate()
	}
	for range 2 {
		for _, hub := range m.hubs {
			m.repair(hub)
		}
	}
	want := map[string]bool{}
	for _, hub := range m.hubs {
		for _, member := range hub.have {
			want[member.Session] = true
		}
	}
	if p := mustRead(m.t, m.watcher, m.topic, "", 100); sessions(p) != strings.Join(slices.Sorted(maps.Keys(want)), " ") {
		m.rt.Fatalf("read %q, there are %v", sessions(p), want)
	}
}

func TestPresenceFoldsToTheTruthWhateverFails(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	watcher := prepare(t, RedisConfig{URL: server.URL(), Node: "watcher"})
	watcher.presence.vigil = time.Hour
	watcher.run(t)
	var hubs []*instance
	for i := range 3 {
		hub := prepare(t, RedisConfig{URL: server.URL(), Node: fmt.Sprint("hub", i)})
		hub.presence.renewed(hub.presence.name, true)
		t.Cleanup(hub.closeMasters)
		hubs = append(hubs, hub)
	}
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		m := &presenceModel{t: t, rt: rt, topic: fmt.Sprint("p:model:", run), watcher: watcher, hubs: hubs, folded: map[string]bool{}}
		watcher.watch(t, m.topic)
		defer watcher.Unfollow(m.topic, 0)
		for _, hub := range hubs {
			clear(hub.have)
		}
		rt.Repeat(map[string]func(*rapid.T){
			"come":       func(*rapid.T) { m.come() },
			"come on":    func(*rapid.T) { m.come() },
			"go":         func(*rapid.T) { m.goAway() },
			"write late": func(*rapid.T) { m.writeLate() },
			"sweep":      func(*rapid.T) { m.sweep() },
			"repair":     func(*rapid.T) { m.repair(m.hub()) },
			"settle":     func(*rapid.T) { m.settle() },
			"lose": func(*rapid.T) {
				m.fold()
				p := partition(m.topic)
				keys := watcher.names.members(m.topic)
				for _, hub := range m.hubs {
					keys = append(keys, watcher.names.entries(p, hub.presence.boot()))
				}
				for _, key := range keys {
					watcher.command(t.Context(), p, "del", key)
				}
			},
			"": func(*rapid.T) { m.fold() },
		})
		m.settle()
		m.fold()
	})
}
