package engine

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// skimmed feeds b in pieces of n bytes to a skimmer, and returns how many bytes it took until the Close frame was
// there, or -1.
func skimmed(s skimmer, b []byte, n int) (int, *protocolError) {
	for at := 0; at < len(b); at += n {
		piece := b[at:min(at+n, len(b))]
		if _, closed, err := s.next(piece); err != nil || closed {
			if !closed {
				return -1, err
			}
			return at + len(piece), nil
		}
	}
	return -1, nil
}

func TestSkimmerFindsTheCloseFrameThatTheReaderFinds(t *testing.T) {
	for _, c := range frameCases() {
		closes := len(c.want) > 0 && c.want[len(c.want)-1].op == OpClose
		for _, n := range []int{1, 3, len(c.in)} {
			at, err := skimmed(skimmer{}, c.in, n)
			switch {
			case closes && at < 0:
				t.Errorf("%s: no Close frame is found: %v", c.name, err)
			case c.err == codeProtocol && err == nil && at < 0:
				t.Errorf("%s: it is taken", c.name)
			case c.err == 0 && err != nil:
				t.Errorf("%s: %s", c.name, err.reason)
			}
		}
	}
}

func TestSkimmerAllocatesNothing(t *testing.T) {
	b := join(clientFrame(text, "some"), clientFrame(finPing, "p"), clientFrame(finContinuation, "more"), clientFrame(finClose, ""))
	if n := testing.AllocsPerRun(100, func() {
		if at, err := skimmed(skimmer{}, b, 3); at < 0 {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// closeAt finds the first Close frame another way: whole, frame by frame, without a state. ok is false where the
// frames break a rule before.
func closeAt(b []byte) (end int, ok bool) {
	fragmented := false
	for at := 0; ; {
		rest := b[at:]
		if len(rest) == 0 {
			return -1, true
		}
		op, fin := rest[0]&0xF, rest[0]&0x80 != 0
		control := op >= 8
		switch {
		case rest[0]&0x70 != 0, op > 10, op > 2 && op < 8, control && !fin, !control && fragmented != (op == 0):
			return -1, false
		case len(rest) == 1:
			return -1, true
		case rest[1] < 0x80, control && rest[1] > 0x80+125:
			return -1, false
		}
		size, length := 2, uint64(rest[1]-0x80)
		if wide := map[uint64]int{126: 2, 127: 8}[length]; wide > 0 {
			if size += wide; len(rest) < size {
				return -1, true
			}
			least := map[int]uint64{2: 126, 8: 1 << 16}[wide]
			length = binary.BigEndian.Uint64(append(make([]byte, 8-wide), rest[2:size]...))
			if length < least || length >= 1<<63 {
				return -1, false
			}
		}
		if size += 4; len(rest) < size || uint64(len(rest)-size) < length {
			return -1, true
		}
		at += size + int(length)
		if op == 8 {
			return at, true
		}
		if !control {
			fragmented = !fin
		}
	}
}

// FuzzSkimmer holds the skimmer, in pieces and behind a reader, against closeAt.
func FuzzSkimmer(f *testing.F) {
	for _, c := range frameCases() {
		if len(c.in) < 4096 {
			f.Add(join(c.in, clientFrame(finClose, "")), uint16(len(c.in)/2), uint8(3))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, cut uint16, n uint8) {
		want, good := closeAt(b)
		assertEnd := func(how string, end int, err *protocolError) {
			t.Helper()
			if end >= 0 != (want >= 0) || good && err != nil {
				t.Fatalf("%q %s: ends at %d, %v; want %d", b, how, end, err, want)
			}
		}
		end, err := skimmed(skimmer{}, b, 1)
		if assertEnd("byte by byte", end, err); end != want && good {
			t.Fatalf("%q ends at %d, want %d", b, end, want)
		}
		end, err = skimmed(skimmer{}, b, int(n)+1)
		assertEnd("in pieces", end, err)

		var r reader // it reads the first part
		read := min(int(cut), len(b))
		for rest, more := bytes.Clone(b[:read]), true; more; {
			var m message
			var perr *protocolError
			if m, rest, more, perr = r.next(rest, 1<<20, false); perr != nil || more && m.op == OpClose {
				return // the connection ends otherwise
			}
		}
		end, err = skimmed(r.skimmer(), b[read:], int(n)+1)
		assertEnd("behind a reader", end, err)
	})
}
