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

// stagedBroker is a Memory whose reads the test may hold up, and whose changes of presence it counts.
type stagedBroker struct {
	pagedBroker
	read    atomic.Pointer[func() (pubsub.Presence, error)] // instead of ReadPresence; nil: none
	changed atomic.Int64
	gate    atomic.Pointer[chan struct{}] // ChangePresence waits for it; nil: it does not
}

func (b *stagedBroker) ReadPresence(ctx context.Context, topic, after string, limit int) (pubsub.Presence, error) {
	if f := b.read.Load(); f != nil {
		return (*f)()
	}
	return b.Memory.ReadPresence(ctx, topic, after, limit)
}

func (b *stagedBroker) ChangePresence(ctx context.Context, batch []pubsub.Change) []error {
	b.changed.Add(int64(len(batch)))
	if gate := b.gate.Load(); gate != nil {
		<-*gate
	}
	return b.Memory.ChangePresence(ctx, batch)
}

func staged(t *testing.T, cfg Config, eventsMax int) (*node, *stagedBroker) {
	history := pubsub.History{{Prefix: "room:log", Count: 1000}}
	b := &stagedBroker{pagedBroker: pagedBroker{pubsub.NewMemory(pubsub.MemoryConfig{
		History: history, Presence: pubsub.PresenceConfig{Match: isRoom, EventsMax: eventsMax},
	}), make(chan struct{})}}
	cfg.Presence, cfg.History = isRoom, history
	n := start(t, cfg, engine.Config{Pollers: 1}, b)
	n.hub.UseSealer(sealer2(t))
	return n, b
}

// enters makes another node's session a member of room, as the hub is told of it.
func (b *stagedBroker) enters(t *testing.T, n *node, room, session, info string, leave bool) {
	t.Helper()
	m := pubsub.Member{Session: session}
	if info != "" {
		m.Info = []byte(info)
	}
	if errs := b.Memory.ChangePresence(t.Context(), []pubsub.Change{{Topic: room, Member: m, Leave: leave}}); errs[0] != nil {
		t.Fatal(errs[0])
	}
	n.onEveryLoop(func(*shard) {})
}

// lost has the hub told that changes were lost.
func (n *node) lost(room string) {
	n.hub.Moved(&pubsub.Moved{Topic: room}, 1)
	n.hub.HandOver()
}

// A server that has lost its data has no version: who is told so must hear of the members when they are back.
func TestWhoIsToldOfAnEmptyServerHearsOfItsRepair(t *testing.T) {
	n, b := staged(t, Config{}, 0)
	c := n.v1("")
	w := c.watch("room:1")
	empty := func() (pubsub.Presence, error) { return pubsub.Presence{}, nil }
	b.read.Store(&empty)
	n.lost("room:1")
	c.hearUntil(w, "nobody is there", func() bool { return len(w.members) == 0 })
	b.read.Store(nil)
	b.enters(t, n, "room:1", "other", "", false)
	c.hearUntil(w, "two are there", func() bool { return len(w.members) == 2 })
}

// The changes that did not fit while the presence was read may be behind it.
func TestChangesThatAreNotHeldAreReadAgain(t *testing.T) {
	n, b := staged(t, Config{}, 0)
	c := n.v1("")
	w := c.watch("room:1")
	before, err := b.Memory.ReadPresence(t.Context(), "room:1", "", 100)
	if err != nil {
		t.Fatal(err)
	}
	asked, let := make(chan struct{}), make(chan struct{})
	slow := func() (pubsub.Presence, error) {
		b.read.Store(nil)
		asked <- struct{}{}
		<-let
		return before, nil
	}
	b.read.Store(&slow)
	n.lost("room:1")
	<-asked
	info := fmt.Sprintf(`{"a":%q}`, strings.Repeat("x", 4000))
	came := 0
	for ; n.hub.Stats().Dropped["presence_hold_full"] == 0; came++ {
		b.enters(t, n, "room:1", fmt.Sprint("other", came), info, false)
	}
	close(let)
	c.hearUntil(w, "all are there", func() bool { return w.clients == came+1 })
}

// Counts that wait for their time are older than a whole presence that is told meanwhile.
func TestCountsAreNotToldBehindNewerOnes(t *testing.T) {
	t.Parallel()
	n, b := staged(t, Config{}, 1)
	c := n.v1("")
	w := c.watch("room:1")
	b.enters(t, n, "room:1", "a", "", false)
	c.hearUntil(w, "two are counted", func() bool { return w.clients == 2 })
	b.enters(t, n, "room:1", "b", "", false) // waits
	asked, let := make(chan struct{}), make(chan struct{})
	slow := func() (pubsub.Presence, error) {
		b.read.Store(nil)
		asked <- struct{}{}
		<-let
		return b.Memory.ReadPresence(context.Background(), "room:1", "", 1000)
	}
	b.read.Store(&slow)
	n.lost("room:1")
	<-asked
	b.enters(t, n, "room:1", "c", "", false)
	close(let)
	c.hearUntil(w, "four are there", func() bool { return w.clients == 4 })
	n.eventually("the pause is over", func() (over bool) {
		n.onEveryLoop(func(sh *shard) { over = sh.presence.watches[sh.topics.get("room:1")].pause == nil })
		return over
	})
	b.enters(t, n, "room:1", "d", "", false)
	if _ = w.hear(c.read()); w.clients != 5 {
		t.Errorf("then %d are counted", w.clients)
	}
}

// returning resumes a session into room:log, watching, and stops in its replay.
func (n *node) returning(b *stagedBroker, presence string) (c *client, w *company) {
	n.t.Helper()
	n.publish("room:log", `1`)
	first, err := b.Memory.Replay(n.t.Context(), "room:log", pubsub.Position{}, pubsub.Limit{})
	if err != nil {
		n.t.Fatal(err)
	}
	for range 2 * pageEvents {
		n.publish("room:log", `1`)
	}
	_, welcome := n.enter("")
	c, _ = n.enter("")
	c.send(fmt.Sprintf(`{"type":"resume","id":1,"token":%q,"positions":{"room:log":%q},"presence":%s}`, welcome.Token, first.Head, presence))
	w = &company{members: map[string]string{}}
	c.hearUntil(w, "it is told the whole", func() bool { return w.clients > 0 })
	return c, w
}

func TestAWatchEndsWithAClientThatBreaksOffInItsReplay(t *testing.T) {
	n, b := staged(t, Config{MessageRate: -1}, 0)
	c, _ := n.returning(b, `["room:log"]`)
	_ = c.conn.CloseNow()
	n.eventually("nothing is watched", func() bool { return n.hub.Stats().Watches == 0 })
}

// The broker is slow, and the client has left the topic and follows it anew, without its presence.
func TestAWatchIsForgottenWithItsSubscription(t *testing.T) {
	n, b := staged(t, Config{}, 0)
	other := n.v1("") // so that the topic stays
	other.send(`{"type":"subscribe","id":1,"topic":"room:1"}`)
	other.want(`{"type":"subscribed","id":1,"topic":"room:1"}`)
	n.eventually("the broker was told", func() bool { return n.hub.Stats().PresenceQueued == 0 })
	gate := make(chan struct{})
	b.gate.Store(&gate)
	_, welcome := n.enter("")
	c, _ := n.enter("")
	c.send(fmt.Sprintf(`{"type":"resume","id":1,"token":%q,"positions":{"room:1":""},"presence":["room:1"]}`, welcome.Token))
	if got := c.read(); !strings.HasPrefix(got, `{"type":"resumed"`) {
		t.Fatal(got)
	}
	c.send(`{"type":"unsubscribe","id":2,"topic":"room:1"}`)
	c.want(`{"type":"ok","id":2}`)
	c.send(`{"type":"subscribe","id":3,"topic":"room:1"}`)
	c.want(`{"type":"subscribed","id":3,"topic":"room:1"}`)
	close(gate)
	n.eventually("the broker was told", func() bool { return n.hub.Stats().PresenceQueued == 0 })
	n.onEveryLoop(func(*shard) {})
	if got := n.hub.Stats().Watches; got != 0 {
		t.Errorf("%d topics are watched", got)
	}
}

func TestATopicIsWatchedOnceHoweverOftenItIsNamed(t *testing.T) {
	n, b := staged(t, Config{MessageRate: -1}, 0)
	n.returning(b, "["+strings.Repeat(`"room:log",`, 1000)+`"room:log"]`)
	if got := b.changed.Load(); got > 1 {
		t.Errorf("the broker is told of %d changes", got)
	}
}

// News that a client in its replay is too slow for are in no log: it is told the whole.
func TestNewsThatAReplayHasNoRoomForAreMadeUpFor(t *testing.T) {
	n, b := staged(t, Config{MessageRate: -1, MaxHold: 1 << 10}, 0)
	c, w := n.returning(b, `["room:log"]`)
	info := fmt.Sprintf(`{"a":%q}`, strings.Repeat("x", 2000))
	for i := range 4 {
		b.enters(t, n, "room:log", fmt.Sprint("other", i), info, false)
	}
	close(b.pages)
	c.hearUntil(w, "all are there", func() bool { return len(w.members) == 5 })
}

// A session that comes and goes all the time costs the loop no more for each topic than one that does so once.
func TestTopicsOfThoseAwayAreFoundAtOnce(t *testing.T) {
	n, _ := staged(t, Config{PresenceGrace: time.Minute, MaxTopics: 60_000}, 0)
	const sessions, topics = 100, 1000
	n.onEveryLoop(func(sh *shard) {
		l := &sh.presence.away
		for i := range sessions {
			list := make([]string, topics)
			for k := range list {
				list[k] = fmt.Sprint("room:", i*topics+k)
			}
			sh.presence.members.Add(topics)
			l.put(sh, pubsub.Member{Session: "s_1"}, 1, list, "")
		}
		least := time.Hour // of several tries: one may be held up
		for try := range 5 {
			begun := time.Now()
			for k := range topics / 5 {
				if !l.back(1, fmt.Sprint("room:", try*topics/5+k)) {
					t.Errorf("room:%d is not away", try*topics/5+k)
				}
			}
			least = min(least, time.Since(begun))
		}
		if least > 20*time.Millisecond {
			t.Errorf("coming back took %v", 5*least)
		}
		if l.topics != sessions*topics || len(l.at) != (sessions-1)*topics {
			t.Errorf("%d topics, %d of them away", l.topics, len(l.at))
		}
	})
}
