package centrifugo_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	pb "github.com/centrifugal/protocol"
	"github.com/coder/websocket"

	"wshub/engine"
	"wshub/session"
	"wshub/session/token"
)

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

// A client that does not say who it is takes no more than a quarter of the places: the oldest of them goes.
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
