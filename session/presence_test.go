package session

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"wshub/engine"
	"wshub/pubsub"
	"wshub/pubsub/redistest"
	"wshub/session/token"
)

// isRoom is the topics with presence in these tests.
func isRoom(topic string) bool { return strings.HasPrefix(topic, "room") }

// lobbyists is a node on a broker of its own whose rooms have a presence, with grace for those who disconnect.
func lobbyists(t testing.TB, grace time.Duration, eventsMax int) *node {
	broker := pubsub.NewMemory(pubsub.MemoryConfig{Presence: pubsub.PresenceConfig{Match: isRoom, EventsMax: eventsMax}})
	n := start(t, Config{Presence: isRoom, PresenceGrace: grace}, engine.Config{Pollers: spread}, broker)
	n.hub.UseSealer(sealer2(t))
	return n
}

func sealer2(t testing.TB) *token.Sealer {
	t.Helper()
	s, err := token.NewSealer(token.SealerConfig{Keys: [][]byte{make([]byte, 32)}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// company is what a client that watches a topic knows of it.
type company struct {
	clients, users int
	counted        bool                // it knows counts only
	members        map[string]string   // users by session
	told           []string            // joined and left, as they came
	of             map[string]struct{} // users, by first and last
}

// companyHeard is any message about a presence.
type companyHeard struct {
	Type, Topic, Session, User string
	First, Last                bool
	Clients, Users             int
	Members                    *[]struct{ Session, User string }
	Presence                   string
	Code                       Code
	Next                       string
}

// hear takes one message. An error says that it contradicts what was heard before.
func (w *company) hear(text string) error {
	var h companyHeard
	if err := json.Unmarshal([]byte(text), &h); err != nil {
		return err
	}
	switch h.Type {
	case "subscribed", "presence":
		w.clients, w.users, w.counted = h.Clients, h.Users, h.Members == nil
		w.members, w.of = map[string]string{}, map[string]struct{}{}
		if h.Members == nil {
			return nil
		}
		for _, m := range *h.Members {
			w.members[m.Session] = m.User
			if m.User != "" {
				w.of[m.User] = struct{}{}
			}
		}
		if len(w.members) != h.Clients || len(w.of) != h.Users {
			return fmt.Errorf("a whole with %d members and %d users that says %d and %d", len(w.members), len(w.of), h.Clients, h.Users)
		}
	case "joined":
		if _, was := w.members[h.Session]; was {
			return fmt.Errorf("joined twice: %s", text)
		}
		_, was := w.of[h.User]
		if h.First != (h.User != "" && !was) {
			return fmt.Errorf("first is wrong: %s", text)
		}
		w.members[h.Session] = h.User
		if h.User != "" {
			w.of[h.User] = struct{}{}
		}
		w.told = append(w.told, "+"+h.User)
	case "left":
		if user, was := w.members[h.Session]; !was || user != h.User {
			return fmt.Errorf("left without being there: %s", text)
		}
		delete(w.members, h.Session)
		others := h.User != "" && slices.Contains(slices.Collect(maps.Values(w.members)), h.User)
		if h.Last != (h.User != "" && !others) {
			return fmt.Errorf("last is wrong: %s", text)
		}
		if h.Last {
			delete(w.of, h.User)
		}
		w.told = append(w.told, "-"+h.User)
	case "presence_stats":
		w.clients, w.users, w.counted = h.Clients, h.Users, true
	}
	return nil
}

// watch subscribes to room, and takes the answer.
func (c *client) watch(room string) *company {
	c.t.Helper()
	c.send(fmt.Sprintf(`{"type":"subscribe","id":"w","topic":%q,"presence":true}`, room))
	w := &company{}
	for {
		got := c.read()
		if !strings.Contains(got, `"id":"w"`) {
			continue
		}
		if !strings.HasPrefix(got, `{"type":"subscribed"`) {
			c.t.Fatal(got)
		}
		if err := w.hear(got); err != nil {
			c.t.Fatal(err)
		}
		return w
	}
}

// hearUntil reads until ok.
func (c *client) hearUntil(w *company, what string, ok func() bool) {
	c.t.Helper()
	for !ok() {
		if err := w.hear(c.read()); err != nil {
			c.t.Fatalf("until %s: %v", what, err)
		}
	}
}

// unnamed replaces what changes from run to run.
func unnamed(text string) string {
	text = regexp.MustCompile(`s_[0-9a-z]+`).ReplaceAllString(text, "s_")
	return regexp.MustCompile(`"since":[0-9]{13}`).ReplaceAllString(text, `"since":0`)
}

func (c *client) wantMasked(text string) {
	c.t.Helper()
	if got := unnamed(c.read()); got != text {
		c.t.Fatalf("got  %s\nwant %s", got, text)
	}
}

func TestWhoWatchesIsToldWhoIsThereAndWhoComesAndGoes(t *testing.T) {
	t.Parallel()
	n := lobbyists(t, 100*time.Millisecond, 0)
	a := n.v1("?user=42")
	a.want(`{"type":"subscribed","topic":"user:42"}`)
	a.send(`{"type":"subscribe","id":1,"topic":"room:1","presence":true}`)
	a.wantMasked(`{"type":"subscribed","id":1,"topic":"room:1","clients":1,"users":1,"members":[{"session":"s_","user":"42","since":0}]}`)
	b := n.v1("")
	b.send(`{"type":"subscribe","id":1,"topic":"room:1"}`)
	b.want(`{"type":"subscribed","id":1,"topic":"room:1"}`)
	a.wantMasked(`{"type":"joined","topic":"room:1","session":"s_","since":0}`)
	c := n.v1("?user=7")
	c.want(`{"type":"subscribed","topic":"user:7"}`)
	c.send(`{"type":"subscribe","id":1,"topic":"room:1"}`)
	c.want(`{"type":"subscribed","id":1,"topic":"room:1"}`)
	a.wantMasked(`{"type":"joined","topic":"room:1","session":"s_","user":"7","since":0,"first":true}`)
	n.publish("room:1", `1`)
	a.want(`{"type":"event","topic":"room:1","data":1}`)
	c.want(`{"type":"event","topic":"room:1","data":1}`)
	b.want(`{"type":"event","topic":"room:1","data":1}`)

	b.send(`{"type":"presence_stats","id":2,"topic":"room:1"}`)
	b.want(`{"type":"presence_stats","id":2,"topic":"room:1","clients":3,"users":2}`)
	b.send(`{"type":"presence","id":3,"topic":"room:1","limit":2}`)
	got := b.read()
	var page companyHeard
	if err := json.Unmarshal([]byte(got), &page); err != nil || page.Clients != 3 || len(*page.Members) != 2 || page.Next == "" {
		t.Fatal(got, err)
	}
	b.send(fmt.Sprintf(`{"type":"presence","id":4,"topic":"room:1","limit":2,"after":%q}`, page.Next))
	b.wantMasked(`{"type":"presence","id":4,"topic":"room:1","clients":3,"users":2,"members":[{"session":"s_","user":"7","since":0}]}`)
	b.send(`{"type":"presence","id":5,"topic":"room:none"}`)
	b.want(`{"type":"presence","id":5,"topic":"room:none","clients":0,"users":0,"members":[]}`)

	b.send(`{"type":"unsubscribe","id":6,"topic":"room:1"}`)
	b.want(`{"type":"ok","id":6}`)
	a.wantMasked(`{"type":"left","topic":"room:1","session":"s_","since":0}`)
	_ = c.conn.CloseNow() // without a word
	a.wantMasked(`{"type":"left","topic":"room:1","session":"s_","user":"7","since":0,"last":true}`)
	n.eventually("one is left", func() bool { return n.hub.Stats().Members == 1 })
}

func TestPresenceIsRefusedInWords(t *testing.T) {
	n := lobbyists(t, time.Second, 0)
	c := n.v1("")
	for _, request := range []string{
		`{"type":"presence","topic":"news"}`, `{"type":"presence_stats","topic":"news"}`, `{"type":"subscribe","topic":"news","presence":true}`,
	} {
		c.send(request)
		c.wantError(NoPresence)
	}
	for _, request := range []string{
		`{"type":"presence","topic":"room","limit":1001}`, `{"type":"presence","topic":"room","limit":0}`, `{"type":"presence","topic":"room","limit":-1}`,
		`{"type":"presence","topic":"room","limit":"1"}`, `{"type":"presence","topic":"room","after":7}`, `{"type":"presence","topic":"room","after":"x"}`,
		`{"type":"subscribe","topic":"room","presence":1}`, `{"type":"subscribe","topic":"room","presence":["room"]}`,
	} {
		c.send(request)
		c.wantError(BadRequest)
	}
	c.send(`{"type":"presence"}`)
	c.wantError(BadTopic)
	c.send(`{"type":"presence_stats","topic":"user:7"}`)
	c.wantError(NoPresence)

	off := memory(t, Config{}).v1("")
	off.send(`{"type":"presence","topic":"room"}`)
	off.wantError(NoPresence)
	off.send(`{"type":"subscribe","topic":"room","presence":true}`)
	off.wantError(NoPresence)
}

func TestATokenSaysWhosePresenceIsSeen(t *testing.T) {
	t.Parallel()
	n := closed(t, Config{Presence: isRoom}, token.Config{})
	see := func(presence ...string) string {
		return mint(t, secretSigner(t), token.Grant{Subscribe: []string{"room*"}, Presence: presence, Info: json.RawMessage(`{"name":"Ann"}`)})
	}
	c := n.v1("?token=" + see("room:1"))
	c.want(`{"type":"subscribed","topic":"user:42"}`)
	c.send(`{"type":"presence","topic":"room:2"}`)
	c.wantError(Forbidden)
	c.send(`{"type":"subscribe","topic":"room:2","presence":true}`)
	c.wantError(Forbidden)
	c.send(`{"type":"subscribe","id":1,"topic":"room:1","presence":true}`)
	c.wantMasked(`{"type":"subscribed","id":1,"topic":"room:1","clients":1,"users":1,"members":[{"session":"s_","user":"42","info":{"name":"Ann"},"since":0}]}`)

	// Another token ends what it does not cover: the watching, not the topic.
	c.send(fmt.Sprintf(`{"type":"auth","id":2,"token":%q}`, see()))
	if got := c.read(); !strings.HasPrefix(got, `{"type":"ok","id":2,`) {
		t.Fatal(got)
	}
	if got := c.read(); !strings.Contains(got, `"code":"forbidden"`) || !strings.HasSuffix(got, `,"presence":"room:1"}`) {
		t.Fatal(got)
	}
	other := n.v1("?token=" + see("*"))
	other.want(`{"type":"subscribed","topic":"user:42"}`)
	other.watch("room:1")
	n.publish("room:1", `1`)
	c.want(`{"type":"event","topic":"room:1","data":1}`)

	none := n.v1("?token=" + mint(t, secretSigner(t), token.Grant{Subscribe: []string{"room*"}}))
	none.want(`{"type":"subscribed","topic":"user:42"}`)
	none.send(`{"type":"presence_stats","topic":"room:1"}`)
	none.wantError(Forbidden)
}

func TestWhoComesBackInTimeHasNotLeft(t *testing.T) {
	t.Parallel()
	n := lobbyists(t, 300*time.Millisecond, 0)
	seen := n.v1("?user=7")
	w := seen.watch("room:1")
	for range 8 { // on one loop and on others
		c, welcome := n.enter("?user=42")
		c.watch("room:1")
		seen.hearUntil(w, "it has come", func() bool { return len(w.members) == 2 })
		told := len(w.told)
		_ = c.conn.CloseNow()
		again, _ := n.enter("?user=42")
		again.send(fmt.Sprintf(`{"type":"resume","id":1,"token":%q,"positions":{"room:1":""},"presence":["room:1"]}`, welcome.Token))
		back := &company{}
		again.hearUntil(back, "it is told the whole", func() bool { return len(back.members) == 2 })
		n.eventually("nobody is away", func() bool { return n.away() == 0 })
		again.send(`{"type":"unsubscribe","topic":"room:1"}`)
		seen.hearUntil(w, "it has left", func() bool { return len(w.members) == 1 })
		if got := w.told[told:]; !slices.Equal(got, []string{"-42"}) {
			t.Fatalf("told of %q", got)
		}
		_ = again.conn.CloseNow()
	}
}

// away counts the topics of sessions that are waited for.
func (n *node) away() (sum int) {
	n.onEveryLoop(func(sh *shard) { sum += len(sh.presence.away.at) })
	return sum
}

func TestWhoComesBackOnAnotherNodeHasNotLeft(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	n1, n2 := roommates(t, server, "n1"), roommates(t, server, "n2")
	seen := n1.v1("?user=7")
	w := seen.watch("room:1")
	c, welcome := n2.enter("?user=42")
	c.watch("room:1")
	seen.hearUntil(w, "it has come", func() bool { return len(w.members) == 2 })
	_ = c.conn.CloseNow()
	again, _ := n1.enter("?user=42")
	again.send(fmt.Sprintf(`{"type":"resume","id":1,"token":%q,"positions":{"room:1":""},"presence":["room:1"]}`, welcome.Token))
	back := &company{}
	again.hearUntil(back, "it is told the whole", func() bool { return len(back.members) == 2 })
	n2.eventually("nobody is away", func() bool { return n2.away() == 0 && n2.hub.Stats().PresenceQueued == 0 })
	again.send(`{"type":"unsubscribe","topic":"room:1"}`)
	seen.hearUntil(w, "it has left", func() bool { return len(w.members) == 1 })
	if !slices.Equal(w.told, []string{"+42", "-42"}) {
		t.Fatalf("told of %q", w.told)
	}
}

// roommates is a node on a real Redis whose rooms have a presence.
func roommates(t *testing.T, server *redistest.Server, name string) *node {
	t.Helper()
	var hub *Hub // set before the broker runs
	broker, err := pubsub.NewRedis(pubsub.RedisConfig{
		URL: server.URL(), Node: name,
		OnControl: func(message []byte) { hub.Control(message) },
		OnRevoked: func(list []pubsub.Revocation) { hub.Revoked(list) },
		Presence: pubsub.PresenceConfig{
			Match: isRoom, Members: func(ctx context.Context, p byte, yield func(string, pubsub.Member)) error {
				return hub.Members(ctx, p, yield)
			},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if hub, err = newHub(Config{Node: name, Presence: isRoom, PresenceGrace: 300 * time.Millisecond, TrustUserParam: true}, broker); err != nil {
		t.Fatal(err)
	}
	hub.UseSealer(sealer2(t))
	return run(t, hub, engine.Config{Pollers: spread})
}

func TestOfACrowdCountsAreTold(t *testing.T) {
	t.Parallel()
	n := lobbyists(t, 50*time.Millisecond, 3)
	seen := n.v1("?user=7")
	w := seen.watch("room:1")
	var crowd []*client
	for i := range 5 {
		c := n.v1(fmt.Sprintf("?user=%d", i))
		c.watch("room:1")
		crowd = append(crowd, c)
	}
	seen.hearUntil(w, "all are counted", func() bool { return w.counted && w.clients == 6 && w.users == 6 })
	if len(w.told) != 2 {
		t.Errorf("told of %q, want the first two", w.told)
	}
	for _, c := range crowd[2:] {
		_ = c.conn.CloseNow()
	}
	seen.hearUntil(w, "the few are told whole again", func() bool { return !w.counted && len(w.members) == 3 })
	if len(w.told) != 2 {
		t.Errorf("told of %q", w.told)
	}
}

func TestTheBrokerIsToldWhomANodeHas(t *testing.T) {
	n := lobbyists(t, time.Hour, 0)
	want := map[string]bool{}
	for i := range 9 {
		c, welcome := n.enter("")
		for _, room := range []string{"room:1", fmt.Sprint("room:of:", i)} {
			c.watch(room)
			want[room+" "+welcome.Session] = true
		}
		c.send(`{"type":"subscribe","id":1,"topic":"news"}`)
		c.want(`{"type":"subscribed","id":1,"topic":"news"}`)
		if i%2 == 0 {
			_ = c.conn.CloseNow() // it stays for the grace
		}
	}
	n.eventually("some are away", func() bool { return n.away() == 10 })
	got := map[string]bool{}
	for p := range 256 {
		if err := n.hub.Members(t.Context(), byte(p), func(topic string, m pubsub.Member) {
			if pubsub.Partition(topic) != p || got[topic+" "+m.Session] {
				t.Errorf("partition %d: %s %s", p, topic, m.Session)
			}
			got[topic+" "+m.Session] = true
		}); err != nil {
			t.Fatal(err)
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
}

// An earlier connection that is away on another loop is no member where the session has left: a broker that is compared with what this node has
// would have it come again.
func TestAnEarlierConnectionOnAnotherLoopLeavesWithItsSession(t *testing.T) {
	n := lobbyists(t, time.Hour, 0)
	room := byte(pubsub.Partition("room:1"))
	listed := func() (list []string) {
		if err := n.hub.Members(t.Context(), room, func(topic string, m pubsub.Member) { list = append(list, topic+" "+m.Session) }); err != nil {
			t.Fatal(err)
		}
		return list
	}
	first, welcome := n.enterOn(0, "?user=42")
	first.watch("room:1")
	_ = first.conn.CloseNow()
	n.eventually("it is away", func() bool { return n.away() == 1 })
	again, _ := n.enterOn(1, "?user=42")
	again.send(fmt.Sprintf(`{"type":"resume","id":1,"token":%q,"positions":{"room:1":""},"presence":["room:1"]}`, welcome.Token))
	w := &company{}
	again.hearUntil(w, "it is back", func() bool { return len(w.members) == 1 })
	if got := listed(); len(got) != 2 { // of both connections
		t.Fatalf("members: %q", got)
	}
	again.send(`{"type":"unsubscribe","id":2,"topic":"room:1"}`)
	n.eventually("nobody is a member", func() bool { return n.hub.Stats().Members == 0 })
	if got := listed(); len(got) != 0 {
		t.Errorf("members: %q", got)
	}
}

// A session that disconnects while its loop lists its members, in many turns, is listed: as one that follows, or that is away.
func TestMembersAreListedThoughTheyGoAwayMeanwhile(t *testing.T) {
	t.Parallel()
	n := lobbyists(t, time.Hour, 0)
	c, welcome := n.enter("?user=42")
	c.watch("room:1")
	found := make(chan []present, 1)
	n.onEveryLoop(func(sh *shard) {
		for _, s := range sh.named {
			for range 10 * presentSlice { // ten turns, in front of the room
				sh.presence.away.put(sh, pubsub.Member{}, 1, nil, "gone")
			}
			l := &listing{sh: sh, ctx: t.Context(), done: func(list []present) { found <- list }}
			l.begin(byte(pubsub.Partition("room:1")))
			s.conn.Close(Replaced)
		}
	})
	if list := <-found; len(list) != 1 || list[0].Session != welcome.Session {
		t.Errorf("members: %v", list)
	}
}

// One loop has both connections of a session: the older one is closed before the session enters anything, so nobody waits for it.
func TestAnOlderConnectionOnTheSameLoopIsNotWaitedFor(t *testing.T) {
	all := func(string) bool { return true }
	broker := pubsub.NewMemory(pubsub.MemoryConfig{Presence: pubsub.PresenceConfig{Match: all}})
	n := start(t, Config{Presence: all, PresenceGrace: time.Hour}, engine.Config{Pollers: 1}, broker)
	n.hub.UseSealer(sealer2(t))
	older, welcome := n.enter("?user=42")
	older.want(`{"type":"subscribed","topic":"user:42"}`)
	newer, _ := n.enter("?user=42")
	newer.want(`{"type":"subscribed","topic":"user:42"}`)
	newer.resume(welcome.Token, map[string]string{})
	older.wantClose(int(Replaced.Code))
	if members, away := n.hub.Stats().Members, n.away(); members != 1 || away != 0 {
		t.Errorf("%d members, %d of them away", members, away)
	}
}
