package pusher_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"wshub/engine"
	"wshub/pubsub"
	"wshub/session"
	"wshub/session/hubv1"
	"wshub/session/plain"
	"wshub/session/pusher"
	"wshub/session/sessiontest"
	"wshub/session/token"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The applications of each test: two behind walls, one that shares the hub's topics.
var (
	app    = &pusher.App{ID: "1", Key: "key", Secret: "a secret"}
	other  = &pusher.App{ID: "2", Key: "other", Secret: "another secret"}
	common = &pusher.App{ID: "3", Key: "common", Secret: "a third secret", Shared: true}
)

// node is a hub that speaks all protocols, running until the test ends.
type node struct {
	t      testing.TB
	hub    *session.Hub
	server *engine.Server
	broker *pubsub.Memory
}

func start(t testing.TB, cfg session.Config, ecfg engine.Config) *node {
	t.Helper()
	return startAt(t, cfg, ecfg, func(m *pubsub.Memory) session.Broker { return m })
}

// startAt is start with the broker that of makes.
func startAt(t testing.TB, cfg session.Config, ecfg engine.Config, of func(*pubsub.Memory) session.Broker) *node {
	t.Helper()
	n := &node{t: t}
	for _, a := range []*pusher.App{app, other, common} {
		cfg.History = append(cfg.History, a.History()...)
	}
	presence := func(topic string) bool {
		return app.HasPresence(topic) || other.HasPresence(topic) || common.HasPresence(topic)
	}
	cfg.Presence = presence
	broker := pubsub.NewMemory(pubsub.MemoryConfig{
		History: cfg.History, OnControl: func(message []byte) { n.hub.Control(message) },
		Presence: pubsub.PresenceConfig{Match: presence, Members: func(ctx context.Context, p byte, yield func(string, pubsub.Member)) error {
			return n.hub.Members(ctx, p, yield)
		}},
	})
	n.broker = broker
	hub, err := session.NewHub(cfg, of(broker))
	if err != nil {
		t.Fatal(err)
	}
	n.hub = hub
	err = errors.Join(
		hub.Serve("/notification", hubv1.Protocol{}, plain.Protocol{}, plain.Protocol{Named: true}),
		hub.Serve(pusher.Path, pusher.Unknown()),
		hub.Serve(pusher.Path+app.Key, pusher.New(app, false)),
		hub.Serve(pusher.Path+other.Key, pusher.New(other, true)),
		hub.Serve(pusher.Path+common.Key, pusher.New(common, false)),
	)
	if err != nil {
		t.Fatal(err)
	}
	ecfg.Paths = []string{"/notification", pusher.Path}
	n.server = sessiontest.Run(t, hub, ecfg)
	return n
}

func (n *node) eventually(what string, ok func() bool) {
	n.t.Helper()
	sessiontest.Eventually(n.t, what, ok)
}

// publish publishes events as a backend does.
func (n *node) publish(events ...pubsub.Publication) {
	n.t.Helper()
	sessiontest.Publish(n.t, n.hub, events...)
}

// change makes a member come or go by itself.
func (n *node) change(c pubsub.Change) error {
	return n.broker.ChangePresence(context.Background(), []pubsub.Change{c})[0]
}

// client speaks the protocol frame by frame.
type client struct {
	t      testing.TB
	app    *pusher.App
	conn   *websocket.Conn
	socket string
}

// heard is a message of the hub's; Data is the text where it is one.
type heard struct {
	Event   string          `json:"event"`
	Channel string          `json:"channel"`
	Data    json.RawMessage `json:"data"`
	UserID  string          `json:"user_id"`
}

// text is the data that stands in a string.
func (h heard) text() (s string) {
	_ = json.Unmarshal(h.Data, &s)
	return s
}

func (n *node) open(path string) *client {
	n.t.Helper()
	conn, _, err := websocket.Dial(n.t.Context(), "ws://"+n.server.Addr().String()+path, nil)
	if err != nil {
		n.t.Fatal(err)
	}
	conn.SetReadLimit(1 << 24)
	n.t.Cleanup(func() { _ = conn.CloseNow() })
	return &client{t: n.t, conn: conn}
}

// connect opens a connection of an application, which must be established.
func (n *node) connect(a *pusher.App) *client {
	n.t.Helper()
	c := n.open(pusher.Path + a.Key + "?protocol=7&client=js&version=8.6.0&flash=false")
	c.app = a
	var established struct {
		Socket  string `json:"socket_id"`
		Timeout int    `json:"activity_timeout"`
	}
	h := c.hear()
	if err := json.Unmarshal([]byte(h.text()), &established); err != nil || h.Event != "pusher:connection_established" || established.Timeout != 120 {
		n.t.Fatalf("got %+v, want connection_established", h)
	}
	c.socket = established.Socket
	return c
}

func (c *client) send(frame string) {
	c.t.Helper()
	if err := c.conn.Write(c.t.Context(), websocket.MessageText, []byte(frame)); err != nil {
		c.t.Fatal(err)
	}
}

// say sends a message with these data.
func (c *client) say(event string, data map[string]any) {
	c.t.Helper()
	frame, err := json.Marshal(map[string]any{"event": event, "data": data})
	if err != nil {
		c.t.Fatal(err)
	}
	c.send(string(frame))
}

func (c *client) read() (h heard, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	kind, data, err := c.conn.Read(ctx)
	if err != nil {
		return h, err
	}
	if err = json.Unmarshal(data, &h); err == nil && kind != websocket.MessageText {
		err = errors.New("a binary frame")
	}
	return h, err
}

func (c *client) hear() heard {
	c.t.Helper()
	h, err := c.read()
	if err != nil {
		c.t.Fatal(err)
	}
	return h
}

// want reads a message, whose data must be this, as it stands.
func (c *client) want(event, channel, data string) {
	c.t.Helper()
	if h := c.hear(); h.Event != event || h.Channel != channel || string(h.Data) != data {
		c.t.Fatalf("got %s on %q: %s; want %s on %q: %s", h.Event, h.Channel, h.Data, event, channel, data)
	}
}

// wantText is want for data that are a text.
func (c *client) wantText(event, channel, text string) {
	c.t.Helper()
	if h := c.hear(); h.Event != event || h.Channel != channel || h.text() != text {
		c.t.Fatalf("got %s on %q: %s; want %s on %q: %q", h.Event, h.Channel, h.Data, event, channel, text)
	}
}

// wantNothing shows by a ping that nothing else was sent.
func (c *client) wantNothing() {
	c.t.Helper()
	c.send(`{"event":"pusher:ping","data":{}}`)
	c.wantText("pusher:pong", "", "{}")
}

// wantFault reads a subscription_error.
func (c *client) wantFault(channel, kind string, status int) {
	c.t.Helper()
	var f struct {
		Type, Error string
		Status      int
	}
	h := c.hear()
	if err := json.Unmarshal(h.Data, &f); err != nil || h.Event != "pusher:subscription_error" || h.Channel != channel || f.Type != kind || f.Status != status || f.Error == "" {
		c.t.Fatalf("got %s on %q: %s; want a subscription_error on %q: %s, %d", h.Event, h.Channel, h.Data, channel, kind, status)
	}
}

// wantError reads a pusher:error with a code, 0 for none.
func (c *client) wantError(code int) {
	c.t.Helper()
	var e struct {
		Code    int
		Message string
	}
	h := c.hear()
	if err := json.Unmarshal(h.Data, &e); err != nil || h.Event != "pusher:error" || e.Code != code || e.Message == "" {
		c.t.Fatalf("got %s: %s; want an error %d", h.Event, h.Data, code)
	}
}

// wantClose reads until the end, which must have this code, and where the code is the protocol's, that error before it.
func (c *client) wantClose(code int) {
	c.t.Helper()
	if last := c.wantCode(code); code >= 4000 && !strings.HasPrefix(last, fmt.Sprintf(`pusher:error {"code":%d,"message":"`, code)) {
		c.t.Fatalf("before the close with %d: %s", code, last)
	}
}

// wantCode reads until the end, which must have this code and a reason, and returns the last message.
func (c *client) wantCode(code int) (last string) {
	c.t.Helper()
	for {
		h, err := c.read()
		if err == nil {
			last = h.Event + " " + string(h.Data)
			continue
		}
		var closed websocket.CloseError
		if !errors.As(err, &closed) || int(closed.Code) != code || closed.Reason == "" {
			c.t.Fatalf("got %v, want close %d", err, code)
		}
		return last
	}
}

// auth is a signature of the application's backend for channel, and data if there are some.
func (c *client) auth(channel, data string) string {
	text := c.socket + ":" + channel
	if data != "" {
		text += ":" + data
	}
	return c.app.Key + ":" + c.app.Sign(text)
}

// ask asks to subscribe, with a signature where one is needed.
func (c *client) ask(channel, data string) {
	c.t.Helper()
	fields := map[string]any{"channel": channel}
	if strings.HasPrefix(channel, "private-") || strings.HasPrefix(channel, "presence-") {
		fields["auth"] = c.auth(channel, data)
	}
	if data != "" {
		fields["channel_data"] = data
	}
	c.say("pusher:subscribe", fields)
}

// subscribe subscribes, which must succeed.
func (c *client) subscribe(channel string) {
	c.t.Helper()
	c.ask(channel, "")
	c.wantText("pusher_internal:subscription_succeeded", channel, "{}")
}

// joined are the members that the answer of a presence channel has.
type joined struct {
	Presence struct {
		IDs   []string                   `json:"ids"`
		Hash  map[string]json.RawMessage `json:"hash"`
		Count int                        `json:"count"`
	} `json:"presence"`
}

// join subscribes to a presence channel, which must succeed.
func (c *client) join(channel, data string) (members joined) {
	c.t.Helper()
	c.ask(channel, data)
	h := c.hear()
	if err := json.Unmarshal([]byte(h.text()), &members); err != nil || h.Event != "pusher_internal:subscription_succeeded" || h.Channel != channel {
		c.t.Fatalf("got %+v: %s, want the members of %s", h, h.Data, channel)
	}
	return members
}

// noTokens verifies tokens that nobody can make.
func noTokens(t testing.TB) *token.Verifier {
	t.Helper()
	v, err := token.NewVerifier(token.Config{Secrets: []string{sessiontest.Secret}})
	if err != nil {
		t.Fatal(err)
	}
	return v
}
