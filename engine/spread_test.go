package engine

import (
	"testing"
	"time"
)

// Connections that came together are not pinged together.
func TestFirstPingsAreSpread(t *testing.T) {
	l := newLoop(&Server{cfg: Config{ReadBuffer: 1}}, 0)
	const n = 10_000
	full := ticks(25 * time.Second)
	at := make(map[uint32]int)
	for range n {
		d := l.heartbeat(25*time.Second, true)
		if d < full/2-beatTicks || d > full || d%beatTicks != 0 {
			t.Fatalf("%d ticks, the heartbeat being %d", d, full)
		}
		at[d]++
	}
	for d, count := range at {
		if count > 2*n/int(full/2/beatTicks) {
			t.Errorf("%d of %d are pinged after %d ticks", count, n, d)
		}
	}
	if d := l.heartbeat(time.Millisecond, true); d != 1 {
		t.Errorf("the shortest heartbeat is %d ticks", d)
	}
}
