package engine

import (
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"
)

// utf8Possible reports whether b is UTF-8 or, unless it is all there is, the beginning of some.
func utf8Possible(b []byte, all bool) bool {
	for len(b) > 0 {
		r, size := utf8.DecodeRune(b)
		if r == utf8.RuneError && size == 1 {
			return !all && !utf8.FullRune(b)
		}
		b = b[size:]
	}
	return true
}

func assertUTF8(t *testing.T, b []byte, next func() int) {
	t.Helper()
	var u utf8Validator
	for at := 0; at < len(b); {
		end := min(at+min(next(), len(b)), len(b))
		ok := u.feed(b[at:end])
		if want := utf8Possible(b[:end], false); ok != want {
			t.Fatalf("% X | % X: %v, want %v", b[:at], b[at:end], ok, want)
		}
		if !ok {
			return
		}
		if u.done() != utf8.Valid(b[:end]) {
			t.Fatalf("% X: done is %v", b[:end], u.done())
		}
		at = end
	}
}

func TestEveryShortSequenceIsJudgedAtItsFirstBadByte(t *testing.T) {
	edges := []byte{0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC2, 0xFF}
	for a := range 256 {
		for _, b := range edges {
			for _, c := range edges {
				for _, d := range edges {
					seq := []byte{byte(a), b, c, d, 'z'}
					assertUTF8(t, seq, bytewise)
					assertUTF8(t, seq, func() int { return 3 })
				}
			}
		}
	}
}

func FuzzUTF8(f *testing.F) {
	for _, c := range frameCases() {
		for _, m := range c.want {
			f.Add(m.payload[:min(len(m.payload), 500)], uint64(len(c.in)))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, seed uint64) {
		b = b[:min(len(b), 1000)] // the rule to compare with starts over for each piece
		assertUTF8(t, b, whole)
		assertUTF8(t, b, bytewise)
		rnd := rand.New(rand.NewPCG(seed, 0))
		assertUTF8(t, b, func() int { return rnd.IntN(8) })
	})
}

func BenchmarkUTF8(b *testing.B) {
	for _, c := range []struct{ name, text string }{
		{"ASCII", strings.Repeat("a", 4096)},
		{"beyond-ASCII", strings.Repeat("κόσμος ", 4096/13)},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(len(c.text)))
			text := []byte(c.text)
			for b.Loop() {
				var u utf8Validator
				if !u.feed(text) {
					b.Fatal("not valid")
				}
			}
		})
	}
}
