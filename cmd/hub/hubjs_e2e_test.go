package main

import (
	"bytes"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"wshub/pubsub/redistest"
	"wshub/pubsub/redistest/drills"
)

// TestHubJS holds hub.js to its promises, in Node and in Chromium, where there is one. A plain run has it do its
// day's work in Node.
func TestHubJS(t *testing.T) {
	path := buildHub(t)
	programs := []*jsProgram{startJSInNode(t)}
	if !drills.HasPrograms(t) {
		t.Parallel()
		jsDoesItsDaysWork(&jsTest{sdkTest{t: t, path: path, redis: redistest.Start(t)}, programs})
		return
	}
	host := startHub(t, path, "", "--log-level=info")
	if p := startJSInChromium(t, "http://"+host.addr()+"/hub.js"); p != nil {
		programs = append(programs, p)
	}
	t.Run("network", func(t *testing.T) { // alone: the other clients of that browser would hear of it, too
		jsTriesWhenTheNetworkIsBack(&jsTest{sdkTest{t: t, path: path, redis: redistest.Start(t)}, programs})
	})
	for _, one := range []struct {
		name string
		run  func(s *jsTest)
	}{
		{"day", jsDoesItsDaysWork},
		{"kill", jsComesBackFromAKilledHub},
		{"drain", jsLeavesADrainingHub},
		{"freeze", jsNoticesAFrozenHub},
		{"tokens", jsRenewsTokens},
		{"revoked", jsComesBackWithAnotherToken},
		{"loss", jsIsToldOfLosses},
		{"raw", jsIsToldThatATopicKeepsNothing},
		{"answers", jsPublishesOnce},
		{"replaced", jsStaysAwayWhenItIsTold},
		{"many", jsFollowsManyTopics},
		{"presence", jsSeesWhoIsThere},
	} {
		t.Run(one.name, func(t *testing.T) {
			t.Parallel()
			one.run(&jsTest{sdkTest{t: t, path: path, redis: redistest.Start(t)}, programs})
		})
	}
}

func TestHubJSOverTLS(t *testing.T) {
	drills.Programs(t)
	path, a := buildHub(t), newAuthority(t)
	cert, key := a.pair()
	args := []string{"--tls-cert=" + cert, "--tls-key=" + key}
	t.Setenv("NODE_EXTRA_CA_CERTS", a.file)
	programs := []*jsProgram{startJSInNode(t)}
	host := startHub(t, path, "", append(args, "--log-level=info")...)
	if p := startJSInChromium(t, "https://"+host.addr()+"/hub.js"); p != nil {
		programs = append(programs, p)
	}
	jsDoesItsDaysWork(&jsTest{sdkTest{t: t, path: path, redis: redistest.Start(t), args: args}, programs})
}

// jsTest is hubs on one Redis, and programs with clients of hub.js.
type jsTest struct {
	sdkTest
	programs []*jsProgram
}

// clients opens a client in each program, which follow topics.
func (s *jsTest) clients(url string, topics ...string) (all []*jsClient) {
	s.t.Helper()
	for _, p := range s.programs {
		all = append(all, p.open(s.t, url))
	}
	for _, c := range all {
		c.follow(topics...)
	}
	return all
}

// each runs a test for a client of each program, in parallel.
func (s *jsTest) each(run func(t *testing.T, p *jsProgram)) {
	for _, p := range s.programs {
		s.t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			run(t, p)
		})
	}
}

// hearMore returns when each client has heard so many events of topic since now.
func (s *jsTest) hearMore(clients []*jsClient, topic string, events int) {
	s.t.Helper()
	for _, c := range clients {
		goal := len(c.numbers(topic)) + events
		c.await("more events", func(seen []jsEvent) bool {
			n := 0
			for _, e := range seen {
				if e.Event == "event" && e.Topic == topic {
					n++
				}
			}
			return n >= goal
		})
	}
}

func isGap(e jsEvent) bool { return e.Event == "gap" }

// hubV1 is the address of hub.v1 at a host and port.
func hubV1(addr string) string { return "ws://" + addr + "/notification" }

// jsDoesItsDaysWork: publish, hear, read back, and refusals.
func jsDoesItsDaysWork(s *jsTest) {
	h := s.hub("--jwt-secret=" + secret)
	s.each(func(t *testing.T, p *jsProgram) {
		user, room, other := "u-"+p.name, "room:"+p.name, "other:"+p.name
		rights := jwt.MapClaims{"sub": user, "topics": map[string]any{"subscribe": []string{"room:*"}, "publish": []string{"room:*"}}}
		c := p.open(t, h.public, sign(t, time.Hour, rights))
		c.follow(room, "user:"+user)
		for n := range 5 {
			for range 2 { // the second time changes nothing
				if e := c.ask("publish", map[string]any{"topic": room, "data": map[string]int{"n": n + 1}, "key": fmt.Sprint(n)}); e.Code != "" || e.Position == "" {
					t.Errorf("publish is answered %s", e)
				}
			}
		}
		c.wantNumbers(room, 1, 5)
		h.send(t, numbered("user:"+user, 1, 3))
		c.wantNumbers("user:"+user, 1, 3)
		e := c.ask("history", map[string]any{"topic": room, "limit": 2})
		if string(e.Data) != `[{"n":1},{"n":2},{"n":3},{"n":4},{"n":5}]` || e.Pages != 3 {
			t.Errorf("the history is %s in %d pages", e, e.Pages)
		}
		for _, do := range []string{"publish", "history"} {
			if e := c.ask(do, map[string]any{"topic": other, "data": 1}); e.Code != "forbidden" {
				t.Errorf("%s where it has no right is answered %s", do, e)
			}
		}
		c.order("subscribe", map[string]any{"topic": other})
		c.ever("a refusal", func(e jsEvent) bool { return e.Event == "ended" && e.Topic == other && e.Code == "forbidden" })

		target := fmt.Sprintf(`{"user":%q,"topic":%q}`, user, other)
		if status, answer, _ := ask(t, "POST", h.control+"/api/subscribe", target, withKey...); status != 200 {
			t.Fatalf("subscribe is answered %d %s", status, answer)
		}
		eventually(t, func() error { // when it follows can't be told
			h.send(t, numbered(other, 1, 1))
			if len(c.numbers(other)) == 0 {
				return fmt.Errorf("a backend's subscription brings nothing")
			}
			return nil
		})

		c.order("unsubscribe", map[string]any{"topic": room})
		if e := c.ask("publish", map[string]any{"topic": room, "data": map[string]int{"n": 6}}); e.Code != "" {
			t.Errorf("publish is answered %s", e)
		}
		c.wantNumbers(room, 1, 5)
		if n := c.count(inState("connecting")); n > 1 {
			t.Errorf("it connected %d times", n)
		}
	})
}

// jsComesBackFromAKilledHub: on another one, with all that was published meanwhile.
func jsComesBackFromAKilledHub(s *jsTest) {
	first, second := s.hub(), s.hub()
	door := redistest.NewProxy(s.t, first.addr())
	clients := s.clients(hubV1(door.Addr())+"?user=42", "news", "user:42")
	f := s.flow(second, "news", "user:42")
	s.hearMore(clients, "news", 20)
	door.Next(unserved)
	first.signal(syscall.SIGKILL)
	for _, c := range clients {
		c.ever("the end", inState("waiting"))
	}
	f.pass(s.t, 50)
	door.Next(second.addr())
	s.hearMore(clients, "news", 20)
	last := f.stop()
	for _, c := range clients {
		for _, topic := range []string{"news", "user:42"} {
			c.wantNumbers(topic, c.numbers(topic)[0], last)
		}
		if n := c.count(func(e jsEvent) bool { return e.Reason == "the hub did not answer" }); n > 0 {
			s.t.Errorf("%s waited for its time-out %d times where nobody listens", c.name, n)
		}
		if n := c.count(isGap); n > 0 {
			s.t.Errorf("%s was told of %d gaps", c.name, n)
		}
	}
}

// jsLeavesADrainingHub: at the time that it is given.
func jsLeavesADrainingHub(s *jsTest) {
	first, second := s.hub("--drain-grace=0s", "--drain-window=2s"), s.hub()
	door := redistest.NewProxy(s.t, first.addr())
	clients := s.clients(hubV1(door.Addr()), "news")
	f := s.flow(second, "news")
	s.hearMore(clients, "news", 5)
	door.Next(second.addr())
	first.terminate()
	for _, c := range clients {
		if e := c.ever("the end", inState("waiting")); e.Close != 1012 || e.RetryIn >= 2000 {
			s.t.Errorf("%s: %s, to come back in %d ms", c.name, e, e.RetryIn)
		}
	}
	if code := first.exitCode(); code != 0 {
		s.t.Errorf("a drained hub exits with %d", code)
	}
	s.hearMore(clients, "news", 5)
	last := f.stop()
	for _, c := range clients {
		c.wantNumbers("news", c.numbers("news")[0], last)
		if n := c.count(inState("online")); n != 2 {
			s.t.Errorf("%s was online %d times", c.name, n)
		}
	}
}

// jsNoticesAFrozenHub, whose connections stay open.
func jsNoticesAFrozenHub(s *jsTest) {
	const ping = 2 * time.Second
	first, second := s.hub("--heartbeat="+ping.String()), s.hub()
	door := redistest.NewProxy(s.t, first.addr())
	clients := s.clients(hubV1(door.Addr()), "news")
	f := s.flow(second, "news")
	s.hearMore(clients, "news", 5)
	door.Next(second.addr())
	frozen := time.Now()
	first.signal(syscall.SIGSTOP)
	for _, c := range clients {
		if took := c.ever("it notices", inState("waiting")).at.Sub(frozen); took > ping+10*time.Second {
			s.t.Errorf("%s noticed after %v", c.name, took)
		}
	}
	s.hearMore(clients, "news", 5)
	last := f.stop()
	for _, c := range clients {
		c.wantNumbers("news", c.numbers("news")[0], last)
		if n := c.count(isGap); n > 0 {
			s.t.Errorf("%s was told of %d gaps", c.name, n)
		}
	}
}

// jsRenewsTokens: before their end, and after it if the callback fails until then.
func jsRenewsTokens(s *jsTest) {
	h := s.hub("--jwt-secret="+secret, "--auth-grace=500ms")
	s.each(func(t *testing.T, p *jsProgram) {
		token := func(ttl time.Duration) string {
			return sign(t, ttl, jwt.MapClaims{"sub": "u-" + p.name, "jti": ttl.String(), "topics": []string{"news"}})
		}
		reasons := func(c *jsClient) (all string) {
			for _, e := range c.all() {
				if e.Event == "token" {
					all += " " + e.Reason
				}
			}
			return all
		}
		renewing := p.open(t, hubV1(h.addr()), token(4*time.Second), "!", token(6*time.Second), token(time.Hour))
		renewing.follow("news")
		expired := p.open(t, hubV1(h.addr()), token(-time.Second), token(time.Hour))
		expired.follow("news")
		failing := p.open(t, hubV1(h.addr()), token(2*time.Second), "!", "!", "!", "!", "!", "!", "!", "!", token(time.Hour))
		failing.follow("news")

		if e := failing.ever("its token ends", inState("waiting")); e.Close != 4002 {
			t.Errorf("%s", e)
		}
		failing.await("it is back", func(seen []jsEvent) bool { return timesOnline(seen) == 2 })
		renewing.await("both tokens are renewed", func(seen []jsEvent) bool {
			n := 0
			for _, e := range seen {
				if e.Event == "token" {
					n++
				}
			}
			return n == 4
		})
		if got := reasons(renewing); got != " connect refresh refresh refresh" {
			t.Errorf("tokens were asked for:%s", got)
		}
		if n := renewing.count(inState("online")); n != 1 {
			t.Errorf("with tokens that are renewed it was online %d times", n)
		}
		if got := reasons(expired); got != " connect expired" {
			t.Errorf("with an expired token others were asked for:%s", got)
		}
		// The first token of renewing ended meanwhile: its successor must have been taken.
		h.send(t, numbered("news", 1, 1))
		for _, c := range []*jsClient{renewing, expired, failing} {
			c.ever("an event", func(e jsEvent) bool { return e.Event == "event" && e.Topic == "news" })
		}
	})
}

// timesOnline counts the times that a client was online.
func timesOnline(seen []jsEvent) (n int) {
	for _, e := range seen {
		if inState("online")(e) {
			n++
		}
	}
	return n
}

// jsComesBackWithAnotherToken when its own is revoked.
func jsComesBackWithAnotherToken(s *jsTest) {
	h := s.hub("--jwt-secret=" + secret)
	s.each(func(t *testing.T, p *jsProgram) {
		user := "u-" + p.name
		token := func(name string) string { return sign(t, time.Hour, jwt.MapClaims{"sub": user, "jti": name}) }
		c := p.open(t, hubV1(h.addr()), token("old"), "!")
		c.follow("user:" + user)
		h.send(t, numbered("user:"+user, 1, 1))
		c.wantNumbers("user:"+user, 1, 1)
		if status, answer, _ := ask(t, "POST", h.control+"/api/revoke", fmt.Sprintf(`{"user":%q}`, user), withKey...); status != 200 {
			t.Fatalf("revoke is answered %d %s", status, answer)
		}
		if e := c.ever("the end", inState("waiting")); e.Close != 4001 {
			t.Errorf("%s", e)
		}
		c.ever("it asks for another", func(e jsEvent) bool { return e.Event == "token" && e.Reason == "refused" })
		h.send(t, numbered("user:"+user, 2, 2))
		c.order("tokens", map[string]any{"tokens": []string{token("new")}})
		c.wantNumbers("user:"+user, 1, 2) // the old session is refused, the position is good
	})
}

// jsIsToldOfLosses: Redis loses all it has while they are there, and while they are away.
func jsIsToldOfLosses(s *jsTest) {
	h := s.hub()
	door := redistest.NewProxy(s.t, h.addr())
	clients := s.clients(hubV1(door.Addr()), "news")
	hear := func(n int) {
		s.t.Helper()
		h.send(s.t, numbered("news", n, n))
		for _, c := range clients {
			c.ever("an event", func(e jsEvent) bool { return e.Event == "event" && e.number() == n })
		}
	}
	told := func(reason string) func(jsEvent) bool {
		return func(e jsEvent) bool { return isGap(e) && e.Reason == reason && e.Topic == "news" }
	}
	hear(1)
	s.redis.CLI("FLUSHALL")
	hear(2)
	for _, c := range clients {
		c.ever("a gap", told("live"))
	}
	door.Point(unserved)
	s.redis.CLI("FLUSHALL")
	h.send(s.t, numbered("news", 3, 3))
	door.Next(h.addr())
	for _, c := range clients {
		c.ever("another gap", told("return"))
	}
	hear(4)
	for _, c := range clients {
		if got := fmt.Sprint(c.numbers("news")); got != "[1 2 4]" {
			s.t.Errorf("%s has %s", c.name, got)
		}
	}
}

// jsIsToldThatATopicKeepsNothing: what was published while it was away is lost to it.
func jsIsToldThatATopicKeepsNothing(s *jsTest) {
	h := startHub(s.t, s.path, s.redis.URL(), "--log-level=info", "--api-key="+apiKey, "--history=kept*=100,1m")
	(&threeHubs{t: s.t}).awaitReady(h)
	door := redistest.NewProxy(s.t, h.addr())
	clients := s.clients(hubV1(door.Addr()), "raw", "kept")
	door.Point(unserved)
	h.send(s.t, append(numbered("raw", 1, 1), numbered("kept", 1, 1)...)) // kept had no event before
	door.Next(h.addr())
	for _, c := range clients {
		c.ever("a gap", func(e jsEvent) bool { return isGap(e) && e.Topic == "raw" && e.Reason == "return" })
		c.wantNumbers("kept", 1, 1)
	}
	h.send(s.t, numbered("raw", 2, 2))
	for _, c := range clients {
		c.wantNumbers("raw", 2, 2)
		if n := c.count(isGap); n != 1 {
			s.t.Errorf("%s was told of %d gaps", c.name, n)
		}
	}
}

// jsPublishesOnce, though the answers are lost.
func jsPublishesOnce(s *jsTest) {
	first, second := s.hub(), s.hub()
	s.each(func(t *testing.T, p *jsProgram) {
		door := redistest.NewProxy(t, first.addr())
		room := "room:" + p.name
		c := p.open(t, hubV1(door.Addr()))
		c.follow(room)
		door.Freeze(redistest.ToClient)
		var asked []int
		for n := range 3 {
			asked = append(asked, c.begin("publish", map[string]any{"topic": room, "data": map[string]int{"n": n + 1}}))
		}
		eventually(t, func() error {
			if n := strings.Count(s.redis.CLI("KEYS", "*"), room); n == 0 {
				return fmt.Errorf("nothing is published")
			}
			return nil
		})
		door.Next(second.addr())
		door.Reset()
		door.Thaw(redistest.ToClient)
		for _, n := range asked {
			if e := c.answer(n); e.Code != "" || e.Position == "" {
				t.Errorf("publish is answered %s", e)
			}
		}
		c.wantNumbers(room, 1, 3)
		if e := c.ask("history", map[string]any{"topic": room}); string(e.Data) != `[{"n":1},{"n":2},{"n":3}]` {
			t.Errorf("the history is %s", e)
		}
	})
}

// jsStaysAwayWhenItIsTold: by a backend, or by its own newer connection elsewhere.
func jsStaysAwayWhenItIsTold(s *jsTest) {
	h := s.hub()
	s.each(func(t *testing.T, p *jsProgram) {
		user := "u-" + p.name
		c := p.open(t, hubV1(h.addr())+"?user="+user)
		c.follow("news")
		h.send(t, numbered("news", 1, 1))
		if status, _, _ := ask(t, "POST", h.control+"/api/disconnect", fmt.Sprintf(`{"user":%q}`, user), withKey...); status != 200 {
			t.Errorf("disconnect is answered %d", status)
		}
		if e := c.ever("the end", inState("closed")); e.Close != 4003 {
			t.Errorf("%s", e)
		}
		if e := c.ask("publish", map[string]any{"topic": "news", "data": 1}); e.Code != "closed" {
			t.Errorf("publish is answered %s", e)
		}
		at := c.mark()
		c.order("connect", nil)
		c.since(at, "it is back", inState("online"))
		if n := c.count(inState("waiting")); n > 0 {
			t.Errorf("it came back by itself %d times", n)
		}
	})
}

// jsFollowsManyTopics: more than --message-burst, when it comes and when it comes back.
func jsFollowsManyTopics(s *jsTest) {
	const topics = 300
	h := s.hub("--max-topics=512")
	s.each(func(t *testing.T, p *jsProgram) {
		door := redistest.NewProxy(t, h.addr())
		c := p.open(t, hubV1(door.Addr()))
		c.ever("it is online", inState("online"))
		var names []string
		for i := range topics {
			names = append(names, fmt.Sprintf("many:%s:%d:%s", p.name, i, strings.Repeat("x", 200)))
		}
		c.follow(names...)
		publish := func(n int) {
			var batch []map[string]any
			for _, name := range names {
				batch = append(batch, numbered(name, n, n)...)
			}
			h.send(t, batch)
		}
		publish(1)
		for _, name := range names {
			c.wantNumbers(name, 1, 1)
		}
		door.Point(unserved)
		publish(2)
		door.Next(h.addr())
		for _, name := range names {
			c.wantNumbers(name, 1, 2)
		}
		if n := c.count(func(e jsEvent) bool { return e.Event == "error" || e.Event == "ended" || isGap(e) }); n > 0 {
			t.Errorf("%d errors or gaps", n)
		}
	})
}

// jsTriesWhenTheNetworkIsBack, as a browser tells it, and does not wait for its next attempt.
func jsTriesWhenTheNetworkIsBack(s *jsTest) {
	for _, p := range s.programs {
		b, ok := p.orders.(*browser)
		if !ok {
			continue // Node knows nothing of it
		}
		h := s.hub()
		door := redistest.NewProxy(s.t, h.addr())
		c := p.open(s.t, hubV1(door.Addr()))
		c.ever("it is online", inState("online"))
		b.offline(true)
		door.Point(unserved)
		c.ever("the end", inState("waiting"))
		door.Next(h.addr())
		b.offline(false)
		c.ever("it hears of the network", func(e jsEvent) bool { return e.Reason == "the network is back" })
		c.await("it is back", func(seen []jsEvent) bool { return timesOnline(seen) == 2 })
	}
}

// TestHubJSAgainstAHubThatTheTestPlays runs the client's own tests, in virtual time.
func TestHubJSAgainstAHubThatTheTestPlays(t *testing.T) {
	drills.Programs(t)
	t.Parallel()
	out, err := exec.Command(needNode22(t), "--test", "--test-reporter=spec", "../../session/hubv1/client/hub.test.mjs").CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("fail 0")) || bytes.Contains(out, []byte("pass 0")) {
		t.Errorf("%v\n%s", err, out)
	}
}
