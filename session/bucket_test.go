package session

import (
	"testing"

	"pgregory.net/rapid"
)

// ask asks a bucket for rate × times tokens a second, in bursts each so many milliseconds, for some seconds. It returns
// what was granted per second, and when the asker was told that it abuses the rate, in ms, or -1.
func ask(b *bucket, rate, burst int, times float64, each uint32, seconds int) (granted float64, cut int) {
	owed, n := 0.0, 0
	for now := uint32(0); now < uint32(seconds)*1000; now += each {
		for owed += float64(rate) * times * float64(each) / 1000; owed >= 1; owed-- {
			switch b.spend(now, rate, burst, 1) {
			case abused:
				return 0, int(now)
			case denied:
			default:
				n++
			}
		}
	}
	return float64(n) / float64(seconds), -1
}

func TestWhoKeepsAskingForTwiceTheRateIsCutHoweverItIsSpread(t *testing.T) {
	for _, each := range []uint32{1, 10, 100, 500} {
		for _, c := range []struct {
			times float64
			cut   bool
		}{{0.9, false}, {1, false}, {1.5, false}, {2, true}, {3, true}, {150, true}} {
			granted, at := ask(&bucket{}, 100, 200, c.times, each, 120)
			if (at >= 0) != c.cut {
				t.Errorf("%v times the rate, each %d ms: cut at %d ms, want %v", c.times, each, at, c.cut)
			}
			if !c.cut && (granted < 100*min(c.times, 1)-1 || granted > 100*min(c.times, 1)+3) {
				t.Errorf("%v times the rate, each %d ms: %.1f granted a second", c.times, each, granted)
			}
		}
	}
}

// A burst and as much again at once is no abuse, and all is forgiven in time.
func TestABurstIsForgiven(t *testing.T) {
	var b bucket
	for round := range uint32(5) {
		now := round * 10_000
		for i := range 400 {
			want := granted
			if i >= 200 {
				want = denied
			}
			if got := b.spend(now, 100, 200, 1); got != want {
				t.Fatalf("round %d, %d: %v", round, i, got)
			}
		}
	}
	if got := b.spend(40_000, 100, 200, 1); got != abused {
		t.Errorf("one more: %v", got)
	}
}

func TestABucketGrantsAtMostABurstAndTheRate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate, burst := rapid.IntRange(1, 10_000).Draw(t, "rate"), rapid.IntRange(1, 10_000).Draw(t, "burst")
		now := rapid.Uint32().Draw(t, "begin") // it wraps
		b := bucket{at: now}
		begin, sum := now, 0.0
		for range rapid.IntRange(1, 100).Draw(t, "steps") {
			now += rapid.Uint32Range(0, 2000).Draw(t, "wait")
			n := rapid.IntRange(1, 20_000).Draw(t, "n")
			if b.spend(now, rate, burst, n) == granted {
				sum += float64(min(n, burst))
			}
			if most := float64(burst) + float64(rate)*float64(now-begin)/1000; sum > most*1.001+1 {
				t.Fatalf("%.0f granted, at most %.0f", sum, most)
			}
			if b.used > float32(burst)*1.001 || b.used < 0 || b.excess < 0 {
				t.Fatalf("%+v", b)
			}
		}
	})
}
