package session

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"wshub/engine"
	"wshub/pubsub"
)

// The protocols live in packages that import this one, so an external test sets them.
var (
	TestProtocols []Protocol
	TestFormat    *Format // the data alone
)

const (
	protocolV1    = "hub.v1.json"
	protocolPlain = "hub.v1.plain"
)

// newHub makes a hub that speaks hub.v1 and plain.
func newHub(cfg Config, broker Broker) (*Hub, error) {
	hub, err := NewHub(cfg, broker)
	if err != nil {
		return nil, err
	}
	return hub, hub.Serve("/notification", TestProtocols...)
}

// open is how many sessions there are.
func (st Stats) open() (n int64) {
	for _, sessions := range st.Sessions {
		n += sessions
	}
	return n
}

// node is a hub with its server and broker, running until the test ends.
type node struct {
	t      testing.TB
	hub    *Hub
	server *engine.Server
	broker Broker
}

func start(t testing.TB, cfg Config, ecfg engine.Config, broker Broker) *node {
	t.Helper()
	cfg.TrustUserParam = true
	hub, err := newHub(cfg, broker)
	if err != nil {
		t.Fatal(err)
	}
	return run(t, hub, ecfg)
}

// run runs hub on a server of its own.
func run(t testing.TB, hub *Hub, ecfg engine.Config) *node {
	t.Helper()
	ecfg.Addr = "127.0.0.1:0"
	server, err := engine.New(ecfg, hub)
	if err != nil {
		t.Fatal(err)
	}
	hub.Attach(server)
	ctx, cancel := context.WithCancel(context.Background())
	serverCtx, cancelServer := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	go func() { ended <- server.Run(serverCtx) }()
	go func() { err := hub.Run(ctx); cancelServer(); ended <- err }()
	t.Cleanup(func() {
		cancel()
		for range 2 {
			select {
			case err := <-ended:
				if err != nil {
					t.Error(err)
				}
			case <-time.After(patience):
				t.Fatal("the node does not end")
			}
		}
		if st := hub.Stats(); st.open()+st.Topics+st.Subscriptions != 0 {
			t.Errorf("left behind: %+v", st)
		}
	})
	n := &node{t: t, hub: hub, server: server, broker: hub.broker}
	n.eventually("the broker is ready", func() bool { return n.broker.Ready() == nil })
	return n
}

// memory is a node on a broker of its own.
func memory(t testing.TB, cfg Config) *node {
	return start(t, cfg, engine.Config{Pollers: spread}, pubsub.NewMemory(pubsub.MemoryConfig{}))
}

// eventually waits until ok, looking often.
func (n *node) eventually(what string, ok func() bool) {
	n.t.Helper()
	deadline := time.After(patience)
	poll := time.NewTicker(2 * time.Millisecond)
	defer poll.Stop()
	for !ok() {
		select {
		case <-poll.C:
		case <-deadline:
			n.t.Fatal("never: " + what)
		}
	}
}

func (n *node) publish(topic, data string) {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if r, err := n.hub.Publish(ctx, []pubsub.Publication{{Topic: topic, Data: []byte(data)}}); err != nil || r[0].Err != nil {
		n.t.Fatal(r, err)
	}
}

// client is a real WebSocket client.
type client struct {
	t    testing.TB
	conn *websocket.Conn
}

func (n *node) dial(query string, protocols ...string) *client {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, "ws://"+n.server.Addr().String()+"/notification"+query,
		&websocket.DialOptions{Subprotocols: protocols})
	if err != nil {
		n.t.Fatal(err)
	}
	conn.SetReadLimit(1 << 24)
	n.t.Cleanup(func() { _ = conn.CloseNow() })
	return &client{n.t, conn}
}

// plain connects a plain client and waits until it follows what it should.
func (n *node) plain(query string, topics int) *client {
	n.t.Helper()
	before := n.hub.Stats().Subscriptions
	c := n.dial(query)
	n.eventually("the client follows its topics", func() bool {
		return n.hub.Stats().Subscriptions >= before+int64(topics)
	})
	return c
}

// v1 connects a hub.v1 client and takes its welcome.
func (n *node) v1(query string) *client {
	n.t.Helper()
	c := n.dial(query, protocolV1)
	if got := c.read(); !strings.HasPrefix(got, `{"type":"welcome","session":"s_`) {
		n.t.Fatal("no welcome but", got)
	}
	return c
}

func (c *client) read() string {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, data, err := c.conn.Read(ctx)
	if err != nil {
		c.t.Fatal("read: ", err)
	}
	if !json.Valid(data) {
		c.t.Fatalf("not JSON: %q", data)
	}
	return string(data)
}

func (c *client) send(text string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := c.conn.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
		c.t.Fatal("write: ", err)
	}
}

// want reads one message, which must be exactly this.
func (c *client) want(text string) {
	c.t.Helper()
	if got := c.read(); got != text {
		c.t.Fatalf("got  %s\nwant %s", got, text)
	}
}

// wantError reads one message, which must be an error with this code.
func (c *client) wantError(code Code) {
	c.t.Helper()
	if got := c.read(); !strings.Contains(got, `"type":"error"`) || !strings.Contains(got, `"code":"`+string(code)+`"`) {
		c.t.Fatalf("got %s, want error %s", got, code)
	}
}

// wantClose reads until the close frame, which must have this code.
func (c *client) wantClose(code int) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		_, _, err := c.conn.Read(ctx)
		if err == nil {
			continue
		}
		var closed websocket.CloseError
		if !errors.As(err, &closed) || int(closed.Code) != code {
			c.t.Fatalf("got %v, want close %d", err, code)
		}
		return
	}
}

func TestPlainClientsHearEachOther(t *testing.T) {
	n := memory(t, Config{})
	a, b := n.plain("", 1), n.plain("", 1)
	a.send(`{"hello": [1, 2]}`)
	a.want(`{"hello": [1, 2]}`)
	b.want(`{"hello": [1, 2]}`)
	a.send(`{"no json`)
	a.wantError(BadJSON)
	a.send(`7`)
	a.want(`7`)
	b.want(`7`)
}

func TestPlainClientFollowsWhatItsURLNames(t *testing.T) {
	n := memory(t, Config{})
	c := n.plain("?topic=news&topic=sport&user=42", 3)
	n.publish("channel", `"not for it"`)
	n.publish("news", `1`)
	c.want(`1`)
	n.publish("sport", `2`)
	c.want(`2`)
	n.publish("user:42", `3`)
	c.want(`3`)
	c.send(`4`) // goes to the first one named
	c.want(`4`)
}

func TestV1SubscribePublishUnsubscribe(t *testing.T) {
	n := memory(t, Config{})
	a, b := n.v1(""), n.v1("")
	a.send(`{"type":"subscribe","id":1,"topic":"news"}`)
	a.want(`{"type":"subscribed","id":1,"topic":"news"}`)
	b.send(`{"type":"publish","id":"x","topic":"news","data": {"n":1} }`)
	b.want(`{"type":"ok","id":"x"}`)
	a.want(`{"type":"event","topic":"news","data":{"n":1}}`)
	a.send(`{"type":"unsubscribe","id":2,"topic":"news"}`)
	a.want(`{"type":"ok","id":2}`)
	n.publish("news", `2`)
	a.send(`{"type":"ping","id":3}`)
	a.want(`{"type":"pong","id":3}`)
	a.send(`{"type":"subscribe","id":4,"topic":"é\"\\"}`)
	a.want(`{"type":"subscribed","id":4,"topic":"é\"\\"}`)
}

func TestV1OwnTopicIsFollowedAfterTheFirstFrameOrSilence(t *testing.T) {
	t.Parallel()
	n := memory(t, Config{})
	talker := n.v1("?user=42")
	talker.send(`{"type":"ping"}`)
	silent := n.v1("?user=42") // later: silence does not last long
	talker.want(`{"type":"pong"}`)
	talker.want(`{"type":"subscribed","topic":"user:42"}`)
	silent.want(`{"type":"subscribed","topic":"user:42"}`)
	n.publish("user:42", `{"for":42}`)
	for _, c := range []*client{talker, silent} {
		c.want(`{"type":"event","topic":"user:42","data":{"for":42}}`)
	}
}

func TestV1OwnTopicAskedForFirstIsFollowedOnce(t *testing.T) {
	n := memory(t, Config{})
	c := n.v1("?user=7")
	c.send(`{"type":"subscribe","id":1,"topic":"user:7","since":"0"}`)
	c.want(`{"type":"subscribed","id":1,"topic":"user:7","recovered":false}`)
	n.publish("user:7", `1`)
	c.want(`{"type":"event","topic":"user:7","data":1}`)
	c.send(`{"type":"ping"}`)
	c.want(`{"type":"pong"}`)
}

func TestBadRequestsAreAnsweredAndDisturbNothing(t *testing.T) {
	n := memory(t, Config{MaxTopics: 3})
	c := n.v1("?user=1")
	c.send(`{"type":"subscribe","topic":"news"}`)
	c.want(`{"type":"subscribed","topic":"news"}`)
	c.want(`{"type":"subscribed","topic":"user:1"}`)
	for _, test := range []struct {
		send string
		want Code
	}{
		{`{`, BadJSON},
		{``, BadJSON},
		{`[]`, BadRequest},
		{`"x"`, BadRequest},
		{`{"type":7}`, BadRequest},
		{`{"type":"subscribe","topic":["news"]}`, BadRequest},
		{`{"type":"ping","id":{}}`, BadRequest},
		{`{"type":"ping","id":null}`, BadRequest},
		{`{"type":"ping","id":"` + strings.Repeat("x", 63) + `"}`, BadRequest},
		{`{}`, UnknownType},
		{`{"type":"dance"}`, UnknownType},
		{`{"type":"subscribe"}`, BadTopic},
		{`{"type":"subscribe","topic":"a\u0001b"}`, BadTopic},
		{`{"type":"subscribe","topic":"a\u0085b"}`, BadTopic},
		{`{"type":"subscribe","topic":"` + strings.Repeat("x", 256) + `"}`, BadTopic},
		{`{"type":"subscribe","topic":"news"}`, AlreadyFollows},
		{`{"type":"subscribe","topic":"user:2"}`, Forbidden},
		{`{"type":"subscribe","topic":"$sys"}`, Forbidden},
		{`{"type":"subscribe","topic":"x","since":"yesterday"}`, BadRequest},
		{`{"type":"unsubscribe","topic":"never"}`, NotSubscribed},
		{`{"type":"publish","topic":"news"}`, BadRequest},
		{`{"type":"publish","topic":"","data":1}`, BadTopic},
		{`{"type":"publish","topic":"user:2","data":1}`, Forbidden},
		{`{"type":"publish","topic":"$x","data":1}`, Forbidden},
		{`{"type":"publish","topic":"news","data":1,"key":"` + strings.Repeat("k", 129) + `"}`, BadRequest},
	} {
		c.send(test.send)
		got := c.read()
		if !strings.Contains(got, `"code":"`+string(test.want)+`"`) {
			t.Errorf("%s: got %s, want %s", test.send, got, test.want)
		}
	}
	c.send(`{"type":"subscribe","id":1,"topic":"third"}`)
	c.want(`{"type":"subscribed","id":1,"topic":"third"}`)
	c.send(`{"type":"subscribe","id":2,"topic":"fourth"}`)
	c.wantError(TooManyTopics)
	n.publish("news", `1`)
	c.want(`{"type":"event","topic":"news","data":1}`)
}

func TestHandshakesThatAskForWhatIsNotTheirs(t *testing.T) {
	n := memory(t, Config{MaxTopics: 4})
	for _, test := range []struct {
		query     string
		protocols []string
		status    int
	}{
		{"?topic=user:2", nil, 403},
		{"?topic=user:1&user=1", nil, 403},
		{"?topic=$sys", nil, 403},
		{"?topic=", nil, 400},
		{"?topic=a&topic=b&topic=c&topic=d", nil, 400},
		{"?topic=%zz", nil, 400},
		{"?user=", nil, 400},
		{"?user=" + strings.Repeat("u", 251), nil, 400},
		{"?topic=a", []string{protocolV1}, 400},
		{"", []string{"graphql-ws"}, 400},
	} {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		_, resp, err := websocket.Dial(ctx, "ws://"+n.server.Addr().String()+"/notification"+test.query,
			&websocket.DialOptions{Subprotocols: test.protocols})
		cancel()
		if err == nil || resp == nil || resp.StatusCode != test.status {
			t.Errorf("%q %v: got %v, %v, want status %d", test.query, test.protocols, resp, err, test.status)
		}
	}
}

func TestSubprotocolIsEchoedButNeverACredential(t *testing.T) {
	n := memory(t, Config{})
	if got := n.dial("", "bearer.secret", protocolPlain).conn.Subprotocol(); got != protocolPlain {
		t.Errorf("got %q", got)
	}
	// A 101 that selects nothing of what was offered fails in a browser, without a reason.
	_, resp, err := websocket.Dial(t.Context(), "ws://"+n.server.Addr().String()+"/notification",
		&websocket.DialOptions{Subprotocols: []string{"bearer.secret"}})
	if err == nil || resp.StatusCode != 400 {
		t.Fatal("a credential alone: ", resp, err)
	}
	if text, _ := io.ReadAll(resp.Body); !strings.Contains(string(text), protocolPlain) {
		t.Errorf("the refusal does not name %s: %s", protocolPlain, text)
	}
}

func TestWhoSendsTooMuchIsToldThenCut(t *testing.T) {
	n := memory(t, Config{MessageRate: 1, MessageBurst: 3})
	c := n.v1("")
	for range 3 {
		c.send(`{"type":"ping"}`)
		c.want(`{"type":"pong"}`)
	}
	for range 3 {
		c.send(`{"type":"ping"}`)
		c.wantError(RateLimited)
	}
	c.send(`{"type":"ping"}`)
	c.wantClose(4029)
}

// A request over the rate is answered like any other: the client must know which one to send again.
func TestARequestOverTheRateIsAnsweredWithItsID(t *testing.T) {
	n := memory(t, Config{MessageRate: 1, MessageBurst: 1})
	c := n.v1("")
	c.send(`{"type":"ping","id":1}`)
	c.want(`{"type":"pong","id":1}`)
	c.send(`{"type":"subscribe","id":"two","topic":"t"}`)
	c.want(`{"type":"error","id":"two","code":"rate_limited","message":"too many messages; this one was dropped","retry":true}`)
}

func TestBinaryFramesAreRefused(t *testing.T) {
	n := memory(t, Config{})
	c := n.plain("", 1)
	if err := c.conn.Write(context.Background(), websocket.MessageBinary, []byte("x")); err != nil {
		t.Fatal(err)
	}
	c.wantClose(1003)
}

func TestAUserHasAtMostItsSessions(t *testing.T) {
	t.Parallel()
	n := memory(t, Config{MaxSessionsPerUser: 2})
	a := n.plain("?user=1", 2)
	n.plain("?user=1", 2)
	n.plain("?user=2", 2)
	n.dial("?user=1").wantClose(4030)
	v1 := n.v1("?user=1")
	v1.send(`{"type":"ping"}`)
	v1.wantClose(4030)
	n.v1("?user=1").wantClose(4030) // by itself, when it says nothing
	_ = a.conn.CloseNow()
	n.eventually("the place is free again", func() bool { return n.hub.Stats().Sessions["plain"] == 2 })
	n.plain("?user=1", 2)
}

func TestDrainSendsEverybodyAway(t *testing.T) {
	n := memory(t, Config{})
	plain, v1 := n.plain("", 1), n.v1("")
	n.server.StopAccepting()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	drained := make(chan error, 1)
	go func() { drained <- n.hub.Drain(ctx, Departure{Window: 300 * time.Millisecond}) }()
	if got := v1.read(); !strings.HasPrefix(got, `{"type":"goodbye","after_ms":`) || !strings.HasSuffix(got, `,"reason":"drain"}`) {
		t.Error(got)
	}
	v1.wantClose(1012)
	plain.wantClose(1012)
	if err := <-drained; err != nil {
		t.Error(err)
	}
	if err := n.hub.Ready(); err == nil {
		t.Error("ready while draining")
	}
}
