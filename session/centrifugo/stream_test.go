package centrifugo_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	pb "github.com/centrifugal/protocol"

	"wshub/engine"
	"wshub/pubsub"
	"wshub/pubsub/redistest/drills"
	"wshub/session"
	"wshub/session/token"
)

func TestAStreamsClientDoesWhatAllDo(t *testing.T) {
	streams(t, func(t *testing.T, way string) {
		n := start(t, session.Config{Node: "n1"}, engine.Config{Heartbeat: 7 * time.Second})
		c, result := n.connectStream(way, "")
		if result.Client == "" || result.Client == result.Session || result.Ping != 7 || result.Pong || result.Node != "n1" || len(result.Session) < 30 {
			t.Errorf("connected: %+v", result)
		}
		sub := c.subscribe("news")
		if !sub.Recoverable || sub.Epoch == "" {
			t.Errorf("subscribed: %+v", sub)
		}
		other, _ := n.connect(true, "")
		if r := other.ask(&pb.Command{Publish: &pb.PublishRequest{Channel: "news", Data: pb.Raw("{\"a\":\r\n1}")}}); r.Publish == nil {
			t.Fatalf("%+v", r)
		}
		c.hear() // the raw CR is no line end of the stream's
		c.send(&pb.Command{Publish: &pb.PublishRequest{Channel: "news", Data: pb.Raw(`2`)}}, &pb.Command{Unsubscribe: &pb.UnsubscribeRequest{Channel: "news"}})
		for published, left := false, false; !published || !left; {
			r := c.hear()
			published, left = published || r.Publish != nil, left || r.Unsubscribe != nil
		}
		if h := c.ask(&pb.Command{History: &pb.HistoryRequest{Channel: "news", Limit: 10}}).History; h == nil || len(h.Publications) != 2 {
			t.Errorf("history: %+v", h)
		}
		c.wantError(108, &pb.Command{Rpc: &pb.RPCRequest{Method: "m"}})
		c.wantError(108, &pb.Command{Presence: &pb.PresenceRequest{Channel: "news"}})

		// The events that were published while the stream was broken follow.
		_ = c.stream.body.Close()
		c, _ = n.connectStream(way, "")
		r := c.ask(&pb.Command{Subscribe: &pb.SubscribeRequest{Channel: "news", Recover: true, Epoch: sub.Epoch, Offset: sub.Offset}})
		if r.Subscribe == nil || !r.Subscribe.Recovered {
			t.Fatalf("%+v", r)
		}
		c.hear()
		c.wantPub("news", `2`)
	})
}

func TestAStreamsClientSubscribesAsItConnects(t *testing.T) {
	streams(t, func(t *testing.T, way string) {
		n := start(t, session.Config{}, engine.Config{})
		c := n.open(way, &pb.Command{Connect: &pb.ConnectRequest{}}, &pb.Command{Subscribe: &pb.SubscribeRequest{Channel: "news"}})
		if r := c.hear(); r.Connect == nil {
			t.Fatalf("%+v", r)
		}
		if r := c.hear(); r.Subscribe == nil {
			t.Errorf("%+v", r)
		}
	})
}

func TestAStreamsTokens(t *testing.T) {
	streams(t, func(t *testing.T, way string) {
		n := closed(t, session.Config{})
		grant := func(ttl time.Duration) string {
			return mint(t, token.Grant{Subject: "42", TTL: ttl, Subscribe: []string{"news"}})
		}
		c, result := n.connectStream(way, grant(time.Hour))
		if !result.Expires || result.Subs["user:42"] == nil {
			t.Errorf("%+v", result)
		}
		if r := c.ask(&pb.Command{Refresh: &pb.RefreshRequest{Token: grant(2 * time.Hour)}}); r.Refresh == nil || r.Refresh.Ttl < 7190 {
			t.Errorf("%+v", r)
		}
		c.send(&pb.Command{Refresh: &pb.RefreshRequest{Token: "garbage"}})
		c.wantFarewell(3500)
		for _, raw := range []string{"", "garbage"} {
			n.open(way, &pb.Command{Connect: &pb.ConnectRequest{Token: raw}}).wantFarewell(3500)
		}
		late := n.open(way, &pb.Command{Connect: &pb.ConnectRequest{Token: mint(t, token.Grant{Subject: "42", TTL: time.Hour, Now: time.Now().Add(-2 * time.Hour)})}})
		if r := late.hear(); r.Error == nil || r.Error.Code != 109 {
			t.Errorf("an expired token: %+v", r)
		}
	})
}

func TestStreamsEndByAPush(t *testing.T) {
	streams(t, func(t *testing.T, way string) {
		n := closed(t, session.Config{MessageRate: 1, MessageBurst: 1})
		raw := mint(t, token.Grant{Subject: "42", TTL: time.Hour})
		c, _ := n.connectStream(way, raw)
		if err := n.hub.Disconnect(t.Context(), session.Target{User: "42"}); err != nil {
			t.Fatal(err)
		}
		c.wantFarewell(3503)
		n.open(way, &pb.Command{Subscribe: &pb.SubscribeRequest{Channel: "news"}}).wantFarewell(3501)

		c, _ = n.connectStream(way, raw)
		c.send(&pb.Command{Id: 0, Ping: &pb.PingRequest{}}) // it gets an id
		c.wantFarewell(3501)

		hasty, _ := n.connectStream(way, raw)
		refused := false
		for status := 204; status == 204; {
			status, _, _ = hasty.stream.post(hasty.stream.request(`{"id":9,"publish":{"channel":"news","data":1}}`))
		}
		for {
			r, err := hasty.read()
			if err != nil {
				break
			}
			refused = refused || r.Error != nil && r.Error.Code == 111
			if r.Push != nil && r.Push.Disconnect.Code != 3013 {
				t.Errorf("%+v", r)
			}
		}
		if !refused {
			t.Error("no command was over the rate")
		}

		c, _ = n.connectStream(way, raw)
		n.server.StopAccepting()
		if err := n.hub.Drain(t.Context(), session.Departure{Window: 100 * time.Millisecond}); err != nil {
			t.Error(err)
		}
		c.wantFarewell(3001)
	})
}

func TestAStreamIsPingedAndAskedForNoPong(t *testing.T) {
	streams(t, func(t *testing.T, way string) {
		n := start(t, session.Config{}, engine.Config{Heartbeat: 100 * time.Millisecond})
		c, _ := n.connectStream(way, "")
		for range 2 {
			if r := c.hear(); r.Id != 0 || r.Push != nil || r.Error != nil {
				t.Errorf("%+v", r)
			}
		}
		c.send(&pb.Command{Presence: &pb.PresenceRequest{Channel: "news"}})
	})
}

func TestRequestsThatBringNoCommands(t *testing.T) {
	n := start(t, session.Config{Node: "n1"}, engine.Config{MaxMessage: 4 << 10})
	c, _ := n.connectStream("sse", "")
	whole := c.stream.request(`{"id":9,"presence":{"channel":"news"}}`)
	for body, status := range map[string]int{
		``:     400,
		`{}`:   400,
		"\xff": 400,
		strings.Replace(whole, `"data"`, `"Data"`, 1):                        400,
		strings.Replace(whole, `"data":"`, `"data":[],"x":"`, 1):             400,
		strings.Replace(whole, c.stream.session, c.stream.session[:20], 1):   404,
		strings.Replace(whole, c.stream.session, strings.Repeat("A", 39), 1): 404,
		strings.Replace(whole, `"n1"`, `"n2"`, 1):                            404,
		strings.Replace(whole, `"n1"`, `""`, 1):                              404,
		c.stream.request(strings.Repeat(" ", 5<<10)):                         413,
		c.stream.request(strings.Repeat(" ", 20<<10)):                        413,
	} {
		c.wantStatus(status, body)
	}
	c.wantStatus(204, whole)
	c.hear()
	_ = c.stream.body.Close()
	n.eventually("it has ended", func() bool { return n.hub.Stats().Sessions["centrifugo-sse"] == 0 })
	c.wantStatus(404, whole)
}

func TestAStreamsPathsTakeTheirOwnRequestsOnly(t *testing.T) {
	n := start(t, session.Config{}, engine.Config{})
	const connect = `{"id":1,"connect":{}}`
	for _, c := range []struct {
		method, path, kind, body, origin string
		status                           int
	}{
		{"GET", "/connection/sse", "", "", "", 400},
		{"GET", "/connection/sse?cf_connect=%FF", "", "", "", 400},
		{"POST", "/connection/sse", "application/json", connect, "", 405},
		{"GET", "/connection/http_stream", "", "", "", 405},
		{"POST", "/connection/http_stream", "application/json", "", "", 400},
		{"POST", "/connection/http_stream", "application/octet-stream", "\x02", "", 415},
		{"POST", "/connection/http_stream", "application/json", connect, "https://elsewhere.example", 403},
		{"POST", "/emulation", "application/json", "{}", "https://elsewhere.example", 403},
		{"GET", "/emulation", "", "", "", 405},
		{"PUT", "/emulation", "", "", "", 405},
		{"OPTIONS", "/emulation", "", "", "http://localhost", 204},
	} {
		r, err := http.NewRequest(c.method, n.base()+c.path, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", c.kind)
		if c.origin != "" {
			r.Header.Set("Origin", c.origin)
		}
		res, err := web.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if _ = res.Body.Close(); res.StatusCode != c.status {
			t.Errorf("%s %s %s: %s, want %d", c.method, c.path, c.kind, res.Status, c.status)
		}
	}
}

// telephone brings orders from one node's broker to another's hub.
type telephone struct {
	*pubsub.Memory
	hubs *map[string]*session.Hub
	cut  *atomic.Bool // orders get lost
	dead *atomic.Bool // and that is known
	// stuck, while it is locked, has orders wait. came are all that came so far.
	stuck *sync.RWMutex
	came  *atomic.Int32
}

func (p telephone) Notify(_ context.Context, node string, message []byte) error {
	if node != "" {
		p.came.Add(1)
	}
	p.stuck.RLock()
	defer p.stuck.RUnlock()
	if p.dead.Load() {
		return pubsub.ErrUnavailable
	}
	if hub := (*p.hubs)[node]; hub != nil && !p.cut.Load() {
		hub.Control(message)
	}
	return nil
}

// two are hubs that hear each other.
func two(t *testing.T) (a, b *node, line telephone) {
	hubs := make(map[string]*session.Hub)
	line = telephone{hubs: &hubs, cut: new(atomic.Bool), dead: new(atomic.Bool), stuck: new(sync.RWMutex), came: new(atomic.Int32)}
	begin := func(name string) *node {
		line.Memory = pubsub.NewMemory(pubsub.MemoryConfig{Node: name, History: history})
		return startOn(t, session.Config{Node: name, MessageRate: 20, Workers: 1}, engine.Config{}, line)
	}
	a, b = begin("a"), begin("b")
	hubs["a"], hubs["b"] = a.hub, b.hub
	return a, b, line
}

func TestARequestMayComeToAnotherNode(t *testing.T) {
	streams(t, func(t *testing.T, way string) {
		a, b, line := two(t)
		c, _ := a.connectStream(way, "")
		c.stream.emulation = b.base() + "/emulation"
		c.subscribe("news")
		a.publish("news", `1`)
		c.wantPub("news", `1`)
		whole := c.stream.request(`{"id":9,"history":{"channel":"news"}}`)

		line.dead.Store(true)
		c.wantStatus(503, whole)
		line.dead.Store(false)
		c.wantStatus(413, c.stream.request(strings.Repeat(" ", 600<<10)))
		hasty := 0
		for status := 204; status == 204; hasty++ {
			status, _, _ = c.stream.post(whole)
			if status != 204 && status != 429 {
				t.Errorf("over the rate: %d", status)
			}
		}
		if hasty < 10 {
			t.Errorf("%d requests are over the rate", hasty)
		}
		_ = c.stream.body.Close()
		a.eventually("it has ended", func() bool {
			return a.hub.Stats().Sessions["centrifugo-sse"]+a.hub.Stats().Sessions["centrifugo-http-stream"] == 0
		})
		a.eventually("that is known", func() bool {
			status, _, err := c.stream.post(whole)
			return status == 404 || err != nil && errors.Is(err, context.Canceled)
		})
	})
}

func TestANodeThatDoesNotAnswerIsNotWaitedForLong(t *testing.T) {
	drills.Programs(t) // it takes three seconds
	a, b, line := two(t)
	c, _ := a.connectStream("sse", "")
	c.stream.emulation = b.base() + "/emulation"
	line.cut.Store(true)
	c.wantStatus(504, c.stream.request(`{"id":9,"history":{"channel":"news"}}`))
}

// However slowly requests get to other nodes, what others publish does not wait for them.
func TestPublishingDoesNotWaitForRequestsToOtherNodes(t *testing.T) {
	a, b, line := two(t)
	c, _ := a.connectStream("sse", "")
	c.stream.emulation = b.base() + "/emulation"
	other, _ := b.connect(false, "")
	line.stuck.Lock()
	free := sync.OnceFunc(line.stuck.Unlock)
	t.Cleanup(free)
	answered := make(chan error, 1)
	go func() { answered <- c.stream.send([]byte(`{"id":9,"history":{"channel":"news"}}`)) }()
	b.eventually("the request waits", func() bool { return line.came.Load() == 1 })
	if r := other.ask(&pb.Command{Publish: &pb.PublishRequest{Channel: "news", Data: pb.Raw(`1`)}}); r.Publish == nil {
		t.Errorf("%+v", r)
	}
	free()
	if err := <-answered; err != nil {
		t.Error(err)
	}
}
