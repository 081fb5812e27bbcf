package engine

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

func TestFramesAreWrittenInTheShortestForm(t *testing.T) {
	for _, n := range []int{0, 1, 125, 126, 127, 65535, 65536, 70000} {
		payload := bytes.Repeat([]byte{'x'}, n)
		want := ws.MustCompileFrame(ws.NewBinaryFrame(payload))
		if got := AppendFrame([]byte("before"), OpBinary, payload); !bytes.Equal(got, append([]byte("before"), want...)) {
			t.Errorf("%d bytes: header % X, want % X", n, got[6:min(len(got), 16)], want[:min(len(want), 10)])
		}
	}
}

func TestHeaderOfAGiantFrame(t *testing.T) {
	want := []byte{0x82, 127, 0, 0, 0, 1, 0, 0, 0, 0}
	if got := AppendFrameHeader(nil, OpBinary, 1<<32); !bytes.Equal(got, want) {
		t.Errorf("got % X", got)
	}
}

func TestCloseReasonIsCutBeforeTheCharacterThatDoesNotFit(t *testing.T) {
	for _, c := range []struct{ reason, want string }{
		{"", ""},
		{"bye", "bye"},
		{strings.Repeat("a", 123), strings.Repeat("a", 123)},
		{strings.Repeat("a", 124), strings.Repeat("a", 123)},
		{strings.Repeat("a", 122) + "é", strings.Repeat("a", 122)},
		{strings.Repeat("a", 121) + "é", strings.Repeat("a", 121) + "é"},
		{strings.Repeat("𐍈", 40), strings.Repeat("𐍈", 30)},
	} {
		f := AppendClose(nil, 1012, c.reason)
		if f[0] != 0x88 || int(f[1]) != len(f)-2 || len(f) > 127 {
			t.Fatalf("%q: header % X of %d bytes", c.reason, f[:2], len(f))
		}
		code, reason, err := parseClose(f[2:])
		if err != nil || code != 1012 || reason != c.want || !utf8.ValidString(reason) {
			t.Errorf("%q: read back as %d %q %v", c.reason, code, reason, err)
		}
	}
}

func TestCloseWithoutACodeIsEmpty(t *testing.T) {
	if f := AppendClose(nil, 1005, "ignored"); !bytes.Equal(f, []byte{0x88, 0}) {
		t.Errorf("got % X", f)
	}
	if code, reason, err := parseClose(nil); code != 1005 || reason != "" || err != nil {
		t.Errorf("an empty payload is %d %q %v", code, reason, err)
	}
}

// BenchmarkAppendFrame is what a write costs before the kernel has it: one frame, or several in one buffer.
func BenchmarkAppendFrame(b *testing.B) {
	for _, c := range []struct {
		name         string
		size, frames int
	}{
		{"128B", 128, 1}, {"4096B", 4096, 1}, {"64x128B", 128, 64},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(c.size * c.frames))
			b.ReportAllocs()
			payload, dst := make([]byte, c.size), make([]byte, 0, c.frames*(c.size+maxHeader))
			for b.Loop() {
				dst = dst[:0]
				for range c.frames {
					dst = AppendFrame(dst, OpText, payload)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*c.frames), "ns/frame")
		})
	}
}
