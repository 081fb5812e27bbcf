package engine

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Whatever is asked for, and however the time passes: a timer fires once, when its time has come, unless it is stopped.
func TestTimersFireWhenDueHoweverFar(t *testing.T) {
	const year = 365 * 24 * time.Hour
	rapid.Check(t, func(t *rapid.T) {
		s := &Server{clock: newClock()}
		s.cfg, _ = Config{}.withDefaults()
		l := newLoop(s, 0)
		at := func(age time.Duration) { l.age, l.now = age, uint32(age/tick) }
		at(rapid.SampledFrom([]time.Duration{0, 6 * year, 13 * year, 100 * year}).Draw(t, "age"))
		l.conns.now, l.timers.now = l.now, l.now
		l.next.Store(l.now)
		run := func() {
			for reached(l.now, l.next.Load()) {
				l.spent = 0
				l.runTimers()
			}
		}

		type timer struct {
			*Timer
			at    time.Duration
			fired bool
		}
		var waiting []*timer
		short := rapid.Int64Range(int64(-time.Second), int64(3*time.Minute))
		long := rapid.Int64Range(0, int64(20*year))
		delay := rapid.OneOf(short, long, rapid.SampledFrom([]int64{math.MaxInt64, math.MinInt64, math.MaxInt64 - 1, int64(farthest)}))
		pass := rapid.OneOf(rapid.Int64Range(0, int64(time.Minute)), rapid.Int64Range(0, int64(3*year)))
		t.Repeat(map[string]func(*rapid.T){
			"after": func(t *rapid.T) {
				d := time.Duration(delay.Draw(t, "delay"))
				one := &timer{at: l.age + max(min(d, math.MaxInt64-l.age), 0)}
				one.Timer = l.After(d, func() {
					if one.fired {
						t.Fatal("fired twice")
					}
					one.fired = true
				})
				waiting = append(waiting, one)
			},
			"stop": func(t *rapid.T) {
				if len(waiting) == 0 {
					return
				}
				i := rapid.IntRange(0, len(waiting)-1).Draw(t, "which")
				l.Stop(waiting[i].Timer)
				waiting[i].fired = true // it must not fire
				waiting = append(waiting[:i], waiting[i+1:]...)
			},
			"pass": func(t *rapid.T) {
				d := time.Duration(pass.Draw(t, "time"))
				if l.age > 250*year {
					return
				}
				for _, d := range []time.Duration{d, tick, tick} {
					at(l.age + d)
					run()
				}
			},
			"": func(t *rapid.T) {
				kept := waiting[:0]
				for _, one := range waiting {
					switch {
					case one.fired && one.at-l.age > tick:
						t.Fatalf("fired at %v, due at %v", l.age, one.at)
					case !one.fired && l.age-one.at > 3*tick:
						t.Fatalf("not fired at %v, due at %v", l.age, one.at)
					case !one.fired:
						kept = append(kept, one)
					}
				}
				waiting = kept
			},
		})
	})
}
