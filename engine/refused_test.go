package engine

import (
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// The engine says why it refuses a handshake, and from where it came; of what its handler refuses it says nothing.
func TestRefusedHandshakesAreTold(t *testing.T) {
	type told struct {
		text string
		from netip.AddrPort
	}
	heard := make(chan told, 10)
	srv := running(t, Config{
		HandshakeTimeout: 200 * time.Millisecond,
		OnRefused:        func(c *Conn, r *Refusal) { heard <- told{r.Reason + " " + r.Detail, c.RemoteAddr()} },
	}, refusing(func(h *Handshake) { h.Refuse(&Refusal{Status: 403, Reason: "by the handler"}) }))
	for _, c := range []struct{ request, want string }{
		{head("+Origin: https://evil.example"), `origin not allowed the page's origin "https://evil.example"`},
		{head("GET /other HTTP/1.1"), "no WebSocket endpoint"},
		{"GET / HTTP/1.1\r\n", "not completed in time"},
	} {
		conn := connect(t, srv)
		if _, err := conn.Write([]byte(c.request)); err != nil {
			t.Fatal(err)
		}
		got := <-heard
		if !strings.Contains(got.text, c.want) || got.from.String() != conn.LocalAddr().String() {
			t.Errorf("told %+v, want %q from %s", got, c.want, conn.LocalAddr())
		}
	}
	conn := connect(t, srv)
	if _, err := conn.Write([]byte(head())); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 4096)
	if n, err := conn.Read(answer); err != nil || !strings.Contains(string(answer[:n]), "by the handler") {
		t.Errorf("answered %s, %v", answer[:n], err)
	}
	if len(heard) > 0 {
		t.Errorf("told %+v", <-heard)
	}
}

// Bytes behind the head of a HEAD's answer would be taken for the next answer (RFC 9112, 6.3).
func TestTheAnswerToAHEADHasNoBody(t *testing.T) {
	t.Parallel()
	srv := running(t, Config{HTTPPaths: []string{tablePath}, HandshakeTimeout: 200 * time.Millisecond}, &echoing{})
	for _, c := range []struct{ request, status string }{
		{head("HEAD /notification HTTP/1.1"), "405"},
		{"HEAD / HTTP/1.1\r\nHost: hub\r\n\r\n", "405"},
		{"HEAD / HTTP/1.1\r\nHost: hub\r\nContent-Length: 5\r\n\r\nhello", "405"},
		{"HEAD / HTTP/1.0\r\n\r\n", "400"},
		{"HEAD / HTTP/1.1\nHost: hub\n\n", "400"},
		{"HEAD / HTTP/1.1\r\nX: " + strings.Repeat("x", 64<<10), "431"},
		{"HEAD / HTTP/1.1\r\n", "408"},
	} {
		conn := connect(t, srv)
		send(conn, []byte(c.request), whole)
		got, err := io.ReadAll(conn)
		if end := headEnd(got); err != nil || !strings.HasPrefix(string(got), "HTTP/1.1 "+c.status) || end != len(got) {
			t.Errorf("%.40q: answered %q, %v", c.request, got, err)
		}
	}
}

// refusing is a handler by its func.
type refusing func(h *Handshake)

func (f refusing) Handshake(h *Handshake) { f(h) }
