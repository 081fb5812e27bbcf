package engine

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"wshub/engine/proxy"
)

// proxied is a server whose proxies are in these networks, and which sends each client its address.
func proxied(t testing.TB, cfg Config, source proxy.Source, networks ...string) *Server {
	t.Helper()
	trusted, err := proxy.ParseNetworks(networks)
	if err != nil {
		t.Fatal(err)
	}
	cfg.ClientAddress, cfg.TrustedProxies = source, trusted
	return running(t, cfg, &echoing{decide: func(h *Handshake, p Peer) {
		h.Accept("", p, AppendFrame(nil, OpText, []byte(h.Conn().RemoteAddr().String())))
	}})
}

// from opens a socket to s whose own end is at address.
func from(t testing.TB, s *Server, address string) *net.TCPConn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	c, err := d.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	return c.(*net.TCPConn)
}

// seen is the address that the server has of c, a client that it has let in: "" stands for that of the socket.
func seen(t testing.TB, c net.Conn) string {
	t.Helper()
	readSwitch(t, c)
	text := make([]byte, 2)
	_, err := io.ReadFull(c, text)
	if err == nil {
		text = make([]byte, text[1])
		_, err = io.ReadFull(c, text)
	}
	if err != nil {
		t.Fatal(err)
	}
	if string(text) == c.LocalAddr().String() {
		return ""
	}
	at := netip.MustParseAddrPort(string(text))
	if at.Port() != 0 {
		t.Errorf("a port that is not the socket's: %s", at)
	}
	return at.Addr().String()
}

// answered is the answer to a handshake that is refused.
func answered(t testing.TB, c io.Reader) (status int, header http.Header, body string) {
	t.Helper()
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, res.Header, string(text)
}

func v2(text string) string {
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		panic(err)
	}
	return "\r\n\r\n\x00\r\nQUIT\n" + string(b)
}

func TestTheProxyProtocolsAddressIsTheClients(t *testing.T) {
	s := proxied(t, Config{}, proxy.Protocol, "127.0.0.0/8")
	for _, c := range []struct{ head, want string }{
		{"PROXY TCP4 192.0.2.1 192.0.2.2 1234 80\r\n", "192.0.2.1"},
		{"PROXY TCP6 2001:db8::1 2001:db8::2 1234 80\r\n", "2001:db8::1"},
		{"PROXY UNKNOWN\r\n", ""},
		{v2("21 11 000c c0000201 c0000202 04d2 0050"), "192.0.2.1"},
		{v2("21 11 0fff c0000201 c0000202 04d2 0050") + strings.Repeat("\x00", 0xfff-12), "192.0.2.1"},
		{v2("20 00 0000"), ""},
		{v2("20 11 000c c0000201 c0000202 04d2 0050"), ""},
		{v2("21 00 0000"), ""},
	} {
		for _, next := range []func() int{whole, func() int { return 1 }, func() int { return len(c.head) }, func() int { return len(c.head) - 1 }, randomly(1)} {
			conn := connect(t, s)
			_ = conn.SetNoDelay(true)
			send(conn, []byte(c.head+head("+X-Forwarded-For: 6.6.6.6")), next)
			if got := seen(t, conn); got != c.want {
				t.Errorf("%.40q: %s, want %s", c.head, got, c.want)
			}
			expectOpen(t, conn)
		}
	}
	until(t, "nothing is held", func() bool { return s.Stats().Partial == 0 })
}

func TestWrongProxyHeadsAreRefused(t *testing.T) {
	s := proxied(t, Config{MaxHead: 4096}, proxy.Protocol, "127.0.0.0/8")
	n := uint64(0)
	for _, c := range []struct{ sent, want string }{
		{head(), "wants the PROXY protocol"},
		{"\x16\x03\x01\x02", "wants the PROXY protocol"},
		{"PROXY TCP4 192.0.2.1 192.0.2.2 1234\r\n" + head(), "malformed PROXY protocol head"},
		{"PROXY " + strings.Repeat("x", 200), "malformed PROXY protocol head"},
		{v2("21 11 000b c0000201 c0000202 04d2 00") + head(), "malformed PROXY protocol head"},
		{v2("21 11 ffff c0000201 c0000202 04d2 0050") + head(), "malformed PROXY protocol head"},
		{"PROXY UNKNOWN\r\nPROXY UNKNOWN\r\n" + head(), refuseProxy.Reason}, // one is enough
		{"PROXY UNKNOWN\r\n\x16\x03\x01", refuseTLS.Reason},
	} {
		conn := connect(t, s)
		send(conn, []byte(c.sent), whole)
		status, _, body := answered(t, conn)
		if status != 400 || !strings.Contains(body, c.want) {
			t.Errorf("%.60q: %d %s", c.sent, status, body)
		}
		if !strings.HasPrefix(c.sent, "PROXY UNKNOWN") {
			n++
		}
	}
	if got := s.Stats().Sources["proxy_head"]; got != n {
		t.Errorf("counted %d of %d", got, n)
	}
}

func TestSilenceInAProxyHeadEndsAsInAnyHead(t *testing.T) {
	t.Parallel()
	s := proxied(t, Config{HandshakeTimeout: 200 * time.Millisecond, MaxHead: 4096}, proxy.Protocol, "127.0.0.0/8")
	for _, sent := range []string{"", "PROXY TCP4 192.0.2.1", v2("21 11 0800") + strings.Repeat("x", 2000)} {
		conn := connect(t, s)
		send(conn, []byte(sent), whole)
		if status, _, _ := answered(t, conn); status != 408 {
			t.Errorf("%.60q: %d", sent, status)
		}
	}
	until(t, "nothing is held", func() bool { return s.Stats().Partial == 0 })
}

func TestHalfReceivedProxyHeadsCountAgainstTheNodesMemory(t *testing.T) {
	s := proxied(t, Config{}, proxy.Protocol, "127.0.0.0/8")
	conn := connect(t, s)
	send(conn, []byte(v2("20 00 0800")+strings.Repeat("x", 2000)), whole)
	until(t, "they are counted", func() bool { return s.Stats().Partial >= 2000 })
	send(conn, []byte(strings.Repeat("x", 48)+head()), whole)
	seen(t, conn)
	until(t, "they are given back", func() bool { return s.Stats().Partial == 0 })
}

// With the PROXY protocol nobody comes past the proxies, whatever they send.
func TestOnlyProxiesMaySendAProxyHead(t *testing.T) {
	s := proxied(t, Config{}, proxy.Protocol, "127.0.0.2", "2001:db8::/32")
	for _, sent := range []string{"PROXY TCP4 192.0.2.1 192.0.2.2 1234 80\r\n" + head(), head(), v2("20 00 0000")} {
		conn := from(t, s, "127.0.0.1")
		send(conn, []byte(sent), whole)
		if status, _, body := answered(t, conn); status != 403 || !strings.Contains(body, "serves its proxies only") {
			t.Errorf("%.60q: %d %s", sent, status, body)
		}
	}
	if n := s.Stats().Sources["untrusted_proxy"]; n != 3 {
		t.Errorf("counted %d", n)
	}
	conn := from(t, s, "127.0.0.2")
	send(conn, []byte("PROXY TCP4 127.0.0.1 192.0.2.2 1234 80\r\n"+head()), whole)
	if got := seen(t, conn); got != "127.0.0.1" {
		t.Errorf("the proxy's client is %s", got)
	}
}

// The peer of a socket that was reset is unknown. That makes no stranger of a proxy.
func TestAProxyThatResetsIsNoStranger(t *testing.T) {
	t.Parallel()
	s := proxied(t, Config{}, proxy.Protocol, "127.0.0.0/8")
	const line = "PROXY TCP4 192.0.2.1 192.0.2.2 1234 80\r\n"
	first := connect(t, s)
	send(first, []byte(line+head()), whole)
	seen(t, first) // it runs
	busy, goOn := make(chan struct{}, len(s.loops)), make(chan struct{})
	release := sync.OnceFunc(func() { close(goOn) })
	t.Cleanup(release)
	for _, l := range s.loops {
		l.Post(func() { busy <- struct{}{}; <-goOn })
	}
	for range s.loops {
		<-busy
	}
	const many = 50
	for range many {
		conn := connect(t, s)
		send(conn, []byte(line+head()), whole)
		_ = conn.SetLinger(0)
		_ = conn.Close()
	}
	until(t, "all are accepted", func() bool { return s.Stats().Accepted == many+1 })
	release()
	until(t, "all are gone", func() bool { return s.Stats().Sockets == 1 })
	if n := s.Stats().Sources["untrusted_proxy"]; n != 0 {
		t.Errorf("%d were refused as strangers", n)
	}
}

func TestForwardedFieldsOfProxiesAreBelieved(t *testing.T) {
	xff := proxied(t, Config{}, proxy.XForwardedFor, "127.0.0.2", "10.0.0.0/8")
	fwd := proxied(t, Config{}, proxy.Forwarded, "127.0.0.2", "10.0.0.0/8")
	plain := proxied(t, Config{MaxPerAddress: 100}, proxy.Socket)
	for _, c := range []struct {
		s                   *Server
		peer, header, wants string
	}{
		{xff, "127.0.0.2", "X-Forwarded-For: 6.6.6.6, 192.0.2.1, 10.0.0.7", "192.0.2.1"},
		{xff, "127.0.0.2", "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 192.0.2.1", "192.0.2.1"},
		{xff, "127.0.0.2", "x-forwarded-for:192.0.2.1", "192.0.2.1"},
		{xff, "127.0.0.2", "Forwarded: for=192.0.2.1", ""},
		{xff, "127.0.0.2", "X-Forwarded-For: unknown", ""},
		{xff, "127.0.0.1", "X-Forwarded-For: 192.0.2.1", ""},
		{fwd, "127.0.0.2", `Forwarded: for=6.6.6.6, for="[2001:db8::1]:80";by=_x, for=10.0.0.7`, "2001:db8::1"},
		{fwd, "127.0.0.2", "X-Forwarded-For: 192.0.2.1", ""},
		{fwd, "127.0.0.1", "Forwarded: for=192.0.2.1", ""},
		{plain, "127.0.0.1", "X-Forwarded-For: 192.0.2.1\r\nForwarded: for=192.0.2.1", ""},
	} {
		conn := from(t, c.s, c.peer)
		send(conn, []byte(head("+"+c.header)), whole)
		if got := seen(t, conn); got != c.wants {
			t.Errorf("%s from %s: %q, want %q", c.header, c.peer, got, c.wants)
		}
	}
}

// The address is that of the client also where it is refused, and after its socket has closed.
func TestTheClientsAddressIsToldOfRefusalsAndTheGone(t *testing.T) {
	t.Parallel()
	trusted, _ := proxy.ParseNetworks([]string{"127.0.0.0/8"})
	told := make(chan string, 4)
	var gone *Conn
	s := running(t, Config{
		ClientAddress: proxy.XForwardedFor, TrustedProxies: trusted,
		OnRefused: func(c *Conn, r *Refusal) { told <- r.Name + " " + c.RemoteAddr().String() },
	}, &echoing{gone: make(chan *Cause, 4), decide: func(h *Handshake, p Peer) {
		gone = h.Conn()
		h.Accept("", p, nil)
	}})
	conn := connect(t, s)
	send(conn, []byte(head("+Origin: https://evil.example", "+X-Forwarded-For: 192.0.2.1")), whole)
	if status, _, _ := answered(t, conn); status != 403 {
		t.Fatalf("answered %d", status)
	}
	if got := <-told; got != "origin 192.0.2.1:0" {
		t.Errorf("told %s", got)
	}
	conn = connect(t, s)
	send(conn, []byte(head("+X-Forwarded-For: 192.0.2.1")), whole)
	readSwitch(t, conn)
	_ = conn.Close()
	until(t, "it is gone", func() bool { return s.Stats().Sockets == 0 })
	at := make(chan netip.AddrPort)
	gone.Loop().Post(func() { at <- gone.RemoteAddr() })
	if got := <-at; got.String() != "192.0.2.1:0" {
		t.Errorf("the gone one's is %s", got)
	}
}

func TestAnAddressHasSoManyConnections(t *testing.T) {
	s := proxied(t, Config{MaxPerAddress: 2}, proxy.XForwardedFor, "127.0.0.1")
	come := func(address string) (*net.TCPConn, int) {
		c := connect(t, s)
		send(c, []byte(head("+X-Forwarded-For: "+address)), whole)
		status, header, body := statusOf(t, c)
		if status == 429 && (header.Get("Retry-After") == "" || !strings.Contains(body, "from your address")) {
			t.Errorf("answered %v %s", header, body)
		}
		return c, status
	}
	first, status := come("2001:db8:0:1::1")
	for i, want := range []int{101, 429, 429} {
		if _, got := come(fmt.Sprintf("2001:db8:0:1::%d", i)); got != want {
			t.Errorf("number %d: %d, want %d; the first: %d", i+2, got, want, status)
		}
	}
	if _, got := come("2001:db8:0:2::1"); got != 101 {
		t.Errorf("of another network: %d", got)
	}
	if got := s.Stats().Sources["address_connections"]; got != 2 {
		t.Errorf("counted %d", got)
	}
	_ = first.Close()
	until(t, "its place is free", func() bool { return s.Stats().Open == 2 })
	if _, got := come("2001:db8:0:1::1"); got != 101 {
		t.Errorf("after one has gone: %d", got)
	}
}

func TestAnAddressHasSoManyHandshakesInASecond(t *testing.T) {
	const rate = 1
	s := proxied(t, Config{AddressRate: rate}, proxy.Socket)
	let := 0
	for range 1000 { // faster than the rate, on any machine
		c := from(t, s, "127.0.0.3")
		send(c, []byte(head()), whole)
		status, header, body := statusOf(t, c)
		_ = c.Close()
		if status == 101 {
			let++
			continue
		}
		if status != 429 || header.Get("Retry-After") != "1" || !strings.Contains(body, "too many handshakes") {
			t.Fatalf("%d %v %s", status, header, body)
		}
		break
	}
	if let < rate {
		t.Errorf("%d were let in", let)
	}
	c := from(t, s, "127.0.0.4")
	send(c, []byte(head()), whole)
	if status, _, body := statusOf(t, c); status != 101 {
		t.Errorf("another address: %d %s", status, body)
	}
	if n := s.Stats().Sources["address_rate"]; n != 1 {
		t.Errorf("counted %d", n)
	}
}

// statusOf is the answer to a handshake; of one that is let in nothing else was read that is wanted.
func statusOf(t testing.TB, c *net.TCPConn) (status int, header http.Header, body string) {
	t.Helper()
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != 101 {
		text, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		body = string(text)
	}
	return res.StatusCode, res.Header, body
}

func TestNobodyIsBelievedWithoutANetwork(t *testing.T) {
	for _, source := range []proxy.Source{proxy.XForwardedFor, proxy.Forwarded, proxy.Protocol} {
		if _, err := New(Config{Addr: "127.0.0.1:0", ClientAddress: source}, nil); err == nil || !strings.Contains(err.Error(), source.String()) {
			t.Errorf("%s: %v", source, err)
		}
	}
}
