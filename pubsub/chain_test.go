package pubsub

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// world is a topic with its log, its pub/sub and one node's chain, small enough to try everything.
type world struct {
	t *rapid.T
	// The log. IDs are never used twice, whatever is lost.
	epoch  uint64
	last   ID
	number uint64
	stored []*Event
	clock  uint64
	// Events that pub/sub has not handed over yet.
	wire []*Event
	raws int
	// hidden is true while something happened that only the next event, or a reconnect, can show.
	hidden bool
	// The node.
	chain   chain
	reading bool
	head    excerpt // read by readLog
	rest    excerpt
	told    []step
}

const believeAll = math.MaxUint64

const worldRead = 3 // events read at once

func newWorld(t *rapid.T) *world {
	w := &world{t: t, epoch: 1, clock: 10}
	w.chain.doubt()
	return w
}

func (w *world) publish(*rapid.T) {
	w.clock++
	w.number++
	ev := &Event{Position: Position{w.epoch, ID{w.clock, 1}}, Before: w.last, Number: w.number}
	w.last, w.stored = ev.Position.ID, append(w.stored, ev)
	w.wire = append(w.wire, ev)
	w.hidden = false
}

func (w *world) raw(*rapid.T) {
	w.raws++
	w.wire = append(w.wire, &Event{Data: []byte(fmt.Sprint(w.raws))})
}

// forge sends what a stranger made of the last event: it may look as if it were next, and be of any time.
func (w *world) forge(t *rapid.T) {
	before := rapid.SampledFrom([]ID{w.chain.last.ID, w.last, {w.clock + 50, 1}}).Draw(t, "before")
	if before.Seq == 0 {
		before = ID{}
	}
	id := ID{max(before.Ms, w.chain.last.ID.Ms) + uint64(rapid.IntRange(1, 100).Draw(t, "later")), 1}
	number := w.chain.number + 1 + uint64(rapid.IntRange(0, 1).Draw(t, "off"))
	w.wire = append(w.wire, &Event{Position: Position{w.epoch, id}, Before: before, Number: number})
	w.hidden = true
}

// lose drops an event on the wire, which pub/sub is not known to do.
func (w *world) lose(t *rapid.T) {
	if len(w.wire) == 0 {
		return
	}
	i := rapid.IntRange(0, len(w.wire)-1).Draw(t, "lost")
	w.wire, w.hidden = slices.Delete(w.wire, i, i+1), true
}

func (w *world) reconnect(*rapid.T) {
	w.wire, w.reading, w.hidden = nil, false, false
	w.chain.doubt()
}

// flush empties the server: its log gets another epoch. No connection breaks.
func (w *world) flush(*rapid.T) {
	w.epoch++
	w.last, w.number, w.stored, w.hidden = ID{}, 0, nil, true
}

// rewind is a failover to a replica that lacks the last events.
func (w *world) rewind(t *rapid.T) {
	n := rapid.IntRange(0, len(w.stored)).Draw(t, "kept")
	if w.stored = w.stored[:n]; n > 0 {
		w.last, w.number = w.stored[n-1].Position.ID, w.stored[n-1].Number
	} else {
		w.last, w.number = ID{}, 0
	}
	w.reconnect(t)
}

func (w *world) trim(t *rapid.T) {
	w.stored = w.stored[rapid.IntRange(0, len(w.stored)).Draw(t, "trimmed"):]
}

// arrive is subscriber.arrive.
func (w *world) arrive(t *rapid.T) {
	if len(w.wire) == 0 {
		return
	}
	ev := w.wire[0]
	w.wire = w.wire[1:]
	if w.chain.held == nil {
		switch w.chain.judge(ev, believeAll) {
		case fresh:
			w.told = w.chain.move(w.told, ev)
			return
		case repeated:
			return
		case broken:
			w.chain.doubt()
		}
	}
	w.chain.held.add(ev)
}

// readLog reads the log, as compare and readOn do; applyRead lets the result take effect.
func (w *world) readLog(t *rapid.T) {
	if w.chain.held == nil || w.reading {
		return
	}
	w.chain.beginReading(1)
	w.reading = true
	w.clock++
	w.head = excerpt{epoch: w.epoch, last: w.last, number: w.number, now: w.clock, life: time.Hour}
	w.rest = w.head
	for _, ev := range w.stored {
		if ev.Position.ID.Compare(w.chain.last.ID) > 0 && len(w.rest.events) < worldRead {
			w.rest.events = append(w.rest.events, ev)
		}
	}
}

func (w *world) applyRead(t *rapid.T) {
	if !w.reading {
		return
	}
	w.reading = false
	if !w.chain.adoptHead(&w.head) {
		steps, more := w.chain.catchUp(&w.rest)
		if w.told = append(w.told, steps...); more {
			return
		}
	}
	steps, _, _ := w.chain.release(believeAll)
	w.told = append(w.told, steps...)
}

// quiet lets everything under way come to its end.
func (w *world) quiet(t *rapid.T) {
	for len(w.wire) > 0 || w.chain.held != nil {
		switch {
		case len(w.wire) > 0:
			w.arrive(t)
		case w.reading:
			w.applyRead(t)
		default:
			w.readLog(t)
		}
	}
}

// upToDate reports whether the chain is where the log is.
func (w *world) upToDate() bool {
	head := excerpt{epoch: w.epoch, last: w.last, now: w.chain.last.ID.Ms}
	return w.chain.last == head.head()
}

// assertLinked fails unless each event that followers got follows the one before, or a gap to just before it.
func (w *world) assertLinked(t *rapid.T, from Position) {
	at, raw := from, ""
	for i, step := range w.told {
		switch {
		case step.ev == nil:
			at = step.at
		case step.at.IsZero():
			if data := string(step.ev.Data); len(data) < len(raw) || len(data) == len(raw) && data <= raw {
				t.Errorf("raw event %s after %s", data, raw)
			} else {
				raw = data
			}
		case !links(at, step.ev):
			t.Errorf("step %d: %s, which follows %s, was told after %s", i, step.at, step.ev.Before, at)
		default:
			at = step.at
		}
	}
	if at != w.chain.last {
		t.Errorf("told up to %s, the chain is at %s", at, w.chain.last)
	}
	if w.upToDate() && w.chain.number != w.number {
		t.Errorf("the chain is at event number %d, the log at %d", w.chain.number, w.number)
	}
}

// TestFollowersMissNothingUntold does all that can happen to a topic, in any order.
func TestFollowersMissNothingUntold(t *testing.T) {
	rapid.Check(t, missNothingUntold)
}

func FuzzFollowersMissNothingUntold(f *testing.F) {
	f.Fuzz(rapid.MakeFuzz(missNothingUntold))
}

func missNothingUntold(t *rapid.T) {
	w := newWorld(t)
	w.readLog(t)
	w.applyRead(t)
	from := w.chain.last
	t.Repeat(map[string]func(*rapid.T){
		"publish": w.publish, "publish more": w.publish, "raw": w.raw,
		"arrive": w.arrive, "arrive more": w.arrive, "look": w.readLog, "settle": w.applyRead,
		"lose": w.lose, "reconnect": w.reconnect, "flush": w.flush, "rewind": w.rewind, "trim": w.trim, "forge": w.forge,
	})
	if w.quiet(t); !w.hidden && !w.upToDate() {
		t.Errorf("the followers are at %s, the log at %d:%s", w.chain.last, w.epoch, w.last)
	}
	w.publish(t)
	if w.quiet(t); !w.upToDate() {
		t.Errorf("after another event the followers are at %s, the log at %d:%s", w.chain.last, w.epoch, w.last)
	}
	w.assertLinked(t, from)
}

// TestFollowersGetEverythingOnceIfTheLogKeepsIt is the same without what loses stored events: then
// there is no gap, and every event is told once.
func TestFollowersGetEverythingOnceIfTheLogKeepsIt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		w.readLog(t)
		w.applyRead(t)
		t.Repeat(map[string]func(*rapid.T){
			"publish": w.publish, "publish more": w.publish, "raw": w.raw,
			"arrive": w.arrive, "look": w.readLog, "settle": w.applyRead, "lose": w.lose, "reconnect": w.reconnect,
		})
		w.reconnect(t)
		w.quiet(t)
		var got []*Event
		for _, step := range w.told {
			if step.ev == nil {
				t.Fatalf("a gap to %s", step.at)
			}
			if !step.at.IsZero() {
				got = append(got, step.ev)
			}
		}
		if !slices.Equal(got, w.stored) {
			t.Errorf("told %d events of %d", len(got), len(w.stored))
		}
	})
}

func TestAClockThatStepsBackIsNotSilence(t *testing.T) {
	c := chain{last: Position{1, ID{Ms: 100}}} // an empty log at time 100
	ev := &Event{Position: Position{1, ID{90, 1}}}
	if c.judge(ev, believeAll) != broken {
		t.Fatal("an event before the place that the log was empty at is no surprise")
	}
	c.doubt()
	c.held.add(ev)
	c.beginReading(1)
	x := excerpt{epoch: 1, last: ID{90, 1}, now: 91, life: time.Hour}
	if c.adoptHead(&x) {
		t.Fatal("nothing is missed")
	}
	steps, _ := c.catchUp(&x)
	if rest, _, again := c.release(believeAll); len(steps) != 1 || steps[0].ev != nil || len(rest) > 0 || again {
		t.Errorf("told %v and %v", steps, rest)
	}
}

func TestAWeekOfSilenceIsNoLoss(t *testing.T) {
	c := chain{last: Position{1, ID{100, 1}}}
	gone := excerpt{epoch: 1, now: 100 + uint64(time.Hour.Milliseconds()), life: time.Hour}
	if !c.adoptHead(&gone) || c.last != (Position{1, ID{Ms: gone.now}}) {
		t.Errorf("the record's life was over, but now at %s", c.last)
	}
	c = chain{last: Position{1, ID{100, 1}}}
	gone.now--
	if c.adoptHead(&gone) {
		t.Error("a record that vanished early is no loss")
	}
}

func TestWhatIsHeldIsBounded(t *testing.T) {
	c := chain{}
	c.doubt()
	c.beginReading(1)
	var dropped uint64
	for range maxHeldEvents + 1 {
		dropped += c.held.add(&Event{})
	}
	if dropped != maxHeldEvents+1 || len(c.held.events) != 0 {
		t.Errorf("%d events dropped, %d held", dropped, len(c.held.events))
	}
	if c.held.add(&Event{Data: make([]byte, maxHeldBytes+1)}) != 1 {
		t.Error("too many bytes are held")
	}
	if _, _, again := c.release(believeAll); !again {
		t.Error("what was dropped is not read again")
	}
	if c.beginReading(1); c.held.spilled {
		t.Error("a new reading does not cover what was dropped before it")
	}
}
