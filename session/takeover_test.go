package session

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"wshub/engine"
	"wshub/pubsub"
)

// A phone that comes back while its old connection hangs takes its place, on whichever loop either is.
func TestASessionThatIsOneTooManyTakesThePlaceOfTheOneItResumes(t *testing.T) {
	n := bend(t, Config{MaxSessionsPerUser: 1}, engine.Config{Pollers: spread}, &bent{})
	for round := range 20 {
		older, welcome := n.enterOn(0, "?user=42")
		at := older.follow("news", "user:42")
		newer, _ := n.enterOn(round%2, "?user=42")
		n.number("news", 1, 1, 10)
		n.together(newer, resumeRequest(1, welcome.Token, at), `{"type":"publish","id":2,"topic":"raw","data":1}`)
		got := newer.answers(1, 2)
		if !strings.HasPrefix(got[1], `{"type":"resumed"`) || !strings.HasPrefix(got[2], `{"type":"ok"`) {
			t.Fatalf("round %d: %v", round, got)
		}
		older.wantClose(4009)
		n.eventually("one is left", func() bool { return n.hub.Stats().Sessions["v1"] == 1 })
		newer.send(`{"type":"ping","id":3}`)
		newer.answers(3)
		_ = newer.conn.CloseNow()
		n.eventually("none is left", func() bool { return n.hub.Stats().Sessions["v1"] == 0 })
	}
}

// A client that only says that it resumes is closed like any other, by a code that a page can see.
func TestASessionThatIsOneTooManyAndResumesNothingIsClosed(t *testing.T) {
	t.Parallel()
	n := bend(t, Config{MaxSessionsPerUser: 1}, engine.Config{Pollers: spread}, &bent{})
	first, _ := n.enter("?user=42")
	n.dial("?user=42").wantClose(4030) // a plain client can't resume
	for _, request := range []string{`{"type":"ping"}`, `{"type":"resume","token":"r1.AAAA"}`, `{"type":"resume"}`, `{`} {
		c, _ := n.enter("?user=42")
		c.send(request)
		c.wantClose(4030)
	}
	silent, _ := n.enter("?user=42")
	silent.wantClose(4030)
	first.send(`{"type":"ping","id":1}`)
	first.answers(1)
}

func TestTheLaterOfTwoResumesWithOneTokenStays(t *testing.T) {
	t.Parallel()
	n1, n2 := cluster(t)
	for name, second := range map[string]*node{"on one hub": n1, "on two hubs": n2} {
		for round := range 6 { // on one loop, and on two
			_, welcome := n1.enter("")
			a, _ := n1.enterOn(0, "")
			b, _ := second.enterOn(round%2, "")
			if r := a.resume(welcome.Token, nil); r.Type != "resumed" {
				t.Fatalf("%s: %+v", name, r)
			}
			if r := b.resume(welcome.Token, nil); r.Type != "resumed" {
				t.Fatalf("%s: %+v", name, r)
			}
			a.wantClose(4009)
			b.send(`{"type":"ping","id":3}`)
			b.answers(3)
		}
	}
}

func TestOfTwoResumesAtOnceWithOneTokenOneStays(t *testing.T) {
	t.Parallel()
	n1, n2 := cluster(t)
	var stayed []*client
	for round := range 20 {
		second := []*node{n1, n2}[round%2]
		_, welcome := n1.enter("")
		a, _ := n1.enterOn(0, "")
		b, _ := second.enterOn(round/2%2, "")
		request := fmt.Sprintf(`{"type":"resume","id":1,"token":%q}`, welcome.Token)
		a.send(request)
		b.send(request)
		ended := make(chan *client, 2)
		for _, c := range []*client{a, b} {
			go func() {
				for {
					if _, _, err := c.conn.Read(t.Context()); err != nil {
						if strings.Contains(err.Error(), "4009") {
							ended <- c
						}
						return
					}
				}
			}()
		}
		select {
		case c := <-ended:
			if c == a {
				stayed = append(stayed, b)
			} else {
				stayed = append(stayed, a)
			}
		case <-time.After(patience):
			t.Fatalf("round %d: both stay", round)
		}
	}
	n1.eventually("all others have gone", func() bool { return n1.hub.Stats().Sessions["v1"]+n2.hub.Stats().Sessions["v1"] == 20 })
	for _, c := range stayed {
		c.send(`{"type":"ping"}`)
	}
}

// deafBroker is the broker of a node that tells one other node things: the first time it fails, the second time the other
// one does not hear.
type deafBroker struct {
	*pubsub.Memory
	other   *Hub
	notices atomic.Int64
}

func (b *deafBroker) Notify(_ context.Context, _ string, message []byte) error {
	switch b.notices.Add(1) {
	case 1:
		return pubsub.ErrUnavailable
	case 2:
	default:
		b.other.Control(message)
	}
	return nil
}

func TestAnOlderConnectionIsClosedThoughItsNodeDidNotHearAtFirst(t *testing.T) {
	t.Parallel()
	start := func(name string, broker Broker) (*Hub, *node) {
		hub, err := newHub(Config{Node: name}, broker)
		if err != nil {
			t.Fatal(err)
		}
		hub.UseSealer(sealer(t, make([]byte, 32)))
		hub.announceAgain = 100 * time.Millisecond
		return hub, run(t, hub, engine.Config{Pollers: 1})
	}
	first, n1 := start("n1", pubsub.NewMemory(pubsub.MemoryConfig{Node: "n1"}))
	_, n2 := start("n2", &deafBroker{Memory: pubsub.NewMemory(pubsub.MemoryConfig{Node: "n2"}), other: first})
	older, welcome := n1.enter("")
	c, _ := n2.enter("")
	c.send(fmt.Sprintf(`{"type":"resume","token":%q}`, welcome.Token))
	if h := c.hear(); h.Type != "resumed" {
		t.Fatalf("%+v", h)
	}
	older.wantClose(4009)
}
