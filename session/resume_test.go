package session

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"wshub/engine"
	"wshub/pubsub"
	"wshub/pubsub/redistest"
	"wshub/session/token"
)

// cluster is two nodes on one real Redis, which keeps the last 1,000 events of all topics but "raw".
func cluster(t *testing.T) (n1, n2 *node) {
	t.Helper()
	server := redistest.Start(t)
	return member(t, server, "n1"), member(t, server, "n2")
}

func member(t *testing.T, server *redistest.Server, name string) *node {
	t.Helper()
	history := pubsub.History{{Prefix: "raw"}, {Count: 1000}}
	var hub *Hub // set before the broker runs
	broker, err := pubsub.NewRedis(pubsub.RedisConfig{
		URL: server.URL(), Node: name, History: history,
		OnControl: func(message []byte) { hub.Control(message) },
		OnRevoked: func(list []pubsub.Revocation) { hub.Revoked(list) },
	})
	if err != nil {
		t.Fatal(err)
	}
	key, err := broker.ResumeKey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if hub, err = newHub(Config{Node: name, History: history, TrustUserParam: true}, broker); err != nil {
		t.Fatal(err)
	}
	hub.UseSealer(sealer(t, key))
	return run(t, hub, engine.Config{Pollers: spread})
}

func sealer(t *testing.T, key []byte) *token.Sealer {
	t.Helper()
	s, err := token.NewSealer(token.SealerConfig{Keys: [][]byte{key}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// enter connects a hub.v1 client and returns what welcomed it.
func (n *node) enter(query string) (*client, heard) {
	n.t.Helper()
	c := n.dial(query, protocolV1)
	welcome := c.hear()
	if welcome.Type != "welcome" || welcome.Session == "" || welcome.Token == "" {
		n.t.Fatalf("welcomed by %+v", welcome)
	}
	return c, welcome
}

// follow subscribes to topics, and returns where each stands. A user's own topic is followed by itself.
func (c *client) follow(topics ...string) map[string]string {
	c.t.Helper()
	positions := map[string]string{}
	for _, topic := range topics {
		if !strings.HasPrefix(topic, userPrefix) {
			c.send(fmt.Sprintf(`{"type":"subscribe","topic":%q}`, topic))
		}
		for positions[topic] == "" {
			h := c.hear()
			if h.Type != "subscribed" || h.Position == "" {
				c.t.Fatalf("got %+v", h)
			}
			positions[h.Topic] = h.Position
		}
	}
	return positions
}

// resume comes back with token, and returns what was answered to it.
func (c *client) resume(token string, positions map[string]string) heard {
	c.t.Helper()
	list, err := json.Marshal(positions)
	if err != nil {
		c.t.Fatal(err)
	}
	c.send(fmt.Sprintf(`{"type":"resume","id":1,"token":%q,"positions":%s}`, token, list))
	return c.hear()
}

func TestASessionIsResumedOnAnyNode(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"the same node", "another node"} {
		t.Run(name, func(t *testing.T) {
			n1, n2 := cluster(t)
			there := n1
			if name == "another node" {
				there = n2
			}
			older, welcome := n1.enter("?user=42")
			at := older.follow("news", "sport", "quiet", "user:42")
			n1.number("news", 1, 3, 10)
			at["news"] = older.wantEvents("news", 1, 3)
			there.number("news", 4, 20, 10)
			there.number("user:42", 1, 2, 10)
			there.number("sport", 1, 1, 10)
			at["user:43"], at["elsewhere"] = "0", "00000000000000aa:1-1"

			newer, other := there.enter("?user=42")
			r := newer.resume(welcome.Token, at)
			if r.Type != "resumed" || r.Session != welcome.Session || r.Session == other.Session || r.Token == "" || r.Token == welcome.Token {
				t.Fatalf("%+v", r)
			}
			if got, want := slices.Sorted(maps.Keys(r.Topics)), slices.Sorted(maps.Keys(at)); !slices.Equal(got, want) {
				t.Errorf("told of %q, want %q", got, want)
			}
			for topic, said := range r.Topics {
				recovered, code := topic != "elsewhere" && topic != "user:43", Code("")
				if topic == "user:43" {
					code = Forbidden
				}
				if said.Error != code || code == "" && (said.Position == "" || said.Recovered == nil || *said.Recovered != recovered) {
					t.Errorf("%s: %+v", topic, said)
				}
			}
			older.wantClose(4009)

			// Each topic's missed events in order, then live ones; across topics there is no order.
			n1.number("news", 21, 30, 10)
			n2.number("elsewhere", 7, 7, 10)
			want := map[string][]string{"news": ints(4, 30), "user:42": ints(1, 2), "sport": ints(1, 1), "elsewhere": ints(7, 7)}
			got := map[string][]string{}
			for range 27 + 2 + 1 + 1 {
				h := newer.hear()
				var data []any
				if h.Type != "event" || json.Unmarshal(h.Data, &data) != nil {
					t.Fatalf("%+v", h)
				}
				got[h.Topic] = append(got[h.Topic], fmt.Sprint(data[0]))
			}
			for topic := range want {
				if !slices.Equal(got[topic], want[topic]) {
					t.Errorf("%s: %v, want %v", topic, got[topic], want[topic])
				}
			}
			if st := there.hub.Stats(); st.Recovered != 4 || st.Unrecovered != 1 {
				t.Errorf("counted %+v", st)
			}
		})
	}
}

func ints(first, last int) (list []string) {
	for i := first; i <= last; i++ {
		list = append(list, fmt.Sprint(i))
	}
	return list
}

// Whoever resumes gets a token for the next time, and with it the connection before is replaced.
func TestASessionIsResumedAgainAndAgain(t *testing.T) {
	t.Parallel()
	n1, n2 := cluster(t)
	c, said := n1.enter("")
	name := said.Session
	at := c.follow("news")
	for i, n := range []*node{n2, n1, n1, n2, n2} {
		older := c
		n.number("news", i, i, 10)
		c, _ = n.enter("")
		if said = c.resume(said.Token, at); said.Type != "resumed" || said.Session != name {
			t.Fatalf("time %d: %+v", i, said)
		}
		older.wantClose(4009)
		at["news"] = c.wantEvents("news", i, i)
	}
}

// A client whose resume is refused may resume the session that it was welcomed with instead: until then its own topic waits,
// so that it does not go on behind what the client missed.
func TestARefusedResumeLeavesTheOwnTopicAlone(t *testing.T) {
	t.Parallel()
	n := member(t, redistest.Start(t), "n1")
	n.number("user:42", 1, 3, 10)
	c, welcome := n.enter("?user=42")
	c.send(`{"type":"resume","id":1,"token":"r1.garbage","positions":{"user:42":"0"}}`)
	c.wantError(BadToken)
	c.send(fmt.Sprintf(`{"type":"resume","id":2,"token":%q,"positions":{"user:42":"0"}}`, welcome.Token))
	if h := c.hear(); h.Type != "resumed" || !*h.Topics["user:42"].Recovered {
		t.Fatalf("%+v", h)
	}
	for range 3 {
		if h := c.hear(); h.Type != "event" || h.Topic != "user:42" {
			t.Fatalf("%+v", h)
		}
	}
	_ = c.conn.CloseNow()
	c, _ = n.enter("?user=42")
	c.send(`{"type":"resume","id":1,"token":"r1.garbage"}`)
	c.wantError(BadToken)
	if h := c.hear(); h.Type != "subscribed" || h.Topic != "user:42" { // by itself, when nothing more comes
		t.Fatalf("%+v", h)
	}
}

func TestResumeComesFirstAndOnce(t *testing.T) {
	t.Parallel()
	n1, n2 := cluster(t)
	_, welcome := n1.enter("")
	c, _ := n2.enter("")
	if r := c.resume(welcome.Token, nil); r.Type != "resumed" || r.Session != welcome.Session {
		t.Fatalf("%+v", r)
	}
	if r := c.resume(welcome.Token, nil); r.Code != BadRequest {
		t.Errorf("the second time: %+v", r)
	}
	c, welcome = n2.enter("")
	c.follow("news")
	if r := c.resume(welcome.Token, nil); r.Code != BadRequest {
		t.Errorf("behind a subscribe: %+v", r)
	}
}

func TestABadResumeIsRefusedAndTheSessionStaysAsItWas(t *testing.T) {
	t.Parallel()
	n1, n2 := cluster(t)
	older, welcome := n1.enter("?user=42")
	good := welcome.Token
	foreign := sealer(t, make([]byte, 32)).Seal(token.Resume{Session: 1 << 63, User: "42", Node: "n1"})
	for _, c := range []struct {
		what, query, token string
		positions          map[string]string
		code               Code
	}{
		{"no token", "?user=42", "", nil, BadToken},
		{"no resume token", "?user=42", "r1.AAAA", nil, BadToken},
		{"tampered", "?user=42", good[:30] + "AAAA" + good[34:], nil, BadToken},
		{"cut short", "?user=42", good[:len(good)-1], nil, BadToken},
		{"sealed by another", "?user=42", foreign, nil, BadToken},
		{"another user's", "?user=43", good, nil, Forbidden},
		{"for nobody", "", good, nil, Forbidden},
	} {
		session, _ := n2.enter(c.query)
		if r := session.resume(c.token, c.positions); r.Type != "error" || r.Code != c.code {
			t.Errorf("%s: %+v", c.what, r)
		}
		session.follow("news")
	}
	older.follow("news") // nobody has replaced it
}

func TestWithoutASealerThereAreNoTokensAndNoResume(t *testing.T) {
	n := keeping(t, Config{}, engine.Config{Pollers: 1})
	c := n.dial("", protocolV1)
	if welcome := c.hear(); welcome.Type != "welcome" || welcome.Token != "" {
		t.Errorf("%+v", welcome)
	}
	key := sealer(t, make([]byte, 32))
	for _, ticket := range []string{"r1.AAAA", key.Seal(token.Resume{Session: 1 << 63, Node: "n2"})} { // of no hub, and of another one
		if r := c.resume(ticket, nil); r.Code != Unavailable {
			t.Errorf("%+v", r)
		}
	}
	n.hub.UseSealer(key)
	n.enter("")
}

func TestATopicWithoutHistoryIsResumedUnrecovered(t *testing.T) {
	t.Parallel()
	n1, n2 := cluster(t)
	_, welcome := n1.enter("")
	c, _ := n2.enter("")
	r := c.resume(welcome.Token, map[string]string{"raw": "0"})
	if said := r.Topics["raw"]; r.Type != "resumed" || said.Recovered == nil || *said.Recovered {
		t.Fatalf("%+v", r)
	}
	n1.publish("raw", "1")
	c.want(`{"type":"event","topic":"raw","data":1}`)
}

func TestDisconnectReachesEveryNode(t *testing.T) {
	t.Parallel()
	n1, n2 := cluster(t)
	var theirs []*client
	for _, n := range []*node{n1, n2} {
		c, _ := n.enter("?user=42")
		theirs = append(theirs, c, n.plain("?user=42", 2))
		silent, _ := n.enter("?user=42") // it does not follow its own topic yet
		theirs = append(theirs, silent)
	}
	bystander, name := n2.enter("?user=4")
	if err := n1.hub.Disconnect(t.Context(), Target{User: "42"}); err != nil {
		t.Fatal(err)
	}
	for _, c := range theirs {
		c.wantClose(4003)
	}
	bystander.follow("news")
	if err := n1.hub.Disconnect(t.Context(), Target{Session: name.Session}); err != nil {
		t.Fatal(err)
	}
	bystander.wantClose(4003)
	back, _ := n1.enter("?user=4") // to be disconnected is not to be revoked
	if r := back.resume(name.Token, nil); r.Type != "resumed" {
		t.Errorf("%+v", r)
	}
}

func TestRevokeReachesEveryNode(t *testing.T) {
	t.Parallel()
	n1, n2 := cluster(t)
	for what, target := range map[string]func(heard) Target{
		"user":    func(heard) Target { return Target{User: "42"} },
		"session": func(h heard) Target { return Target{Session: h.Session} },
	} {
		c, welcome := n1.enter("?user=42")
		bystander, other := n2.enter("?user=4")
		who := target(welcome)
		if err := n2.hub.Revoke(t.Context(), who, time.Time{}); err != nil {
			t.Fatal(err)
		}
		c.wantClose(4001)
		bystander.follow("news")
		for _, n := range []*node{n1, n2} {
			n.eventually("it is known", func() bool { return n.hub.revocations.refuses(who.subject(), 0, token.Fingerprint{}, time.Now()) })
			again, _ := n.enter("?user=42")
			if r := again.resume(welcome.Token, nil); r.Code != Forbidden {
				t.Errorf("%s: %+v", what, r)
			}
		}
		again, _ := n1.enter("?user=4")
		if r := again.resume(other.Token, nil); r.Type != "resumed" {
			t.Errorf("%s: another's: %+v", what, r)
		}
	}
}
