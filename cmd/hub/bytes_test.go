package main

import (
	"testing"
)

func TestByteSizesAreReadInBothSystems(t *testing.T) {
	for text, want := range map[string]byteSize{
		"0": 0, "1": 1, "65536": 65536, "17b": 17, "64KiB": 65536, "64kib": 65536, "64 KiB": 65536, "64KB": 64000,
		"1MiB": 1 << 20, "3MB": 3e6, "1GiB": 1 << 30, "2GB": 2e9, "1TiB": 1 << 40, "1TB": 1e12,
	} {
		var got byteSize
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("%q is %d, %v; want %d", text, int64(got), err, int64(want))
		}
	}
}

func TestBadByteSizesAreRefused(t *testing.T) {
	for _, text := range []string{"", "KiB", "-1", "1.5MiB", "64K", "64 bytes", "8388608TiB", "99999999999999999999", "0x10"} {
		var got byteSize
		if err := got.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was read as %d", text, int64(got))
		}
	}
}

func TestByteSizesAreWrittenShort(t *testing.T) {
	for size, want := range map[byteSize]string{0: "0", 1: "1", 1000: "1000", 1024: "1KiB", 1536: "1536", 64 << 10: "64KiB", 3 << 20: "3MiB", 1 << 40: "1TiB"} {
		if got := size.String(); got != want {
			t.Errorf("%d is written %q, want %q", int64(size), got, want)
		}
	}
}

// A written size can be read again and means the same.
func FuzzByteSize(f *testing.F) {
	for _, text := range []string{"64KiB", "64KB", "1", " 7 tb", "9223372036854775807", "8388607TiB"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var b, again byteSize
		if b.UnmarshalText([]byte(text)) != nil {
			return
		}
		if b < 0 {
			t.Fatalf("%q was read as %d", text, int64(b))
		}
		if err := again.UnmarshalText([]byte(b.String())); err != nil || again != b {
			t.Fatalf("%d was written %q and read as %d, %v", int64(b), b, int64(again), err)
		}
	})
}
