package engine_test

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"wshub/engine"
)

// patience bounds every wait of these tests; none of them measures time.
const patience = 20 * time.Second

// rawClient is a client that does nothing by itself: it answers no ping and no Close frame.
type rawClient struct {
	*net.TCPConn
	in *bufio.Reader
}

// request is an opening handshake for /notification and query.
func request(query string) string {
	return "GET /notification" + query + " HTTP/1.1\r\nHost: hub\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
}

// rawOpen opens a TCP connection; receiveBuffer, if not 0, is its SO_RCVBUF in bytes.
func rawOpen(addr string, receiveBuffer int) (*rawClient, error) {
	d := net.Dialer{Timeout: patience, KeepAlive: -1}
	if receiveBuffer > 0 {
		d.Control = func(_, _ string, rc syscall.RawConn) error {
			return rc.Control(func(fd uintptr) {
				_ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, receiveBuffer)
			})
		}
	}
	conn, err := d.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	c := &rawClient{conn.(*net.TCPConn), bufio.NewReaderSize(conn, 512)}
	return c, c.SetDeadline(time.Now().Add(patience))
}

// upgrade sends the handshake and reads the answer's head.
func (c *rawClient) upgrade(query string) error {
	if _, err := io.WriteString(c, request(query)); err != nil {
		return err
	}
	res, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusSwitchingProtocols {
		return fmt.Errorf("answer %s", res.Status)
	}
	return nil
}

// rawDial opens a WebSocket connection that ends with the test.
func rawDial(t testing.TB, s *engine.Server, query string) *rawClient {
	t.Helper()
	c := rawTCP(t, s, 0)
	if err := c.upgrade(query); err != nil {
		t.Fatal(err)
	}
	return c
}

// rawTCP opens a TCP connection that ends with the test.
func rawTCP(t testing.TB, s *engine.Server, receiveBuffer int) *rawClient {
	t.Helper()
	c, err := rawOpen(s.Addr().String(), receiveBuffer)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// openMany opens n connections, some at a time.
func openMany(addr, query string, n int) (came []*rawClient, failed int) {
	const dialers = 64
	var mu sync.Mutex
	var all sync.WaitGroup
	for i := range dialers {
		all.Go(func() {
			for range (n + i) / dialers {
				c, err := rawOpen(addr, 0)
				if err == nil {
					err = c.upgrade(query)
				}
				mu.Lock()
				if err == nil {
					came = append(came, c)
				} else {
					failed++
					fmt.Fprintln(os.Stderr, "peer:", err)
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return came, failed
}

// masked is a client's frame.
func masked(op engine.Opcode, payload string) []byte {
	b := engine.AppendFrameHeader(nil, op, len(payload))
	b[1] |= 0x80
	b = append(b, 0, 0, 0, 0) // a mask that changes nothing
	return append(b, payload...)
}

func (c *rawClient) write(t testing.TB, b []byte) {
	t.Helper()
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
}

// frame reads the server's next frame.
func (c *rawClient) frame() (engine.Opcode, []byte, error) {
	var head [8]byte
	if _, err := io.ReadFull(c.in, head[:2]); err != nil {
		return 0, nil, err
	}
	op, n := engine.Opcode(head[0]&0xF), uint64(head[1])
	wide := map[uint64]int{126: 2, 127: 8}[n]
	if _, err := io.ReadFull(c.in, head[8-wide:]); err != nil {
		return 0, nil, err
	}
	if wide > 0 {
		clear(head[:8-wide])
		n = binary.BigEndian.Uint64(head[:])
	}
	payload := make([]byte, n)
	_, err := io.ReadFull(c.in, payload)
	return op, payload, err
}

// wantFrame reads the next frame and compares it.
func (c *rawClient) wantFrame(t testing.TB, op engine.Opcode, payload string) {
	t.Helper()
	gotOp, got, err := c.frame()
	if err != nil || gotOp != op || string(got) != payload {
		t.Fatalf("got frame %x %.60q, %v; want %x %.60q", gotOp, got, err, op, payload)
	}
}

// handler is a Handler of one func.
type handler func(*engine.Handshake)

func (f handler) Handshake(h *engine.Handshake) { f(h) }

// peer is a Peer of funcs, any of which may be nil.
type peer struct {
	engine.Usual
	message  func(op engine.Opcode, payload []byte)
	overhead func(frames int)
	closed   func(*engine.Cause)
}

func (p *peer) Overhead(frames int) {
	if p.overhead != nil {
		p.overhead(frames)
	}
}

func (p *peer) Message(op engine.Opcode, payload []byte) {
	if p.message != nil {
		p.message(op, payload)
	}
}

func (p *peer) Closed(cause *engine.Cause) {
	if p.closed != nil {
		p.closed(cause)
	}
}

// eventually waits until what holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	late := time.After(patience)
	poll := time.NewTicker(2 * time.Millisecond)
	defer poll.Stop()
	for !holds() {
		select {
		case <-poll.C:
		case <-late:
			t.Fatal("never: ", what)
		}
	}
}

// on runs f on l and returns when it has run.
func on(t testing.TB, l *engine.Loop, f func()) {
	t.Helper()
	done := make(chan struct{})
	if !l.Post(func() { defer close(done); f() }) {
		t.Fatal("the loop has ended")
	}
	within(t, "a posted job", done)
}

// within waits for something to be closed or sent.
func within[T any](t testing.TB, what string, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		t.Fatal("never: ", what)
	}
	return v
}
