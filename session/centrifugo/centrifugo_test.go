package centrifugo_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	pb "github.com/centrifugal/protocol"
	"github.com/coder/websocket"

	"wshub/engine"
	"wshub/pubsub"
	"wshub/session"
	"wshub/session/centrifugo/offset"
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

func TestRecovery(t *testing.T) {
	both(t, func(t *testing.T, binary bool) {
		n := start(t, session.Config{ReplayLimit: 10}, engine.Config{})
		c, _ := n.connect(binary, "")
		n.publish("news", `1`, `2`)
		at := c.subscribe("news")
		n.publish("news", `3`)
		if p := c.wantPub("news", `3`); p.Offset <= at.Offset {
			t.Errorf("%d behind %d", p.Offset, at.Offset)
		}
		_ = c.conn.CloseNow()
		n.publish("news", `4`)

		again := func(r *pb.SubscribeRequest) (*client, *pb.SubscribeResult) {
			c, _ := n.connect(binary, "")
			r.Channel, r.Recover = "news", true
			answer := c.ask(&pb.Command{Subscribe: r})
			if answer.Subscribe == nil {
				t.Fatalf("%+v: %+v", r, answer)
			}
			return c, answer.Subscribe
		}
		for name, r := range map[string]*pb.SubscribeRequest{
			"by epoch":     {Epoch: at.Epoch, Offset: at.Offset},
			"of any epoch": {Offset: at.Offset},
		} {
			c, sub := again(r)
			if !sub.WasRecovering || !sub.Recovered || sub.Offset != at.Offset || sub.Epoch != at.Epoch {
				t.Errorf("%s: %+v, want offset %d", name, sub, at.Offset)
			}
			c.wantPub("news", `3`)
			c.wantPub("news", `4`)
		}
		c, sub := again(&pb.SubscribeRequest{})
		if !sub.Recovered || sub.Offset != 0 || sub.Epoch != at.Epoch {
			t.Errorf("from the beginning: %+v", sub)
		}
		for _, data := range []string{`1`, `2`, `3`, `4`} {
			c.wantPub("news", data)
		}
		for name, r := range map[string]*pb.SubscribeRequest{
			"_":                  {Epoch: "_", Offset: at.Offset},
			"another epoch":      {Epoch: strings.Repeat("0", 15) + "1", Offset: at.Offset},
			"no epoch":           {Epoch: "zzz", Offset: at.Offset},
			"beyond all offsets": {Epoch: at.Epoch, Offset: 1 << 60},
		} {
			_, sub := again(r)
			if !sub.WasRecovering || sub.Recovered || sub.Epoch != at.Epoch || sub.Offset <= at.Offset {
				t.Errorf("%s: %+v", name, sub)
			}
		}
		c, _ = n.connect(binary, "")
		c.wantError(112, &pb.Command{Subscribe: &pb.SubscribeRequest{Channel: "news", Recover: true, Epoch: "_", Flag: 1 << 1}})
		if sub := c.subscribe("news"); sub.Offset <= at.Offset {
			t.Errorf("after error 112: %+v", sub)
		}
		n.publish("news", `5`, `6`, `7`, `8`, `9`, `10`, `11`, `12`)
		if _, sub := again(&pb.SubscribeRequest{Epoch: at.Epoch, Offset: at.Offset}); !sub.Recovered {
			t.Errorf("as many as may be: %+v", sub)
		}
		n.publish("news", `13`)
		if _, sub := again(&pb.SubscribeRequest{Epoch: at.Epoch, Offset: at.Offset}); sub.Recovered {
			t.Errorf("more than may be: %+v", sub)
		}
	})
}

func TestHistory(t *testing.T) {
	both(t, func(t *testing.T, binary bool) {
		n := start(t, session.Config{ReplayLimit: 5}, engine.Config{})
		n.publish("news", `1`, `2`, `3`, `4`, `5`, `6`)
		c, _ := n.connect(binary, "")
		ask := func(r *pb.HistoryRequest) (data string, result *pb.HistoryResult) {
			t.Helper()
			r.Channel = "news"
			answer := c.ask(&pb.Command{History: r})
			if answer.History == nil {
				t.Fatalf("%+v: %+v", r, answer)
			}
			for _, p := range answer.History.Publications {
				data += string(p.Data)
			}
			return data, answer.History
		}
		if data, r := ask(&pb.HistoryRequest{}); data != "" || r.Offset == 0 || r.Epoch == "" {
			t.Errorf("the position: %s %+v", data, r)
		}
		data, r := ask(&pb.HistoryRequest{Limit: 2})
		if data != "12" {
			t.Errorf("the first two: %s", data)
		}
		since := &pb.StreamPosition{Epoch: r.Epoch, Offset: r.Publications[1].Offset}
		if data, _ := ask(&pb.HistoryRequest{Limit: 3, Since: since}); data != "345" {
			t.Errorf("the next three: %s", data)
		}
		if data, _ := ask(&pb.HistoryRequest{Limit: -1}); data != "12345" {
			t.Errorf("as many as may be: %s", data)
		}
		if data, _ := ask(&pb.HistoryRequest{Limit: 2, Reverse: true}); data != "65" {
			t.Errorf("the last two: %s", data)
		}
		if data, _ := ask(&pb.HistoryRequest{Limit: 3, Reverse: true, Since: since}); data != "1" {
			t.Errorf("before the second: %s", data)
		}
		c.wantError(112, &pb.Command{History: &pb.HistoryRequest{Channel: "news", Limit: 1, Since: &pb.StreamPosition{Epoch: "_", Offset: 1}}})
		c.wantError(108, &pb.Command{History: &pb.HistoryRequest{Channel: "raw", Limit: 1}})
	})
}

// Clients take an answer with fewer events than they asked for as the end of the history.
func TestAHistoryIsAnsweredWhole(t *testing.T) {
	both(t, func(t *testing.T, binary bool) {
		n := start(t, session.Config{ReplayLimit: 500}, engine.Config{})
		large := strings.Repeat("x", 10_000)
		var all []string
		for i := range 150 { // 1.5 MB
			all = append(all, fmt.Sprintf(`{"n":%d,"pad":%q}`, i, large))
		}
		n.publish("news", all...)
		c, _ := n.connect(binary, "")
		ask := func(r *pb.HistoryRequest, first, step, events int) []*pb.Publication {
			t.Helper()
			r.Channel = "news"
			answer := c.ask(&pb.Command{History: r})
			if answer.History == nil || len(answer.History.Publications) != events {
				t.Fatalf("%d events: error %v, got %d", events, answer.Error, len(answer.History.GetPublications()))
			}
			for i, p := range answer.History.Publications {
				if string(p.Data) != all[first+i*step] {
					t.Fatalf("%d events: the %dth is %.20s", events, i, p.Data)
				}
			}
			return answer.History.Publications
		}
		page := ask(&pb.HistoryRequest{Limit: 100}, 0, 1, 100)
		top := c.ask(&pb.Command{History: &pb.HistoryRequest{Channel: "news"}}).History
		since := &pb.StreamPosition{Epoch: top.Epoch, Offset: page[99].Offset}
		if rest := ask(&pb.HistoryRequest{Limit: 100, Since: since}, 100, 1, 50); rest[49].Offset != top.Offset {
			t.Errorf("the last one is at %d, the top at %d", rest[49].Offset, top.Offset)
		}
		ask(&pb.HistoryRequest{Limit: 100, Reverse: true}, 149, -1, 100)
		ask(&pb.HistoryRequest{Limit: 100, Reverse: true, Since: since}, 98, -1, 99)
		c.wantError(106, &pb.Command{History: &pb.HistoryRequest{Channel: "news", Limit: 200}})
		if r := c.ask(&pb.Command{History: &pb.HistoryRequest{Channel: "news", Limit: -1}}); len(r.History.GetPublications()) < 100 {
			t.Errorf("as many as may be: %d, %v", len(r.History.GetPublications()), r.Error)
		}
		n.eventually("nothing is owed", func() bool { return n.server.Stats().Backlog == 0 })
	})
}

func TestWhatIsRefused(t *testing.T) {
	both(t, func(t *testing.T, binary bool) {
		n := start(t, session.Config{MaxTopics: 3, MessageRate: -1}, engine.Config{})
		c, _ := n.connect(binary, "")
		c.subscribe("news")
		for _, test := range []struct {
			code uint32
			cmd  *pb.Command
		}{
			{105, &pb.Command{Subscribe: &pb.SubscribeRequest{Channel: "news"}}},
			{107, &pb.Command{Subscribe: &pb.SubscribeRequest{}}},
			{107, &pb.Command{Subscribe: &pb.SubscribeRequest{Channel: strings.Repeat("x", 256)}}},
			{107, &pb.Command{Subscribe: &pb.SubscribeRequest{Channel: "a\x01"}}},
			{103, &pb.Command{Subscribe: &pb.SubscribeRequest{Channel: "user:7"}}},
			{103, &pb.Command{Subscribe: &pb.SubscribeRequest{Channel: "$private"}}},
			{103, &pb.Command{Subscribe: &pb.SubscribeRequest{Channel: "talk#7,8"}}},
			{108, &pb.Command{Subscribe: &pb.SubscribeRequest{Channel: "map", Type: 1}}},
			{107, &pb.Command{Publish: &pb.PublishRequest{Channel: "news", Data: pb.Raw("\xff")}}},
			{103, &pb.Command{Publish: &pb.PublishRequest{Channel: "user:7", Data: pb.Raw("1")}}},
			{108, &pb.Command{Presence: &pb.PresenceRequest{Channel: "news"}}},
			{108, &pb.Command{PresenceStats: &pb.PresenceStatsRequest{Channel: "news"}}},
			{108, &pb.Command{Rpc: &pb.RPCRequest{Method: "m"}}},
			{103, &pb.Command{SubRefresh: &pb.SubRefreshRequest{Channel: "other", Token: "x"}}},
			{107, &pb.Command{Refresh: &pb.RefreshRequest{Token: "x"}}}, // an open hub takes none
		} {
			if !binary && test.cmd.Publish != nil && test.code == 107 {
				continue // no JSON frame can hold it
			}
			c.wantError(test.code, test.cmd)
		}
		c.subscribe("second")
		c.subscribe("third")
		c.wantError(106, &pb.Command{Subscribe: &pb.SubscribeRequest{Channel: "fourth"}})
		if r := c.ask(&pb.Command{Unsubscribe: &pb.UnsubscribeRequest{Channel: "never"}}); r.Unsubscribe == nil {
			t.Errorf("%+v", r)
		}
		c.send(&pb.Command{Send: &pb.SendRequest{Data: pb.Raw(`1`)}})
		n.publish("news", `1`)
		c.wantPub("news", `1`)
	})
}

func TestWhatEndsAConnection(t *testing.T) {
	connect := `{"id":1,"connect":{}}`
	for name, test := range map[string]struct {
		frames []string
		code   int
	}{
		"a command before connect":   {[]string{`{"id":1,"subscribe":{"channel":"a"}}`}, 3501},
		"connect without an id":      {[]string{`{"connect":{}}`}, 3501},
		"a pong before connect":      {[]string{`{}`}, 3501},
		"a second connect":           {[]string{connect, connect}, 3501},
		"a second one in the frame":  {[]string{connect + "\n" + connect}, 3501},
		"a pong without a ping":      {[]string{connect, `{}`}, 3501},
		"a ping":                     {[]string{connect, `{"id":2,"ping":{}}`}, 3501},
		"a command without an id":    {[]string{connect, `{"subscribe":{"channel":"a"}}`}, 3501},
		"a command of nothing":       {[]string{connect, `{"id":2}`}, 3501},
		"garbage":                    {[]string{connect, `{"id":`}, 3501},
		"garbage first":              {[]string{`garbage`}, 3501},
		"an empty frame":             {[]string{connect, ``}, 3501},
		"a blank line":               {[]string{connect, "{\"id\":2,\"rpc\":{}}\n\n{\"id\":3,\"rpc\":{}}"}, 3501},
		"too many before the answer": {append([]string{connect + "\n" + strings.Repeat("{}\n", 10)}, "{}"), 3501},
	} {
		t.Run(name, func(t *testing.T) {
			n := start(t, session.Config{}, engine.Config{})
			healthy, _ := n.connect(false, "")
			c := n.dial(false)
			for _, frame := range test.frames {
				c.write([]byte(frame))
			}
			c.wantClose(test.code)
			healthy.subscribe("news")
		})
	}
	n := start(t, session.Config{}, engine.Config{})
	for _, frame := range []string{"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", "\xff\xff\xff\xff\x0f1", "\x05\x08"} {
		c := n.dial(true)
		c.write([]byte(frame))
		c.wantClose(3501)
	}
	c, _ := n.connect(true, "")
	if err := c.conn.Write(t.Context(), websocket.MessageText, []byte(`{}`)); err != nil {
		t.Fatal(err)
	}
	c.wantClose(3501)
}

func TestAThousandCommandsInAFrame(t *testing.T) {
	n := start(t, session.Config{MessageRate: 10, MessageBurst: 100}, engine.Config{})
	healthy, _ := n.connect(false, "")
	c, _ := n.connect(false, "")
	var commands []*pb.Command
	for range 150 {
		commands = append(commands, &pb.Command{Rpc: &pb.RPCRequest{}})
	}
	first := c.send(commands...)
	answers := map[uint32]int{}
	for i := range commands {
		r := c.hear()
		if r.Id != first+uint32(i) || r.Error == nil {
			t.Fatalf("answer %d: %+v", i, r)
		}
		answers[r.Error.Code]++
	}
	if answers[108] < 95 || answers[111] < 30 {
		t.Errorf("answers by code: %v", answers)
	}
	for range 6 {
		commands = append(commands, commands...)
	}
	for _, cmd := range commands {
		cmd.Id = 7
	}
	c.send(commands[:2000]...)
	c.wantClose(3013)
	healthy.subscribe("news")
}

func TestComingBackToManyChannelsIsWithinTheRate(t *testing.T) {
	const channels = 100
	both(t, func(t *testing.T, binary bool) {
		for _, together := range []bool{true, false} {
			n := start(t, session.Config{MaxTopics: channels, MessageRate: 1, MessageBurst: 10}, engine.Config{})
			c := n.dial(binary)
			commands := []*pb.Command{{Connect: &pb.ConnectRequest{}}}
			for i := range channels {
				commands = append(commands, &pb.Command{Subscribe: &pb.SubscribeRequest{Channel: fmt.Sprint("raw ", i)}})
			}
			if together { // as centrifuge-js has it
				c.send(commands...)
			}
			for _, cmd := range commands {
				if !together {
					c.send(cmd)
				}
				if r := c.hear(); r.Error != nil {
					t.Fatalf("%+v", r)
				}
			}
			for range 10 {
				c.wantError(108, &pb.Command{Rpc: &pb.RPCRequest{}})
			}
			c.wantError(111, &pb.Command{Subscribe: &pb.SubscribeRequest{Channel: "raw 0"}})
			c.send(&pb.Command{Subscribe: &pb.SubscribeRequest{Channel: "raw 0"}}, &pb.Command{Unsubscribe: &pb.UnsubscribeRequest{Channel: "raw 0"}})
			if r := c.hear(); r.Error.GetCode() != 111 {
				t.Errorf("one more subscribe than channels: %+v", r)
			}
			if r := c.hear(); r.Unsubscribe == nil {
				t.Errorf("unsubscribe over the rate: %+v", r)
			}
			n.publish("raw 0", `0`)
			n.publish("raw 1", `1`)
			c.wantPub("raw 1", `1`)
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
	both(t, func(t *testing.T, binary bool) {
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
	both(t, func(t *testing.T, binary bool) {
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
	go func() { done <- n.hub.Drain(t.Context(), 100*time.Millisecond) }()
	c.wantClose(3001)
	silent.wantClose(3001)
	if err := <-done; err != nil {
		t.Error(err)
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

// Where events are lost a subscription ends, and the SDK begins another one; a server-side one ends with the connection.
func TestALossEndsTheSubscription(t *testing.T) {
	both(t, func(t *testing.T, binary bool) {
		n := closed(t, session.Config{})
		c, _ := n.connect(binary, mint(t, token.Grant{Subject: "42", TTL: time.Hour, Subscribe: []string{"news"}}))
		other, _ := n.connect(!binary, mint(t, token.Grant{Subject: "43", TTL: time.Hour, Subscribe: []string{"news"}}))
		c.subscribe("news")
		other.subscribe("news")
		n.publish("news", `1`)
		p := c.wantPub("news", `1`)
		other.wantPub("news", `1`)
		epoch := strings.Repeat("0", 15) + "9"
		at, err := offset.Position(epoch, p.Offset+100)
		if err != nil {
			t.Fatal(err)
		}
		both := pubsub.Loops(0).With(0).With(1)
		n.hub.Gap("news", both, at)
		for _, c := range []*client{c, other} {
			if r := c.hear(); r.Push == nil || r.Push.Channel != "news" || r.Push.Unsubscribe == nil || r.Push.Unsubscribe.Code != 2500 {
				t.Fatalf("%+v", r)
			}
		}
		n.eventually("both have left it", func() bool { return n.hub.Stats().Subscriptions == 2 })
		c.subscribe("news")
		n.hub.Gap("user:42", both, pubsub.Position{})
		c.wantClose(3010)
		other.subscribe("news")
	})
}

// A client that reads nothing catches up in its pump, and a loss that comes meanwhile ends it there.
func TestALossBehindWhatLags(t *testing.T) {
	n := start(t, session.Config{}, engine.Config{MaxQueued: 64 << 10, SendBuffer: 4 << 10})
	c, _ := n.connect(false, "")
	sub := c.subscribe("news")
	data := `"` + strings.Repeat("x", 8000) + `"`
	n.publish("news", slices.Repeat([]string{data}, 200)...) // at once: who reads nothing for a second is cut
	at, err := offset.Position(strings.Repeat("0", 15)+"9", sub.Offset)
	if err != nil {
		t.Fatal(err)
	}
	n.hub.Gap("news", pubsub.Loops(0).With(0).With(1), at)
	n.publish("news", `"behind"`)
	for i := 0; ; i++ {
		r := c.hear()
		if r.Push.Unsubscribe != nil {
			if i != 200 || r.Push.Unsubscribe.Code != 2500 {
				t.Errorf("after %d events: %+v", i, r)
			}
			break
		}
		if string(r.Push.Pub.Data) != data {
			t.Fatalf("event %d: %.40s", i, r.Push.Pub.Data)
		}
	}
	if sub := c.subscribe("news"); sub.WasRecovering {
		t.Errorf("%+v", sub)
	}
	if b := n.server.Stats().Backlog; b != 0 {
		t.Errorf("%d bytes of backlog, and nothing waits", b)
	}
}

// Who does not say who it is takes no more than a quarter of the places: the oldest of them goes.
func TestSilentOnesTakeFewPlaces(t *testing.T) {
	n := start(t, session.Config{}, engine.Config{MaxConnections: 16}) // 2 loops with 2 places each for the silent
	healthy, _ := n.connect(false, "")
	var silent []*client
	for range 12 {
		silent = append(silent, n.dial(false))
	}
	n.eventually("the oldest have gone", func() bool { return n.server.Stats().Closed["lobby_full"] >= 8 && n.server.Stats().Open <= 5 })
	silent[0].wantClose(3004)
	for range 8 {
		n.connect(true, "")
	}
	healthy.subscribe("news")
	last := silent[len(silent)-1]
	if r := last.ask(&pb.Command{Connect: &pb.ConnectRequest{}}); r.Connect == nil {
		t.Errorf("%+v", r)
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

// What a backend has a session follow, and leave, is told by pushes; the subscription is a server-side one.
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

// A refused connect gives no place of its own: who had a token once could hold all places otherwise.
func TestRefusedOnesTakeFewPlaces(t *testing.T) {
	v, err := token.NewVerifier(token.Config{Secrets: []string{secret}})
	if err != nil {
		t.Fatal(err)
	}
	n := start(t, session.Config{Verifier: v}, engine.Config{MaxConnections: 16}) // 2 loops with 2 places each in the lobby
	old := mint(t, token.Grant{Subject: "42", TTL: time.Hour, Now: time.Now().Add(-2 * time.Hour)})
	for range 14 {
		n.dial(false).wantError(109, &pb.Command{Connect: &pb.ConnectRequest{Token: old}})
	}
	n.eventually("the oldest have gone", func() bool { return n.server.Stats().Closed["lobby_full"] >= 10 })
	for range 8 {
		n.connect(true, mint(t, token.Grant{Subject: "43", TTL: time.Hour}))
	}
}
