package engine

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// echoing lets everybody in and sends messages back. A text that begins with "close " has it close.
type echoing struct {
	decide func(h *Handshake, p Peer) // nil: accept at once
	gone   chan *Cause                // what the peers were told, if not nil
}

func (e *echoing) Handshake(h *Handshake) {
	p := &echoingPeer{echoing: e, conn: h.Conn()}
	if e.decide != nil {
		e.decide(h, p)
		return
	}
	h.Accept("", p, nil)
}

type echoingPeer struct {
	Usual
	*echoing
	conn *Conn
}

func (p *echoingPeer) Message(op Opcode, payload []byte) {
	if reason, ok := bytes.CutPrefix(payload, []byte("close ")); ok {
		p.conn.Close(&Cause{"test", 4000, string(reason)})
		return
	}
	p.conn.Write(AppendFrame(nil, op, payload))
}

func (p *echoingPeer) Overhead(int) {}

func (p *echoingPeer) Closed(cause *Cause) {
	if p.gone != nil {
		p.gone <- cause
	}
}

// running is a server that ends with the test.
func running(t testing.TB, cfg Config, h Handler) *Server {
	t.Helper()
	cfg.Addr = "127.0.0.1:0"
	def(&cfg.Pollers, 2)
	s, err := New(cfg, h)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return s
}

// connect opens a socket to s that fails the test rather than hang.
func connect(t testing.TB, s *Server) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	return c.(*net.TCPConn)
}

// opened is a connection past its handshake.
func opened(t testing.TB, s *Server) *net.TCPConn {
	t.Helper()
	c := connect(t, s)
	send(c, []byte(head()), whole)
	readSwitch(t, c)
	return c
}

func readSwitch(t testing.TB, c net.Conn) {
	t.Helper()
	expect(t, c, appendSwitch(nil, "dGhlIHNhbXBsZSBub25jZQ==", "", ""))
}

// send writes b in pieces. The server may close meanwhile: what it answers decides, not this.
func send(c net.Conn, b []byte, next func() int) {
	for len(b) > 0 {
		n := min(next(), len(b))
		if _, err := c.Write(b[:n]); err != nil {
			return
		}
		b = b[n:]
	}
}

// expect reads exactly what is wanted.
func expect(t testing.TB, c io.Reader, want []byte) {
	t.Helper()
	got := make([]byte, len(want))
	n, err := io.ReadFull(c, got)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("got %.200q, %v; want %.200q", got[:n], err, want)
	}
}

// expectClose reads a Close frame with code, gives up and reads the end of the stream.
func expectClose(t testing.TB, c *net.TCPConn, code uint16) {
	t.Helper()
	head, reason := make([]byte, 4), make([]byte, maxControl)
	_, err := io.ReadFull(c, head)
	if err != nil || head[0] != finClose || head[1] < 2 || head[1] > maxControl || binary.BigEndian.Uint16(head[2:]) != code {
		t.Fatalf("got %q, %v; want a close with %d", head, err, code)
	}
	if _, err := io.ReadFull(c, reason[:head[1]-2]); err != nil {
		t.Fatal(err)
	}
	_ = c.CloseWrite()
	expectEnd(t, c)
}

// expectOpen shows by a ping that the connection is open and nothing else was sent but pings of the heartbeat, which a test on a busy
// machine lasts long enough for.
func expectOpen(t testing.TB, c net.Conn) {
	t.Helper()
	send(c, clientFrame(finPing, "still there?"), whole)
	head, ping := make([]byte, 2), AppendFrame(nil, OpPing, nil)
	for {
		if _, err := io.ReadFull(c, head); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(head, ping) {
			break
		}
	}
	expect(t, io.MultiReader(bytes.NewReader(head), c), AppendFrame(nil, OpPong, []byte("still there?")))
}

// expectSilence shows that nothing has come, nor the end of the stream.
func expectSilence(t testing.TB, c net.Conn) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	var b [1]byte
	var timeout net.Error
	if _, err := c.Read(b[:]); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("got %q, %v; want nothing yet", b, err)
	}
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
}

func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	late := time.After(20 * time.Second)
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for !ok() {
		select {
		case <-poll.C:
		case <-late:
			t.Fatal("never: " + what)
		}
	}
}

func expectEnd(t testing.TB, c io.Reader) {
	t.Helper()
	if rest, err := io.ReadAll(c); err != nil || len(rest) > 0 {
		t.Fatalf("got %.200q, %v; want the end", rest, err)
	}
}
