package engine_test

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/coder/websocket"

	"wshub/engine"
)

// echo is a Handler that lets everybody in and sends messages back.
type echo struct{}

func (echo) Handshake(h *engine.Handshake) { h.Accept("", &echoPeer{conn: h.Conn()}, nil) }

type echoPeer struct {
	engine.Usual
	conn *engine.Conn
}

func (p *echoPeer) Message(op engine.Opcode, payload []byte) {
	p.conn.Write(engine.AppendFrame(nil, op, payload))
}
func (p *echoPeer) Overhead(int)         {}
func (p *echoPeer) Closed(*engine.Cause) {}

// serve runs a server until the test ends, and returns it when it is up.
func serve(t testing.TB, cfg engine.Config, h engine.Handler) *engine.Server {
	t.Helper()
	cfg.Addr = "127.0.0.1:0"
	s, err := engine.New(cfg, h)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(10 * time.Second):
			t.Error("the server does not end")
		}
	})
	return s
}

func dial(t testing.TB, s *engine.Server) *websocket.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	c, _, err := websocket.Dial(ctx, fmt.Sprintf("ws://%s/notification", s.Addr()), nil)
	if err != nil {
		t.Fatal(err)
	}
	c.SetReadLimit(1 << 24)
	t.Cleanup(func() { _ = c.CloseNow() })
	return c
}

func TestMessagesOfAllSizesComeBack(t *testing.T) {
	s := serve(t, engine.Config{Pollers: 2, MaxMessage: 1 << 20, MaxQueued: 4 << 20}, echo{})
	c := dial(t, s)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for _, size := range []int{0, 1, 125, 126, 65535, 65536, 300_000, 1 << 20} {
		want := bytes.Repeat([]byte("x"), size)
		if err := c.Write(ctx, websocket.MessageText, want); err != nil {
			t.Fatal(size, err)
		}
		_, got, err := c.Read(ctx)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%d bytes: got %d, %v", size, len(got), err)
		}
	}
	if err := c.Close(4321, "done"); err != nil {
		t.Fatal(err)
	}
}
