package session

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/coder/websocket"

	"wshub/engine"
	"wshub/pubsub"
	"wshub/pubsub/redistest"
)

func TestAResumeMayComeWhenTheOwnTopicIsFollowedAlready(t *testing.T) {
	t.Parallel()
	n := bend(t, Config{}, engine.Config{Pollers: 1}, &bent{})
	c, welcome := n.enter("?user=42")
	at := c.follow("news", "user:42")
	_ = c.conn.CloseNow()
	n.number("user:42", 1, 2, 10)
	n.number("news", 1, 2, 10)
	slow := func() *client { // the hub follows the own topic by itself
		c, _ := n.enter("?user=42")
		if h := c.hear(); h.Type != "subscribed" || h.Topic != "user:42" {
			t.Fatalf("%+v", h)
		}
		n.number("user:42", 3, 3, 10)
		c.wantEvents("user:42", 3, 3)
		return c
	}
	c = slow()
	if r := c.resume(welcome.Token, at); r.Type != "resumed" || !*r.Topics["news"].Recovered || !*r.Topics["user:42"].Recovered {
		t.Fatalf("%+v", r)
	}
	got := map[string]string{}
	for range 2 + 3 { // of both, in turns
		h := c.hear()
		got[h.Topic] += string(h.Data[1:2])
	}
	if got["news"] != "12" || got["user:42"] != "123" {
		t.Fatalf("%v", got)
	}
	_ = c.conn.CloseNow()

	c = slow()
	delete(at, "user:42")
	if r := c.resume(welcome.Token, at); r.Type != "resumed" || len(r.Topics) != 1 || !*r.Topics["news"].Recovered {
		t.Fatalf("%+v", r)
	}
	c.wantEvents("news", 1, 2)
	n.number("user:42", 4, 4, 10) // it goes on
	c.wantEvents("user:42", 4, 4)
}

// With a resume token in its URL a client has time: the own topic waits for the resume.
func TestTheOwnTopicWaitsForAResumeThatIsAnnounced(t *testing.T) {
	t.Parallel()
	n := bend(t, Config{}, engine.Config{Pollers: 1}, &bent{})
	c, welcome := n.enter("?user=42")
	at := c.follow("user:42")
	_ = c.conn.CloseNow()
	announced, _ := n.enter("?user=42&resume=" + welcome.Token)
	silent, _ := n.enter("?user=42")
	if h := silent.hear(); h.Type != "subscribed" {
		t.Fatalf("%+v", h)
	}
	n.number("user:42", 1, 2, 10)
	silent.wantEvents("user:42", 1, 2)
	r := announced.resume(welcome.Token, at) // nothing comes before its answer
	if r.Type != "resumed" || !*r.Topics["user:42"].Recovered {
		t.Fatalf("%+v", r)
	}
	announced.wantEvents("user:42", 1, 2)
}

func TestABadEntryOfAResumeHarmsNoOther(t *testing.T) {
	n := bend(t, Config{}, engine.Config{Pollers: 1}, &bent{})
	c, welcome := n.enter("")
	at := c.follow("news")
	_ = c.conn.CloseNow()
	n.number("news", 1, 2, 10)
	c, _ = n.enter("")
	c.send(fmt.Sprintf(`{"type":"resume","id":1,"token":%q,"positions":{"raw empty":"","raw null":null,"raw 0":"0","kept empty":"",
		"kept null":null,"text":"x","number":7,"list":[],"\u0001":"0","$hub":"0","user:1":"0","news":%q}}`, welcome.Token, at["news"]))
	r := c.hear()
	want := map[string]Code{"raw empty": "", "raw null": "", "raw 0": "", "kept empty": "", "kept null": "", "news": "",
		"text": BadRequest, "number": BadRequest, "list": BadRequest, "\u0001": BadTopic, "$hub": Forbidden, "user:1": Forbidden}
	if r.Type != "resumed" || len(r.Topics) != len(want) {
		t.Fatalf("%+v", r)
	}
	for topic, code := range want {
		said := r.Topics[topic]
		if said.Error != code || code == "" && (said.Recovered == nil || *said.Recovered != (topic == "news")) {
			t.Errorf("%q: %+v, want %q", topic, said, code)
		}
	}
	c.wantEvents("news", 1, 2)
	for _, topic := range []string{"raw empty", "raw null", "raw 0"} {
		n.publish(topic, `1`)
		if h := c.hear(); h.Type != "event" || h.Topic != topic {
			t.Errorf("%+v", h)
		}
	}
	for _, topic := range []string{"kept empty", "kept null", "news"} {
		n.number(topic, 3, 3, 10)
		c.wantEvents(topic, 3, 3)
	}
}

// A client keeps the position that it was told last. Whenever its connection breaks, with that it comes back to all that
// it has not got.
func TestWithThePositionOfAnAnswerNothingIsLost(t *testing.T) {
	const events = 300
	n := bend(t, Config{}, engine.Config{Pollers: 1, MaxQueued: 64 << 10, SendBuffer: 8 << 10}, &bent{})
	c, welcome := n.enter("")
	at := c.follow("news")["news"]
	_ = c.conn.CloseNow()
	n.number("news", 1, events, 4000)
	for _, how := range []string{"subscribe", "resume", "history"} {
		position, next := at, 1
		for breaks := 0; next <= events; breaks++ {
			c, _ := n.enter("")
			switch how {
			case "subscribe":
				c.send(`{"type":"subscribe","topic":"news","since":"` + position + `"}`)
				h := c.hear()
				if h.Recovered == nil || !*h.Recovered {
					t.Fatalf("%s: %+v", how, h)
				}
				position = h.Position
			case "resume":
				h := c.resume(welcome.Token, map[string]string{"news": position})
				if h.Type != "resumed" || !*h.Topics["news"].Recovered {
					t.Fatalf("%s: %+v", how, h)
				}
				position, welcome.Token = h.Topics["news"].Position, h.Token
			case "history": // read to there, and follow from there
				c.send(`{"type":"history","topic":"news","limit":7,"since":"` + position + `"}`)
				h := c.hear()
				if h.Recovered == nil || !*h.Recovered {
					t.Fatalf("%s: %+v", how, h)
				}
				position, next = h.Position, next+len(h.Events)
			}
			for range min(breaks%4*25, events-next+1) { // some break at once, some later
				if how == "history" {
					break
				}
				position = c.wantEvents("news", next, next)
				next++
			}
			_ = c.conn.CloseNow()
		}
	}
}

func TestHistorySaysWhetherItIsWhole(t *testing.T) {
	server := redistest.Start(t)
	redis := member(t, server, "n1") // keeps 1,000
	for name, n := range map[string]*node{"redis": redis, "memory": bend(t, Config{History: pubsub.History{{Count: 1000}}}, engine.Config{Pollers: 1}, &bent{})} {
		c := n.v1("")
		whole := func(since string, want bool) heard {
			t.Helper()
			c.send(`{"type":"history","topic":"news","since":"` + since + `"}`)
			h := c.hear()
			if h.Type != "history" || h.Recovered == nil || *h.Recovered != want {
				t.Errorf("%s: since %s: recovered %v, want %v; %d events", name, since, h.Recovered != nil && *h.Recovered, want, len(h.Events))
			}
			return h
		}
		n.number("news", 1, 10, 10)
		first := whole("0", true).Events[0].Position
		whole(first, true)
		whole("00000000000000aa:1-1", false)
		n.number("news", 11, 1100, 10)
		whole(first, false) // trimmed
		whole("0", false)
	}
	c := redis.v1("")
	c.send(`{"type":"history","topic":"news"}`)
	at := c.hear().Position
	server.CLI("flushall")
	c.send(`{"type":"history","topic":"news","since":"` + at + `"}`)
	if h := c.hear(); h.Type == "history" && (h.Recovered == nil || *h.Recovered) {
		t.Errorf("behind FLUSHALL: %+v", h)
	}
}

// slowly connects a client whose kernel takes few bytes beyond those that the client has read.
func (n *node) slowly(query string, protocols ...string) *client {
	n.t.Helper()
	dialer := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) { _ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4<<10) })
	}}
	transport := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		return dialer.DialContext(ctx, network, addr)
	}}
	conn, _, err := websocket.Dial(n.t.(*testing.T).Context(), "ws://"+n.server.Addr().String()+"/notification"+query,
		&websocket.DialOptions{Subprotocols: protocols, HTTPClient: &http.Client{Transport: transport}})
	if err != nil {
		n.t.Fatal(err)
	}
	conn.SetReadLimit(1 << 24)
	n.t.Cleanup(func() { _ = conn.CloseNow() })
	return &client{n.t, conn}
}

// waits reports whether something waits for a client, or did until the client was cut for it.
func (n *node) waits() bool {
	st := n.server.Stats()
	return st.Backlog > 0 || st.Closed["slow_consumer"] > 0
}

// Many topics that each fit into the queue, and all together do not.
func TestAResumeOfManyTopicsArrivesWhole(t *testing.T) {
	const topics, events, size = 20, 3, 30_000
	n := bend(t, Config{}, engine.Config{Pollers: 1}, &bent{})
	c, welcome := n.enter("")
	var names []string
	for i := range topics {
		names = append(names, fmt.Sprint("room:", i))
	}
	at := c.follow(names...)
	_ = c.conn.CloseNow()
	for _, name := range names {
		n.number(name, 1, events, size)
	}
	c = n.slowly("", protocolV1)
	c.hear()
	c.send(resumeRequest(1, welcome.Token, at))
	n.eventually("it waits for its client", n.waits)
	if r := c.hear(); r.Type != "resumed" || len(r.Topics) != topics {
		t.Fatalf("%+v", r)
	}
	got := map[string]string{}
	for range topics * events {
		h := c.hear()
		got[h.Topic] += string(h.Data[1:2])
	}
	for _, name := range names {
		if got[name] != "123" {
			t.Errorf("%s: %s", name, got[name])
		}
	}
	n.number("room:7", 4, 4, size)
	c.wantEvents("room:7", 4, 4)
	n.eventually("nothing waits any more", func() bool { return n.server.Stats().Backlog == 0 })
}

// Events that the broker brings at once, after an outage of its own, are no reason to call a follower slow.
func TestAFollowerThatReadsGetsAllThatComesAtOnce(t *testing.T) {
	t.Parallel()
	const events, size = 439, 20_000
	n := bend(t, Config{}, engine.Config{Pollers: 1}, &bent{})
	plain, v1 := n.slowly("?topic=news"), n.slowly("", protocolV1)
	v1.hear()
	v1.follow("news")
	n.number("news", 0, 0, 10)
	plain.read()
	v1.wantEvents("news", 0, 0)
	resume := n.pause()
	n.number("news", 1, events, size)
	resume()
	n.eventually("it waits for its clients", n.waits)
	for i := 1; i <= events; i++ {
		if got := plain.read(); !strings.HasPrefix(got, fmt.Sprintf("[%d,", i)) {
			t.Fatalf("%.20s, want event %d", got, i)
		}
		v1.wantEvents("news", i, i)
	}
	n.number("news", events+1, events+1, 10)
	v1.wantEvents("news", events+1, events+1)
}
