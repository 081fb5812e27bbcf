package session

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"wshub/engine"
	"wshub/pubsub"
)

// moody is a broker in this process that hands on changes of presence late, twice, or not at all, and now and then can't
// read a presence or be told of a change. Of what it loses at the end it tells in time.
type moody struct {
	*pubsub.Memory
	hub  pubsub.Sink
	late chan func()

	mu   sync.Mutex
	rand *rand.Rand
	calm bool // all is told now
}

func (m *moody) chance(percent int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return !m.calm && m.rand.IntN(100) < percent
}

func (m *moody) Run(ctx context.Context, sink pubsub.Sink) error {
	m.hub = sink
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case f := <-m.late:
				f()
			case <-ctx.Done():
				return
			}
		}
	}()
	err := m.Memory.Run(ctx, m)
	<-done
	return err
}

func (m *moody) send(f func()) { m.late <- f }

func (m *moody) Deliver(ev *pubsub.Event, loops pubsub.Loops) {
	m.send(func() { m.hub.Deliver(ev, loops) })
}

func (m *moody) Gap(topic string, loops pubsub.Loops, loss pubsub.Loss) {
	m.send(func() { m.hub.Gap(topic, loops, loss) })
}

func (m *moody) HandOver() { m.send(m.hub.HandOver) }

func (m *moody) Moved(moved *pubsub.Moved, loops pubsub.Loops) {
	if m.chance(5) {
		return
	}
	news := *moved
	m.send(func() { m.hub.Moved(&news, loops) })
	if m.chance(5) {
		m.send(func() { m.hub.Moved(&news, loops) })
	}
	if m.chance(1) {
		m.send(func() { m.hub.Moved(&pubsub.Moved{Topic: moved.Topic}, loops) })
	}
}

func (m *moody) ReadPresence(ctx context.Context, topic, after string, limit int) (pubsub.Presence, error) {
	if m.chance(10) {
		return pubsub.Presence{}, pubsub.ErrUnavailable
	}
	return m.Memory.ReadPresence(ctx, topic, after, limit)
}

// TestWhatIsToldFoldsToTheTruth has clients come and go in rooms and watch them, on a broker that loses a part of what it should
// tell, and holds each watcher's view to the broker's.
func TestWhatIsToldFoldsToTheTruth(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			foldPresence(t, seed, false)
		})
	}
}

func TestNobodyIsToldAllAnewWhereNothingIsLost(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			foldPresence(t, seed, true)
		})
	}
}

func foldPresence(t *testing.T, seed uint64, calm bool) {
	m := &moody{
		Memory: pubsub.NewMemory(pubsub.MemoryConfig{Presence: pubsub.PresenceConfig{Match: isRoom}}),
		rand:   rand.New(rand.NewPCG(seed, 0)), late: make(chan func(), 4096), calm: calm,
	}
	n := start(t, Config{Presence: isRoom, PresenceGrace: 1, MessageRate: -1}, engine.Config{Pollers: spread}, m)
	rooms := []string{"room:0", "room:1", "room:2"}

	stay := n.v1("")
	for _, room := range rooms {
		if calm { // else a room that was empty begins to count anew
			stay.send(fmt.Sprintf(`{"type":"subscribe","id":"w","topic":%q}`, room))
			stay.read()
		}
	}
	var clients []*guest
	for i := range 9 {
		g := &guest{client: n.v1(fmt.Sprintf("?user=%d", i/2)), rooms: map[string]*company{}, answers: make(chan string, 1)}
		clients = append(clients, g)
		go g.listen()
	}
	var all sync.WaitGroup
	for i, g := range clients {
		all.Go(func() { g.wander(rand.New(rand.NewPCG(seed, uint64(i))), rooms) })
	}
	all.Wait()
	m.mu.Lock()
	m.calm = true
	m.mu.Unlock()
	for _, room := range rooms {
		if calm {
			break
		}
		m.send(func() { m.hub.Moved(&pubsub.Moved{Topic: room}, pubsub.Loops(1<<spread-1)) })
		m.HandOver()
	}
	for _, room := range rooms {
		var truth map[string]string
		n.eventually("all know who is in "+room, func() bool {
			p, err := m.Memory.ReadPresence(t.Context(), room, "", 100)
			if err != nil {
				t.Fatal(err)
			}
			truth = map[string]string{}
			for _, member := range p.Members {
				truth[member.Session] = member.User
			}
			for _, g := range clients {
				if !g.agrees(t, room, truth) {
					return false
				}
			}
			return true
		})
	}
	watched := 0
	for _, g := range clients {
		watched += len(g.rooms)
	}
	wholes := 0
	for _, g := range clients {
		g.mu.Lock()
		wholes += g.wholes
		g.mu.Unlock()
	}
	if watched == 0 || calm == (wholes > 0) {
		t.Errorf("%d rooms are watched, and all was told anew %d times", watched, wholes)
	}
}

// guest is a client whose messages are read as they come.
type guest struct {
	*client
	answers chan string

	mu    sync.Mutex
	in    map[string]bool // what it follows
	rooms map[string]*company
	wrong error
	// wholes counts whole presences that came by themselves.
	wholes int
}

func (g *guest) enter(room string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.in == nil {
		g.in = map[string]bool{}
	}
	g.in[room] = true
}

func (g *guest) leave(room string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.in, room)
}

// wander follows rooms, watches some of them, and leaves them.
func (g *guest) wander(r *rand.Rand, rooms []string) {
	for range 60 {
		room := rooms[r.IntN(len(rooms))]
		if g.in[room] {
			g.leave(room)
			g.send(fmt.Sprintf(`{"type":"unsubscribe","id":"w","topic":%q}`, room))
			<-g.answers
			continue
		}
		how := []string{"", `,"presence":true`}[r.IntN(2)]
		g.send(fmt.Sprintf(`{"type":"subscribe","id":"w","topic":%q%s}`, room, how))
		if strings.HasPrefix(<-g.answers, `{"type":"subscribed"`) {
			g.enter(room)
		}
		if r.IntN(10) == 0 {
			g.send(fmt.Sprintf(`{"type":"publish","topic":%q,"data":1}`, room))
		}
	}
}

// listen reads until the connection ends.
func (g *guest) listen() {
	for {
		_, data, err := g.conn.Read(context.Background())
		if err != nil {
			return
		}
		var h struct {
			companyHeard
			ID string
		}
		_ = json.Unmarshal(data, &h)
		g.mu.Lock()
		if h.Type == "subscribed" && h.Members != nil {
			g.rooms[h.Topic] = &company{}
		}
		if w := g.rooms[h.Topic]; w != nil && h.Type != "event" {
			if err := w.hear(string(data)); err != nil && g.wrong == nil {
				g.wrong = fmt.Errorf("%s: %w", h.Topic, err)
			}
		}
		g.mu.Unlock()
		if h.Type == "presence" {
			g.mu.Lock()
			g.wholes++
			g.mu.Unlock()
		}
		if h.ID == "w" {
			g.answers <- string(data)
			if h.Type == "ok" { // it has left: nothing more may come
				g.mu.Lock()
				for room := range g.rooms {
					if !g.in[room] {
						delete(g.rooms, room)
					}
				}
				g.mu.Unlock()
			}
		}
	}
}

// agrees reports whether the guest, if it watches room, knows who is there.
func (g *guest) agrees(t *testing.T, room string, truth map[string]string) bool {
	t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.wrong != nil {
		t.Fatal(g.wrong)
	}
	w := g.rooms[room]
	return w == nil || w.counted || maps.Equal(w.members, truth)
}

// A session that can't be a member can't be one later either: it is not told to try again.
func TestABadMemberIsNotToTryAgain(t *testing.T) {
	if r := presenceRefusal(fmt.Errorf("change presence: %w: info of 5000 bytes", pubsub.ErrBadMember)); r.Code != BadRequest || r.Code.Retry() {
		t.Errorf("%+v", r)
	}
}
