package engine

import "testing"

func TestReserveIsAtMostHalfOfTheFiles(t *testing.T) {
	for files, want := range map[int]int{0: 0, 1: 0, 20: 10, 200: 100, 1023: 511, 1024: 512, 20_000: 512, 1 << 20: 512} {
		if got := reserve(files); got != want {
			t.Errorf("of %d files %d are kept, want %d", files, got, want)
		}
	}
}
