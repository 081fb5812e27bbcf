package engine

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

type entry struct {
	links[*entry]
	id int
}

// A wheel does what a plain list of deadlines does, whatever the order of calls, over several rounds and
// when the time in ticks starts again at zero.
func TestWheelFiresWhatIsDue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const entries = 20
		start := rapid.SampledFrom([]uint32{0, 1000, math.MaxUint32 - 700, math.MaxInt32 - 100}).Draw(t, "start")
		w := wheel[*entry]{now: start}
		all := make([]entry, entries)
		for i := range all {
			all[i].id = i
		}
		now := uint64(start)
		due := make(map[int]uint64)    // what waits
		firing := make(map[int]uint64) // what is to be popped
		inOrder, last := true, uint64(0)

		which := rapid.IntRange(0, entries-1)
		delay := rapid.OneOf(rapid.Uint32Range(0, 20), rapid.Uint32Range(0, 4*wheelSlots), rapid.Uint32Range(0, ticks(farthest)))
		t.Repeat(map[string]func(*rapid.T){
			"set": func(t *rapid.T) {
				id, n := which.Draw(t, "id"), delay.Draw(t, "ticks")
				w.set(&all[id], uint32(now)+max(n, 1))
				delete(firing, id)
				due[id] = now + uint64(max(n, 1))
			},
			"remove": func(t *rapid.T) {
				id := which.Draw(t, "id")
				w.remove(&all[id])
				delete(due, id)
				delete(firing, id)
			},
			"advance": func(t *rapid.T) {
				n := delay.Draw(t, "ticks")
				if advanced := w.advance(uint32(now) + n); advanced != (len(firing) == 0) {
					t.Fatalf("advance is %v with %d firing", advanced, len(firing))
				}
				if len(firing) > 0 {
					return
				}
				now += uint64(n)
				inOrder, last = n <= wheelSlots, 0
				for id, at := range due {
					if at <= now {
						firing[id] = at
						delete(due, id)
					}
				}
			},
			"pop": func(t *rapid.T) {
				e, ok := w.pop()
				if ok != (len(firing) > 0) {
					t.Fatalf("pop is %v with %d firing", ok, len(firing))
				}
				if !ok {
					return
				}
				at, is := firing[e.id]
				if !is || inOrder && at < last {
					t.Fatalf("%d fires at %d, due %d (%v), behind one due %d", e.id, now, at, is, last)
				}
				last = at
				delete(firing, e.id)
			},
			"": func(t *rapid.T) {
				next := uint64(int64(now) + int64(int32(w.next()-uint32(now))))
				for id, at := range due {
					if at < next {
						t.Fatalf("%d is due at %d, and the next look would be at %d", id, at, next)
					}
				}
				if next <= now || next > now+wheelSlots {
					t.Fatalf("the next look is at %d, now it is %d", next, now)
				}
				var got []int
				w.each(func(e *entry) { got = append(got, e.id) })
				want := slices.AppendSeq(slices.Collect(maps.Keys(due)), maps.Keys(firing))
				slices.Sort(got)
				slices.Sort(want)
				if !slices.Equal(got, want) {
					t.Fatalf("the wheel holds %v, want %v", got, want)
				}
			},
		})
	})
}

func TestWheelIsWalkedWhileItChanges(t *testing.T) {
	var w wheel[*entry]
	all := make([]entry, 10)
	for i := range all {
		all[i].id = i
		w.set(&all[i], 5) // all in one slot
	}
	var seen []int
	w.each(func(e *entry) {
		seen = append(seen, e.id)
		w.remove(e)
		if e.id == 7 {
			w.remove(&all[6]) // the next one
		}
		if e.id == 4 {
			w.set(&all[3], 1) // the next one, to where the walk has been
		}
	})
	slices.SortFunc(seen, func(a, b int) int { return cmp.Compare(b, a) })
	if want := []int{9, 8, 7, 5, 4, 2, 1, 0}; !slices.Equal(seen, want) {
		t.Errorf("visited %v, want %v", seen, want)
	}
}

func TestTicksRoundUp(t *testing.T) {
	for d, want := range map[time.Duration]uint32{
		math.MinInt64: 1, -time.Second: 1, 0: 1, 1: 1, tick: 1, tick + 1: 2, time.Minute: 600, 24 * time.Hour: 864000,
		farthest: uint32(farthest / tick), farthest + 1: uint32(farthest / tick), math.MaxInt64: uint32(farthest / tick),
	} {
		if got := ticks(d); got != want {
			t.Errorf("%v: %d ticks, want %d", d, got, want)
		}
	}
}
