package main

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"wshub/pubsub/redistest"
	"wshub/pubsub/redistest/drills"
)

// startEventSourceInNode runs clients of npm's eventsource until the test ends.
func startEventSourceInNode(t *testing.T) *jsProgram {
	t.Helper()
	node := needNode22(t)
	if _, err := os.Stat("testdata/node_modules/eventsource"); err != nil {
		if os.Getenv("WSHUB_REQUIRE_NODE") == "1" {
			t.Fatal(err)
		}
		t.Skip("no eventsource (npm ci --prefix cmd/hub/testdata)")
	}
	p := &jsProgram{t: t, name: "node", clients: map[string]*jsClient{}}
	p.orders = runClients(t, exec.Command(node, "testdata/sse.mjs"), p.note)
	return p
}

// TestEventSource has the browser's own client, and npm's, come back by themselves.
func TestEventSource(t *testing.T) {
	drills.Programs(t)
	t.Parallel()
	path := buildHub(t)
	programs := []*jsProgram{startEventSourceInNode(t)}
	if p := startPageInChromium(t, "testdata/sse.mjs", "const Client = EventSource"); p != nil {
		programs = append(programs, p)
	}
	for _, one := range []struct {
		name string
		run  func(s *jsTest)
	}{
		{"kill", eventSourceMissesNothing},
		{"drain", eventSourceLeavesADrainingHub},
		{"refused", eventSourceGivesUpWhereThatIsFinal},
		{"paced", eventSourceComesBackWhereItIsNot},
	} {
		t.Run(one.name, func(t *testing.T) {
			t.Parallel()
			one.run(&jsTest{sdkTest{t: t, path: path, redis: redistest.Start(t)}, programs})
		})
	}
}

// streams opens a client in each program for each query, which follow the topics that it names.
func (s *jsTest) streams(addr string, queries ...string) (all []*jsClient) {
	s.t.Helper()
	for _, p := range s.programs {
		for _, query := range queries {
			c := p.open(s.t, "http://"+addr+"/notification?"+query)
			for _, topic := range topicsOf(query) {
				c.ever("it follows "+topic, func(e jsEvent) bool { return e.Event == "subscribed" && e.Topic == topic })
			}
			all = append(all, c)
		}
	}
	return all
}

func topicsOf(query string) (topics []string) {
	for _, part := range strings.Split(query, "&") {
		if topic, ok := strings.CutPrefix(part, "topic="); ok {
			topics = append(topics, topic)
		}
	}
	return topics
}

// wantAll wants each event of the topics since the first, once and in order, and no word of a loss.
func (s *jsTest) wantAll(clients []*jsClient, last int, topics ...string) {
	s.t.Helper()
	for _, c := range clients {
		for _, topic := range topics {
			if got := c.numbers(topic); len(got) > 0 {
				c.wantNumbers(topic, got[0], last)
			} else if slices.Equal(topics, []string{topic}) {
				s.t.Errorf("%s heard nothing", c.name)
			}
		}
		if n := c.count(isGap); n > 0 {
			s.t.Errorf("%s was told of %d losses", c.name, n)
		}
	}
}

// eventSourceMissesNothing: through kill -9 of its hub.
func eventSourceMissesNothing(s *jsTest) {
	first, second := s.hub(), s.hub()
	door := redistest.NewProxy(s.t, first.addr())
	clients := s.streams(door.Addr(), "topic=news", "topic=news&topic=sport", "topic=news&user=42")
	f := s.flow(second, "news", "sport")
	s.hearMore(clients, "news", 20)
	door.Next(unserved)
	first.signal(syscall.SIGKILL)
	for _, c := range clients {
		c.ever("the end", inState("connecting"))
	}
	f.pass(s.t, 50)
	door.Next(second.addr())
	s.hearMore(clients, "news", 20)
	last := f.stop()
	s.wantAll(clients, last, "news", "sport")
}

// eventSourceLeavesADrainingHub: at the time that it is given.
func eventSourceLeavesADrainingHub(s *jsTest) {
	first, second := s.hub("--drain-grace=0s", "--drain-window=2s"), s.hub()
	door := redistest.NewProxy(s.t, first.addr())
	clients := s.streams(door.Addr(), "topic=news", "topic=news&topic=sport")
	f := s.flow(second, "news", "sport")
	s.hearMore(clients, "news", 5)
	door.Next(second.addr())
	first.terminate()
	for _, c := range clients {
		e := c.ever("the goodbye", func(e jsEvent) bool { return e.Event == "goodbye" })
		if e.Reason != "drain" || e.RetryIn >= 2000 {
			s.t.Errorf("%s: %s, to come back in %d ms", c.name, e, e.RetryIn)
		}
	}
	if code := first.exitCode(); code != 0 {
		s.t.Errorf("a drained hub exits with %d", code)
	}
	s.hearMore(clients, "news", 5)
	s.wantAll(clients, f.stop(), "news", "sport")
}

// eventSourceGivesUpWhereThatIsFinal: by itself it would come back for ever.
func eventSourceGivesUpWhereThatIsFinal(s *jsTest) {
	h := s.hub("--jwt-secret=" + secret)
	at := "http://" + h.addr() + "/notification?topic=news"
	s.each(func(t *testing.T, p *jsProgram) {
		for _, url := range []string{at, at + "&token=x", at + "&since=x"} {
			p.open(t, url).ever("it gives up", inState("closed"))
		}
		short := sign(t, 8*time.Second, jwt.MapClaims{"sub": "42", "topics": map[string]any{"subscribe": []string{"news"}}})
		c := p.open(t, at+"&token="+short)
		c.ever("it is in", inState("open"))
		if e := c.ever("its token's end", func(e jsEvent) bool { return e.Event == "goodbye" }); e.Reason != "token_expired" {
			t.Errorf("%s", e)
		}
		c.ever("it gives up", inState("closed"))
	})
}

// eventSourceComesBackWhereItIsNot: a hub that has no room for it now does not lose it for ever.
func eventSourceComesBackWhereItIsNot(s *jsTest) {
	h := s.hub("--handshake-rate=2")
	var all []*jsClient
	for range 6 {
		for _, p := range s.programs {
			all = append(all, p.open(s.t, "http://"+h.addr()+"/notification?topic=news"))
		}
	}
	for _, c := range all {
		c.ever("it is in", func(e jsEvent) bool { return e.Event == "subscribed" })
		if n := c.count(inState("closed")); n > 0 {
			s.t.Errorf("%s gave up", c.name)
		}
	}
}
