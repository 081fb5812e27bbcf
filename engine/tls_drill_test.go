package engine

import (
	"crypto/tls"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"
)

// Silent handshakes of many addresses keep nobody out, and cost a bounded number of goroutines.
func TestStalledHandshakesHarmNoHealthyClient(t *testing.T) {
	stalls := 300
	cfg := secure()
	cfg.MaxTLSHandshakes, cfg.MaxTLSHandshakesPerAddr = 200, 60
	if os.Getenv("WSHUB_DRILL") != "" {
		stalls = 5000
		cfg.MaxTLSHandshakes, cfg.MaxTLSHandshakesPerAddr = 4096, 1024
	}
	cfg.Heartbeat, cfg.HandshakeTimeout = time.Hour, time.Minute
	s := running(t, cfg, &echoing{})
	client := &tls.Config{RootCAs: trusted(), ServerName: "localhost"}
	healthy := openedTLS(t, s, client)
	hello, before := clientHello(t), runtime.NumGoroutine()

	var all sync.WaitGroup
	stalled := make(chan net.Conn, stalls)
	for i := range 16 {
		all.Go(func() {
			from := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(i))}}
			for range (stalls + i) / 16 {
				c, err := from.Dial("tcp", s.Addr().String())
				if err != nil {
					t.Error(err)
					return
				}
				stalled <- c
				_ = c.SetDeadline(time.Now().Add(20 * time.Second))
				send(c, hello, whole)
				_, _ = io.ReadFull(c, make([]byte, 1)) // the server waits for us from here on, or has dropped us
			}
		})
	}
	done := make(chan struct{})
	go func() { all.Wait(); close(done) }()
	for open := true; open; {
		select {
		case <-done:
			open = false // once more with all of them
		default:
		}
		_ = healthy.SetDeadline(time.Now().Add(20 * time.Second))
		begin := time.Now()
		expectOpen(t, healthy)
		echoed := time.Since(begin)
		begin = time.Now()
		c := openedTLS(t, s, client)
		t.Logf("a ping took %v, a new connection %v, %d handshakes at work", echoed, time.Since(begin), s.Stats().Handshaking)
		_ = c.NetConn().Close()
	}
	limit := int64(cfg.MaxTLSHandshakes)
	until(t, "no more are at work than may be", func() bool { return s.Stats().Handshaking <= limit })
	if n := s.Stats().TLS[tlsDropped]; n < uint64(stalls)-uint64(limit) {
		t.Errorf("%d were dropped", n)
	}
	t.Logf("%d goroutines before, %d with all of them: %v", before, runtime.NumGoroutine(), s.Stats().TLS)
	close(stalled)
	for c := range stalled {
		_ = c.Close()
	}
	until(t, "no handshake is left", func() bool { return s.Stats().Handshaking == 0 })
}

// recorded keeps the bytes that come.
type recorded struct {
	net.Conn
	seen *[]byte
}

func (r recorded) Read(b []byte) (int, error) {
	n, err := r.Conn.Read(b)
	*r.seen = append(*r.seen, b[:n]...)
	return n, err
}

// crypto/tls takes an end between two records for a good one, so the records are looked at (RFC 8446, 6.1).
func TestAFinFollowsACloseNotify(t *testing.T) {
	t.Parallel()
	eachVersion(t, func(t *testing.T, client *tls.Config) {
		s := running(t, secure(), &echoing{})
		var seen, last []byte
		c := tls.Client(recorded{connect(t, s), &seen}, client)
		send(c, []byte("GET /nowhere HTTP/1.1\r\nHost: hub\r\n\r\n"), whole)
		if _, err := io.ReadAll(c); err != nil {
			t.Fatal(err)
		}
		for rest := seen; len(rest) > 0; {
			last, rest = rest[:recordSize(rest)], rest[recordSize(rest):]
		}
		// An alert has two bytes; with TLS 1.3 its type and a tag of 16 are encrypted with them.
		if is13 := client.MaxVersion == tls.VersionTLS13; is13 && len(last) != recordHeader+2+1+16 || !is13 && last[0] != alertRecord {
			t.Errorf("the last record is %x", last)
		}
	})
}
