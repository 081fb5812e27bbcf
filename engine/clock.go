package engine

import (
	"runtime"
	"sync/atomic"
	"time"
)

// clock wakes loops when something is due, and sleeps until then: waking up costs an idle process more than what it
// wakes up for.
type clock struct {
	born   time.Time
	alarm  atomic.Uint32 // the tick until which it sleeps
	sooner chan struct{} // has room for one: something is due before
}

func newClock() *clock { return &clock{born: time.Now(), sooner: make(chan struct{}, 1)} }

// age is how long ago tick 0 was.
func (c *clock) age() time.Duration { return time.Since(c.born) }

// run wakes loops until end is closed.
func (c *clock) run(loops []*Loop, end <-chan struct{}) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for beat := uint32(0); ; {
		select {
		case <-timer.C:
		case <-c.sooner:
		case <-end:
			return
		}
		age := c.age()
		now := uint32(age / tick)
		all := reached(now, beat)
		if all {
			beat = now + toBeat(now+1) + 1
		}
		next := beat
		c.alarm.Store(next) // before the loops are asked: an earlier deadline that comes after this is announced
		for _, l := range loops {
			due := l.next.Load()
			late := reached(now, due)
			if late || all {
				l.wake()
			}
			if late {
				due = now + 1 // or later, as it will say
			}
			if !reached(due, next) {
				next = due
			}
		}
		c.alarm.Store(next)
		timer.Reset(time.Duration(next-now)*tick - age%tick)
	}
}

// set has the clock wake up at a tick, if it would sleep for longer.
func (c *clock) set(at uint32) {
	if reached(at, c.alarm.Load()) {
		return
	}
	select {
	case c.sooner <- struct{}{}:
	default:
	}
}

// reached reports whether now is at or past a tick. Ticks wrap after 13 years.
func reached(now, at uint32) bool { return int32(now-at) >= 0 }

// beatTicks is the distance of the ticks at which all loops turn, and much that is to happen some time soon happens
// together.
const beatTicks = 10

// toBeat is how many ticks after at the next beat is; 0 if at is one.
func toBeat(at uint32) uint32 { return (beatTicks - at%beatTicks) % beatTicks }

// readClock refreshes the loop's cached time. Every callback of the poller begins with it.
func (l *Loop) readClock() {
	l.age = l.srv.clock.age()
	l.now = uint32(l.age / tick)
}

// due is the tick n ticks from now, at least one: the loop will turn then.
func (l *Loop) due(n uint32) uint32 {
	at := l.now + max(n, 1)
	if !reached(at, l.next.Load()) {
		l.next.Store(at)
		l.srv.clock.set(at)
	}
	return at
}

// onBeat is n or a few ticks more, so that n ticks from now is a beat.
func (l *Loop) onBeat(n uint32) uint32 { return n + toBeat(l.now+n) }

// yieldEvery is how often a loop lets the Go scheduler have a look. For the runtime's monitor a goroutine that was
// not scheduled anew for 10 ms hogs its processor: it would take that away, although the loop only waits for events,
// and for having found something to do it would look again every 20 µs. That took a tenth of the hub's time.
const yieldEvery = 8 * time.Millisecond

// yield ends the poller's calls.
func (l *Loop) yield() {
	if l.age-l.yielded > yieldEvery {
		l.yielded = l.age
		runtime.Gosched()
	}
}
