package engine

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

// scanned feeds b to a scanner in pieces of n bytes. It returns where the head ends, or -1, the refusal, and how
// many bytes that took.
func scanned(b []byte, n int) (end int, refusal *Refusal, looked int) {
	var s headScanner
	for looked < len(b) {
		piece := b[looked:min(looked+n, len(b))]
		end, refusal = s.next(piece)
		if end > 0 {
			return looked + end, nil, looked + end
		}
		if looked += len(piece); refusal != nil {
			return -1, refusal, looked
		}
	}
	return -1, nil, looked
}

func TestHeadsAreScannedAsTheyAreParsed(t *testing.T) {
	for _, c := range handshakeCases() {
		b := []byte(c.head)
		_, judged := new(headParser).parse(b, []string{tablePath}, parsedTableOrigins(t))
		for _, n := range []int{1, 2, 7, len(b)} {
			end, refusal, _ := scanned(b, n)
			switch {
			case refusal == nil && end != len(b):
				t.Errorf("%s: by %d bytes it ends at %d of %d", c.name, n, end, len(b))
			case refusal != nil && foreign(b, refusal) != judged:
				t.Errorf("%s: by %d bytes it is refused for %q, whole for %v", c.name, n, refusal.Reason, judged)
			}
		}
	}
}

// Bytes that no HTTP client sends: how many of them make that sure, and the answer.
var foreignCases = []struct {
	name, in string
	sure     int
	answer   *Refusal
}{
	{"TLS", "\x16\x03\x01\x02\x00\x01", 1, refuseTLS},
	{"PROXY v1", "PROXY TCP4 192.0.2.1 192.0.2.2 1234 80\r\n", 12, refuseProxy},
	{"PROXY v1, unknown", "PROXY UNKNOWN\r\n", 14, refuseProxy},
	{"PROXY v2", "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c", 1, refuseProxy},
	{"SSH", "SSH-2.0-OpenSSH_9.6\r\n", 20, refuseSSH},
	{"SSH with a comment", "SSH-2.0-OpenSSH_9.6 Debian-1\r\n", 29, refuseSSH},
	{"Redis", "*1\r\n$4\r\nPING\r\n", 3, refuseHead},
	{"SMTP", "EHLO client.example\r\n", 20, refuseHead},
	{"RDP", "\x03\x00\x00\x13\x0e\xe0", 1, refuseLines},
	{"WebSocket without a handshake", "\x81\x85....hello", 1, refuseHead},
	{"HTTP/0.9", "GET /notification\r\n", 18, refuseHead},
	{"line feeds alone", "GET / HTTP/1.1\nHost: x\n", 15, refuseLines},
	{"a NUL in a header", "GET / HTTP/1.1\r\nHost: x\x00", 24, refuseLines},
	{"no header", "GET / HTTP/1.1\r\nHost\r\n", 21, refuseName},
	{"ever more headers", "GET / HTTP/1.1\r\n" + strings.Repeat("a:\r\n", maxHeaderLines+1), 17 + 4*maxHeaderLines, refuseTooMany},
}

func TestForeignBytesAreRefusedAtTheFirstImpossibleOne(t *testing.T) {
	s := running(t, Config{HandshakeTimeout: time.Hour}, &echoing{})
	for _, c := range foreignCases {
		if _, refusal, looked := scanned([]byte(c.in), 1); refusal == nil || looked != c.sure {
			t.Errorf("%s: %v after %d bytes, want %d", c.name, refusal, looked, c.sure)
		}
		conn := connect(t, s)
		send(conn, []byte(c.in), whole)
		if got, err := io.ReadAll(conn); err != nil || !bytes.Equal(got, c.answer.append(nil)) {
			t.Errorf("%s: answered %q, %v", c.name, got, err)
		}
		conn = connect(t, s)
		send(conn, []byte(c.in[:c.sure]), bytewise) // no byte more
		if got, err := io.ReadAll(conn); err != nil || !bytes.HasPrefix(got, []byte("HTTP/1.1 4")) {
			t.Errorf("%s: after the first impossible byte %q, %v", c.name, got, err)
		}
	}
}

func TestTLSClientsFindOutThatThereIsNone(t *testing.T) {
	s := running(t, Config{HandshakeTimeout: time.Hour}, &echoing{})
	c := connect(t, s)
	err := tls.Client(c, &tls.Config{ServerName: "hub.example.com"}).HandshakeContext(t.Context())
	var e tls.RecordHeaderError
	if !errors.As(err, &e) || string(e.RecordHeader[:]) != "HTTP/" { // net/http says so in words
		t.Errorf("the client finds: %v", err)
	}
}

// Scanned bytes are overwritten so that a second scan would find the end there.
func TestBytesOfAHeadAreLookedAtOnce(t *testing.T) {
	arrived := make(chan *Handshake, 1)
	s := running(t, Config{}, &echoing{decide: func(h *Handshake, p Peer) { arrived <- h }})
	c := connect(t, s)
	b := []byte(head())
	on := func(f func(c *Conn)) {
		t.Helper()
		done := make(chan struct{})
		for _, l := range s.loops {
			l.Post(func() {
				l.conns.each(f)
				done <- struct{}{}
			})
		}
		for range s.loops {
			<-done
		}
	}
	sent := uint64(0)
	for part := range bytes.SplitSeq(b[:len(b)-1], []byte("e")) {
		send(c, part, whole)
		sent += uint64(len(part))
		until(t, "the piece is read", func() bool { return s.Stats().BytesIn == sent })
		on(func(c *Conn) {
			if c.state != arriving {
				t.Error("it was scanned again")
				return
			}
			for i := range len(c.transit.buf) - 3 {
				c.transit.buf[i] = '\n'
			}
		})
		send(c, []byte("e"), whole)
		sent++
	}
}

func TestHeadsGrowByDoubling(t *testing.T) {
	const size = 60_000
	var buf []byte
	allocs := testing.AllocsPerRun(1, func() {
		buf = nil
		for range size {
			buf = gather(buf, []byte{'x'}, 64<<10)
		}
	})
	if allocs > 12 {
		t.Errorf("%v allocations for %d bytes one by one", allocs, size)
	}
}

// FuzzHeadScanner holds pieces of a head against the whole: the end is found where it is, and nothing is refused
// that would be taken.
func FuzzHeadScanner(f *testing.F) {
	for _, c := range handshakeCases() {
		f.Add([]byte(c.head), uint8(3))
	}
	for _, c := range foreignCases {
		f.Add([]byte(c.in), uint8(1))
	}
	f.Fuzz(func(t *testing.T, b []byte, n uint8) {
		end, refusal, looked := scanned(b, int(n)+1)
		whole := headEnd(b)
		switch {
		case refusal != nil:
			if one, again, _ := scanned(b, 1); one != -1 || again != refusal {
				t.Fatalf("%q: refused for %q, byte by byte %v", b, refusal.Reason, again)
			}
			rest := append(bytes.Clone(b[:looked]), "\r\n\r\n"...) // the shortest way on
			if _, judged := new(headParser).parse(rest[:headEnd(rest)], []string{tablePath}, nil); judged == nil {
				t.Fatalf("%q is refused for %q, %q is taken", b, refusal.Reason, rest)
			}
			if whole > 0 {
				if _, judged := new(headParser).parse(b[:whole], []string{tablePath}, nil); judged == nil {
					t.Fatalf("%q is refused for %q, and taken whole", b, refusal.Reason)
				}
			}
		case end != whole:
			t.Fatalf("%q ends at %d, scanned at %d", b, whole, end)
		}
	})
}

func BenchmarkHeadScanner(b *testing.B) {
	raw := []byte(browserHead)
	b.SetBytes(int64(len(raw)))
	for b.Loop() {
		var s headScanner
		if n, refusal := s.next(raw); refusal != nil || n != len(raw) {
			b.Fatal(n, refusal)
		}
	}
}
