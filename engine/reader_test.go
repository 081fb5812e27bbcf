package engine

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// outcome is what a stream comes to: its messages, then perhaps the code of an error.
type outcome struct {
	messages []message
	err      uint16
}

// read feeds the stream in pieces of the sizes that next says, and ends at a Close as a server does.
func read(t testing.TB, stream []byte, limit int, next func() int) outcome {
	t.Helper()
	var r reader
	var out outcome
	var came int
	for len(stream) > 0 {
		n := min(max(next(), 1), len(stream))
		piece := bytes.Clone(stream[:n]) // next unmasks in place
		stream = stream[n:]
		came += n
		for {
			m, rest, more, err := r.next(piece, limit, false)
			if err == nil && more && m.op == OpClose {
				_, _, err = parseClose(m.payload)
			}
			if err != nil {
				out.err = err.code
				return out
			}
			if !more {
				break
			}
			if piece = rest; m.op == OpContinuation {
				continue // a fragment
			}
			out.messages = append(out.messages, message{op: m.op, payload: bytes.Clone(m.payload)})
			if m.op == OpClose {
				return out
			}
		}
		if r.midMessage() != (r.held() > 0) {
			t.Fatalf("midMessage is %v with %d bytes held", r.midMessage(), r.held())
		}
		if held := r.held(); held > 512+2*came {
			t.Fatalf("%d bytes held after %d bytes came", held, came)
		}
	}
	return out
}

func whole() int { return math.MaxInt }

func bytewise() int { return 1 }

func randomly(seed uint64) func() int {
	rnd := rand.New(rand.NewPCG(seed, 0))
	sizes := []int{1, 2, 3, 7, 16, 200, 5000}
	return func() int { return 1 + rnd.IntN(sizes[rnd.IntN(len(sizes))]) }
}

func TestFramesAreReadAsTheRFCSays(t *testing.T) {
	for _, c := range frameCases() {
		t.Run(c.name, func(t *testing.T) {
			want := outcome{c.want, c.err}
			assertRead := func(how string, next func() int) {
				if got := read(t, c.in, tableLimit, next); !sameOutcome(got, want) {
					t.Errorf("%s: got %s, want %s", how, show(got), show(want))
				}
			}
			assertRead("whole", whole)
			assertRead("byte by byte", bytewise)
			for seed := range uint64(8) {
				assertRead("in pieces", randomly(seed))
			}
		})
	}
}

func TestNothingIsHeldBetweenMessages(t *testing.T) {
	for _, c := range frameCases() {
		var r reader
		for i := range c.in {
			_, _, more, err := r.next(bytes.Clone(c.in[i:i+1]), tableLimit, false)
			if err != nil && r.held() != 0 && (err != errTooBig || r.held() > 256) {
				t.Errorf("%s: %d bytes held after an error", c.name, r.held())
			}
			if err != nil {
				break
			}
			if r.held() > 2*tableLimit {
				t.Fatalf("%s: %d bytes held", c.name, r.held())
			}
			if more && i == len(c.in)-1 && r.p != nil && !r.p.begun() {
				t.Errorf("%s: %d bytes held at the end", c.name, r.held())
			}
		}
	}
}

func TestAnnouncedLengthTakesNoMemory(t *testing.T) {
	const limit = 64 << 20
	var r reader
	frame := append(AppendFrameHeader(nil, OpBinary, limit), testKey[:]...)
	frame[1] |= maskBit
	r.next(append(frame, "some"...), limit, false)
	if held := r.held(); held > 512 {
		t.Errorf("%d bytes held for 4 that came", held)
	}
	if !r.midMessage() {
		t.Error("not within a message")
	}
	r.drop()
	if r.held() != 0 || r.midMessage() {
		t.Error("not forgotten by drop")
	}
}

func TestManyFragmentsCopyLittleAndStayWithinTheLimit(t *testing.T) {
	const n = 60000 // no power of two
	stream := join(clientFrame(binaryOp, ""), bytes.Repeat(clientFrame(continuation, "x"), n))
	var r reader
	grown, last := 0, 0
	for len(stream) > 0 {
		size := min(7, len(stream))
		for rest, more := stream[:size], true; more; {
			_, rest, more, _ = r.next(rest, n, false)
		}
		stream = stream[size:]
		if held := r.held(); held != last {
			grown, last = grown+1, held
		}
	}
	if grown > 20 {
		t.Errorf("the buffer grew %d times for %d bytes", grown, n)
	}
	if last > n+512 {
		t.Errorf("%d bytes held for a limit of %d", last, n)
	}
}

func TestCompleteFrameIsReadWithoutAllocating(t *testing.T) {
	for _, payload := range []string{"", strings.Repeat("a", 128), strings.Repeat("é", 2048)} {
		frame := clientFrame(finText, payload)
		buf := make([]byte, len(frame)+3)[3:]
		var r reader
		allocs := testing.AllocsPerRun(100, func() {
			copy(buf, frame)
			if m, _, more, err := r.next(buf, tableLimit, false); err != nil || !more || len(m.payload) != len(payload) {
				t.Fatal("not read", err)
			}
		})
		if allocs != 0 {
			t.Errorf("%d bytes: %v allocations", len(payload), allocs)
		}
	}
}

func TestUnmaskAtEveryOffset(t *testing.T) {
	const key = 0x7CF302A1 // testKey, its first byte lowest
	for size := range 100 {
		for cut := range size + 1 {
			b := make([]byte, size)
			for i := range b {
				b[i] = byte(i) ^ testKey[i%4]
			}
			next, ascii1 := unmask(b[:cut], key)
			_, ascii2 := unmask(b[cut:], next)
			for i := range b {
				if b[i] != byte(i) {
					t.Fatalf("size %d cut at %d: byte %d is %#x", size, cut, i, b[i])
				}
			}
			if !ascii1 || !ascii2 {
				t.Fatalf("size %d cut at %d: not ASCII", size, cut)
			}
			for i := range b {
				c := bytes.Clone(b)
				c[i] |= 0x80
				if _, ascii := unmask(c, 0); ascii {
					t.Fatalf("size %d: byte %d taken for ASCII", size, i)
				}
			}
		}
	}
}

// FuzzReader compares with another implementation, and every way to cut the stream with every other.
func FuzzReader(f *testing.F) {
	for _, c := range frameCases() {
		if len(c.in) < 2000 {
			f.Add(c.in, uint64(1))
		}
	}
	f.Fuzz(func(t *testing.T, stream []byte, seed uint64) {
		const limit = 1000
		got := read(t, stream, limit, whole)
		for _, next := range []func() int{bytewise, randomly(seed)} {
			if other := read(t, stream, limit, next); !sameOutcome(got, other) {
				t.Fatalf("whole %s, in pieces %s", show(got), show(other))
			}
		}
		want, cut := readByGobwas(stream, limit)
		if cut {
			want.err = got.err // it tells no error of a header that is not complete
		}
		if !sameOutcome(got, want) {
			t.Fatalf("got %s, gobwas/ws %s", show(got), show(want))
		}
	})
}

// readByGobwas reads the stream by gobwas/ws and adds what that leaves to its caller: shortest lengths,
// the limit, UTF-8. cut says that the stream ended within a header.
func readByGobwas(stream []byte, limit int) (out outcome, cut bool) {
	src := bytes.NewReader(stream)
	state := ws.StateServerSide
	var data message
	fail := func(code uint16) (outcome, bool) {
		out.err = code
		return out, false
	}
	for {
		lead := stream[len(stream)-src.Len():]
		h, err := ws.ReadHeader(src)
		switch {
		case err == ws.ErrHeaderLengthMSB:
			return fail(1002)
		case err != nil:
			return out, true
		case lead[1]&0x7F == 126 && h.Length < 126, lead[1]&0x7F == 127 && h.Length < 65536:
			return fail(1002)
		case ws.CheckHeader(h, state) != nil:
			return fail(1002)
		case !h.OpCode.IsControl() && h.Length > int64(limit-len(data.payload)):
			return fail(1009)
		}
		payload := make([]byte, min(h.Length, int64(src.Len())))
		_, _ = src.Read(payload)
		ws.Cipher(payload, h.Mask, 0)
		complete := int64(len(payload)) == h.Length

		if h.OpCode.IsControl() {
			if !complete {
				return out, false
			}
			if h.OpCode == ws.OpClose && len(payload) > 0 {
				code, reason := ws.ParseCloseFrameData(payload)
				switch {
				case len(payload) == 1 || code >= 1016 && code < 3000 || code >= 5000 || code == 1004:
					return fail(1002)
				case code == 1012 || code == 1013 || code == 1014: // registered after the RFC
					if !utf8.ValidString(reason) {
						return fail(1007)
					}
				default:
					switch ws.CheckCloseFrameData(code, reason) {
					case nil:
					case ws.ErrProtocolInvalidUTF8:
						return fail(1007)
					default:
						return fail(1002)
					}
				}
			}
			out.messages = append(out.messages, message{op: Opcode(h.OpCode), payload: payload})
			if h.OpCode == ws.OpClose {
				return out, false
			}
			continue
		}

		if h.OpCode != ws.OpContinuation {
			data = message{op: Opcode(h.OpCode)}
		}
		data.payload = append(data.payload, payload...)
		last := complete && h.Fin
		if data.op == OpText && !utf8Possible(data.payload, last) {
			return fail(1007)
		}
		if !complete {
			return out, false
		}
		if last {
			out.messages = append(out.messages, data)
			data = message{}
			state = state.Clear(ws.StateFragmented)
		} else {
			state = state.Set(ws.StateFragmented)
		}
	}
}

func sameOutcome(a, b outcome) bool {
	if a.err != b.err || len(a.messages) != len(b.messages) {
		return false
	}
	for i, m := range a.messages {
		if m.op != b.messages[i].op || !bytes.Equal(m.payload, b.messages[i].payload) {
			return false
		}
	}
	return true
}

func show(o outcome) string {
	var b strings.Builder
	for _, m := range o.messages {
		fmt.Fprintf(&b, "opcode %d %.40q of %d, ", m.op, m.payload, len(m.payload))
	}
	return fmt.Sprintf("[%serror %d]", b.String(), o.err)
}

// BenchmarkDecode is what a read costs: one message, or several that came together.
func BenchmarkDecode(b *testing.B) {
	for _, c := range []struct {
		name, payload string
		frames        int
	}{
		{"128B", strings.Repeat("a", 128), 1},
		{"4KiB", strings.Repeat("a", 4096), 1},
		{"4KiB-beyond-ASCII", strings.Repeat("κόσμος ", 4096/13), 1},
		{"32x128B", strings.Repeat("a", 128), 32},
	} {
		stream := bytes.Repeat(clientFrame(finText, c.payload), c.frames)
		buf := make([]byte, len(stream))
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(len(stream)))
			b.ReportAllocs()
			var r reader
			for b.Loop() {
				copy(buf, stream)
				rest := buf
				for range c.frames {
					var more bool
					if _, rest, more, _ = r.next(rest, tableLimit, false); !more {
						b.Fatal("not read")
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*c.frames), "ns/frame")
		})
	}
}
