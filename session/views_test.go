package session

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"wshub/engine"
	"wshub/pubsub"
)

func looking(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func TestAUsersSessionsAreShown(t *testing.T) {
	history := pubsub.History{{Prefix: "news", Count: 10}}
	n := start(t, Config{History: history}, engine.Config{Pollers: spread}, pubsub.NewMemory(pubsub.MemoryConfig{History: history}))
	ctx := looking(t)
	c := n.v1("?user=42")
	c.send(`{"type":"subscribe","id":1,"topic":"news"}`)
	c.read()
	n.plain("?user=42&topic=sport", 2)
	n.plain("?user=43", 2)
	n.eventually("the own topic is followed", func() bool { return n.hub.Stats().Subscriptions == 6 })
	n.publish("news", `1`)
	c.read()

	views, more, err := n.hub.View(ctx, Target{User: "42"})
	if err != nil || more || len(views) != 2 {
		t.Fatalf("%d views, %v, %v", len(views), more, err)
	}
	slices.SortFunc(views, func(a, b SessionView) int { return strings.Compare(a.Protocol, b.Protocol) })
	plain, v1 := views[0], views[1]
	if v1.Protocol != "v1" || v1.User != "42" || v1.TopicCount != 2 || v1.Resumed || v1.Traced || v1.Lagging || v1.TokenExpires != nil ||
		!strings.HasPrefix(v1.Addr, "127.0.0.1:") || time.Since(v1.Since) > 2*time.Minute || v1.PingInMs <= 0 {
		t.Errorf("%+v", v1)
	}
	slices.SortFunc(v1.Topics, func(a, b Subscription) int { return strings.Compare(a.Topic, b.Topic) })
	if len(v1.Topics) != 2 || v1.Topics[0].Topic != "news" || v1.Topics[0].State != "follows" || v1.Topics[0].Position == "" || v1.Topics[1] != (Subscription{"user:42", "follows", ""}) {
		t.Errorf("topics %+v", v1.Topics)
	}
	for _, v := range []SessionView{v1, plain} { // the plain one can't be named by others
		again, _, err := n.hub.View(ctx, Target{Session: v.Session})
		if err != nil || len(again) != 1 || again[0].Session != v.Session || again[0].Protocol != v.Protocol {
			t.Errorf("%s is shown as %+v, %v", v.Session, again, err)
		}
	}
	if views, _, err := n.hub.View(ctx, Target{Session: sessionName(1)}); err != nil || len(views) != 0 {
		t.Errorf("nobody is shown as %+v, %v", views, err)
	}
	if _, _, err := n.hub.View(ctx, Target{}); !errors.Is(err, ErrBadTarget) {
		t.Errorf("no target: %v", err)
	}
}

func TestOfManySessionsAHundredAreShown(t *testing.T) {
	n := start(t, Config{}, engine.Config{Pollers: 1}, pubsub.NewMemory(pubsub.MemoryConfig{}))
	for range viewedSessions + 1 {
		c := n.v1("?user=42")
		for i := range 2 * fewTopics {
			c.send(fmt.Sprintf(`{"type":"subscribe","topic":"t%d"}`, i))
			c.read()
		}
	}
	views, more, err := n.hub.View(looking(t), Target{User: "42"})
	if err != nil || !more || len(views) != viewedSessions {
		t.Errorf("%d are shown, %v, %v", len(views), more, err)
	}
	for _, v := range views {
		if want := viewedInAll / viewedSessions; len(v.Topics) != want || v.TopicCount != 2*fewTopics+1 {
			t.Fatalf("of one %d topics of %d are shown, want %d", len(v.Topics), v.TopicCount, want)
		}
	}
}

func TestAResumedSessionSaysSince(t *testing.T) {
	now := time.Now()
	for _, ago := range []time.Duration{0, time.Second, 40 * time.Hour} {
		g := generation(now.Add(-ago).UnixNano() / int64(generationStep))
		if off := now.Add(-ago).Sub(g.time(now)); off < -time.Millisecond || off > 2*time.Millisecond {
			t.Errorf("%s ago: off by %s", ago, off)
		}
	}
}

func TestATopicsFollowersAreCountedByProtocol(t *testing.T) {
	n := memory(t, Config{})
	for range 3 {
		n.plain("?topic=news", 1)
	}
	c := n.v1("")
	c.send(`{"type":"subscribe","topic":"news"}`)
	c.read()
	v, err := n.hub.Topic(looking(t), "news")
	if err != nil || v.Followers != 4 || v.Waiting != 0 || v.Protocols["plain"] != 3 || v.Protocols["v1"] != 1 {
		t.Errorf("%+v, %v", v, err)
	}
	if v, err := n.hub.Topic(looking(t), "none"); err != nil || v.Followers != 0 || v.Protocols == nil {
		t.Errorf("nobody: %+v, %v", v, err)
	}
}

func TestFollowersAreNotCountedForNobody(t *testing.T) {
	n := start(t, Config{}, engine.Config{Pollers: 1}, pubsub.NewMemory(pubsub.MemoryConfig{}))
	ctx, cancel := context.WithCancel(t.Context())
	counted := make(chan topicCount)
	sh := n.hub.shards[0]
	sh.loop.Post(func() {
		crowded := &topic{name: "crowded", followers: crowd{many: &[]*Session{}}}
		for range 3 * followersPerTurn {
			*crowded.followers.many = append(*crowded.followers.many, &Session{})
		}
		sh.topics.add(crowded)
		var count topicCount
		sh.countFollowers(ctx, "crowded", 0, &count, func() {
			sh.topics.remove(crowded)
			counted <- count
		})
		cancel() // in the first turn
	})
	if count := <-counted; count.speak[0] != followersPerTurn {
		t.Errorf("%d were counted", count.speak[0])
	}
	if _, err := n.hub.Topic(ctx, "none"); !errors.Is(err, pubsub.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
}

func TestWhatOthersSendThatIsNoOrderIsLoggedSeldom(t *testing.T) {
	var log bytes.Buffer
	h, err := NewHub(Config{Log: zerolog.New(&log)}, pubsub.NewMemory(pubsub.MemoryConfig{}))
	if err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		h.Control([]byte("no order"))
	}
	if lines := strings.Count(log.String(), "\n"); lines == 0 || lines > 20 {
		t.Errorf("%d lines", lines)
	}
}

func TestTheTopicsWithMostFollowersAreFoundAmongMany(t *testing.T) {
	n := memory(t, Config{})
	const many = 100_000 // of one name's beginning, on one loop
	on := n.hub.shards[0]
	filled := make(chan struct{})
	on.loop.Post(func() {
		defer close(filled)
		for i := range many {
			tp := on.topic(fmt.Sprintf("room:%06d", i))
			tp.followers.one = &Session{}
		}
	})
	<-filled
	for range 3 {
		n.plain("?topic=room:big", 1)
	}
	n.plain("?topic=other", 1)
	began := time.Now()
	top, matched, err := n.hub.TopTopics(looking(t), func(topic string) bool { return strings.HasPrefix(topic, "room:") }, 3)
	if want := []TopicCount{{"room:big", 3}, {"room:000000", 1}, {"room:000001", 1}}; err != nil || !slices.Equal(top, want) || matched != many+1 {
		t.Errorf("found %v of %d, %v", top, matched, err)
	}
	t.Logf("%d topics took %s", many, time.Since(began))
	emptied := make(chan struct{})
	on.loop.Post(func() {
		defer close(emptied)
		for i := range many {
			tp := on.topics.get(fmt.Sprintf("room:%06d", i))
			tp.followers.one = nil
			on.forget(tp)
		}
	})
	<-emptied
}

func TestWhoReadsSlowlyIsShownWorstFirst(t *testing.T) {
	n := start(t, Config{}, engine.Config{Pollers: spread, SendBuffer: 16 << 10, MaxQueued: 64 << 20}, pubsub.NewMemory(pubsub.MemoryConfig{}))
	for i := range viewedSlow + 5 { // nobody reads
		n.plain(fmt.Sprintf("?user=%d&topic=flood", i), 2)
	}
	n.plain("?topic=quiet", 1)
	big := `"` + strings.Repeat("x", 60_000) + `"`
	for range 100 {
		n.publish("flood", big)
	}
	n.publish("user:7", big)
	n.publish("user:7", big)
	var worst []SlowView
	n.eventually("all are slow", func() bool {
		var waiting int
		var err error
		worst, waiting, err = n.hub.Slow(looking(t))
		return err == nil && waiting == viewedSlow+5 && worst[0].User == "7"
	})
	if len(worst) != viewedSlow || !slices.IsSortedFunc(worst, CompareSlow) || worst[0].Protocol != "plain" || worst[0].QueuedBytes+worst[0].OwedBytes < 1<<20 {
		t.Errorf("%d are shown: %+v", len(worst), worst[0])
	}
}

func TestATopicIsWatchedWithoutASession(t *testing.T) {
	n := memory(t, Config{})
	w, fewer := n.hub.Watch("news", 1000), n.hub.Watch("news", 2)
	n.eventually("it is followed", func() bool { return n.hub.Stats().Topics == 1 })
	follower := n.v1("")
	follower.send(`{"type":"subscribe","topic":"news"}`)
	follower.read()
	const events = 50
	for i := range events {
		n.publish("news", fmt.Sprint(i))
	}
	var got []Watched
	skipped := uint64(0)
	n.eventually("all were seen", func() bool {
		events, more := w.Take()
		got, skipped = append(got, events...), skipped+more
		return len(got) == 50
	})
	for i, e := range got {
		if string(e.Event.Data) != fmt.Sprint(i) || e.Time.IsZero() {
			t.Fatalf("number %d is %s", i, e.Event.Data)
		}
	}
	if some, more := fewer.Take(); skipped != 0 || len(some) < 2 || len(some) == events || len(some)+int(more) != events || fewer.Seen() != events {
		t.Errorf("of two a second %d were kept, %d skipped, %d seen", len(some), more, fewer.Seen())
	}
	w.Close()
	follower.send(`{"type":"unsubscribe","id":1,"topic":"news"}`)
	n.eventually("it is followed for the other one only", func() bool { return n.hub.Stats().Subscriptions == 0 && n.hub.Stats().Topics == 1 })
	fewer.Close()
	n.eventually("nobody follows it", func() bool { return n.hub.Stats().Topics == 0 })
}

func TestWhoComesAndGoesIsNoLossToAWatch(t *testing.T) {
	broker := pubsub.NewMemory(pubsub.MemoryConfig{Presence: pubsub.PresenceConfig{Match: isRoom}})
	n := start(t, Config{Presence: isRoom}, engine.Config{Pollers: 1}, broker)
	w := n.hub.Watch("room:1", 1000)
	defer w.Close()
	watcher, guest := n.v1(""), n.v1("")
	watcher.send(`{"type":"subscribe","topic":"room:1","presence":true}`)
	watcher.read()
	guest.send(`{"type":"subscribe","topic":"room:1"}`)
	guest.read()
	if news := string(watcher.read()); !strings.Contains(news, `"joined"`) {
		t.Fatal(news)
	}
	n.publish("room:1", "1")
	n.eventually("the event was seen", func() bool { return w.Seen() == 1 })
	if kept, skipped := w.Take(); len(kept) != 1 || kept[0].Event == nil || skipped != 0 {
		t.Errorf("%+v are kept, %d skipped: want the event alone", kept, skipped)
	}
}

func TestAWatchThatNobodyReadsIsBounded(t *testing.T) {
	n := memory(t, Config{})
	w := n.hub.Watch("flood", 1000)
	defer w.Close()
	n.eventually("it is followed", func() bool { return n.hub.Stats().Topics == 1 })
	big := `"` + strings.Repeat("x", 60_000) + `"`
	for range 100 {
		n.publish("flood", big)
	}
	n.eventually("all were seen", func() bool { return w.Seen() == 100 })
	if kept, skipped := w.Take(); len(kept) != watchedBytes/60_130 || len(kept)+int(skipped) != 100 {
		t.Errorf("%d are kept, %d skipped", len(kept), skipped)
	}
}

// lines is a log that tests read while it is written.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func TestAUserIsTracedForAWhile(t *testing.T) {
	t.Parallel()
	var log lines
	n := start(t, Config{Log: zerolog.New(&log).Level(zerolog.WarnLevel)}, engine.Config{Pollers: spread}, pubsub.NewMemory(pubsub.MemoryConfig{}))
	before, other := n.v1("?user=42"), n.v1("?user=43")
	if err := n.hub.Trace("42", time.Minute); err != nil {
		t.Fatal(err)
	}
	n.eventually("the session is traced", func() bool {
		views, _, err := n.hub.View(looking(t), Target{User: "42"})
		return err == nil && views[0].Traced
	})
	for _, c := range []*client{before, other} {
		c.send(`{"type":"subscribe","topic":"news"}`)
		c.read()
	}
	n.v1("?user=42")
	n.eventually("the new one is logged", func() bool { return strings.Contains(log.String(), `"message":"trace: open"`) })
	if text := log.String(); !strings.Contains(text, `"message":"trace: subscribe"`) || strings.Contains(text, `"43"`) {
		t.Errorf("logged %s", text)
	}
	if err := n.hub.Trace("42", 0); err != nil {
		t.Fatal(err)
	}
	n.eventually("it has ended", func() bool { return n.hub.tracing.all() == nil })
	n.eventually("no session is traced", func() bool {
		views, _, err := n.hub.View(looking(t), Target{User: "42"})
		return err == nil && !views[0].Traced && !views[1].Traced
	})
	after := len(log.String())
	before.send(`{"type":"ping"}`)
	before.read()
	if text := log.String()[after:]; text != "" {
		t.Errorf("still logged: %s", text)
	}
}

func TestTracesAreBounded(t *testing.T) {
	n := memory(t, Config{})
	for i := range maxTraced {
		if err := n.hub.Trace(fmt.Sprint(i), time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := n.hub.Trace("one more", time.Minute); !errors.Is(err, ErrTooMany) {
			t.Errorf("one more: %v", err)
		}
		if _, _, _, err := n.hub.TraceLines("one more", 0); !errors.Is(err, ErrTooMany) {
			t.Errorf("a tail of one more: %v", err)
		}
		if err := n.hub.Trace("0", time.Hour); err != nil {
			t.Errorf("the same again: %v", err)
		}
	}
	for _, bad := range []struct {
		user string
		d    time.Duration
	}{{"", 1}, {"a\nb", 1}, {"a", -1}, {"a", MaxTrace + 1}} {
		if err := n.hub.Trace(bad.user, bad.d); !errors.Is(err, ErrBadTrace) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	if err := n.hub.Trace("unknown", 0); err != nil {
		t.Errorf("to end what is not: %v", err)
	}
}

func TestATailGetsATracesLines(t *testing.T) {
	n := memory(t, Config{})
	next := uint64(0)
	take := func() (what []string, missed uint64) {
		lines, then, missed, err := n.hub.TraceLines("42", next)
		if err != nil || then < next {
			t.Fatalf("%d, %v", then, err)
		}
		next = then
		for _, l := range lines {
			if what = append(what, l.What); l.Time.IsZero() || l.Fields["user"] != nil {
				t.Errorf("line %+v", l)
			}
		}
		return what, missed
	}
	if what, missed := take(); len(what) > 0 || missed > 0 {
		t.Errorf("at first there are %v, %d", what, missed)
	}
	c := n.v1("?user=42")
	c.send(`{"type":"subscribe","topic":"news"}`)
	c.read()
	c.send(`{"type":"ping"}`)
	var all []string
	_ = c.conn.CloseNow()
	n.eventually("all is told", func() bool {
		what, _ := take()
		all = append(all, what...)
		return slices.Contains(all, "end")
	})
	if all[0] != "open" || !slices.Contains(all, "subscribe") || !slices.Contains(all, "message") {
		t.Errorf("lines %v", all)
	}
	t42 := n.hub.tracing.of("42")
	for range keptLines + 1 {
		n.hub.traceLine("42", "again", func(*zerolog.Event) {})
	}
	if what, missed := take(); len(what)+int(missed) != keptLines+1 || missed == 0 || len(t42.lines.list) > keptLines {
		t.Errorf("of %d too many %d are left, %d missed", keptLines+1, len(what), missed)
	}
	next += 1000 // as a hub that is no more has told
	if what, missed := take2(n, next); what != 0 || missed != 0 {
		t.Errorf("a number that was never: %d, %d", what, missed)
	}
}

func take2(n *node, from uint64) (lines int, missed uint64) {
	list, _, missed, _ := n.hub.TraceLines("42", from)
	return len(list), missed
}
