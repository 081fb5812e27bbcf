package engine

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// bareLoop is a loop whose turns the test calls. Nobody hears its wake-ups.
func bareLoop() *Loop {
	s := &Server{clock: newClock()}
	s.cfg, _ = Config{}.withDefaults()
	s.loops = []*Loop{newLoop(s, 0)}
	return s.loops[0]
}

// Whatever jobs cost, and whatever they post: each runs once, in the order of Post, in turns that end in time.
func TestATurnIsBoundedAndTheRestKeepsItsOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const dearest = turnWork / 3
		l := bareLoop()
		costs := rapid.SliceOfN(rapid.Int64Range(0, int64(dearest)), 1, 60).Draw(t, "costs")
		posted, ran := 0, 0
		var post func()
		post = func() {
			if posted == len(costs) {
				return
			}
			n := posted
			posted++
			l.Post(func() {
				if n != ran {
					t.Fatalf("job %d ran, %d was next", n, ran)
				}
				ran++
				l.spend(time.Duration(costs[n]))
				for range n % 3 { // more than it takes away
					post()
				}
			})
		}
		atOnce := rapid.IntRange(1, 30).Draw(t, "posted at once")
		for range atOnce {
			post()
		}
		for turns := 0; ran < posted; turns++ {
			if !l.woken.Load() {
				t.Fatalf("%d of %d ran, and the loop was not woken", ran, posted)
			}
			before := ran
			l.turn()
			if l.spent > turnWork+dearest+jobCost {
				t.Fatalf("a turn did %v of work", l.spent)
			}
			if ran == before && turns > 0 {
				t.Fatal("a turn did nothing")
			}
			if rapid.Bool().Draw(t, "more") {
				post()
			}
		}
	})
}

// Jobs without end do not keep timers from firing, nor timers without end jobs from running.
func TestTimersAndJobsShareATurn(t *testing.T) {
	const turns = 50
	l := bareLoop()
	jobs, fired := 0, 0
	var again func()
	again = func() {
		jobs++
		l.spend(turnWork / 10)
		l.Post(again)
	}
	for range 100 {
		l.Post(again)
	}
	for range 10_000 {
		l.After(0, func() {
			fired++
			l.spend(writeCost)
		})
	}
	l.now++
	for range turns {
		l.turn()
	}
	if jobs < 4*turns || fired < int(turns*turnWork/2/(writeCost+jobCost)) {
		t.Errorf("%d jobs and %d timers in %d turns", jobs, fired, turns)
	}
}

func TestAFullTurnReadsLittle(t *testing.T) {
	l := bareLoop()
	if n := l.readSize(); n != len(l.buf) {
		t.Errorf("an idle loop reads %d bytes of %d", n, len(l.buf))
	}
	l.spend(turnWork - 100*time.Microsecond)
	if n := l.readSize(); time.Duration(n)*smallest > 100*time.Microsecond {
		t.Errorf("with 100 µs left it reads %d bytes", n)
	}
	l.spend(time.Hour)
	if n := l.readSize(); n < 1024 || n > 4096 {
		t.Errorf("with nothing left it reads %d bytes", n)
	}
}
