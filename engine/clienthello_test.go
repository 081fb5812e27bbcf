package engine

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// FuzzClientHello holds the scanner against crypto/tls: a stream in any pieces ends at the same byte, and where crypto/tls reads
// a whole ClientHello, so does the scanner.
func FuzzClientHello(f *testing.F) {
	hello := clientHello(f)
	f.Add(hello, uint8(255))
	f.Add(hello, uint8(1))
	f.Add(hello[:len(hello)-1], uint8(7))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), uint8(3))
	f.Add([]byte("\x16\x03\x01\x00\x02\x01\x00\x16\x03\x01\x00\x02\x00\x26"), uint8(2))
	f.Fuzz(func(t *testing.T, b []byte, piece uint8) {
		var once, pieces helloScanner
		whole, fits := once.next(b)
		wholeToo, fitsToo := false, true
		for rest := b; len(rest) > 0 && fitsToo && !wholeToo; {
			n := min(max(int(piece), 1), len(rest))
			wholeToo, fitsToo = pieces.next(rest[:n])
			rest = rest[n:]
		}
		if whole != wholeToo || fits != fitsToo {
			t.Fatalf("at once: whole %v, fits %v; in pieces: %v, %v", whole, fits, wholeToo, fitsToo)
		}
		if readsHello(b) && len(b) <= maxHello && !whole && pieces.records <= maxHelloRecords {
			t.Fatal("crypto/tls reads a ClientHello, the scanner finds none")
		}
	})
}

// readsHello reports whether crypto/tls finds a ClientHello at the beginning of b.
func readsHello(b []byte) (found bool) {
	errFound := errors.New("found")
	err := tls.Server(playback{bytes.NewReader(b)}, &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, errFound }}).Handshake()
	return errors.Is(err, errFound)
}

// playback is a connection whose client says something fixed.
type playback struct{ io.Reader }

func (playback) Write(b []byte) (int, error)      { return len(b), nil }
func (playback) Close() error                     { return nil }
func (playback) LocalAddr() net.Addr              { return nil }
func (playback) RemoteAddr() net.Addr             { return nil }
func (playback) SetDeadline(time.Time) error      { return nil }
func (playback) SetReadDeadline(time.Time) error  { return nil }
func (playback) SetWriteDeadline(time.Time) error { return nil }

// FuzzRecords holds the cutting of records against their sizes: in any pieces the same records come.
func FuzzRecords(f *testing.F) {
	f.Add([]byte("\x17\x03\x03\x00\x02ab\x17\x03\x03\x00\x00\x17\x03\x03\xff\xff\x17"), uint8(1))
	f.Add(bytes.Repeat([]byte("\x17\x03\x03\x00\x03abc"), 9), uint8(5))
	f.Fuzz(func(t *testing.T, b []byte, piece uint8) {
		cut := func(piece int) (all [][]byte, left int) {
			var l tlsLayer
			for rest := b; len(rest) > 0; {
				n := min(piece, len(rest))
				for data := rest[:n]; ; {
					var record []byte
					if record, data = l.nextRecord(data); record == nil {
						break
					}
					all = append(all, bytes.Clone(record))
				}
				rest = rest[n:]
			}
			return all, len(l.partial)
		}
		once, left := cut(max(len(b), 1))
		pieces, leftToo := cut(max(int(piece), 1))
		if left != leftToo || len(once) != len(pieces) {
			t.Fatalf("%d records and %d bytes at once, %d and %d in pieces", len(once), left, len(pieces), leftToo)
		}
		total := left
		for i, record := range once {
			if total += len(record); !bytes.Equal(record, pieces[i]) || len(record) > maxRecord || len(record) != recordSize(record) {
				t.Fatalf("record %d is %q at once, %q in pieces", i, record, pieces[i])
			}
		}
		if total != len(b) {
			t.Fatalf("of %d bytes %d are in records", len(b), total)
		}
	})
}
