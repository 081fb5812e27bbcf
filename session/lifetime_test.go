package session

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"wshub/engine"
	"wshub/pubsub"
)

// registrar is a broker that has what it was told of sessions. What an entry of the lifecycle would be, is one of told.
type registrar struct {
	*pubsub.Memory
	mu      sync.Mutex
	changes int
	present map[string]uint32 // generations, by hidden topic and session
	told    []string          // + or -, user, cause
}

func (r *registrar) ChangePresence(ctx context.Context, batch []pubsub.Change) []error {
	errs := r.Memory.ChangePresence(ctx, batch)
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, c := range batch {
		r.changes++
		if errs[i] != nil {
			r.told = append(r.told, errs[i].Error())
		}
		key := c.Topic + " " + c.Member.Session
		was, known := r.present[key]
		switch {
		case !hidden(c.Topic) || known && was > c.Member.Generation:
		case c.Leave && known:
			delete(r.present, key)
			r.told = append(r.told, fmt.Sprintf("-%s %s", c.Member.User, c.Cause))
		case !c.Leave:
			if r.present[key] = c.Member.Generation; !known {
				r.told = append(r.told, "+"+c.Member.User)
			}
		}
	}
	return errs
}

// wants waits until that was told, and no more.
func (r *registrar) wants(n *node, want ...string) {
	n.t.Helper()
	var got []string
	n.eventually("told of "+strings.Join(want, ", "), func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		got = slices.Clone(r.told)
		return len(got) >= len(want)
	})
	if !slices.Equal(got, want) {
		n.t.Fatalf("told of %q, want %q", got, want)
	}
}

// registered is a node whose sessions are registered, with grace for those who disconnect.
func registered(t testing.TB, grace time.Duration, cfg Config) (*node, *registrar) {
	r := &registrar{present: map[string]uint32{}}
	var n *node // set before anybody is told anything
	r.Memory = pubsub.NewMemory(pubsub.MemoryConfig{
		Presence: pubsub.PresenceConfig{Match: cfg.Presence}, Lifecycle: pubsub.LifecycleConfig{On: cfg.Lifecycle},
		OnControl: func(message []byte) { n.hub.Control(message) },
	})
	cfg.PresenceGrace = grace
	n = start(t, cfg, engine.Config{Pollers: spread}, r)
	n.hub.UseSealer(sealer2(t))
	return n, r
}

func TestSessionsAreToldWhenTheyOpenAndWhenTheyEndWithTheCause(t *testing.T) {
	t.Parallel()
	n, r := registered(t, 20*time.Millisecond, Config{Lifecycle: true, Presence: isRoom})
	plain := n.plain("?user=42", 1)
	r.wants(n, "+42")
	_ = plain.conn.CloseNow()
	r.wants(n, "+42", "-42 gone")
	nobody, _ := n.enter("")
	nobody.send(`{"type":"ping"}`)
	r.wants(n, "+42", "-42 gone", "+")
	nobody.send("no JSON")
	silent, _ := n.enter("?user=7") // it is opened all the same
	r.wants(n, "+42", "-42 gone", "+", "+7")
	_ = silent.conn.Close(1000, "")
	_ = nobody.conn.Close(1000, "")
	n.eventually("all have ended", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.present) == 0
	})
}

func TestASessionThatABackendEndsIsToldAtOnce(t *testing.T) {
	t.Parallel()
	n, r := registered(t, time.Hour, Config{Lifecycle: true})
	n.plain("?user=42", 1)
	r.wants(n, "+42")
	if err := n.hub.Disconnect(t.Context(), Target{User: "42"}); err != nil {
		t.Fatal(err)
	}
	r.wants(n, "+42", "-42 "+Disconnected.Name)
}

func TestASessionThatIsResumedTellsNothing(t *testing.T) {
	t.Parallel()
	for name, presence := range map[string]func(string) bool{"with presence": isRoom, "without": nil} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, user := range []string{"42", ""} {
				query := map[string]string{"42": "?user=42"}[user]
				n, r := registered(t, time.Hour, Config{Lifecycle: true, Presence: presence})
				c, welcome := n.enter(query)
				c.send(`{"type":"ping"}`)
				r.wants(n, "+"+user)
				for range 6 { // on one loop and on others
					_ = c.conn.CloseNow()
					c, _ = n.enter(query)
					if answer := c.resume(welcome.Token, nil); answer.Type != "resumed" || answer.Session != welcome.Session {
						t.Fatalf("%+v", answer)
					} else {
						welcome = answer
					}
				}
				c.send(`{"type":"ping"}`)
				n.eventually("all was told", func() bool { return n.hub.changes.waiting.Load() == 0 })
				r.wants(n, "+"+user)
			}
		})
	}
}

func TestASessionThatIsResumedLateEndsUnderItsOtherName(t *testing.T) {
	t.Parallel()
	n, r := registered(t, time.Hour, Config{Lifecycle: true})
	c, welcome := n.enter("?user=42")
	c.send(`{"type":"ping"}`)
	r.wants(n, "+42")
	_ = c.conn.CloseNow()
	c, _ = n.enter("?user=42") // and is silent for a second
	r.wants(n, "+42", "+42")
	if h := c.hear(); h.Type != "subscribed" {
		t.Fatalf("%+v", h)
	}
	if answer := c.resume(welcome.Token, nil); answer.Type != "resumed" {
		t.Fatalf("%+v", answer)
	}
	r.wants(n, "+42", "+42", "-42 "+resumedCause)
}

// hub.js asks for its first topics so, of a session that is nobody else's.
func TestASessionThatTakesUpItselfIsNotResumed(t *testing.T) {
	t.Parallel()
	for name, silent := range map[string]bool{"at once": false, "later": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n, r := registered(t, time.Hour, Config{Lifecycle: true})
			c, welcome := n.enter("?user=42")
			if silent {
				r.wants(n, "+42")
				c.hear() // its own topic
			}
			answer := c.resume(welcome.Token, map[string]string{"news": ""})
			if answer.Type != "resumed" || answer.Session != welcome.Session || len(answer.Topics) != 1 {
				t.Fatalf("%+v", answer)
			}
			views, _, err := n.hub.View(t.Context(), Target{Session: welcome.Session})
			if err != nil || len(views) != 1 || views[0].Resumed || views[0].TopicCount != 2 {
				t.Errorf("%+v, %v", views, err)
			}
			r.wants(n, "+42")
		})
	}
}

func TestWithoutALifecycleTheBrokerIsToldOfNoSession(t *testing.T) {
	t.Parallel()
	n, r := registered(t, time.Millisecond, Config{Presence: isRoom})
	c, _ := n.enter("?user=42")
	c.send(`{"type":"subscribe","topic":"news"}`)
	c.want(`{"type":"subscribed","topic":"news"}`)
	n.plain("", 1)
	_ = c.conn.CloseNow()
	n.eventually("one has ended", func() bool { return n.server.Stats().Open == 1 })
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.changes != 0 {
		t.Errorf("%d changes were told", r.changes)
	}
}

func TestTheBrokerIsToldWhichSessionsANodeHas(t *testing.T) {
	t.Parallel()
	n, r := registered(t, time.Hour, Config{Lifecycle: true, Presence: isRoom})
	var token string
	for i := range 40 {
		c, welcome := n.enter([]string{"?user=42", "?user=7", "", fmt.Sprint("?user=of:", i)}[i%4])
		c.send(`{"type":"subscribe","topic":"room:1"}`)
		for h := c.hear(); h.Type != "subscribed" || h.Topic != "room:1"; h = c.hear() { // the user's own topic may come first
		}
		if i%3 == 0 {
			n.eventually("it is told", func() bool { r.mu.Lock(); defer r.mu.Unlock(); return len(r.present) == i+1 })
			_ = c.conn.CloseNow() // it stays for the grace
		}
		token = welcome.Token
	}
	n.enter("?user=silent&resume=" + token) // for half a minute it may yet be another one
	n.eventually("all are told, some are away", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.present) == 40 && n.away() >= 14
	})
	got := map[string]uint32{}
	for p := range 256 {
		if err := n.hub.Members(t.Context(), byte(p), func(topic string, m pubsub.Member) {
			if pubsub.Partition(topic) != p {
				t.Errorf("partition %d: %q", p, topic)
			}
			if hidden(topic) {
				if got[topic+" "+m.Session] = m.Generation; m.Info != nil {
					t.Errorf("%+v", m)
				}
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !maps.Equal(got, r.present) {
		t.Errorf("got %v\nwant %v", got, r.present)
	}
	if members := n.hub.Stats().Members; members != 40 {
		t.Errorf("%d members of topics are counted", members)
	}
}
