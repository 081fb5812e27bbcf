package sse_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"wshub/engine"
	"wshub/pubsub"
	"wshub/session"
	"wshub/session/token"
)

func TestOneTopicsEventsAreTheirData(t *testing.T) {
	n := start(t, session.Config{}, engine.Config{})
	s := n.open("?topic=news").fresh(1)
	n.publish("news", `{"a":1}`, "{\n\"b\":\r\n2}", `"c"`)
	one := s.want(`{"a":1}`)
	s.want("{\n\"b\":\n2}")
	if last := s.want(`"c"`); one.id == last.id || last.id == "" {
		t.Errorf("ids %q and %q", one.id, last.id)
	}
	if s.retry < 1000 || s.retry > 3000 {
		t.Errorf("comes back after %d ms", s.retry)
	}
	if got := n.hub.Stats().Sessions["sse"]; got != 1 {
		t.Errorf("%d sessions", got)
	}
}

func TestWithoutATopicTheBroadcastOneIsFollowed(t *testing.T) {
	n := start(t, session.Config{Broadcast: "all"}, engine.Config{})
	s := n.open("").fresh(1)
	n.publish("all", `1`)
	s.want("1")
}

func TestAClientThatComesBackHasMissedNothing(t *testing.T) {
	n := start(t, session.Config{}, engine.Config{})
	s := n.open("?topic=news").fresh(1)
	n.publish("news", "1", "2")
	s.want("1")
	n.publish("news", "3")
	s = s.back(n, "?topic=news") // 2 may have come, but was not read
	s.follows(map[string]bool{"news": true})
	s.want("2")
	s.want("3")
	n.publish("news", "4")
	s.want("4")
}

// The page's URL says since what, and stays the same: Last-Event-ID goes before it.
func TestSinceIsForTheFirstTime(t *testing.T) {
	n := start(t, session.Config{}, engine.Config{})
	n.publish("news", "1", "2")
	s := n.open("?topic=news&since=0")
	s.follows(map[string]bool{"news": true})
	s.want("1")
	s.want("2")
	s = s.back(n, "?topic=news&since=0")
	s.follows(map[string]bool{"news": true})
	n.publish("news", "3")
	s.want("3")
}

func TestEventsOfSeveralTopicsSayWhichAndTheirIDsCarryAll(t *testing.T) {
	n := start(t, session.Config{}, engine.Config{})
	const query = "?topic=a&topic=b&topic=raw"
	s := n.open(query).fresh(3)
	n.publish("a", "1")
	if ev := s.next(); !strings.HasPrefix(ev.data, `{"type":"event","topic":"a","position":"`) || !strings.HasSuffix(ev.data, `,"data":1}`) {
		t.Errorf("got %+v", ev)
	}
	n.publish("b", "1")
	id := s.next().id
	n.publish("raw", "1")
	if ev := s.next(); ev.id != id || ev.data != `{"type":"event","topic":"raw","data":1}` {
		t.Errorf("got %+v", ev)
	}
	n.publish("a", "2")
	n.publish("b", "2", "3")
	s = s.back(n, query)
	s.follows(map[string]bool{"a": true, "b": true, "raw": false})
	var came []string
	for range 3 {
		ev := s.next()
		came = append(came, ev.data[len(`{"type":"event","topic":"`):][:1]+ev.data[len(ev.data)-2:][:1])
	}
	slices.Sort(came)
	if !slices.Equal(came, []string{"a2", "b2", "b3"}) {
		t.Errorf("came back to %v", came)
	}
}

// Wherever the connection breaks, and however many events leave in one write, each comes once and in its order.
func TestWhereverAStreamBreaksEachEventComesOnce(t *testing.T) {
	n := start(t, session.Config{}, engine.Config{})
	for _, topics := range [][]string{{"one"}, {"x", "y", "z"}} {
		query := "?topic=" + strings.Join(topics, "&topic=")
		s := n.open(query)
		seen := map[string]int{}
		sent := map[string]int{}
		heard := 0
		s.fresh(len(topics))
		for round := range 60 {
			for range rand.N(8) {
				topic := topics[rand.N(len(topics))]
				sent[topic]++
				data := []string{fmt.Sprintf(`{"t":%q,"n":%d}`, topic, sent[topic])}
				for range rand.N(3) {
					sent[topic]++
					data = append(data, fmt.Sprintf(`{"t":%q,"n":%d}`, topic, sent[topic]))
				}
				n.publish(topic, data...)
			}
			want := 0
			for _, c := range sent {
				want += c
			}
			if round < 59 { // break before all has come
				want -= rand.N(want - heard + 1)
			}
			for heard < want {
				ev, err := s.read()
				if err != nil {
					t.Fatalf("%v: round %d, heard %d of %d: %v of %v, id %s", err, round, heard, want, seen, sent, s.last)
				}
				if ev.kind == "hub" {
					if strings.Contains(ev.data, `"recovered":false`) || strings.Contains(ev.data, `"gap"`) {
						t.Fatalf("lost: %s", ev.data)
					}
					continue
				}
				heard++
				body := ev.data[strings.Index(ev.data, `{"t":`):]
				var topic string
				var number int
				if _, err := fmt.Sscanf(body, `{"t":%q,"n":%d}`, &topic, &number); err != nil {
					t.Fatalf("%q: %v", body, err)
				}
				if seen[topic]++; seen[topic] != number {
					t.Fatalf("%s: got %d, want %d", topic, number, seen[topic])
				}
			}
			if rand.N(2) == 0 {
				s = s.back(n, query)
			}
		}
		if !maps.Equal(seen, sent) {
			t.Errorf("got %v of %v", seen, sent)
		}
	}
}

func TestALossIsTold(t *testing.T) {
	n := start(t, session.Config{}, engine.Config{})
	for _, c := range []struct{ name, query, id string }{
		{"no history", "?topic=raw", ""},
		{"not an id", "?topic=news", "Last-Event-ID: nonsense"},
		{"of another kind", "?topic=news", "Last-Event-ID: AUL5sT8AAQ"},
		{"of another log", "?topic=news", "Last-Event-ID: 00000000000000ff:1-1"},
		{"of other topics", "?topic=a&topic=b", "Last-Event-ID: AUL5sT8AAQ"},
		{"one position for two", "?topic=a&topic=b", "Last-Event-ID: 00000000000000ff:1-1"},
		{"too long", "?topic=a&topic=b", "Last-Event-ID: " + strings.Repeat("A", 4000)},
	} {
		topics := map[string]bool{}
		for _, topic := range strings.Split(strings.TrimPrefix(c.query, "?topic="), "&topic=") {
			topics[topic] = false
		}
		if c.id == "" {
			s := n.open(c.query).fresh(1)
			s.back(n, c.query).follows(topics)
			continue
		}
		s := n.open(c.query, c.id)
		s.follows(topics)
		s = s.back(n, c.query)
		for topic := range topics {
			topics[topic] = true
		}
		s.follows(topics) // its id was set right
	}
	s := n.open("?topic=news").fresh(1)
	var loops pubsub.Loops
	for i := range n.server.Loops() {
		loops = loops.With(i)
	}
	n.hub.Gap("news", loops, pubsub.Loss{At: pubsub.Position{Epoch: 1, ID: pubsub.ID{Ms: 2, Seq: 3}}})
	n.hub.HandOver()
	if m := s.hears("gap"); m.Topic != "news" || m.Position != s.last || s.last != "0000000000000001:2-3" {
		t.Errorf("%+v, id %s", m, s.last)
	}
	s = n.open("?topic=news&topic=b").fresh(2)
	before := s.last
	n.hub.Gap("news", loops, pubsub.Loss{At: pubsub.Position{Epoch: 1, ID: pubsub.ID{Ms: 2, Seq: 3}}})
	n.hub.HandOver()
	if m := s.hears("gap"); m.Topic != "news" || s.last == before {
		t.Errorf("%+v, id %s", m, s.last)
	}
}

func TestPositionsOnRequest(t *testing.T) {
	n := start(t, session.Config{}, engine.Config{})
	s := n.open("?topic=news&positions=1").fresh(1)
	n.publish("news", "1")
	if ev := s.next(); ev.data != `{"type":"event","topic":"news","position":"`+ev.id+`","data":1}` {
		t.Errorf("got %+v", ev)
	}
}

func TestATokensUserFollowsTheOwnTopicToo(t *testing.T) {
	n := startClosed(t, session.Config{})
	raw := mint(t, token.Grant{Subject: "42", Subscribe: []string{"news"}})
	for _, how := range [][2]string{{"?topic=news", "Authorization: Bearer " + raw}, {"?topic=news&token=" + raw, "X-None: 1"}} {
		s := n.open(how[0], how[1]).fresh(2)
		n.publish("user:42", "1")
		if ev := s.next(); !strings.HasPrefix(ev.data, `{"type":"event","topic":"user:42",`) {
			t.Errorf("got %+v", ev)
		}
		n.publish("user:42", "2")
		s = s.back(n, how[0], how[1])
		s.follows(map[string]bool{"user:42": true, "news": true})
		if ev := s.next(); !strings.HasSuffix(ev.data, `"data":2}`) {
			t.Errorf("got %+v", ev)
		}
	}
}

// EventSource does not come back after these: that would be in vain.
func TestAFinalRefusalIsAStatus(t *testing.T) {
	n := startClosed(t, session.Config{})
	raw := mint(t, token.Grant{Subject: "42", Subscribe: []string{"news"}})
	ends := mint(t, token.Grant{Subject: "42", TTL: time.Second, Now: time.Now().Add(-time.Hour)})
	many := ""
	for i := range 90 {
		many += fmt.Sprint("&topic=t", i)
	}
	for _, c := range []struct {
		name, query, line string
		status            int
	}{
		{"no token", "?topic=news", "", 401},
		{"a bad token", "?topic=news", "Authorization: Bearer x", 401},
		{"one that has ended", "?topic=news", "Authorization: Bearer " + ends, 401},
		{"two", "?topic=news&token=x", "Authorization: Bearer " + raw, 401},
		{"another topic", "?topic=other", "Authorization: Bearer " + raw, 403},
		{"another user's", "?topic=user:7", "Authorization: Bearer " + raw, 403},
		{"a claim", "?user=7", "Authorization: Bearer " + raw, 403},
		{"no topic", "?topic=", "", 400},
		{"a topic twice", "?topic=a&topic=a", "", 400},
		{"no position", "?topic=a&since=x", "", 400},
		{"too few positions", "?topic=a&topic=b&since=0", "", 400},
		{"what positions", "?positions=2", "", 400},
		{"more topics than an id has room for", "?" + many[1:], "", 400},
	} {
		lines := []string{"Origin: http://localhost"}
		if c.line != "" {
			lines = append(lines, c.line)
		}
		s := n.get(c.query, lines...)
		if body := s.body(); s.head.StatusCode != c.status || body == "" || strings.Contains(body, raw) {
			t.Errorf("%s: %v, %q", c.name, s.head.Status, body)
		}
		if s.head.Header.Get("Access-Control-Allow-Origin") != "http://localhost" { // fetch shows the status
			t.Errorf("%s: %v", c.name, s.head.Header)
		}
	}
}

func TestTheLongestIDFits(t *testing.T) {
	n := start(t, session.Config{TrustUserParam: true}, engine.Config{})
	query := "?user=42"
	for i := range 89 {
		query += fmt.Sprint("&topic=t", i)
	}
	s := n.open(query).fresh(90)
	if len(s.last) < 1900 || len(s.last) > 2048 {
		t.Errorf("an id of %d bytes", len(s.last))
	}
	n.publish("t7", "7")
	s = s.back(n, query)
	all := map[string]bool{"user:42": true}
	for i := range 89 {
		all[fmt.Sprint("t", i)] = true
	}
	s.follows(all)
	if ev := s.next(); !strings.Contains(ev.data, `"t7"`) {
		t.Errorf("got %+v", ev)
	}
}

// EventSource gives up on any status but 200.
func TestWhoMayBeLetInLaterIsAskedToComeBack(t *testing.T) {
	n := start(t, session.Config{HandshakeRate: 2, TrustUserParam: true, MaxSessionsPerUser: 1}, engine.Config{Pollers: 1})
	n.open("?topic=news&user=42").fresh(2)
	var later int
	for range 4 {
		s := n.open("?topic=news&user=7")
		if ev, err := s.read(); err == nil && ev.kind == "hub" {
			continue
		}
		later++
		if s.retry < 1000 {
			t.Errorf("comes back after %d ms", s.retry)
		}
	}
	if later < 3 {
		t.Errorf("%d were asked to come back", later)
	}
}

func TestASessionTooManyComesBackLater(t *testing.T) {
	n := start(t, session.Config{TrustUserParam: true, MaxSessionsPerUser: 1}, engine.Config{})
	n.open("?topic=news&user=42").fresh(2)
	s := n.open("?topic=news&user=42")
	s.wantEnd()
	if s.retry < 10000 || s.retry > 30000 {
		t.Errorf("comes back after %d ms", s.retry)
	}
}

func TestADrainIsSpread(t *testing.T) {
	t.Parallel()
	n := start(t, session.Config{}, engine.Config{})
	var all []*stream
	for range 10 {
		all = append(all, n.open("?topic=news").fresh(1))
	}
	done := make(chan error, 1)
	go func() {
		done <- n.hub.Drain(context.Background(), session.Departure{Window: 300 * time.Millisecond})
	}()
	retries := map[int]bool{}
	for _, s := range all {
		if m := s.hears("goodbye"); m.Reason != "drain" || m.Code != "1012" || m.After != s.retry {
			t.Errorf("%+v, retry %d", m, s.retry)
		}
		s.wantEnd()
		retries[s.retry] = true
	}
	if len(retries) < 5 {
		t.Errorf("they come back after %v ms", retries)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	s := n.open("?topic=news") // the listener is still open
	if s.wantEnd(); s.retry < 1000 {
		t.Errorf("comes back after %d ms", s.retry)
	}
}

func TestASessionsEndIsTold(t *testing.T) {
	n := startClosed(t, session.Config{})
	open := func(g token.Grant) *stream {
		g.Subject, g.Subscribe = "42", []string{"*"}
		return n.open("?topic=news", "Authorization: Bearer "+mint(t, g)).fresh(2)
	}
	s := open(token.Grant{})
	if err := n.hub.Refresh(context.Background(), session.Target{User: "42"}, time.Now()); err != nil {
		t.Fatal(err)
	}
	if m := s.hears("goodbye"); m.Reason != "token_expired" || m.Code != "4002" {
		t.Errorf("%+v", m)
	}
	s.wantEnd()
	s = open(token.Grant{})
	if err := n.hub.Disconnect(context.Background(), session.Target{User: "42"}); err != nil {
		t.Fatal(err)
	}
	if m := s.hears("goodbye"); m.Reason != "disconnect" || s.retry != 3_600_000 {
		t.Errorf("%+v, retry %d", m, s.retry)
	}
	s.wantEnd()
	s = open(token.Grant{})
	if err := n.hub.Revoke(context.Background(), session.Target{User: "42"}, time.Time{}); err != nil {
		t.Fatal(err)
	}
	if m := s.hears("goodbye"); m.Reason != "bad_token" || m.Code != "4001" {
		t.Errorf("%+v", m)
	}
	s.wantEnd()
}

// A topic that a backend adds changes no id: the client does not come back to it, and must not come back to its own topic
// by a position of another.
func TestABackendsTopicHasNoID(t *testing.T) {
	n := start(t, session.Config{TrustUserParam: true}, engine.Config{})
	ctx := context.Background()
	s := n.open("?topic=news&user=42").fresh(2)
	target := session.Target{User: "42"}
	if err := n.hub.Subscribe(ctx, target, session.Following{Topic: "extra"}); err != nil {
		t.Fatal(err)
	}
	s.fresh(1)
	n.publish("news", "1")
	id := s.next().id
	n.publish("extra", "1")
	if ev := s.next(); ev.id != id || !strings.Contains(ev.data, `"topic":"extra"`) {
		t.Errorf("got %+v", ev)
	}
	if err := n.hub.Unsubscribe(ctx, target, "extra"); err != nil {
		t.Fatal(err)
	}
	if m := s.hears("error"); m.Code != "unsubscribed" || m.Topic != "extra" {
		t.Errorf("got %+v", m)
	}
	n.publish("news", "2")
	s = s.back(n, "?topic=news&user=42")
	s.follows(map[string]bool{"news": true, "user:42": true})
	if ev := s.next(); !strings.HasSuffix(ev.data, `"data":2}`) {
		t.Errorf("got %+v", ev)
	}

	// The only topic is the user's own, and one comes to it: the frames change their form in the middle.
	none, err := token.NewRights(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	n = start(t, session.Config{TrustUserParam: true, Rights: none}, engine.Config{})
	s = n.open("?user=42").fresh(1)
	n.publish("user:42", "1")
	s.want("1")
	if err := n.hub.Subscribe(ctx, target, session.Following{Topic: "extra"}); err != nil {
		t.Fatal(err)
	}
	s.fresh(1)
	n.publish("user:42", "2")
	id = s.want("2").id
	n.publish("extra", "3")
	if ev := s.want("3"); ev.id != id {
		t.Errorf("got %+v, want the id %s", ev, id)
	}
	n.publish("user:42", "4")
	if ev := s.want("4"); ev.id == id {
		t.Errorf("got %+v", ev)
	}
}

// A client that never reads is cut, and costs others nothing.
func TestAClientThatNeverReadsIsCut(t *testing.T) {
	t.Parallel()
	for _, query := range []string{"?topic=news", "?topic=news&topic=sport"} {
		t.Run(query, func(t *testing.T) {
			t.Parallel()
			n := start(t, session.Config{}, engine.Config{MaxQueued: 64 << 10, SendBuffer: 16 << 10})
			s := n.open(query).fresh(1 + strings.Count(query, "&"))
			conn, err := net.Dial("tcp", n.server.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			_ = conn.(*net.TCPConn).SetReadBuffer(4 << 10)
			fmt.Fprintf(conn, "GET %s%s HTTP/1.1\r\nHost: hub\r\nAccept: text/event-stream\r\n\r\n", path, query)
			n.eventually("both are there", func() bool { return n.hub.Stats().Sessions["sse"] == 2 })
			n.eventually("both follow", func() bool { return n.hub.Stats().Subscriptions == 2*int64(1+strings.Count(query, "&")) })
			data := `"` + strings.Repeat("x", 8<<10) + `"`
			for i := 0; n.server.Stats().Closed["slow_consumer"] == 0; i++ {
				n.publish("news", data)
				for {
					ev := s.next()
					if ev.kind == "" && strings.Contains(ev.data, data) {
						break
					}
				}
				if i > 100_000 {
					t.Fatal("it is not cut")
				}
			}
			n.eventually("one is left", func() bool { return n.hub.Stats().Sessions["sse"] == 1 })
			_ = conn.Close()
		})
	}
}
