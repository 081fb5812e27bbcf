package session

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"pgregory.net/rapid"

	"wshub/engine"
	"wshub/pubsub"
)

// notifyCounter is the broker of a node that notifies one other node, and counts the messages. The first ones may fail.
type notifyCounter struct {
	*pubsub.Memory
	other   *Hub
	notices atomic.Int64
	fail    int64
}

func (b *notifyCounter) Notify(_ context.Context, _ string, message []byte) error {
	if b.notices.Add(1) <= b.fail {
		return pubsub.ErrUnavailable
	}
	b.other.Control(message)
	return nil
}

// A crowd that resumes at once on another node replaces its older connections with few messages between the
// two: what a node's crash costs the broker must not go with the number of clients.
func TestACrowdReplacesItsOlderConnectionsInFewMessages(t *testing.T) {
	const crowd = 300
	start := func(name string, broker Broker) (*Hub, *node) {
		hub, err := newHub(Config{Node: name}, broker)
		if err != nil {
			t.Fatal(err)
		}
		hub.UseSealer(sealer(t, make([]byte, 32)))
		return hub, run(t, hub, engine.Config{Pollers: spread})
	}
	first, n1 := start("n1", pubsub.NewMemory(pubsub.MemoryConfig{Node: "n1"}))
	broker := &notifyCounter{Memory: pubsub.NewMemory(pubsub.MemoryConfig{Node: "n2"}), other: first}
	_, n2 := start("n2", broker)

	var older, newer []*client
	var tokens []string
	for range crowd {
		c, welcome := n1.enter("")
		older, tokens = append(older, c), append(tokens, welcome.Token)
	}
	for range crowd {
		c, _ := n2.enter("")
		newer = append(newer, c)
	}
	for i, c := range newer {
		c.send(fmt.Sprintf(`{"type":"resume","token":%q}`, tokens[i]))
	}
	for i, c := range newer {
		if h := c.hear(); h.Type != "resumed" {
			t.Fatalf("%+v", h)
		}
		older[i].wantClose(4009)
	}
	notices := broker.notices.Load()
	t.Logf("%d clients were replaced with %d messages", crowd, notices)
	if notices == 0 || notices > crowd/5 {
		t.Errorf("%d messages for %d clients", notices, crowd)
	}
}

func TestOfTwoGenerationsOneIsTheNewer(t *testing.T) {
	const day = generation(24 * time.Hour / generationStep)
	for _, c := range []struct {
		newer, older generation
	}{
		{1, 0}, {math.MaxUint32, 0}, {2, 1}, {1000 + 2*day, 1000},
		{1, math.MaxUint32}, {day, math.MaxUint32 - day}, // around the wrap
	} {
		if !c.newer.newer(c.older) || c.older.newer(c.newer) {
			t.Errorf("%d is not newer than %d", c.newer, c.older)
		}
	}
	for _, g := range []generation{0, 1, day, math.MaxUint32} {
		if g.newer(g) {
			t.Errorf("%d is newer than itself", g)
		}
	}
}

// Whatever the clocks say: a connection that resumes another one is newer than it, and than all that its node resumed
// before, also where the number wraps.
func TestAResumedConnectionIsNewerThanTheOneBefore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Unix(0, int64(generationStep)*(rapid.Int64Range(1, 1<<12).Draw(t, "wraps")<<32+rapid.Int64Range(-10, 1<<32).Draw(t, "steps")))
		ago := func(what string, most time.Duration) generation {
			return generation(now.Add(-time.Duration(rapid.Int64Range(-int64(time.Hour), int64(most)).Draw(t, what))).UnixNano() / int64(generationStep))
		}
		var node generations
		node.last.Store(uint32(ago("last", time.Hour)))
		g := ago("before", 25*time.Hour)
		for range 5 {
			last := generation(node.last.Load())
			next := node.next(g, now)
			if !next.newer(g) || !next.newer(last) || g.newer(next) || next == 0 {
				t.Fatalf("behind %d, and behind %d of the node, comes %d", g, last, next)
			}
			g = next
			now = now.Add(time.Duration(rapid.Int64Range(-int64(time.Minute), int64(time.Minute)).Draw(t, "later")))
		}
	})
	var node generations
	now := time.Now()
	if a, b := node.next(0, now), node.next(0, now.Add(generationStep)); b != a+1 {
		t.Errorf("a step later than %d is %d", a, b)
	}
	a := node.next(0, now) // as late as before
	if b := node.next(a+7, now); b != a+8 {
		t.Errorf("behind %d comes %d", a+7, b)
	}
}

// replaced tells node n that a session was resumed with a generation, on the node from.
func (n *node) replaced(from string, id uint64, g generation) {
	message, err := json.Marshal(control{Replace: []replacement{{id, g}}, From: from})
	if err != nil {
		n.t.Fatal(err)
	}
	n.hub.Control(message)
}

func TestEachNodeJudgesTwoConnectionsAlike(t *testing.T) {
	t.Parallel()
	broker := &notifyCounter{Memory: pubsub.NewMemory(pubsub.MemoryConfig{Node: "n2"})}
	hub, err := newHub(Config{Node: "n2"}, broker)
	if err != nil {
		t.Fatal(err)
	}
	broker.other = hub
	hub.UseSealer(sealer(t, make([]byte, 32)))
	n := run(t, hub, engine.Config{Pollers: 1})
	for _, c := range []struct {
		what   string
		from   string
		ahead  int32
		closes bool
	}{
		{"an older one", "n1", -1, false},
		{"a newer one", "n1", 1, true},
		{"one as new, on a node that comes before", "n1", 0, false},
		{"one as new, on a node that comes behind", "n3", 0, true},
		{"itself", "n2", 0, false},
		{"an older one of the same node", "n2", -1, false},
	} {
		_, welcome := n.enter("")
		resumed, _ := n.enter("")
		if r := resumed.resume(welcome.Token, nil); r.Type != "resumed" {
			t.Fatalf("%+v", r)
		}
		id, _ := parseName(welcome.Session)
		told := broker.notices.Load()
		n.eventually("the others are told", func() bool { return broker.notices.Load() > told })
		var g generation
		n.onLoop(func() { g = hub.shards[0].named[id].generation })
		n.replaced(c.from, id, g+generation(c.ahead))
		if c.closes {
			resumed.wantClose(4009)
			continue
		}
		resumed.send(`{"type":"ping","id":1}`)
		resumed.answers(1)
		_ = resumed.conn.CloseNow()
	}
}

func TestOtherNodesAreToldOfAResumeUntilTheyKnow(t *testing.T) {
	t.Parallel()
	first, err := newHub(Config{Node: "n1"}, pubsub.NewMemory(pubsub.MemoryConfig{Node: "n1"}))
	if err != nil {
		t.Fatal(err)
	}
	first.UseSealer(sealer(t, make([]byte, 32)))
	n1 := run(t, first, engine.Config{Pollers: spread})
	broker := &notifyCounter{Memory: pubsub.NewMemory(pubsub.MemoryConfig{Node: "n2"}), other: first, fail: 1}
	second, err := newHub(Config{Node: "n2"}, broker)
	if err != nil {
		t.Fatal(err)
	}
	second.UseSealer(sealer(t, make([]byte, 32)))
	n2 := run(t, second, engine.Config{Pollers: spread})
	older, welcome := n1.enter("")
	newer, _ := n2.enter("")
	if r := newer.resume(welcome.Token, nil); r.Type != "resumed" {
		t.Fatalf("%+v", r)
	}
	older.wantClose(4009)
	if notices := broker.notices.Load(); notices != 2 {
		t.Errorf("told %d times", notices)
	}
}

// A client resumes on a node whose clock is ahead, breaks off before anybody else has heard of that, and comes back to
// another node with the same token: its only connection stays.
func TestAConnectionThatBrokeOffReplacesNobody(t *testing.T) {
	first, err := newHub(Config{Node: "n1"}, pubsub.NewMemory(pubsub.MemoryConfig{Node: "n1"}))
	if err != nil {
		t.Fatal(err)
	}
	first.UseSealer(sealer(t, make([]byte, 32)))
	n1 := run(t, first, engine.Config{Pollers: 1})
	second, err := newHub(Config{Node: "n2"}, &notifyCounter{Memory: pubsub.NewMemory(pubsub.MemoryConfig{Node: "n2"}), other: first})
	if err != nil {
		t.Fatal(err)
	}
	second.UseSealer(sealer(t, make([]byte, 32)))
	second.generations.last.Store(uint32(time.Now().Add(time.Minute).UnixNano() / int64(generationStep)))
	n2 := run(t, second, engine.Config{Pollers: 1})

	old, welcome := n1.enter("")
	broken, _ := n2.enter("")
	back, _ := n1.enter("")
	if r := broken.resume(welcome.Token, nil); r.Type != "resumed" {
		t.Fatalf("%+v", r)
	}
	_ = broken.conn.CloseNow()
	n2.eventually("the node knows that it broke off", func() bool { return second.Stats().Sessions["v1"] == 0 })
	if r := back.resume(welcome.Token, nil); r.Type != "resumed" {
		t.Fatalf("%+v", r)
	}
	old.wantClose(4009)
	n2.eventually("what there is to tell is told", func() (told bool) {
		n2.onLoop(func() { told = len(second.shards[0].replacing) == 0 })
		return told
	})
	back.send(`{"type":"ping","id":1}`)
	back.answers(1)
}

// A client sends resume and breaks off while its loop is busy. It is back on another loop when the first resume is read.
func TestAResumeThatIsReadTooLateReplacesNobody(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("nobody says here that a client has broken off")
	}
	n := memory(t, Config{})
	n.hub.UseSealer(sealer(t, make([]byte, 32)))
	_, welcome := n.enterOn(1, "")
	late, lateWelcome := n.enterOn(0, "")
	back, _ := n.enterOn(1, "")
	stands, gate := make(chan struct{}), make(chan struct{})
	goOn := sync.OnceFunc(func() { close(gate) })
	defer goOn()
	n.server.Loops()[0].Post(func() { close(stands); <-gate })
	<-stands
	late.send(fmt.Sprintf(`{"type":"resume","id":1,"token":%q}`, welcome.Token))
	_ = late.conn.CloseNow()
	if r := back.resume(welcome.Token, nil); r.Type != "resumed" {
		t.Fatalf("%+v", r)
	}
	goOn()
	n.eventually("the first one has ended", func() bool { return n.loopOf(lateWelcome) < 0 })
	n.onEveryLoop(func(*shard) {}) // what the one loop has told the other has come
	back.send(`{"type":"ping","id":1}`)
	back.answers(1)
}

func TestASessionIsSmall(t *testing.T) {
	if size := unsafe.Sizeof(Session{}); size > 80 {
		t.Errorf("%d bytes: the next size class", size)
	}
}
