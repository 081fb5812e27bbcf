package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"wshub/pubsub/redistest"
	"wshub/session/centrifugo"
)

// sdkTest is hubs on one Redis, and SDKs of every make.
type sdkTest struct {
	t     *testing.T
	path  string // of the program
	makes []sdkMake
	redis *redistest.Server
	args  []string // further ones of all hubs
}

// sdkMake is one build of one SDK.
type sdkMake struct {
	name    string
	program *sdkProgram
	build   string
}

// transport is that of the client's connections.
func (m sdkMake) transport() string { return transportOf(m.build) }

func transportOf(build string) string {
	if build == "sse" || build == "http_stream" {
		return build
	}
	return "websocket"
}

func (m sdkMake) client(t *testing.T, name string) *sdk { return m.program.client(t, name, m.build) }

// hub starts a hub that keeps all topics.
func (s *sdkTest) hub(args ...string) *process {
	s.t.Helper()
	h := startHub(s.t, s.path, s.redis.URL(), append([]string{"--log-level=info", "--history=*=100000,10m", "--replay-limit=100000", "--jwt-skew=0s", "--api-key=" + apiKey}, append(s.args, args...)...)...)
	(&threeHubs{t: s.t}).awaitReady(h)
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
		if strings.HasPrefix(m.name, "js") && m.transport() == "websocket" {
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

// stayWithTransport fails if a client ever used another transport than its own, or gave up.
func (s *sdkTest) stayWithTransport(clients []*sdk) {
	s.t.Helper()
	for _, c := range clients {
		for _, e := range c.all() {
			if e.Event == "disconnected" || e.Event == "connected" && e.Transport != transportOf(c.build) {
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
