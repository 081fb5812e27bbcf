package engine

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"testing"

	"wshub/engine/proxy"
)

// The PROXY protocol's head comes before the ClientHello, in one piece with it or byte by byte, and is refused in plain
// text.
func TestAProxyHeadStandsBeforeTLS(t *testing.T) {
	t.Parallel()
	eachVersion(t, func(t *testing.T, client *tls.Config) {
		s := proxied(t, secure(), proxy.Protocol, "127.0.0.0/8")
		for _, c := range []struct{ head, want string }{
			{"PROXY TCP4 192.0.2.1 192.0.2.2 1234 80\r\n", "192.0.2.1"},
			{v2("21 11 000c c0000201 c0000202 04d2 0050"), "192.0.2.1"},
			{v2("20 00 0000"), ""},
		} {
			for _, next := range []func() int{whole, func() int { return 1 }} {
				conn := tls.Client(&introduced{Conn: connect(t, s), head: c.head, next: next}, client)
				send(conn, []byte(head()), whole)
				if got := seen(t, conn); got != c.want {
					t.Errorf("%.20q: %s, want %s", c.head, got, c.want)
				}
			}
		}
		for _, sent := range []string{"\x16\x03\x01", head(), "PROXY TCP4 x\r\n\x16\x03\x01"} {
			c := connect(t, s)
			send(c, []byte(sent), whole)
			_ = c.CloseWrite()
			if answer, err := io.ReadAll(c); err != nil || !bytes.HasPrefix(answer, []byte("HTTP/1.1 400 ")) || !bytes.Contains(answer, []byte("PROXY protocol")) {
				t.Errorf("%.20q is answered by %q, %v", sent, answer, err)
			}
		}
		if n := s.Stats().Sources["proxy_head"]; n != 3 {
			t.Errorf("counted %d", n)
		}
	})
}

// introduced is a connection that sends head in one piece with what comes first, or piece by piece before it.
type introduced struct {
	net.Conn
	head string
	next func() int
}

func (c *introduced) Write(b []byte) (int, error) {
	first := append([]byte(c.head), b...)
	c.head = ""
	send(c.Conn, first, c.next)
	return len(b), nil
}
