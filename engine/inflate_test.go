package engine

import (
	"bytes"
	"compress/flate"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"unsafe"
)

// squeezed compresses data by the standard library at a level, as a sender of messages does: without the last bytes.
func squeezed(t testing.TB, level int, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, level)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = w.Write(data)
	_ = w.Flush()
	return bytes.TrimSuffix(b.Bytes(), lastBytes)
}

// bitWriter writes deflate's bits by hand.
type bitWriter struct {
	b   []byte
	acc uint64
	n   uint
}

func (w *bitWriter) put(v uint64, n uint) {
	w.acc |= v << w.n
	for w.n += n; w.n >= 8; w.n -= 8 {
		w.b = append(w.b, byte(w.acc))
		w.acc >>= 8
	}
}

// emptyDynamic writes an empty block with codes of its own, the shortest that there is.
func (w *bitWriter) emptyDynamic() {
	w.put(2<<1, 3)
	w.put(0, 5)
	w.put(0, 5)
	w.put(14, 4)
	for _, symbol := range extentOrder[:18] {
		if symbol == 18 || symbol == 1 {
			w.put(1, 3)
		} else {
			w.put(0, 3)
		}
	}
	w.put(1|127<<1, 8) // 138 lengths of 0, and 118 more
	w.put(1|107<<1, 8)
	w.put(0, 3) // the end of the block, and one distance, are of 1 bit; then the end
}

func TestMessagesOfAnyCompressorInflate(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, 70_000)
	for i := range noise {
		noise[i] = byte(random.Uint32())
	}
	var inflate inflater
	for _, data := range [][]byte{
		nil, []byte("Hello"), []byte(strings.Repeat(`{"id":1,"name":"ä"}`, 4000)), noise, bytes.Repeat([]byte{7}, 100_000), noise[:100],
	} {
		for level := flate.HuffmanOnly; level <= flate.BestCompression; level++ {
			got, err := inflate.message(squeezed(t, level, data), len(data))
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("%d bytes at level %d: %d bytes, %v", len(data), level, len(got), err)
			}
		}
	}
}

// RFC 7692, 7.2.3.
func TestTheRFCsExamplesInflate(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ in, want string }{
		"fixed":            {"\xf2\x48\xcd\xc9\xc9\x07\x00", "Hello"},
		"stored":           {"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00", "Hello"},
		"final":            {"\xf3\x48\xcd\xc9\xc9\x07\x00\x00", "Hello"},
		"two blocks":       {"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", "Hello"},
		"empty":            {"\x00", ""},
		"empty and bare":   {"", ""},
		"final, bare":      {"\xf3\x48\xcd\xc9\xc9\x07\x00", "Hello"},
		"final, then more": {"\xf3\x48\xcd\xc9\xc9\x07\x00\xf2\x48\xcd\xc9\xc9\x07\x00", "HelloHello"},
	} {
		got, err := new(inflater).message([]byte(c.in), 100)
		if err != nil || string(got) != c.want {
			t.Errorf("%s: %q, %v; want %q", name, got, err, c.want)
		}
	}
}

func TestMalformedDataIsRefused(t *testing.T) {
	t.Parallel()
	whole := squeezed(t, 6, []byte(strings.Repeat("some text, and some more text; ", 20)))
	cases := map[string][]byte{
		"reserved kind of block": {0x06},
		"stored, length wrong":   {0x00, 0x05, 0x00, 0xfa, 0xfe, 1, 2, 3, 4, 5, 0},
		"stored, cut":            {0x00, 0x05, 0x00, 0xfa, 0xff, 1, 2},
		"text as it is":          []byte("Hello, this is not compressed at all"),
		"distance before the start": func() []byte {
			var w bitWriter
			w.put(1<<1, 3)
			w.put(0b1000000, 7) // a length of 3: 257 is 0000001
			w.put(0, 5)         // a distance of 1
			w.put(0, 14)
			return w.b
		}(),
	}
	for i := 1; i < len(whole)-1; i += 7 {
		cases[fmt.Sprint("cut at ", i)] = whole[:i]
	}
	var inflate inflater
	for name, data := range cases {
		if got, err := inflate.message(data, 1<<16); err != errDeflate {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// A bomb costs no more than a message of the limit: neither memory nor time grow with the size that it would have.
func TestABombStopsAtTheLimit(t *testing.T) {
	t.Parallel()
	const limit = 64 << 10
	bomb := squeezed(t, 9, make([]byte, 64<<20))
	if len(bomb) > limit {
		t.Fatalf("a bomb of %d bytes", len(bomb))
	}
	var inflate inflater
	if _, err := inflate.message(bomb, limit); err != errBomb {
		t.Errorf("a bomb: %v", err)
	}
	if _, err := inflate.message(squeezed(t, 0, make([]byte, limit+1)), limit); err != errBomb {
		t.Errorf("a stored message over the limit: %v", err)
	}
	if n := cap(inflate.out); n > limit {
		t.Errorf("a buffer of %d bytes", n)
	}
	if got, err := inflate.message(squeezed(t, 6, make([]byte, limit)), limit); err != nil || len(got) != limit {
		t.Errorf("a message of the limit: %d bytes, %v", len(got), err)
	}
}

// Empty blocks with codes of their own are the dearest input there is.
func TestBlocksOfNothingAreBounded(t *testing.T) {
	t.Parallel()
	var w bitWriter
	for range freeBlocks {
		w.emptyDynamic()
	}
	ends := w
	ends.put(0, 8) // the stored block whose rest is the tail
	ends.put(0, 8)
	var inflate inflater
	if got, err := inflate.message(ends.b[:len(ends.b)-1], 100); len(got) > 0 || err != nil && err != errDeflate {
		t.Errorf("%d blocks: %v", freeBlocks, err)
	}
	w.emptyDynamic()
	w.put(0, 16)
	if _, err := inflate.message(w.b, 100); err != errManyBlocks {
		t.Errorf("one block more: %v", err)
	}
}

func TestAnInflaterIsSmall(t *testing.T) {
	if size := unsafe.Sizeof(inflater{}); size > 8<<10 {
		t.Errorf("%d bytes", size)
	}
	var inflate inflater
	data := squeezed(t, 6, []byte(strings.Repeat("abc", 1000)))
	if n := testing.AllocsPerRun(100, func() { _, _ = inflate.message(data, 1<<16) }); n > 0 {
		t.Errorf("%v allocations for a message", n)
	}
}

// byStandard inflates by the standard library. whole says that it found no fault and took all of payload.
func byStandard(payload []byte, limit int) (data []byte, whole bool) {
	in := bytes.NewReader(append(append(bytes.Clone(payload), lastBytes...), 1, 0, 0, 0xff, 0xff))
	data, err := io.ReadAll(io.LimitReader(flate.NewReader(in), int64(limit)+1))
	return data, len(data) <= limit && err == nil && in.Len() == 0
}

func FuzzInflate(f *testing.F) {
	for level := range 10 {
		f.Add(squeezed(f, level, []byte(strings.Repeat(`{"type":"event","n":12345}`, 30))))
	}
	var w bitWriter
	w.emptyDynamic()
	f.Add(append(w.b, 0, 0))
	f.Add([]byte("\xf3\x48\xcd\xc9\xc9\x07\x00\x00"))
	f.Add(squeezed(f, 9, make([]byte, 10_000)))
	const limit = 4 << 10
	var inflate inflater
	f.Fuzz(func(t *testing.T, payload []byte) {
		got, err := inflate.message(payload, limit)
		if len(got) > limit || cap(inflate.out) > limit {
			t.Fatalf("%d bytes, a buffer of %d", len(got), cap(inflate.out))
		}
		if want, whole := byStandard(payload, limit); err == nil && len(payload) > 0 && (!bytes.HasPrefix(got, want) || whole && len(got) != len(want)) {
			t.Fatalf("%q, want %q", got, want)
		}
	})
}

func BenchmarkInflate(b *testing.B) {
	text := []byte(strings.Repeat(`{"id":918273645,"status":"shipped","price":12.50},`, 2000))
	random := rand.New(rand.NewPCG(3, 4))
	for i := range text {
		if text[i] >= '0' && text[i] <= '9' {
			text[i] = '0' + byte(random.IntN(10))
		}
	}
	var blocks, fixed bitWriter
	for range freeBlocks {
		blocks.emptyDynamic()
	}
	for len(fixed.b) < 64<<10 {
		fixed.put(1<<1, 10)
	}
	for name, data := range map[string][]byte{
		"200B": squeezed(b, 6, text[:200]), "1KiB": squeezed(b, 6, text[:1<<10]), "64KiB": squeezed(b, 6, text[:64<<10]),
		"dynamicBlocks": blocks.b, "fixedBlocks": fixed.b, "storedBlocks": bytes.Repeat([]byte{0, 0, 0, 0xff, 0xff}, 13_000),
	} {
		b.Run(name, func(b *testing.B) {
			var inflate inflater
			b.ReportAllocs()
			for b.Loop() {
				_, _ = inflate.message(data, 64<<10)
			}
		})
	}
}
