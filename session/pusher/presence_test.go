package pusher_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"wshub/engine"
	"wshub/pubsub"
	"wshub/session"
	"wshub/session/pusher"
)

func TestMembersAreUsersAndToldOnce(t *testing.T) {
	t.Parallel()
	n := start(t, session.Config{PresenceGrace: 100 * time.Millisecond}, engine.Config{})
	one, two, again := n.connect(app), n.connect(app), n.connect(app)
	got := one.join("presence-a", `{"user_id":"u","user_info":{"name":"Ada"}}`)
	if fmt.Sprintf("%v %d %s", got.Presence.IDs, got.Presence.Count, got.Presence.Hash["u"]) != `[u] 1 {"name":"Ada"}` {
		t.Fatalf("%+v", got)
	}
	got = two.join("presence-a", `{"user_id":"v"}`)
	slices.Sort(got.Presence.IDs)
	if fmt.Sprintf("%v %d %s", got.Presence.IDs, got.Presence.Count, got.Presence.Hash["v"]) != `[u v] 2 null` {
		t.Fatalf("%+v", got)
	}
	one.wantText("pusher_internal:member_added", "presence-a", `{"user_id":"v","user_info":null}`)
	if got = again.join("presence-a", `{"user_id":"v"}`); got.Presence.Count != 2 {
		t.Fatalf("%+v", got)
	}
	one.wantNothing()
	two.wantNothing()
	two.say("pusher:unsubscribe", map[string]any{"channel": "presence-a"})
	two.wantNothing()
	one.wantNothing()
	_ = again.conn.CloseNow()
	one.wantText("pusher_internal:member_removed", "presence-a", `{"user_id":"v"}`)
	// In another channel the same connection may be another user.
	one.join("presence-b", `{"user_id":"w"}`)
	two.join("presence-b", `{"user_id":"x"}`)
	one.wantText("pusher_internal:member_added", "presence-b", `{"user_id":"x","user_info":null}`)
	_ = one.conn.CloseNow()
	two.wantText("pusher_internal:member_removed", "presence-b", `{"user_id":"w"}`)
	n.eventually("all have left presence-a", func() bool {
		p, err := n.hub.Presence(t.Context(), app.Topic("presence-a"), "", 0)
		return err == nil && p.Clients == 0
	})
}

// A user who comes back within the grace has not left.
func TestAQuickReconnectIsNotTold(t *testing.T) {
	t.Parallel()
	n := start(t, session.Config{}, engine.Config{})
	one, two := n.connect(app), n.connect(app)
	one.join("presence-a", `{"user_id":"u"}`)
	two.join("presence-a", `{"user_id":"v"}`)
	one.wantText("pusher_internal:member_added", "presence-a", `{"user_id":"v","user_info":null}`)
	_ = two.conn.CloseNow()
	n.eventually("the connection has ended", func() bool { return n.hub.Stats().Sessions["pusher"] == 1 })
	back := n.connect(app)
	if got := back.join("presence-a", `{"user_id":"v"}`); got.Presence.Count != 2 {
		t.Errorf("%+v", got)
	}
	one.wantNothing()
}

func TestAWatchlistTellsWhoIsOnline(t *testing.T) {
	t.Parallel()
	for _, a := range []*pusher.App{app, common} {
		n := start(t, session.Config{PresenceGrace: 100 * time.Millisecond}, engine.Config{})
		online := func(c *client, name, user string) {
			t.Helper()
			c.wantText("pusher_internal:watchlist_events", "", fmt.Sprintf(`{"events":[{"name":%q,"user_ids":[%q]}]}`, name, user))
		}
		b := n.connect(a)
		b.signIn(`{"id":"b"}`)
		c := n.connect(a)
		c.signIn(`{"id":"c","watchlist":["b","b",7,"c","",{}]}`)
		told := []string{c.hear().text(), c.hear().text()} // each user's presence is read by itself
		slices.Sort(told)
		if want := []string{`{"events":[{"name":"offline","user_ids":["7"]}]}`, `{"events":[{"name":"online","user_ids":["b"]}]}`}; !slices.Equal(told, want) {
			t.Fatalf("told %q, want %q", told, want)
		}
		again := n.connect(a)
		again.signIn(`{"id":"b"}`)
		seven := n.connect(a)
		seven.signIn(`{"id":7}`)
		online(c, "online", "7")
		_ = b.conn.CloseNow()
		_ = seven.conn.CloseNow()
		online(c, "offline", "7")
		c.wantNothing()
		_ = again.conn.CloseNow()
		online(c, "offline", "b")
		c.ask("#watch-b", "")
		c.wantFault("#watch-b", "BadRequest", 400)
	}
}

// Presence of many is told by their number alone, which a presence channel has no words for.
func TestAChannelWithTooManyMembersIsRefused(t *testing.T) {
	t.Parallel()
	n := start(t, session.Config{}, engine.Config{})
	for i := range 1001 {
		err := n.change(pubsub.Change{Topic: app.Topic("presence-a"), Member: pubsub.Member{Session: fmt.Sprint(i), User: fmt.Sprint(i)}})
		if err != nil {
			t.Fatal(err)
		}
	}
	c := n.connect(app)
	c.ask("presence-a", `{"user_id":"u"}`)
	c.wantFault("presence-a", "LimitReached", 4004)
	c.wantNothing()
	if st := n.hub.Stats(); st.Subscriptions != 0 {
		t.Errorf("%d subscriptions", st.Subscriptions)
	}
}

func TestSubscribersAreCounted(t *testing.T) {
	t.Parallel()
	n := start(t, session.Config{PresenceGrace: 100 * time.Millisecond}, engine.Config{})
	count := func(c *client, channel string, want int) {
		t.Helper()
		c.wantText("pusher_internal:subscription_count", channel, fmt.Sprintf(`{"subscription_count":%d}`, want))
	}
	one, two := n.connect(other), n.connect(other)
	one.subscribe("private-a")
	count(one, "private-a", 1)
	two.subscribe("private-a")
	count(one, "private-a", 2)
	count(two, "private-a", 2)
	_ = two.conn.CloseNow()
	count(one, "private-a", 1)
	one.signIn(`{"id":"u"}`)
	one.wantNothing() // of its own channel
	silent := n.connect(app)
	silent.subscribe("private-a")
	silent.wantNothing()
}

func TestCacheChannelsKeepTheLastEvent(t *testing.T) {
	t.Parallel()
	n := start(t, session.Config{}, engine.Config{})
	for _, channel := range []string{"cache-a", "private-cache-a", "private-encrypted-cache-a", "presence-cache-a"} {
		c := n.connect(app)
		succeed := func() {
			t.Helper()
			if pusher.IsPresence(channel) {
				c.join(channel, `{"user_id":"u"}`)
			} else {
				c.subscribe(channel)
			}
		}
		succeed()
		c.want("pusher:cache_miss", channel, "")
		n.publish(app.Publication(channel, "e", "1", ""), app.Publication(channel, "e", "2", ""))
		c.wantText("e", channel, "1")
		c.wantText("e", channel, "2")
		c.say("pusher:unsubscribe", map[string]any{"channel": channel})
		succeed()
		c.wantText("e", channel, "2")
		c.wantNothing()
	}
}

// The cached event comes once, and nothing older behind it, while the channel is written to.
func TestACacheChannelThatIsWrittenToHasNoHoles(t *testing.T) {
	t.Parallel()
	n := start(t, session.Config{MessageRate: -1}, engine.Config{})
	stop := make(chan struct{})
	written := make(chan struct{})
	go func() {
		defer close(written)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				_, _ = n.hub.Publish(t.Context(), []pubsub.Publication{app.Publication("cache-a", "e", fmt.Sprint(i), "")})
			}
		}
	}()
	c := n.connect(app)
	for range 20 {
		c.subscribe("cache-a")
		last := -1
		for range 3 {
			h := c.hear()
			var i int
			if h.Event == "pusher:cache_miss" {
				if last >= 0 {
					t.Fatal("a cache_miss behind an event")
				}
				continue
			}
			if _, err := fmt.Sscan(h.text(), &i); err != nil || last >= 0 && i != last+1 {
				t.Fatalf("%s behind %d", h.text(), last)
			}
			last = i
		}
		c.say("pusher:unsubscribe", map[string]any{"channel": "cache-a"})
		c.send(`{"event":"pusher:ping"}`)
		for c.hear().Event != "pusher:pong" {
		}
	}
	close(stop)
	<-written
}
