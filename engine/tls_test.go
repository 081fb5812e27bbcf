package engine

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// testCertificate is for localhost, and its own authority.
var testCertificate = sync.OnceValue(func() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "hub"}, DNSNames: []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
})

func trusted() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(testCertificate().Leaf)
	return pool
}

// secure is a Config that speaks TLS.
func secure() Config {
	return Config{TLS: &tls.Config{Certificates: []tls.Certificate{testCertificate()}, NextProtos: []string{"http/1.1"}}}
}

// versions are what clients speak.
var versions = map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}

func eachVersion(t *testing.T, f func(t *testing.T, client *tls.Config)) {
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t, &tls.Config{RootCAs: trusted(), ServerName: "localhost", MinVersion: version, MaxVersion: version, NextProtos: []string{"http/1.1"}})
		})
	}
}

// connectTLS is a connection whose TLS handshake is over.
func connectTLS(t testing.TB, s *Server, cfg *tls.Config) *tls.Conn {
	t.Helper()
	c := tls.Client(connect(t, s), cfg)
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	return c
}

// openedTLS is a connection past its opening handshake.
func openedTLS(t testing.TB, s *Server, cfg *tls.Config) *tls.Conn {
	t.Helper()
	c := connectTLS(t, s, cfg)
	send(c, []byte(head()), whole)
	readSwitch(t, c)
	return c
}

func TestClientsSpeakTLSAndWebSocket(t *testing.T) {
	t.Parallel()
	eachVersion(t, func(t *testing.T, client *tls.Config) {
		gone := make(chan *Cause, 1)
		s := running(t, secure(), &echoing{gone: gone})
		c := openedTLS(t, s, client)
		if state := c.ConnectionState(); state.NegotiatedProtocol != "http/1.1" {
			t.Errorf("ALPN chose %q", state.NegotiatedProtocol)
		}
		for _, size := range []int{0, 1, 125, 1 << 14, 1<<14 + 1, 60 << 10} {
			text := strings.Repeat("x", size)
			send(c, clientFrame(finText, text), whole)
			expect(t, c, AppendFrame(nil, OpText, []byte(text)))
		}
		send(c, clientFrame(finText, "close now"), whole)
		expect(t, c, AppendClose(nil, 4000, "now"))
		send(c, clientFrame(finClose, "\x0f\xa0"), whole)
		expectEnd(t, c)
		if cause := <-gone; cause.Name != "test" {
			t.Errorf("the cause is %s", cause.Name)
		}
		until(t, "the handshake is counted", func() bool { return s.Stats().TLS[tlsOK] == 1 })
		if n := s.Stats().Handshaking; n != 0 {
			t.Errorf("%d handshakes are at work", n)
		}
	})
}

// choppy writes byte by byte.
type choppy struct{ net.Conn }

func (c choppy) Write(b []byte) (int, error) {
	for i := range b {
		if _, err := c.Conn.Write(b[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(b), nil
}

func TestRecordsMayComeByteByByte(t *testing.T) {
	t.Parallel()
	eachVersion(t, func(t *testing.T, client *tls.Config) {
		s := running(t, secure(), &echoing{})
		c := tls.Client(choppy{connect(t, s)}, client)
		send(c, []byte(head()), whole)
		readSwitch(t, c)
		for range 3 {
			send(c, clientFrame(finText, "slowly"), whole)
			expect(t, c, AppendFrame(nil, OpText, []byte("slowly")))
		}
		until(t, "nothing is held", func() bool { return s.Stats().Partial == 0 })
	})
}

func TestMessagesSpanRecords(t *testing.T) {
	t.Parallel()
	eachVersion(t, func(t *testing.T, client *tls.Config) {
		s := running(t, secure(), &echoing{})
		c := openedTLS(t, s, client)
		text := strings.Repeat("0123456789", 6000)
		go send(c, clientFrame(finText, text), func() int { return 37 })
		expect(t, c, AppendFrame(nil, OpText, []byte(text)))
	})
}

// A write that the kernel takes in part goes on where it stopped, in the middle of a record.
func TestNothingIsLostBehindASlowReaderOfTLS(t *testing.T) {
	t.Parallel()
	eachVersion(t, func(t *testing.T, client *tls.Config) {
		const frames, size = 400, 5000
		cfg := secure()
		cfg.SendBuffer, cfg.MaxQueued = 4<<10, 64<<20
		s := running(t, cfg, &echoing{decide: func(h *Handshake, p Peer) {
			h.Accept("", p, nil)
			for i := range frames {
				h.Conn().Write(AppendFrame(nil, OpBinary, bytes.Repeat([]byte{byte(i)}, size)))
			}
		}})
		c := openedTLS(t, s, client)
		until(t, "bytes wait", func() bool { return s.Stats().Backlog > 100<<10 })
		for i := range frames {
			expect(t, c, AppendFrame(nil, OpBinary, bytes.Repeat([]byte{byte(i)}, size)))
		}
		expectOpen(t, c)
		until(t, "nothing waits", func() bool { return s.Stats().Backlog == 0 })
	})
}

func TestTLSConnectionsAddNoGoroutine(t *testing.T) {
	cfg := secure()
	cfg.Heartbeat = time.Hour // they answer no pings
	s := running(t, cfg, &echoing{})
	client := &tls.Config{RootCAs: trusted(), ServerName: "localhost", ClientSessionCache: tls.NewLRUClientSessionCache(1), CurvePreferences: []tls.CurveID{tls.X25519}}
	openedTLS(t, s, client)
	before := numGoroutine(s)
	many := 320
	if os.Getenv("WSHUB_DRILL") != "" {
		many = 2000
	}
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for range many / 16 {
				c := tls.Client(connect(t, s), client)
				send(c, []byte(head()), whole)
				want := appendSwitch(nil, "dGhlIHNhbXBsZSBub25jZQ==", "", "")
				if _, err := io.ReadFull(c, want); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	until(t, "all are open", func() bool { return s.Stats().Open == int64(many+1) })
	until(t, "no goroutine is left of a handshake", func() bool { return numGoroutine(s) <= before })
}

func TestPlainTextOnTheTLSPortIsAnsweredAtOnce(t *testing.T) {
	t.Parallel()
	s := running(t, secure(), &echoing{})
	for text, want := range map[string]string{
		head():                               "use wss:// or https://",
		"G":                                  "use wss:// or https://",
		"PROXY TCP4 1.1.1.1 1.1.1.1 1 1\r\n": "PROXY",
		"SSH-2.0-OpenSSH_9.6\r\n":            "SSH",
		"\x00\x01":                           "use wss:// or https://",
	} {
		c := connect(t, s)
		send(c, []byte(text), whole)
		_ = c.CloseWrite()
		answer, err := io.ReadAll(c)
		if err != nil || !bytes.HasPrefix(answer, []byte("HTTP/1.1 400 ")) || !bytes.Contains(answer, []byte(want)) {
			t.Errorf("%.20q is answered by %q, %v", text, answer, err)
		}
	}
	if n := s.Stats().TLS[tlsPlain]; n != 5 {
		t.Errorf("%d were counted", n)
	}
}

func TestBadHellosAreRefusedByAnAlert(t *testing.T) {
	t.Parallel()
	s := running(t, secure(), &echoing{})
	for name, hello := range map[string]string{
		"no handshake record":     "\x17\x03\x03\x00\x01a",
		"SSL 2":                   "\x80\x2e\x01\x03\x01",
		"version 2":               "\x16\x02\x00\x00\x05",
		"an empty record":         "\x16\x03\x01\x00\x00",
		"a record too long":       "\x16\x03\x01\x40\x01",
		"no ClientHello":          "\x16\x03\x01\x00\x05\x02\x00\x00\x00\x00",
		"too long a ClientHello":  "\x16\x03\x01\x00\x05\x01\x01\x00\x00\x00",
		"too short a ClientHello": "\x16\x03\x01\x00\x05\x01\x00\x00\x02\x00",
		"too many records":        strings.Repeat("\x16\x03\x01\x00\x01\x01", 1) + strings.Repeat("\x16\x03\x01\x00\x01\x00", 1) + strings.Repeat("\x16\x03\x01\x00\x01\x08", 70),
	} {
		c := connect(t, s)
		send(c, []byte(hello), whole)
		_ = c.CloseWrite()
		answer, err := io.ReadAll(c)
		if err != nil || !bytes.Equal(answer, []byte{alertRecord, 3, 1, 0, 2, 2, unexpectedMessage}) {
			t.Errorf("%s is answered by %q, %v", name, answer, err)
		}
	}
	if n := s.Stats().TLS[tlsHello]; n != 9 {
		t.Errorf("%d were counted", n)
	}
}

func TestSilentHandshakesMakeRoomAndEnd(t *testing.T) {
	t.Parallel()
	for name, limit := range map[string]func(*Config){
		"in all":         func(cfg *Config) { cfg.MaxTLSHandshakes = 16 },
		"of one address": func(cfg *Config) { cfg.MaxTLSHandshakesPerAddr = 16 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := secure()
			limit(&cfg)
			s := running(t, cfg, &echoing{})
			hello := clientHello(t)
			stalled := make([]*net.TCPConn, 100)
			for i := range stalled {
				stalled[i] = connect(t, s)
				send(stalled[i], hello, whole)
				_, _ = io.ReadFull(stalled[i], make([]byte, 1)) // the answer begins: it is silent from here on
			}
			until(t, "the oldest were dropped", func() bool { return s.Stats().TLS[tlsDropped] >= uint64(len(stalled)-18) })
			until(t, "few are left", func() bool { return s.Stats().Handshaking <= 17 })
			c := openedTLS(t, s, &tls.Config{RootCAs: trusted(), ServerName: "localhost"})
			expectOpen(t, c)
		})
	}
}

// clientHello is that of a client that then says nothing.
func clientHello(t testing.TB) []byte {
	t.Helper()
	near, far := net.Pipe()
	defer func() { _ = near.Close(); _ = far.Close() }()
	go func() { _ = tls.Client(near, &tls.Config{ServerName: "localhost"}).Handshake() }()
	b := make([]byte, 16<<10)
	n, err := far.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return b[:n]
}

func TestHandshakesHaveATime(t *testing.T) {
	t.Parallel()
	cfg := secure()
	cfg.HandshakeTimeout = 200 * time.Millisecond
	s := running(t, cfg, &echoing{})
	hello := clientHello(t)
	half, all := connect(t, s), connect(t, s)
	send(half, hello[:len(hello)/2], whole)
	send(all, hello, whole)
	for _, c := range []*net.TCPConn{half, all} {
		_, _ = io.Copy(io.Discard, c)
	}
	until(t, "both were counted", func() bool { return s.Stats().TLS[tlsTimeout] == 2 })
	until(t, "no goroutine is left", func() bool { return s.Stats().Handshaking == 0 })
}

func TestFailedHandshakesAreCountedByReason(t *testing.T) {
	t.Parallel()
	cfg := secure()
	cfg.TLS.MinVersion = tls.VersionTLS13
	cfg.TLS.ClientAuth, cfg.TLS.ClientCAs = tls.RequireAndVerifyClientCert, trusted()
	s := running(t, cfg, &echoing{})
	good := func() *tls.Config {
		return &tls.Config{RootCAs: trusted(), ServerName: "localhost", Certificates: []tls.Certificate{testCertificate()}}
	}
	for reason, change := range map[string]func(*tls.Config){
		"version":            func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 },
		"protocol":           func(c *tls.Config) { c.NextProtos = []string{"h2"} },
		"client_certificate": func(c *tls.Config) { c.Certificates = nil },
		"rejected":           func(c *tls.Config) { c.RootCAs = x509.NewCertPool() },
	} {
		client := good()
		change(client)
		c := tls.Client(connect(t, s), client)
		_ = c.Handshake()
		_, _ = io.Copy(io.Discard, c.NetConn()) // closed with something unread it would be reset, and its alert be lost
		_ = c.Close()
		until(t, reason+" is counted", func() bool { return s.Stats().TLS[reason] == 1 })
	}
	left := connect(t, s)
	send(left, clientHello(t), whole)
	_, _ = io.ReadFull(left, make([]byte, 1))
	_ = left.Close()
	until(t, "who leaves is counted", func() bool { return s.Stats().TLS[tlsGone] == 1 })
	expectOpen(t, openedTLS(t, s, good()))
}

func TestWhoBreaksTLSIsEnded(t *testing.T) {
	t.Parallel()
	eachVersion(t, func(t *testing.T, client *tls.Config) {
		gone := make(chan *Cause, 1)
		s := running(t, secure(), &echoing{gone: gone})
		for name, record := range map[string]string{
			"a record that can't be decrypted": "\x17\x03\x03\x00\x20" + strings.Repeat("x", 32),
			"a record that is too long":        "\x17\x03\x03\x48\x01",
			"another version":                  "\x17\x03\x01\x00\x20" + strings.Repeat("x", 32),
		} {
			c := openedTLS(t, s, client)
			send(c.NetConn(), []byte(record), whole)
			_, err := io.ReadAll(c)
			if err == nil || !strings.Contains(err.Error(), "remote error") {
				t.Errorf("%s is answered by %v", name, err)
			}
			if cause := <-gone; cause != TLSBroken {
				t.Errorf("%s ends with %s", name, cause.Name)
			}
			_ = c.NetConn().Close()
		}
		until(t, "all are gone", func() bool { return s.Stats().Sockets == 0 })
	})
}

func TestRecordsWithoutEndOrTextCostTheirSender(t *testing.T) {
	t.Parallel()
	s := running(t, secure(), &echoing{})
	c := openedTLS(t, s, &tls.Config{RootCAs: trusted(), ServerName: "localhost"})
	send(c.NetConn(), []byte("\x17\x03\x03\x40\x00half a record"), whole)
	until(t, "it is held, and counted", func() bool { return s.Stats().Partial > 0 })
	_ = c.NetConn().Close()
	until(t, "it is given back", func() bool { return s.Stats().Partial == 0 && s.Stats().Sockets == 0 })
}

func TestCloseNotifyEndsAConnection(t *testing.T) {
	t.Parallel()
	eachVersion(t, func(t *testing.T, client *tls.Config) {
		gone := make(chan *Cause, 1)
		s := running(t, secure(), &echoing{gone: gone})
		c := openedTLS(t, s, client)
		_ = c.CloseWrite()
		if cause := <-gone; cause != PeerGone {
			t.Errorf("the cause is %s", cause.Name)
		}
	})
}

func TestThePlainPortNamesTLS(t *testing.T) {
	t.Parallel()
	s := running(t, Config{}, &echoing{})
	c := connect(t, s)
	send(c, clientHello(t), whole)
	_ = c.CloseWrite()
	answer, err := io.ReadAll(c)
	if err != nil || !bytes.Contains(answer, []byte("speaks no TLS")) {
		t.Errorf("the answer is %q, %v", answer, err)
	}
}

func TestTheServersEndEndsHandshakes(t *testing.T) {
	t.Parallel()
	s := running(t, secure(), &echoing{})
	for range 20 {
		send(connect(t, s), clientHello(t), whole)
	}
	until(t, "handshakes are at work", func() bool { return s.Stats().Handshaking == 20 })
}

func TestBuffersOfTLSAreLetGo(t *testing.T) {
	if !knowsTLSBuffers {
		t.Fatal("this version of Go has the buffers of a tls.Conn elsewhere: look into tlsbuffers.go")
	}
	eachVersion(t, func(t *testing.T, client *tls.Config) {
		conns := make(chan *Conn, 1)
		s := running(t, secure(), &echoing{decide: func(h *Handshake, p Peer) { h.Accept("", p, nil); conns <- h.Conn() }})
		c := openedTLS(t, s, client)
		served := <-conns
		expectOpen(t, c)
		sizes := make(chan [3]int, 1)
		served.loop.Post(func() {
			inner := served.layer().tls
			sizes <- [3]int{bufferIn(inner, rawInputField).Cap(), bufferIn(inner, handField).Cap(), cap(served.layer().partial)}
		})
		if got := <-sizes; got != [3]int{} {
			t.Errorf("an idle connection holds buffers of %d bytes", got)
		}
	})
}

// bufferIn is one of the buffers of c.
func bufferIn(c *tls.Conn, offset uintptr) *bytes.Buffer { return fieldOf[bytes.Buffer](c, offset) }

func numGoroutine(*Server) int { return runtime.NumGoroutine() }

func TestWritingOverTLSAllocatesNothing(t *testing.T) {
	conns := make(chan *Conn, 1)
	s := running(t, secure(), &echoing{decide: func(h *Handshake, p Peer) { h.Accept("", p, nil); conns <- h.Conn() }})
	c := openedTLS(t, s, &tls.Config{RootCAs: trusted(), ServerName: "localhost"})
	served := <-conns
	read := make(chan struct{})
	go func() { defer close(read); _, _ = io.Copy(io.Discard, c) }()
	defer func() { _ = c.NetConn().Close(); <-read }()
	frame := AppendFrame(nil, OpText, bytes.Repeat([]byte("x"), 100))
	writing := make(chan float64, 1)
	served.loop.Post(func() { writing <- testing.AllocsPerRun(200, func() { served.Write(frame) }) })
	if n := <-writing; n != 0 && !raceDetector { // its pools drop some of their buffers
		t.Errorf("writing allocates %v times", n)
	}
}
