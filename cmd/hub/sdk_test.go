package main

import (
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"wshub/pubsub/redistest"
	"wshub/pubsub/redistest/drills"
)

// TestSDKs holds the hub to what SDKs of Centrifugo, unchanged, make of it. A plain run has one of them do its day's work.
func TestSDKs(t *testing.T) {
	t.Parallel()
	js, path := startJS(t), buildHub(t)
	if !drills.HasPrograms(t) {
		sdksDoTheirDaysWork(&sdkTest{t: t, path: path, makes: []sdkMake{{"js", js, "json"}}, redis: redistest.Start(t)})
		return
	}
	golang := startGo(t)
	makes := []sdkMake{{"js", js, "json"}, {"js-protobuf", js, "protobuf"}, {"js-sse", js, "sse"}, {"js-http_stream", js, "http_stream"}, {"go", golang, "json"}, {"go-protobuf", golang, "protobuf"}}
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
		{"company", sdksSeeWhoIsThere},
	} {
		t.Run(one.name, func(t *testing.T) {
			t.Parallel()
			one.run(&sdkTest{t: t, path: path, makes: makes, redis: redistest.Start(t)})
		})
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
			sign(t, 6*time.Second, rights("lost:*", "shared:*")),
			sign(t, time.Hour, rights("shared:*")),
		}})
		c.subscribe(shared)
		c.subscribe("lost:" + c.name)
		c.subscribe(private, passes(-time.Minute), passes(6*time.Second), passes(time.Hour)) // the first one is expired
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

// busySDKsArePinged: some count on pings even while events come all the time.
func busySDKsArePinged(s *sdkTest) {
	h := s.hub("--heartbeat=3s")
	clients := s.follow(sdkOptions{url: endpoint(h.addr())}, "news")
	f := s.flow(h, "news")
	for begin := time.Now(); time.Since(begin) < 7*time.Second; { // they give up after 6 s
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
				if n++; n%20 == 0 && slices.Contains([]string{"go", "go-protobuf", "js-sse", "js-http_stream"}, path.Base(c.name)) {
					// The commands of a stream are requests of their own, whose order nobody keeps: a subscribe that overtakes the unsubscribe
					// before it finds the channel followed, on which centrifuge-js leaves it.
					// While a subscribe is under way, centrifuge-go 0.12.1 sends no other: it takes the answer to that for the
					// answer to a later one, which it never sends, and the hub has only heard that the channel is left. It
					// does so with any server. An app has to leave the channel once more.
					c.unsubscribe(channel)
					c.subscribe(channel)
				}
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
