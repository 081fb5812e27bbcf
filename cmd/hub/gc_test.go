package main

import "testing"

func TestGCPercentLeavesTheHeadroom(t *testing.T) {
	const mib = 1 << 20
	for _, test := range []struct {
		headroom, live int64
		want           int
	}{
		{16 * mib, 16 * mib, 100},
		{16 * mib, 64 * mib, 25},
		{16 * mib, 0, 1000},
		{16 * mib, 1024 * mib, minGCPercent},
	} {
		if got := gcPercent(test.headroom, test.live); got != test.want {
			t.Errorf("%d MiB above %d MiB: got %d %%, want %d %%", test.headroom/mib, test.live/mib, got, test.want)
		}
	}
}

func TestTheHeapIsTidiedOnceAWaveIsOver(t *testing.T) {
	for _, test := range []struct {
		lately, sinceTidied uint64
		want                bool
	}{
		{0, 0, false},
		{50 << 20, 50 << 20, false}, // the wave is on
		{100 << 10, 50 << 20, true}, // it is over
		{100 << 10, 100 << 10, false},
	} {
		if got := worthTidying(test.lately, test.sinceTidied); got != test.want {
			t.Errorf("%d bytes lately, %d since tidied: got %v", test.lately, test.sinceTidied, got)
		}
	}
}
