package centrifugo_test

import (
	"fmt"
	"testing"
	"time"

	pb "github.com/centrifugal/protocol"
	"github.com/coder/websocket"

	"wshub/engine"
	"wshub/session"
	"wshub/session/token"
)

func TestConnectSubscribePublish(t *testing.T) {
	both(t, func(t *testing.T, binary bool) {
		n := start(t, session.Config{Node: "n1"}, engine.Config{Heartbeat: 7 * time.Second})
		a, result := n.connect(binary, "")
		if result.Client == "" || result.Ping != 7 || !result.Pong || result.Node != "n1" || result.Version != "test" || result.Expires {
			t.Errorf("connected: %+v", result)
		}
		b, _ := n.connect(!binary, "")
		sub := a.subscribe("news")
		if !sub.Recoverable || !sub.Positioned || sub.Epoch == "" || sub.Offset == 0 || sub.WasRecovering {
			t.Errorf("subscribed: %+v", sub)
		}
		if raw := a.subscribe("raw"); raw.Recoverable || raw.Positioned || raw.Epoch != "" || raw.Offset != 0 {
			t.Errorf("without history: %+v", raw)
		}
		if r := b.ask(&pb.Command{Publish: &pb.PublishRequest{Channel: "news", Data: pb.Raw("{\"a\":\n1}")}}); r.Publish == nil {
			t.Fatalf("%+v", r)
		}
		p := a.wantPub("news", `{"a":1}`) // a newline ends a message in JSON
		if p.Offset <= sub.Offset || p.Info == nil || p.Info.Client == "" {
			t.Errorf("%+v", p)
		}
		n.publish("raw", `1`)
		if p := a.wantPub("raw", `1`); p.Offset != 0 || p.Info != nil {
			t.Errorf("%+v", p)
		}
		if r := a.ask(&pb.Command{Unsubscribe: &pb.UnsubscribeRequest{Channel: "news"}}); r.Unsubscribe == nil {
			t.Errorf("%+v", r)
		}
		n.publish("news", `2`)
		n.publish("raw", `3`)
		a.wantPub("raw", `3`)
	})
}

func TestCommandsOfAFrameAreDoneInTheirOrder(t *testing.T) {
	both(t, func(t *testing.T, binary bool) {
		n := start(t, session.Config{}, engine.Config{})
		c := n.dial(binary)
		c.send(&pb.Command{Connect: &pb.ConnectRequest{}}, &pb.Command{Subscribe: &pb.SubscribeRequest{Channel: "raw"}},
			&pb.Command{Publish: &pb.PublishRequest{Channel: "raw", Data: pb.Raw(`1`)}})
		c.send(&pb.Command{Publish: &pb.PublishRequest{Channel: "raw", Data: pb.Raw(`2`)}})
		seen := map[uint32]bool{}
		pubs := ""
		for len(seen) < 4 || len(pubs) < 2 {
			r := c.hear()
			switch {
			case r.Error != nil:
				t.Fatalf("%+v", r)
			case r.Push != nil:
				pubs += string(r.Push.Pub.Data)
			case len(seen) == 0 && r.Connect == nil:
				t.Fatalf("before connect: %+v", r)
			default:
				seen[r.Id] = true
			}
		}
		if pubs != "12" {
			t.Errorf("heard %s", pubs)
		}
	})
}

func mint(t testing.TB, g token.Grant) string {
	t.Helper()
	key, err := token.SecretSigner(secret)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := token.Mint(key, g)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestTokens(t *testing.T) {
	both(t, func(t *testing.T, binary bool) {
		n := closed(t, session.Config{})
		c, result := n.connect(binary, mint(t, token.Grant{Subject: "42", TTL: time.Hour, Subscribe: []string{"news"}}))
		if !result.Expires || result.Ttl < 3590 || result.Ttl > 3630 {
			t.Errorf("ttl: %+v", result)
		}
		if own := result.Subs["user:42"]; len(result.Subs) != 1 || own == nil || !own.Recoverable || own.Epoch == "" {
			t.Errorf("the personal channel: %+v", result.Subs)
		}
		n.publish("user:42", `1`)
		p := c.wantPub("user:42", `1`)
		c.subscribe("news")
		c.wantError(103, &pb.Command{Subscribe: &pb.SubscribeRequest{Channel: "sport"}})
		c.wantError(103, &pb.Command{Unsubscribe: &pb.UnsubscribeRequest{Channel: "user:42"}})
		fresh := mint(t, token.Grant{Subject: "42", TTL: 2 * time.Hour, Subscribe: []string{"sport"}})
		if r := c.ask(&pb.Command{Refresh: &pb.RefreshRequest{Token: fresh}}); r.Refresh == nil || !r.Refresh.Expires || r.Refresh.Ttl < 7190 {
			t.Errorf("%+v", r)
		}
		if r := c.hear(); r.Push == nil || r.Push.Channel != "news" || r.Push.Unsubscribe == nil || r.Push.Unsubscribe.Code != 2000 {
			t.Errorf("what the new token does not cover: %+v", r)
		}
		c.subscribe("sport")

		// The personal channel goes on where it was left.
		_ = c.conn.CloseNow()
		n.publish("user:42", `2`)
		c = n.dial(binary)
		r := c.ask(&pb.Command{Connect: &pb.ConnectRequest{Token: fresh, Subs: map[string]*pb.SubscribeRequest{
			"user:42": {Recover: true, Epoch: result.Subs["user:42"].Epoch, Offset: p.Offset}, "not mine": {Recover: true},
		}}})
		if r.Connect == nil || len(r.Connect.Subs) != 1 {
			t.Fatalf("%+v", r)
		}
		if own := r.Connect.Subs["user:42"]; !own.WasRecovering || !own.Recovered || own.Offset != p.Offset {
			t.Errorf("%+v", own)
		}
		c.wantPub("user:42", `2`)

		n.dial(binary).refused(t, "", 3500)
		n.dial(binary).refused(t, "garbage", 3500)
		old := n.dial(binary)
		old.wantError(109, &pb.Command{Connect: &pb.ConnectRequest{Token: mint(t, token.Grant{Subject: "42", TTL: time.Hour, Now: time.Now().Add(-2 * time.Hour)})}})
		c.send(&pb.Command{Refresh: &pb.RefreshRequest{Token: "garbage"}})
		c.wantClose(3500)
	})
}

// refused connects with a token that is not accepted.
func (c *client) refused(t *testing.T, token string, code int) {
	t.Helper()
	c.send(&pb.Command{Connect: &pb.ConnectRequest{Token: token}}, &pb.Command{Subscribe: &pb.SubscribeRequest{Channel: "news"}})
	c.wantClose(code)
}

func TestPings(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, binary bool) {
		t.Parallel()
		n := start(t, session.Config{}, engine.Config{Heartbeat: time.Second})
		c, result := n.connect(binary, "")
		silent, _ := n.connect(binary, "")
		if result.Ping != 1 {
			t.Errorf("ping %d", result.Ping)
		}
		for range 3 {
			if r := c.hear(); r.Id != 0 || r.Push != nil || r.Connect != nil {
				t.Fatalf("no ping: %+v", r)
			}
			if binary {
				c.write([]byte{0})
			} else {
				c.write([]byte(`{}`))
			}
		}
		silent.wantClose(3012)
		c.subscribe("news")
	})
}

// A client that is slow, or at something else, may find two pings: it answers both.
func TestPongsMayComeLateButNotUnasked(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, binary bool) {
		t.Parallel()
		n := start(t, session.Config{}, engine.Config{Heartbeat: time.Second})
		c, _ := n.connect(binary, "")
		pong := []byte(`{}`)
		if binary {
			pong = []byte{0}
		}
		for pings := 0; pings < 2; pings++ {
			for {
				if r := c.hear(); r.Id == 0 && r.Push == nil {
					break
				}
			}
			c.send(&pb.Command{Presence: &pb.PresenceRequest{Channel: "news"}}) // it lives
		}
		c.write(pong)
		c.write(pong)
		for c.hear().Id == 0 {
		}
		for range 5 {
			_ = c.try(pong)
		}
		c.wantClose(3501)
	})
}

func TestSilentOnesAndDrain(t *testing.T) {
	n := start(t, session.Config{MaxSessionsPerUser: 1}, engine.Config{})
	c, _ := n.connect(false, "")
	silent := n.dial(false) // has not sent connect
	n.server.StopAccepting()
	done := make(chan error, 1)
	go func() { done <- n.hub.Drain(t.Context(), session.Departure{Window: 100 * time.Millisecond}) }()
	c.wantClose(3001)
	silent.wantClose(3001)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestARebalanceTellsToComeBackAndLeavesTheSilent(t *testing.T) {
	n := start(t, session.Config{}, engine.Config{Pollers: 1})
	c, _ := n.connect(false, "")
	silent := n.dial(false) // has not sent connect
	r, err := n.hub.Rebalance(t.Context(), 100, session.Departure{Elsewhere: func() bool { return true }})
	if err != nil {
		t.Fatal(err)
	}
	c.wantClose(3011)
	if away, err := r.Wait(t.Context()); away != 1 || err != nil {
		t.Errorf("%d were sent away, %v", away, err)
	}
	if reply := silent.ask(&pb.Command{Connect: &pb.ConnectRequest{}}); reply.Connect == nil {
		t.Errorf("the silent one is answered %v", reply)
	}
}

// All protocols share topics: each event reaches all, once and in order.
func TestOneTopicOfAllProtocols(t *testing.T) {
	n := start(t, session.Config{}, engine.Config{})
	json, _ := n.connect(false, "")
	proto, _ := n.connect(true, "")
	json.subscribe("news")
	proto.subscribe("news")
	dial := func(query, protocol string) *websocket.Conn {
		conn, _, err := websocket.Dial(t.Context(), "ws://"+n.server.Addr().String()+"/notification"+query, &websocket.DialOptions{Subprotocols: []string{protocol}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.CloseNow() })
		return conn
	}
	plain := dial("?topic=news", "hub.v1.plain")
	n.eventually("all follow", func() bool { return n.hub.Stats().Subscriptions == 3 })
	for i := range 100 {
		data := fmt.Sprint(i)
		switch i % 3 {
		case 0:
			n.publish("news", data)
		case 1:
			json.send(&pb.Command{Publish: &pb.PublishRequest{Channel: "news", Data: pb.Raw(data)}})
		case 2:
			if err := plain.Write(t.Context(), websocket.MessageText, []byte(data)); err != nil {
				t.Fatal(err)
			}
		}
		for json.replies = nil; ; {
			if r := json.hear(); r.Push != nil {
				if string(r.Push.Pub.Data) != data {
					t.Fatalf("json: %s, want %s", r.Push.Pub.Data, data)
				}
				break
			}
		}
		proto.wantPub("news", data)
		if _, got, err := plain.Read(t.Context()); err != nil || string(got) != data {
			t.Fatalf("plain: %s, %v", got, err)
		}
	}
}

func TestABackendRefreshesAConnection(t *testing.T) {
	both(t, func(t *testing.T, binary bool) {
		n := closed(t, session.Config{})
		c, _ := n.connect(binary, mint(t, token.Grant{Subject: "42", TTL: time.Hour}))
		renew := func(at time.Time) {
			t.Helper()
			if err := n.hub.Refresh(t.Context(), session.Target{User: "42"}, at); err != nil {
				t.Fatal(err)
			}
		}
		renew(time.Now().Add(2 * time.Hour))
		if r := c.hear(); r.Push == nil || r.Push.Refresh == nil || !r.Push.Refresh.Expires || r.Push.Refresh.Ttl < 7190 || r.Push.Refresh.Ttl > 7200 {
			t.Errorf("%+v", r)
		}
		renew(time.Time{})
		if r := c.hear(); r.Push == nil || r.Push.Refresh == nil || r.Push.Refresh.Expires {
			t.Errorf("%+v", r)
		}
		if err := n.hub.Disconnect(t.Context(), session.Target{User: "42"}); err != nil {
			t.Fatal(err)
		}
		c.wantClose(3503)
	})
}

// Topics that a backend has a session follow, and leave, are told by pushes; the subscription is a server-side one.
func TestABackendSubscribes(t *testing.T) {
	both(t, func(t *testing.T, binary bool) {
		n := closed(t, session.Config{})
		c, result := n.connect(binary, mint(t, token.Grant{Subject: "42", TTL: time.Hour}))
		if err := n.hub.Subscribe(t.Context(), session.Target{Session: result.Client}, session.Following{Topic: "$given"}); err != nil {
			t.Fatal(err)
		}
		if r := c.hear(); r.Push == nil || r.Push.Channel != "$given" || r.Push.Subscribe == nil || !r.Push.Subscribe.Recoverable || r.Push.Subscribe.Offset == 0 {
			t.Fatalf("%+v", r)
		}
		n.publish("$given", `1`)
		c.wantPub("$given", `1`)
		c.wantError(105, &pb.Command{Subscribe: &pb.SubscribeRequest{Channel: "$given"}})
		if err := n.hub.Unsubscribe(t.Context(), session.Target{User: "42"}, "$given"); err != nil {
			t.Fatal(err)
		}
		if r := c.hear(); r.Push == nil || r.Push.Channel != "$given" || r.Push.Unsubscribe == nil || r.Push.Unsubscribe.Code != 2000 {
			t.Errorf("%+v", r)
		}
		c.wantError(103, &pb.Command{Subscribe: &pb.SubscribeRequest{Channel: "$given"}})
	})
}
