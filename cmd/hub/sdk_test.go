package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"wshub/pubsub/redistest"
	"wshub/session/centrifugo"
)

// sdkTest is hubs on one Redis, and SDKs of every make.
type sdkTest struct {
	t     *testing.T
	path  string // of the program
	makes []sdkMake
	redis *redistest.Server
}

// sdkMake is one build of one SDK.
type sdkMake struct {
	name    string
	program *sdkProgram
	build   string
}

func (m sdkMake) client(t *testing.T, name string) *sdk { return m.program.client(t, name, m.build) }

// TestSDKs holds the hub to what SDKs of Centrifugo, unchanged, make of it.
func TestSDKs(t *testing.T) {
	js, golang, path := startJS(t), startGo(t), buildHub(t)
	makes := []sdkMake{{"js", js, "json"}, {"js-protobuf", js, "protobuf"}, {"go", golang, "json"}, {"go-protobuf", golang, "protobuf"}}
	for _, one := range []struct {
		name string
		run  func(s *sdkTest)
	}{
		{"day", sdksDoTheirDaysWork},
		{"tokens", sdksRenewTokens},
		{"backend", sdksAreLedByABackend},
		{"kill", sdksComeBackFromAKilledHub},
		{"loss", sdksAreToldOfLosses},
		{"drain", sdksLeaveADrainingHub},
		{"slow", slowSDKsAreCutAndComeBack},
		{"pings", busySDKsArePinged},
		{"haste", hastySDKsFollowInTheEnd},
		{"many", sdksFollowManyChannelsAtOnce},
		{"protocols", onOneTopicAllProtocolsMeet},
		{"away", sdksRecoverTheirPersonalChannel},
	} {
		t.Run(one.name, func(t *testing.T) {
			t.Parallel()
			one.run(&sdkTest{t: t, path: path, makes: makes, redis: redistest.Start(t)})
		})
	}
}

// hub starts a hub that keeps all topics.
func (s *sdkTest) hub(args ...string) *process {
	s.t.Helper()
	h := startHub(s.t, s.path, s.redis.URL(), append([]string{"--log-level=info", "--history=*=100000,10m", "--replay-limit=100000", "--jwt-skew=0s", "--api-key=" + apiKey}, args...)...)
	(&fleet{t: s.t}).awaitReady(h)
	return h
}

// addr is the host and port of the public one.
func (p *process) addr() string {
	u, _ := url.Parse(p.public) // startHub made it
	return u.Host
}

// endpoint is where SDKs connect to reach addr.
func endpoint(addr string) string { return "ws://" + addr + centrifugo.Path }

// each runs a test for a client of each make, in parallel.
func (s *sdkTest) each(run func(t *testing.T, c *sdk)) {
	for _, m := range s.makes {
		s.t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			run(t, m.client(t, t.Name()))
		})
	}
}

// follow connects a client of each make, which follows channel, and more of centrifuge-js that have another transport to
// fall back on. It returns when all follow.
func (s *sdkTest) follow(o sdkOptions, channel string) (clients []*sdk) {
	s.t.Helper()
	join := func(m sdkMake, name string, o sdkOptions) {
		c := m.client(s.t, s.t.Name()+"/"+name+" at "+o.url)
		clients = append(clients, c)
		c.open(o)
		c.subscribe(channel)
		c.connect()
	}
	for _, m := range s.makes {
		join(m, m.name, o)
		if strings.HasPrefix(m.name, "js") {
			other := o
			other.fallback = "http://" + unserved + "/connection/http_stream"
			join(m, m.name+"-fallback", other)
		}
	}
	for _, c := range clients {
		c.want("subscribed", channel)
	}
	return clients
}

// stayWithWebSocket fails if a client ever used another transport, or gave up.
func (s *sdkTest) stayWithWebSocket(clients []*sdk) {
	s.t.Helper()
	for _, c := range clients {
		for _, e := range c.all() {
			if e.Event == "disconnected" || e.Event == "connected" && e.Transport != "websocket" {
				s.t.Errorf("%s: %s", c.name, e)
			}
		}
	}
}

// send publishes events by the API, in one request.
func (p *process) send(t *testing.T, events []map[string]any) {
	t.Helper()
	if err := p.trySend(events); err != nil {
		t.Fatal(err)
	}
}

func (p *process) trySend(events []map[string]any) error {
	body, err := json.Marshal(events)
	if err != nil {
		return err
	}
	r, err := http.NewRequest("POST", p.control+"/api/publish", bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-API-Key", apiKey)
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != 200 {
		return fmt.Errorf("publish is answered %s", res.Status)
	}
	return nil
}

// numbered are events from first to last of a topic.
func numbered(topic string, first, last int) (events []map[string]any) {
	for _, n := range span(first, last) {
		events = append(events, map[string]any{"topic": topic, "data": map[string]int{"n": n}})
	}
	return events
}

// flow publishes numbered events to each of the topics until it is stopped.
type flow struct {
	end  chan struct{}
	over sync.WaitGroup
	last atomic.Int64
}

func (s *sdkTest) flow(h *process, topics ...string) *flow {
	f := &flow{end: make(chan struct{})}
	f.over.Go(func() {
		beat := time.NewTicker(10 * time.Millisecond)
		defer beat.Stop()
		for {
			select {
			case <-beat.C:
			case <-f.end:
				return
			}
			next := int(f.last.Load()) + 1
			var events []map[string]any
			for _, topic := range topics {
				events = append(events, numbered(topic, next, next)...)
			}
			if err := h.trySend(events); err != nil {
				s.t.Error(err)
				return
			}
			f.last.Add(1)
		}
	})
	return f
}

// pass returns when so many more events are published.
func (f *flow) pass(t *testing.T, events int64) {
	t.Helper()
	goal := f.last.Load() + events
	eventually(t, func() error {
		if n := f.last.Load(); n < goal {
			return fmt.Errorf("event %d of %d is published", n, goal)
		}
		return nil
	})
}

// stop returns the last number.
func (f *flow) stop() int {
	close(f.end)
	f.over.Wait()
	return int(f.last.Load())
}

// hearMore returns when each client has heard so many events of channel since now.
func hearMore(clients []*sdk, channel string, events int) {
	goal := make([]int, len(clients))
	for i, c := range clients {
		goal[i] = len(numbers(c.all(), channel)) + events
	}
	for i, c := range clients {
		c.await("more events", func(seen []sdkEvent) bool { return len(numbers(seen, channel)) >= goal[i] })
	}
}

// sdksDoTheirDaysWork: subscribe, publish, hear, history, and refusals.
func sdksDoTheirDaysWork(s *sdkTest) {
	h := s.hub("--jwt-secret="+secret, "--default-subscribe=news", "--default-subscribe=room:*", "--default-publish=room:*")
	s.each(func(t *testing.T, c *sdk) {
		user, room := "u-"+c.name, "room:"+c.name
		c.open(sdkOptions{url: endpoint(h.addr()), tokens: []string{sign(t, time.Hour, jwt.MapClaims{"sub": user})}})
		c.connect()
		c.want("connected", "")
		if e := c.want("subscribed", "user:"+user); !e.Server || !e.Recoverable || e.Epoch == "" {
			t.Errorf("the personal channel: %s", e)
		}
		c.subscribe(room)
		if e := c.want("subscribed", room); e.Server || !e.Recoverable || e.Epoch == "" || e.WasRecovering {
			t.Errorf("%s", e)
		}
		for n := range 5 {
			c.ask(0, "publish", room, fmt.Sprintf(`{"n":%d}`, n+1), sdkHistory{})
		}
		c.wantNumbers(room, 1, 5)
		first := c.want("publication", room)
		if first.User != user || first.Offset == 0 {
			t.Errorf("%+v", first)
		}
		h.send(t, []map[string]any{{"topic": room, "data": map[string]int{"n": 6}, "tags": map[string]string{"a": "b"}}})
		last := c.until("the event of a backend", func(e sdkEvent) bool { return e.number() == 6 })
		if last.Tags["a"] != "b" || last.User != "" {
			t.Errorf("%+v", last)
		}

		top := c.ask(0, "history", room, "", sdkHistory{})
		if top.Offset != last.Offset || top.Epoch == "" || len(top.Publications) != 0 {
			t.Errorf("the position is %+v, the last event's %+v", top, last)
		}
		page := c.ask(0, "history", room, "", sdkHistory{Limit: 2, Since: &sdkPos{first.Offset, top.Epoch}})
		if p := page.Publications; len(p) != 2 || p[0].number() != 2 || p[1].number() != 3 || p[0].User != user {
			t.Errorf("behind the first event: %+v", page)
		}
		back := c.ask(0, "history", room, "", sdkHistory{Limit: 2, Reverse: true})
		if p := back.Publications; len(p) != 2 || p[0].number() != 6 || p[1].number() != 5 {
			t.Errorf("from the end: %v", p)
		}
		c.ask(112, "history", room, "", sdkHistory{Limit: 2, Since: &sdkPos{first.Offset, "_"}})
		c.ask(103, "history", "secret", "", sdkHistory{Limit: 2})
		for _, method := range []string{"presence", "presenceStats"} {
			c.ask(108, method, room, "", sdkHistory{})
		}
		for _, listed := range []string{"talk#" + user, "talk#7," + user} {
			c.subscribe(listed)
			c.want("subscribed", listed)
		}
		c.subscribe("talk#7,8")
		if e := c.want("unsubscribed", "talk#7,8"); e.Code != 103 {
			t.Errorf("what is for others: %s", e)
		}
		c.ask(103, "publish", "news", `{"n":1}`, sdkHistory{})
		c.subscribe("secret")
		if e := c.want("unsubscribed", "secret"); e.Code != 103 {
			t.Errorf("what it has no right to: %s", e)
		}

		c.unsubscribe(room)
		c.want("unsubscribed", room)
		h.send(t, numbered(room, 7, 7))
		c.subscribe(room)
		c.want("subscribed", room)
		h.send(t, numbered(room, 8, 8))
		c.until("the next event", func(e sdkEvent) bool { return e.number() == 8 })

		// A line end, which would end a message, from whoever knows nothing of it.
		s.redis.CLI("PUBLISH", "hub:t:"+room, "{\n\"n\": 9\r\n}")
		c.until("the raw event", func(e sdkEvent) bool { return e.number() == 9 })
		if n := c.count("connecting", ""); n != 1 {
			t.Errorf("it connected %d times", n)
		}

		if status, _, _ := ask(t, "POST", h.control+"/api/disconnect", fmt.Sprintf(`{"user":%q}`, user), withKey...); status != 200 {
			t.Errorf("disconnect is answered %d", status)
		}
		if e := c.until("the end", isDisconnected); e.Code != 3503 || e.Reason != "force disconnect" {
			t.Errorf("sent away: %s", e)
		}

		wrong := c.program.client(t, c.name+"/other", c.build)
		wrong.open(sdkOptions{url: endpoint(h.addr()), tokens: []string{"wrong"}})
		wrong.connect()
		if e := wrong.until("the end", isDisconnected); e.Code != 3500 || e.Reason != "invalid token" {
			t.Errorf("a wrong token: %s", e)
		}
	})
}

func isDisconnected(e sdkEvent) bool { return e.Event == "disconnected" }

// sdksAreLedByABackend: by the server API of another hub.
func sdksAreLedByABackend(s *sdkTest) {
	h, other := s.hub("--jwt-secret="+secret, "--default-subscribe=room:*"), s.hub()
	s.each(func(t *testing.T, c *sdk) {
		user, room, team := "u-"+c.name, "room:"+c.name, "$team:"+c.name
		call := func(method string, request map[string]any) {
			t.Helper()
			body, err := json.Marshal(request)
			if err != nil {
				t.Fatal(err)
			}
			status, answer, _ := ask(t, "POST", other.control+"/centrifugo/api/"+method, string(body), withKey...)
			if status != 200 || !strings.HasPrefix(answer, `{"result":`) {
				t.Errorf("%s is answered %d %s", method, status, answer)
			}
		}
		c.open(sdkOptions{url: endpoint(h.addr()), tokens: []string{sign(t, time.Hour, jwt.MapClaims{"sub": user})}})
		c.subscribe(room)
		c.connect()
		c.want("subscribed", room)
		call("publish", map[string]any{"channel": room, "data": map[string]int{"n": 1}, "tags": map[string]string{"a": "b"}})
		if e := c.want("publication", room); e.number() != 1 || e.Tags["a"] != "b" {
			t.Errorf("%s", e)
		}
		call("unsubscribe", map[string]any{"channel": room, "user": user})
		if e := c.want("unsubscribed", room); e.Code != 2000 || e.Server {
			t.Errorf("unsubscribed by the backend: %s", e)
		}
		call("subscribe", map[string]any{"channel": team, "user": user})
		if e := c.want("subscribed", team); !e.Server || !e.Recoverable {
			t.Errorf("subscribed by the backend: %s", e)
		}
		call("broadcast", map[string]any{"channels": []string{room, team}, "data": map[string]int{"n": 2}})
		if e := c.want("publication", team); e.number() != 2 || !e.Server {
			t.Errorf("%s", e)
		}
		call("unsubscribe", map[string]any{"channel": team, "user": user})
		c.want("unsubscribed", team)
		call("broadcast", map[string]any{"channels": []string{room, team, "user:" + user}, "data": map[string]int{"n": 3}})
		c.want("publication", "user:"+user)
		c.wantNumbers(room, 1, 1)
		c.wantNumbers(team, 2, 2)
		call("disconnect", map[string]any{"user": user})
		if e := c.until("the end", isDisconnected); e.Code != 3503 {
			t.Errorf("sent away by the backend: %s", e)
		}
	})
}

// sdksRenewTokens: of connections and subscriptions, without leaving.
func sdksRenewTokens(s *sdkTest) {
	h := s.hub("--jwt-secret=" + secret)
	s.each(func(t *testing.T, c *sdk) {
		user, shared, private := "u-"+c.name, "shared:"+c.name, "$private:"+c.name
		rights := func(subscribe ...string) jwt.MapClaims { return jwt.MapClaims{"sub": user, "topics": subscribe} }
		passes := func(ttl time.Duration) string {
			return sign(t, ttl, jwt.MapClaims{"sub": user, "channel": private})
		}
		c.open(sdkOptions{url: endpoint(h.addr()), tokens: []string{
			sign(t, -time.Minute, rights()), // the hub asks for another one at once
			sign(t, 2*time.Second, rights("lost:*", "shared:*")),
			sign(t, time.Hour, rights("shared:*")),
		}})
		c.subscribe(shared)
		c.subscribe("lost:" + c.name)
		c.subscribe(private, passes(-time.Minute), passes(2*time.Second), passes(time.Hour)) // the first one is expired
		c.connect()
		if e := c.want("error", ""); e.Code != 109 && !strings.Contains(e.Reason, "109") {
			t.Errorf("an expired token: %s", e)
		}
		c.want("token", "")
		c.want("connected", "")
		connected := c.count("connecting", "")
		for _, channel := range []string{shared, "lost:" + c.name, private} {
			c.ever(1, "subscribed", channel, anyEvent)
		}
		h.send(t, append(numbered(shared, 1, 1), numbered(private, 1, 1)...))

		if e := c.want("unsubscribed", "lost:"+c.name); e.Code != 2000 || e.Reason == "" {
			t.Errorf("the new token allows less: %s", e)
		}
		c.await("both tokens were renewed", func(seen []sdkEvent) bool {
			renewed := map[string]int{}
			for _, e := range seen {
				if e.Event == "token" {
					renewed[e.Channel]++
				}
			}
			return renewed[""] == 2 && renewed[private] == 2
		})
		// The rights of the old tokens end about now: the new ones must have been taken.
		c.ask(0, "history", private, "", sdkHistory{Limit: 1})
		h.send(t, append(numbered(shared, 2, 2), numbered(private, 2, 2)...))
		c.wantNumbers(shared, 1, 2)
		c.wantNumbers(private, 1, 2)
		if n := c.count("connecting", ""); n != connected {
			t.Errorf("it connected %d times more", n-connected)
		}

		other := c.program.client(t, c.name+"/other", c.build)
		other.open(sdkOptions{url: endpoint(h.addr()), tokens: []string{sign(t, time.Hour, rights("*"))}})
		other.subscribe(private)
		other.subscribe("$other", passes(time.Hour))
		other.connect()
		for _, channel := range []string{private, "$other"} { // no token, and one for another channel
			other.ever(1, "unsubscribed", channel, func(e sdkEvent) bool { return e.Code == 103 })
		}
	})
}

// sdksComeBackFromAKilledHub: on another one, with all that was published meanwhile.
func sdksComeBackFromAKilledHub(s *sdkTest) {
	first, second := s.hub(), s.hub()
	door := redistest.NewProxy(s.t, first.addr())
	clients := s.follow(sdkOptions{url: endpoint(door.Addr()) + "?user=42"}, "news")
	f := s.flow(second, "news", "user:42")
	hearMore(clients, "news", 20)
	door.Next(unserved)
	first.signal(syscall.SIGKILL)
	for _, c := range clients {
		c.ever(2, "connecting", "", anyEvent) // the first time it was new
	}
	f.pass(s.t, 50)
	door.Next(second.addr())
	for _, c := range clients {
		if e := c.want("subscribed", "news"); !e.WasRecovering || !e.Recovered {
			s.t.Errorf("%s: %s", c.name, e)
		}
	}
	hearMore(clients, "news", 20)
	last := f.stop()
	for _, c := range clients {
		c.wantNumbers("news", 1, last)
		c.wantNumbers("user:42", 1, last)
	}

	s.stayWithWebSocket(clients)
}

// sdksAreToldOfLosses: Redis loses all it has while they are away, and while they are there.
func sdksAreToldOfLosses(s *sdkTest) {
	h := s.hub()
	door := redistest.NewProxy(s.t, h.addr())
	at := endpoint(door.Addr())
	owners, others := s.follow(sdkOptions{url: at + "?user=42"}, "news"), s.follow(sdkOptions{url: at}, "news")
	clients := slices.Concat(owners, others)
	send := func(n int) {
		s.t.Helper()
		h.send(s.t, append(numbered("news", n, n), numbered("user:42", n, n)...))
	}
	hear := func(n int) {
		s.t.Helper()
		send(n)
		for _, c := range clients {
			c.ever(1, "publication", "news", func(e sdkEvent) bool { return e.number() == n })
		}
		for _, c := range owners {
			c.ever(1, "publication", "user:42", func(e sdkEvent) bool { return e.number() == n })
		}
	}
	hear(1)

	s.redis.CLI("FLUSHALL")
	send(2)
	for _, c := range others {
		if e := c.want("subscribing", "news"); e.Code != 2500 { // to follow it was subscribing, too
			e = c.want("subscribing", "news")
			if e.Code != 2500 {
				s.t.Errorf("%s: %s", c.name, e)
			}
		}
	}
	for _, c := range owners {
		c.ever(1, "subscribed", "user:42", notRecovered) // closed by 3010, or by a write that fails just then
	}
	for _, c := range clients {
		c.ever(1, "subscribed", "news", notRecovered)
	}
	hear(3)

	door.Point(unserved)
	s.redis.CLI("FLUSHALL")
	send(4)
	door.Next(h.addr())
	for _, c := range clients {
		c.ever(2, "subscribed", "news", notRecovered)
	}
	for _, c := range owners {
		c.ever(2, "subscribed", "user:42", notRecovered)
	}
	hear(5)
	for _, c := range clients {
		if got := fmt.Sprint(numbers(c.all(), "news")); got != "[1 3 5]" {
			s.t.Errorf("%s: got %s", c.name, got)
		}
	}
	for _, c := range owners {
		if got := fmt.Sprint(numbers(c.all(), "user:42")); got != "[1 3 5]" {
			s.t.Errorf("%s: of its own channel it got %s", c.name, got)
		}
	}
	s.stayWithWebSocket(clients)
}

func notRecovered(e sdkEvent) bool { return e.WasRecovering && !e.Recovered }

// unserved is an address where nobody listens.
const unserved = "127.0.0.1:1"

// sdksLeaveADrainingHub: they are told to, find nobody for a while, and come back when there is a hub.
func sdksLeaveADrainingHub(s *sdkTest) {
	first, second := s.hub("--drain-grace=0s", "--drain-window=500ms"), s.hub()
	door := redistest.NewProxy(s.t, first.addr())
	clients := s.follow(sdkOptions{url: endpoint(door.Addr()) + "?user=42"}, "news")
	f := s.flow(second, "news", "user:42")
	hearMore(clients, "news", 5)
	first.terminate()
	for _, c := range clients {
		if e := c.until("told to go", func(e sdkEvent) bool { return e.Event == "connecting" && e.Code != 0 }); e.Code != 3001 || e.Reason != "shutdown" {
			s.t.Errorf("%s: %s", c.name, e)
		}
	}
	if code := first.exitCode(); code != 0 {
		s.t.Errorf("a drained hub exits with %d", code)
	}
	door.Next(second.addr())
	for _, c := range clients {
		if e := c.want("subscribed", "news"); !e.Recovered {
			s.t.Errorf("%s: %s", c.name, e)
		}
	}
	hearMore(clients, "news", 5)
	last := f.stop()
	for _, c := range clients {
		c.wantNumbers("news", 1, last)
		c.wantNumbers("user:42", 1, last)
	}
	s.stayWithWebSocket(clients)
}

// slowSDKsAreCutAndComeBack: they read nothing while more is published than may wait for them.
func slowSDKsAreCutAndComeBack(s *sdkTest) {
	h := s.hub("--max-queued=64KiB", "--send-buffer=16KiB")
	var clients []*sdk
	var doors []*redistest.Proxy
	for _, m := range s.makes {
		c, door := m.client(s.t, s.t.Name()+"/"+m.name), redistest.NewProxy(s.t, h.addr())
		clients, doors = append(clients, c), append(doors, door)
		c.open(sdkOptions{url: endpoint(door.Addr())})
		c.subscribe("news")
		c.connect()
		c.want("subscribed", "news")
		door.Freeze(redistest.ToClient)
	}
	const events, perRequest = 120, 20
	for first := 1; first <= events; first += perRequest {
		batch := numbered("news", first, first+perRequest-1)
		for _, e := range batch {
			e["data"] = map[string]any{"n": e["data"].(map[string]int)["n"], "pad": strings.Repeat("x", 32<<10)}
		}
		h.send(s.t, batch)
	}
	eventually(s.t, func() error {
		if cut := h.metric(`wshub_connections_closed_total{cause="slow_consumer"}`); int(cut) != len(clients) {
			return fmt.Errorf("%v are cut", cut)
		}
		return nil
	})
	for i, c := range clients {
		doors[i].Thaw(redistest.ToClient)
		if e := c.want("subscribed", "news"); !e.Recovered {
			s.t.Errorf("%s: %s", c.name, e)
		}
		c.wantNumbers("news", 1, events)
	}
}

// busySDKsArePinged: some count on pings even while events come all the time.
func busySDKsArePinged(s *sdkTest) {
	h := s.hub("--heartbeat=1s")
	clients := s.follow(sdkOptions{url: endpoint(h.addr())}, "news")
	f := s.flow(h, "news")
	for range 15 { // 3 s; they give up after 2
		for _, c := range clients {
			c.ask(0, "publish", "other", `{"n":1}`, sdkHistory{})
		}
		f.pass(s.t, 20)
	}
	last := f.stop()
	for _, c := range clients {
		c.wantNumbers("news", 1, last)
		if n := c.count("connecting", ""); n != 1 {
			s.t.Errorf("%s connected %d times:%s", c.name, n, lastOf(c.all()))
		}
	}
}

// hastySDKsFollowInTheEnd: they leave a channel before they are told that they follow it, and change their minds.
func hastySDKsFollowInTheEnd(s *sdkTest) {
	h := s.hub()
	s.each(func(t *testing.T, c *sdk) {
		c.open(sdkOptions{url: endpoint(h.addr())})
		c.connect()
		for i := range 10 {
			channel := fmt.Sprint(c.name, ":", i)
			for range 3 {
				c.subscribe(channel)
				c.unsubscribe(channel)
			}
			c.subscribe(channel)
		}
		for i := range 10 {
			channel := fmt.Sprint(c.name, ":", i)
			n := 0
			eventually(t, func() error { // when it follows can't be told: it may have followed before
				n++
				h.send(t, numbered(channel, n, n))
				if c.count("publication", channel) == 0 {
					return fmt.Errorf("%s does not hear %s:%s", c.name, channel, lastOf(c.all()))
				}
				return nil
			})
		}
	})
}

// sdksFollowManyChannelsAtOnce: more than --message-burst, as the client connects, and once more when it comes back.
func sdksFollowManyChannelsAtOnce(s *sdkTest) {
	const channels = 300
	h := s.hub("--max-topics=512")
	s.each(func(t *testing.T, c *sdk) {
		door := redistest.NewProxy(t, h.addr())
		c.open(sdkOptions{url: endpoint(door.Addr())})
		var names []string
		for i := range channels {
			names = append(names, fmt.Sprintf("many:%s:%d", c.name, i))
			c.subscribe(names[i])
		}
		c.connect()
		publish := func(n int) {
			var batch []map[string]any
			for _, name := range names {
				batch = append(batch, numbered(name, n, n)...)
			}
			h.send(t, batch)
		}
		await := func(times int) {
			t.Helper()
			c.await(fmt.Sprint("all are followed ", times, " times"), func(seen []sdkEvent) bool {
				count := map[string]int{}
				for _, e := range seen {
					if e.Event == "subscribed" && (times == 1 || e.Recovered || !e.WasRecovering) {
						count[e.Channel]++
					}
				}
				for _, name := range names {
					if count[name] < times {
						return false
					}
				}
				return true
			})
		}
		await(1)
		publish(1)
		for _, name := range names {
			c.wantNumbers(name, 1, 1)
		}
		door.Point(unserved)
		publish(2)
		door.Next(h.addr())
		await(2)
		publish(3)
		for _, name := range names {
			c.wantNumbers(name, 1, 3)
		}
		for _, e := range c.all() {
			if e.Event == "unsubscribed" || e.Event == "connecting" && e.Code > 1 || e.Event == "error" && e.Code >= 100 {
				t.Errorf("%s", e)
			}
		}
	})
}

// sdksRecoverTheirPersonalChannel, which they follow without asking for it.
func sdksRecoverTheirPersonalChannel(s *sdkTest) {
	h := s.hub("--jwt-secret=" + secret)
	s.each(func(t *testing.T, c *sdk) {
		user := "u-" + c.name
		own := "user:" + user
		door := redistest.NewProxy(t, h.addr())
		claims := jwt.MapClaims{"sub": user, "channels": []string{"team:" + c.name}}
		c.open(sdkOptions{url: endpoint(door.Addr()), tokens: []string{sign(t, time.Hour, claims)}})
		c.connect()
		c.want("connected", "")
		channels := []string{own, "team:" + c.name}
		for i, channel := range channels {
			c.ever(1, "subscribed", channel, func(e sdkEvent) bool { return e.Server && e.Recoverable })
			h.send(t, numbered(channel, 1, 1+i)) // one of them, and two
			c.wantNumbers(channel, 1, 1+i)
		}
		door.Point(unserved)
		for i, channel := range channels {
			h.send(t, numbered(channel, 2+i, 50))
		}
		door.Next(h.addr())
		for _, channel := range channels {
			c.ever(1, "subscribed", channel, func(e sdkEvent) bool { return e.WasRecovering && e.Recovered })
			h.send(t, numbered(channel, 51, 51))
			c.wantNumbers(channel, 1, 51)
		}
		if n := c.count("unsubscribed", own); n != 0 {
			t.Errorf("it left its own channel %d times", n)
		}
	})
}
