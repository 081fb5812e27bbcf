// Echo sends every message back as it came: a target for WebSocket conformance suites.
//
//	go run ./engine/echo -addr 127.0.0.1:9001
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"wshub/engine"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "echo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("echo", flag.ContinueOnError)
	cfg := engine.Config{Paths: []string{"/"}}
	flags.StringVar(&cfg.Addr, "addr", "127.0.0.1:9001", "where to listen")
	flags.StringVar(&cfg.Paths[0], "path", "/", "the path that is upgraded")
	flags.IntVar(&cfg.MaxMessage, "max-message", 32<<20, "largest message in bytes")
	flags.IntVar(&cfg.MaxQueued, "max-queued", 128<<20, "largest backlog of one connection in bytes")
	if err := flags.Parse(args); err != nil {
		return err
	}
	s, err := engine.New(cfg, Handler{})
	if err != nil {
		return err
	}
	fmt.Printf("echo listens on ws://%s%s\n", s.Addr(), cfg.Paths[0])
	return s.Run(ctx)
}

// Handler lets everybody in.
type Handler struct{}

// Handshake accepts h without a subprotocol.
func (Handler) Handshake(h *engine.Handshake) {
	h.Accept("", &peer{conn: h.Conn()}, nil)
}

type peer struct {
	engine.Usual
	conn *engine.Conn
	buf  []byte
}

func (p *peer) Message(op engine.Opcode, payload []byte) {
	p.buf = engine.AppendFrame(p.buf[:0], op, payload)
	p.conn.Write(p.buf)
}

func (p *peer) Overhead(int) {}

func (p *peer) Closed(*engine.Cause) {}
