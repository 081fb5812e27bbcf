package main

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"wshub/pubsub/redistest"
	"wshub/pubsub/redistest/drills"
)

// TestStreamsOfCentrifugeJS has the transports of centrifuge-js that need no WebSocket, in Node and in Chromium, work with hubs
// behind a balancer that hands each connection to the next one: most commands come to another hub than their stream's.
func TestStreamsOfCentrifugeJS(t *testing.T) {
	drills.Programs(t)
	t.Parallel()
	path := buildHub(t)
	programs := map[string]*sdkProgram{"node": startJS(t)}
	if page := startJSPage(t); page != nil {
		programs["chromium"] = page
	}
	var makes []sdkMake
	for name, p := range programs {
		for _, transport := range []string{"sse", "http_stream"} {
			makes = append(makes, sdkMake{name + "-" + transport, p, transport})
		}
	}
	for _, one := range []struct {
		name string
		run  func(s *sdkTest)
	}{
		{"commands", streamsCommandsComeToAnyHub},
		{"leaving", streamsOutliveTheirHubs},
		{"refused", streamsAreToldWhyTheyEnd},
	} {
		t.Run(one.name, func(t *testing.T) {
			t.Parallel()
			one.run(&sdkTest{t: t, path: path, makes: makes, redis: redistest.Start(t)})
		})
	}
}

// balanced starts hubs behind one address.
func (s *sdkTest) balanced(args ...string) (hubs []*process, door *redistest.Proxy) {
	s.t.Helper()
	var addrs []string
	for i := range 3 {
		h := s.hub(append([]string{fmt.Sprint("--node=hub", i)}, args...)...)
		hubs, addrs = append(hubs, h), append(addrs, h.addr())
	}
	door = redistest.NewProxy(s.t, addrs[0])
	door.Next(addrs...)
	return hubs, door
}

// streamsCommandsComeToAnyHub: each is answered on the stream, as over WebSocket, and tokens are renewed.
func streamsCommandsComeToAnyHub(s *sdkTest) {
	_, door := s.balanced("--jwt-secret="+secret, "--presence=room:*")
	s.each(func(t *testing.T, c *sdk) {
		room := "room:" + c.name
		claims := jwt.MapClaims{"sub": "u-" + c.name, "topics": map[string]any{"subscribe": []string{"room:*"}, "publish": []string{"room:*"}}, "presence": []string{"room:*"}}
		c.open(sdkOptions{url: endpoint(door.Addr()), tokens: []string{sign(t, 15*time.Second, claims), sign(t, time.Hour, claims)}})
		c.connect()
		if e := c.want("connected", ""); e.Transport != c.build {
			t.Errorf("%s", e)
		}
		c.subscribe(room)
		c.want("subscribed", room)
		for n := range 20 {
			c.ask(0, "publish", room, fmt.Sprintf(`{"n":%d}`, n+1), sdkHistory{})
		}
		c.wantNumbers(room, 1, 20)
		if h := c.ask(0, "history", room, "", sdkHistory{Limit: 100}); len(h.Publications) != 20 {
			t.Errorf("%+v", h)
		}
		if p := c.ask(0, "presenceStats", room, "", sdkHistory{}); p.NumClients != 1 {
			t.Errorf("%+v", p)
		}
		c.ask(108, "rpc", "", `{}`, sdkHistory{})
		c.ask(103, "publish", "news", `{}`, sdkHistory{})
		c.ever(1, "token", "", anyEvent) // its time can't be turned; a command between its end and the next one is refused
		for n := range 10 {              // beyond the first token's end
			time.Sleep(500 * time.Millisecond)
			c.ask(0, "publish", room, fmt.Sprintf(`{"n":%d}`, n+21), sdkHistory{})
		}
		c.unsubscribe(room)
		c.want("unsubscribed", room)
		if n := c.count("connecting", ""); n != 1 {
			t.Errorf("it connected %d times:%s", n, lastOf(c.all()))
		}
	})
}

// streamsOutliveTheirHubs: one drains, one is killed, and nothing is missed.
func streamsOutliveTheirHubs(s *sdkTest) {
	hubs, door := s.balanced("--drain-grace=0s", "--drain-window=500ms")
	var clients []*sdk
	for range 2 { // so that there are some on each hub
		for _, m := range s.makes {
			c := m.client(s.t, fmt.Sprint(s.t.Name(), "/", m.name, len(clients)))
			clients = append(clients, c)
			c.open(sdkOptions{url: endpoint(door.Addr())})
			c.subscribe("news")
			c.connect()
			c.want("subscribed", "news")
		}
	}
	f := s.flow(hubs[2], "news")
	hearMore(clients, "news", 20)
	door.Next(hubs[1].addr(), hubs[2].addr())
	hubs[0].terminate()
	if code := hubs[0].exitCode(); code != 0 {
		s.t.Errorf("a drained hub exits with %d", code)
	}
	hearMore(clients, "news", 20)
	door.Next(hubs[2].addr())
	hubs[1].signal(syscall.SIGKILL)
	hearMore(clients, "news", 20)
	for _, c := range clients {
		c.ask(0, "publish", "other", `{}`, sdkHistory{})
	}
	last := f.stop()
	moved := 0
	for _, c := range clients {
		c.wantNumbers("news", 1, last)
		for _, e := range c.all() {
			switch {
			case e.Event == "connecting" && e.Code == 3001:
				moved++
			case e.Event == "disconnected":
				s.t.Errorf("%s: %s", c.name, e)
			}
		}
	}
	if moved == 0 {
		s.t.Error("nobody was told that its hub drains")
	}
	s.stayWithTransport(clients)
}

// streamsAreToldWhyTheyEnd: by a push, where a WebSocket has a Close frame.
func streamsAreToldWhyTheyEnd(s *sdkTest) {
	hubs, door := s.balanced("--jwt-secret=" + secret)
	s.each(func(t *testing.T, c *sdk) {
		wrong := c.program.client(t, c.name+"/other", c.build)
		wrong.open(sdkOptions{url: endpoint(door.Addr()), tokens: []string{"wrong"}})
		wrong.connect()
		if e := wrong.until("the end", isDisconnected); e.Code != 3500 || e.Reason != "invalid token" {
			t.Errorf("a wrong token: %s", e)
		}
		old := c.program.client(t, c.name+"/old", c.build)
		old.open(sdkOptions{url: endpoint(door.Addr()), tokens: []string{sign(t, -time.Hour, jwt.MapClaims{"sub": "old"}), sign(t, time.Hour, jwt.MapClaims{"sub": "old"})}})
		old.connect()
		old.want("connected", "") // with another one

		user := "u-" + c.name
		c.open(sdkOptions{url: endpoint(door.Addr()), tokens: []string{sign(t, time.Hour, jwt.MapClaims{"sub": user})}})
		c.connect()
		c.want("connected", "")
		if status, _, _ := ask(t, "POST", hubs[0].control+"/api/disconnect", fmt.Sprintf(`{"user":%q}`, user), withKey...); status != 200 {
			t.Errorf("disconnect is answered %d", status)
		}
		if e := c.until("the end", isDisconnected); e.Code != 3503 || e.Reason != "force disconnect" {
			t.Errorf("sent away: %s", e)
		}
	})
}
