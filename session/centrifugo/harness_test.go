package centrifugo_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	pb "github.com/centrifugal/protocol"
	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"wshub/engine"
	"wshub/pubsub"
	"wshub/pubsub/redistest/drills"
	"wshub/session"
	"wshub/session/centrifugo"
	"wshub/session/hubv1"
	"wshub/session/plain"
	"wshub/session/sessiontest"
	"wshub/session/sse"
	"wshub/session/token"
)

func TestMain(m *testing.M) {
	drills.Parallel(12, 2) // those that are parallel wait
	goleak.VerifyTestMain(m)
}

const secret = sessiontest.Secret

var history = pubsub.History{{Prefix: "raw"}, {Count: 1000}}

// node is a hub that speaks all protocols, running until the test ends.
type node struct {
	t      testing.TB
	hub    *session.Hub
	server *engine.Server
}

func start(t testing.TB, cfg session.Config, ecfg engine.Config) *node {
	t.Helper()
	var n *node
	n = startOn(t, cfg, ecfg, pubsub.NewMemory(pubsub.MemoryConfig{History: history, OnControl: func(message []byte) { n.hub.Control(message) }}))
	return n
}

func startOn(t testing.TB, cfg session.Config, ecfg engine.Config, broker session.Broker) *node {
	t.Helper()
	cfg.History = history
	hub, err := session.NewHub(cfg, broker)
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(hub.Serve("/notification", hubv1.Protocol{}, plain.Protocol{}, plain.Protocol{Named: true}), centrifugo.Serve(hub, centrifugo.Path, "test"))
	if err != nil {
		t.Fatal(err)
	}
	ecfg.Paths = []string{"/notification", centrifugo.Path}
	ecfg.HTTPPaths, ecfg.PostError = centrifugo.HTTPPaths(), sse.ErrorBody
	sealer, err := token.NewSealer(token.SealerConfig{Keys: [][]byte{bytes.Repeat([]byte{1}, token.ResumeKeySize)}})
	if err != nil {
		t.Fatal(err)
	}
	hub.UseSealer(sealer)
	return &node{t, hub, sessiontest.Run(t, hub, ecfg)}
}

// closed is a hub that wants tokens.
func closed(t testing.TB, cfg session.Config) *node {
	t.Helper()
	cfg.Verifier = verifier(t, token.Config{})
	return start(t, cfg, engine.Config{})
}

// verifier takes tokens by the secret, and by a key set that is fetched until the test ends.
func verifier(t testing.TB, cfg token.Config) *token.Verifier {
	t.Helper()
	cfg.Secrets = []string{secret}
	v, err := token.NewVerifier(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { ended <- v.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return v
}

func (n *node) eventually(what string, ok func() bool) {
	n.t.Helper()
	sessiontest.Eventually(n.t, what, ok)
}

func (n *node) publish(topic string, data ...string) {
	n.t.Helper()
	sessiontest.PublishData(n.t, n.hub, topic, data...)
}

// client speaks the protocol frame by frame, in JSON or Protobuf.
type client struct {
	t       testing.TB
	conn    *websocket.Conn
	stream  *streamed // in place of conn
	binary  bool
	replies []*pb.Reply
	next    uint32
}

func (n *node) dial(binary bool) *client {
	n.t.Helper()
	var protocols []string
	if binary {
		protocols = []string{"centrifuge-protobuf"}
	}
	conn, _, err := websocket.Dial(n.t.Context(), "ws://"+n.server.Addr().String()+centrifugo.Path, &websocket.DialOptions{Subprotocols: protocols})
	if err != nil {
		n.t.Fatal(err)
	}
	conn.SetReadLimit(1 << 24)
	n.t.Cleanup(func() { _ = conn.CloseNow() })
	return &client{t: n.t, conn: conn, binary: binary}
}

// connect dials and connects.
func (n *node) connect(binary bool, token string) (*client, *pb.ConnectResult) {
	n.t.Helper()
	c := n.dial(binary)
	r := c.ask(&pb.Command{Connect: &pb.ConnectRequest{Token: token}})
	if r.Connect == nil {
		n.t.Fatalf("no connect result but %+v", r)
	}
	return c, r.Connect
}

// send sends commands in one frame, with ids where they have none, and returns the id of the first.
func (c *client) send(commands ...*pb.Command) (id uint32) {
	c.t.Helper()
	frame, id := c.encode(commands...)
	c.write(frame)
	return id
}

// encode makes one frame of commands.
func (c *client) encode(commands ...*pb.Command) (frame []byte, id uint32) {
	c.t.Helper()
	for i, cmd := range commands {
		c.next++
		if cmd.Id == 0 {
			cmd.Id = c.next
		}
		if i == 0 {
			id = cmd.Id
		}
		if c.binary {
			body, err := cmd.MarshalCF()
			if err != nil {
				c.t.Fatal(err)
			}
			frame = append(binary.AppendUvarint(frame, uint64(len(body))), body...)
			continue
		}
		if i > 0 {
			frame = append(frame, '\n')
		}
		frame = cmd.AppendJSON(frame)
	}
	return frame, id
}

func (c *client) write(frame []byte) {
	c.t.Helper()
	if err := c.try(frame); err != nil {
		c.t.Fatal(err)
	}
}

// try writes a frame on a connection that may have ended.
func (c *client) try(frame []byte) error {
	if c.stream != nil {
		return c.stream.send(frame)
	}
	kind := websocket.MessageText
	if c.binary {
		kind = websocket.MessageBinary
	}
	return c.conn.Write(c.t.Context(), kind, frame)
}

// read reads the next reply.
func (c *client) read() (*pb.Reply, error) {
	for len(c.replies) == 0 {
		if c.stream != nil {
			r, err := c.stream.read()
			if err != nil {
				return nil, err
			}
			c.replies = append(c.replies, r)
			break
		}
		ctx, cancel := context.WithTimeout(context.Background(), sessiontest.Patience)
		kind, data, err := c.conn.Read(ctx)
		cancel()
		if err != nil {
			return nil, err
		}
		if (kind == websocket.MessageBinary) != c.binary {
			return nil, errors.New("a frame of the wrong kind")
		}
		var d pb.ReplyDecoder = pb.NewJSONReplyDecoder(data)
		if c.binary {
			d = pb.NewProtobufReplyDecoder(data)
		} else {
			for _, line := range bytes.Split(data, []byte("\n")) {
				if !json.Valid(line) {
					return nil, errors.New("not JSON: " + string(data))
				}
			}
		}
		for {
			r, err := d.Decode()
			if r == nil {
				break
			}
			c.replies = append(c.replies, r)
			if err != nil {
				break
			}
		}
	}
	r := c.replies[0]
	c.replies = c.replies[1:]
	return r, nil
}

func (c *client) hear() *pb.Reply {
	c.t.Helper()
	r, err := c.read()
	if err != nil {
		c.t.Fatal(err)
	}
	return r
}

// ask sends one command and returns its answer; there may be no push before it.
func (c *client) ask(cmd *pb.Command) *pb.Reply {
	c.t.Helper()
	id := c.send(cmd)
	r := c.hear()
	if r.Id != id {
		c.t.Fatalf("got %+v, want the answer to %d", r, id)
	}
	return r
}

// wantError sends one command, which must be answered by an error.
func (c *client) wantError(code uint32, cmd *pb.Command) {
	c.t.Helper()
	if r := c.ask(cmd); r.Error == nil || r.Error.Code != code {
		c.t.Errorf("%+v: got %+v, want error %d", cmd, r, code)
	}
}

// wantPub reads a push of a publication.
func (c *client) wantPub(channel, data string) *pb.Publication {
	c.t.Helper()
	r := c.hear()
	if r.Push == nil || r.Push.Channel != channel || r.Push.Pub == nil || string(r.Push.Pub.Data) != data {
		c.t.Fatalf("got %+v, want %s on %s", r, data, channel)
	}
	return r.Push.Pub
}

func (c *client) subscribe(channel string) *pb.SubscribeResult {
	c.t.Helper()
	r := c.ask(&pb.Command{Subscribe: &pb.SubscribeRequest{Channel: channel}})
	if r.Subscribe == nil {
		c.t.Fatalf("%s: %+v", channel, r)
	}
	return r.Subscribe
}

// wantClose reads until the end, which must have this code and a reason.
func (c *client) wantClose(code int) {
	c.t.Helper()
	for {
		_, err := c.read()
		if err == nil {
			continue
		}
		var closed websocket.CloseError
		if !errors.As(err, &closed) || int(closed.Code) != code || closed.Reason == "" || strings.HasPrefix(closed.Reason, "{") {
			c.t.Fatalf("got %v, want close %d", err, code)
		}
		return
	}
}

// both runs a test in JSON and in Protobuf.
func both(t *testing.T, f func(t *testing.T, binary bool)) {
	t.Run("json", func(t *testing.T) { f(t, false) })
	t.Run("protobuf", func(t *testing.T) { f(t, true) })
}
