package pubsub

// chain is a followed topic's place in its log, on this node. It is pure state: whoever holds
// delivery.mu owns it. While it is in doubt, what arrives is held until the log was read.
type chain struct {
	// last is the position that the followers are up to; zero until the log was first read.
	last Position
	// number is the last event's, zero where last is no event.
	number uint64
	// read is the number of the last event that was there when the log was last read. Only up to that one
	// may an event arrive that the followers have.
	read uint64
	// asOf is the number of the last reading of the log that has counted.
	asOf uint64
	// held is not nil while the chain is in doubt.
	held *held
	// recent are the last events up to last. See recent.go.
	recent *recent
	// raw is true since an event without a position arrived: such are lost with a connection, and no log
	// shows it.
	raw bool
}

// held is what arrived on a topic while its log is being read.
type held struct {
	events []*Event
	bytes  int
	// reading is the number of the reading of the log that counts, 0 if none does: one that began before the topic
	// was subscribed may lack events. seen is how many of events were there at its beginning. An event of them that
	// has a position was in the log by then, or is in none any more.
	reading uint64
	seen    int
	// spilled is true if it became too much and was dropped: the log must be read once more.
	spilled bool
}

// Bounds of what is held per topic. More than that is read from the log, where it has a position.
const (
	maxHeldEvents = 1024
	maxHeldBytes  = 1 << 20
)

// verdict is what to do with an event that arrives.
type verdict uint8

const (
	fresh    verdict = iota // it is next
	repeated                // the followers have it
	broken                  // something is missing before it
)

// judge decides what ev is to followers who have everything up to last. Where last is a place and no
// event, one before it was not read from the log: the server's clock has stepped back. latest is the largest Ms
// that is believed without reading the log, unless that is as far ahead itself.
func (c *chain) judge(ev *Event, latest uint64) verdict {
	switch {
	case ev.Position.IsZero():
		return fresh
	case links(c.last, ev) && (c.last.ID.Seq == 0 || ev.Number == c.number+1) && ev.Position.ID.Ms <= max(latest, c.last.ID.Ms+uint64(maxLead.Milliseconds())):
		return fresh
	case ev.Number <= c.read && c.has(ev):
		return repeated // it was read from the log before it arrived
	default:
		return broken
	}
}

// has reports whether followers have everything up to ev, so that it is news only if it is forged, or what they
// have is.
func (c *chain) has(ev *Event) bool {
	return c.last.ID.Seq != 0 && ev.Position.Epoch == c.last.Epoch && ev.Position.ID.Compare(c.last.ID) <= 0
}

// doubt begins to hold what arrives, unless that was so before.
func (c *chain) doubt() {
	if c.held == nil {
		c.held = &held{}
	}
}

// beginReading notes that the log is about to be read: only the reading of this number counts from now on.
func (c *chain) beginReading(reading uint64) {
	c.held.reading, c.held.seen, c.held.spilled = reading, len(c.held.events), false
}

// distrust makes readings under way count for nothing.
func (c *chain) distrust() {
	c.doubt()
	c.held.reading = 0
}

// add holds ev. It returns how many events were dropped for it.
func (h *held) add(ev *Event) (dropped uint64) {
	h.events = append(h.events, ev)
	h.bytes += ev.bytes()
	if len(h.events) <= maxHeldEvents && h.bytes <= maxHeldBytes {
		return 0
	}
	dropped = uint64(len(h.events))
	*h = held{reading: h.reading, spilled: true}
	return dropped
}

// step is one delivery to followers: an event, or if it is nil, a gap up to at.
type step struct {
	ev *Event
	at Position
	// read and next are a gap's: see Loss.
	read uint64
	next ID
}

// adoptHead moves the chain to the log's head, and returns true, if the followers miss nothing or had nothing yet.
func (c *chain) adoptHead(head *excerpt) bool {
	at := head.head()
	switch {
	case c.last.IsZero(), at == c.last:
	case c.last.Epoch == at.Epoch && head.last.IsZero() && (c.last.ID.Seq == 0 || !head.remembers(Position{ID: ID{Ms: c.last.ID.Ms}})):
		// Nothing was published for longer than a record lives, or ever: the topic begins anew.
	default:
		return false
	}
	c.last, c.number, c.read = at, head.number, head.number
	return true
}

// catchUp moves the chain over what was read behind last, as far as x goes. more is true if the log
// goes on behind x: read again. A loss in the log becomes a gap.
func (c *chain) catchUp(x *excerpt) (steps []step, more bool) {
	for _, ev := range x.events {
		if !links(c.last, ev) {
			steps = c.jump(steps, before(ev), ev.Number-1, ev.Position.ID)
		}
		steps = c.move(steps, ev)
	}
	switch {
	case len(x.events) > 0 && c.last.ID.Compare(x.last) < 0:
		return steps, true
	case c.last != Position{x.epoch, x.last}:
		steps = c.jump(steps, x.head(), x.number, ID{})
	}
	c.read = c.number
	return steps, false
}

// release ends the doubt: what is held goes out behind what was read, each event once. strange is the number of
// events that were dropped because they are not in the log. again is true if something is missing before an
// event that stays held, or if some were dropped for lack of room: read again.
func (c *chain) release(latest uint64) (steps []step, strange uint64, again bool) {
	h := c.held
	for i, ev := range h.events {
		if i < h.seen && !ev.Position.IsZero() {
			if !c.has(ev) {
				strange++
			}
			continue
		}
		switch c.judge(ev, latest) {
		case fresh:
			steps = c.move(steps, ev)
		case repeated:
		case broken:
			h.events = h.events[i:]
			return steps, strange, true
		}
	}
	if h.spilled {
		h.events = nil
		return steps, strange, true
	}
	c.held = nil
	return steps, strange, false
}

// move makes ev the last. Events without a position stand beside the chain.
func (c *chain) move(steps []step, ev *Event) []step {
	c.advance(ev)
	return append(steps, step{ev: ev, at: ev.Position})
}

func (c *chain) advance(ev *Event) {
	if !ev.Position.IsZero() {
		c.last, c.number = ev.Position, ev.Number
	}
}

// jump goes to at over a loss. next is the event behind that, if there is one.
func (c *chain) jump(steps []step, at Position, number uint64, next ID) []step {
	c.last, c.number = at, number
	return append(steps, step{at: at, read: c.asOf, next: next})
}
