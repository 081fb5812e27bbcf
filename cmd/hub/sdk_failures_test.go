package main

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"wshub/pubsub/redistest"
)

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

	s.stayWithTransport(clients)
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
	s.stayWithTransport(clients)
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
	s.stayWithTransport(clients)
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
