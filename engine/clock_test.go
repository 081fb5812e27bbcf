package engine

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestTheClockWakesForWhatIsDueAndOnTheBeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const never = 1 << 30
		s := &Server{clock: newClock()}
		one, other := &Loop{srv: s, wakeFD: -1}, &Loop{srv: s, wakeFD: -1}
		one.next.Store(never)
		other.next.Store(never)
		end := make(chan struct{})
		go s.clock.run([]*Loop{one, other}, end)
		defer close(end)
		expect := func(what string, oneWoken, otherWoken bool) {
			t.Helper()
			synctest.Wait()
			if a, b := one.woken.Swap(false), other.woken.Swap(false); a != oneWoken || b != otherWoken {
				t.Errorf("%s, at %v: woken %v and %v; want %v and %v", what, s.clock.age(), a, b, oneWoken, otherWoken)
			}
		}
		const shortOf = time.Nanosecond

		expect("at first", true, true)
		time.Sleep(beatTicks*tick - shortOf)
		expect("before the beat", false, false)
		time.Sleep(shortOf)
		expect("on the beat", true, true)

		one.readClock()
		later := one.due(5)
		sooner := one.due(2)
		other.readClock()
		other.due(4)
		time.Sleep(2*tick - shortOf)
		expect("before something is due", false, false)
		time.Sleep(shortOf)
		expect("when it is due", true, false)
		time.Sleep(tick)
		expect("while it is still due", true, false)
		if one.readClock(); !reached(one.now, sooner) {
			t.Errorf("woken at %d for what is due at %d", one.now, sooner)
		}
		one.next.Store(later)
		time.Sleep(tick)
		expect("when the other has something due", false, true)
		other.next.Store(never)
		time.Sleep(tick)
		expect("when the later one is due", true, false)
		one.next.Store(never)

		time.Sleep(5 * tick)
		expect("on the next beat", true, true)
		for range 100 {
			time.Sleep(beatTicks*tick - shortOf)
			expect("between two beats", false, false)
			time.Sleep(shortOf)
			expect("on the beat", true, true)
		}
	})
}

// Ticks are counted in 32 bits, which is enough for 13 years, and then go on at 0.
func TestTheClockGoesOnWhenTicksWrap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const before = 5 // ticks
		s := &Server{clock: newClock()}
		s.clock.born = time.Now().Add(-(1<<32 - before) * tick)
		l := &Loop{srv: s, wakeFD: -1}
		l.next.Store(1 << 30)
		end := make(chan struct{})
		go s.clock.run([]*Loop{l}, end)
		defer close(end)
		for beat := range 3 {
			if beat == 0 {
				time.Sleep(before*tick - time.Nanosecond)
			} else {
				time.Sleep(beatTicks*tick - time.Nanosecond)
			}
			synctest.Wait()
			if l.woken.Swap(false) {
				t.Errorf("woken before beat %d", beat)
			}
			time.Sleep(time.Nanosecond)
			synctest.Wait()
			if !l.woken.Swap(false) {
				t.Errorf("not woken on beat %d", beat)
			}
		}
	})
}
