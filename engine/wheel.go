package engine

import "time"

const (
	// tick is the grain of all of a loop's timers.
	tick = 100 * time.Millisecond
	// wheelSlots × tick is one round of the wheel, about 51 s; later deadlines wait for their round.
	wheelSlots = 512
	// firingSlot holds the timers of a tick that is being worked off.
	firingSlot = wheelSlots
)

// farthest bounds a deadline of the wheel. Ticks are compared by their difference in 32 bits: from 6.8 years on the
// future looks like the past.
const farthest = 3 * 365 * 24 * time.Hour

// ticks is d in ticks, rounded up, at least one. From farthest on it is farthest.
func ticks(d time.Duration) uint32 {
	return uint32(max((min(d, farthest)+tick-1)/tick, 1))
}

// links makes a T a timer: it is embedded in T. A T is in at most one wheel, at most once.
type links[T any] struct {
	next, prev T
	due        uint32 // in ticks since the loop began; wraps after 13 years
	slot       uint16 // where it hangs, plus one; 0: nowhere
	born       uint16 // of no meaning to the wheel: see Conn.Vitals. It stands where it costs no memory
}

func (l *links[T]) link() *links[T] { return l }

// timed is what a wheel holds: a pointer with links in it.
type timed[T any] interface {
	comparable
	link() *links[T]
}

// wheel is a hashed timing wheel: adding and removing cost the same whatever it holds, and a tick costs
// what is due. It belongs to one loop.
type wheel[T timed[T]] struct {
	now    uint32
	cursor T // what each comes to next
	slots  [wheelSlots + 1]T
}

// set makes t due at a tick after now, at most farthest away, whether it was in the wheel or not.
func (w *wheel[T]) set(t T, due uint32) {
	w.remove(t)
	t.link().due = due
	w.push(t, uint16(due%wheelSlots))
}

// remove takes t out of the wheel, if it is in.
func (w *wheel[T]) remove(t T) {
	var none T
	l := t.link()
	if l.slot == 0 {
		return
	}
	if w.cursor == t {
		w.cursor = l.next
	}
	if l.prev == none {
		w.slots[l.slot-1] = l.next
	} else {
		l.prev.link().next = l.next
	}
	if l.next != none {
		l.next.link().prev = l.prev
	}
	l.next, l.prev, l.slot = none, none, 0
}

func (w *wheel[T]) push(t T, slot uint16) {
	var none T
	l, head := t.link(), w.slots[slot]
	l.next, l.prev, l.slot = head, none, slot+1
	if head != none {
		head.link().prev = t
	}
	w.slots[slot] = t
}

// advance moves the wheel to now and returns true. While timers of an earlier tick wait to be fired it
// does nothing and returns false.
func (w *wheel[T]) advance(now uint32) bool {
	var none T
	if w.slots[firingSlot] != none {
		return false
	}
	steps := min(now-w.now, wheelSlots)
	w.now = now
	for s := range steps {
		for t := w.slots[(now-s)%wheelSlots]; t != none; {
			next := t.link().next
			if int32(t.link().due-now) <= 0 {
				w.remove(t)
				w.push(t, firingSlot)
			}
			t = next
		}
	}
	return true
}

// next is a tick before which nothing is due, at most a round away.
func (w *wheel[T]) next() uint32 {
	var none T
	for n := range uint32(wheelSlots) {
		if w.slots[(w.now+n+1)%wheelSlots] != none {
			return w.now + n + 1
		}
	}
	return w.now + wheelSlots
}

// pop takes one due timer out, or returns false when none is left.
func (w *wheel[T]) pop() (T, bool) {
	var none T
	t := w.slots[firingSlot]
	if t == none {
		return none, false
	}
	w.remove(t)
	return t, true
}

// eachOf calls f for what hangs in one slot, the firing one included. f must not change the wheel.
func (w *wheel[T]) eachOf(slot int, f func(T)) {
	var none T
	for t := w.slots[slot]; t != none; t = t.link().next {
		f(t)
	}
}

// each calls f for everything in the wheel. f may remove or set whatever it likes, but not call each; what
// it sets may come again.
func (w *wheel[T]) each(f func(T)) {
	var none T
	for s := range w.slots {
		for w.cursor = w.slots[s]; w.cursor != none; {
			t := w.cursor
			w.cursor = t.link().next
			f(t)
		}
	}
}
