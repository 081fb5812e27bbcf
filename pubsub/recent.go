package pubsub

import "slices"

// recents bounds the recent events of all chains together, in bytes: the oldest of all goes first. So
// every followed topic can be replayed from memory over the same stretch of time, however busy it is.
// Whoever holds delivery.mu owns it.
type recents struct {
	limit, bytes int
	// order has one entry per event kept, oldest first. Entries whose event went with a whole chain
	// stand for a later one, which then goes early.
	order []*chain
}

// eventOverhead is about what an event takes beside its data: the struct, its place in two lists.
const eventOverhead = 128

func size(ev *Event) int { return len(ev.Data) + eventOverhead }

// push keeps ev as the last of c.
func (r *recents) push(c *chain, ev *Event) {
	c.recent = append(c.recent, ev)
	r.order = append(r.order, c)
	for r.bytes += size(ev); r.bytes > r.limit; {
		r.shift(r.order[0])
		r.order = r.order[1:]
	}
}

// recall keeps events that were read from the log, oldest first, before the recent ones of c: others will
// ask for them, too. It does so only if nothing is missing between, and while there is room: what is newer
// is not given up for them.
func (r *recents) recall(c *chain, events []*Event) {
	next := c.last // what has to come behind them: c's last, or what the oldest recent event follows
	if len(c.recent) > 0 {
		next = Position{c.recent[0].Position.Epoch, c.recent[0].Before}
	}
	n := 0
	for n < len(events) && events[n].Position.ID.Compare(next.ID) <= 0 {
		n++
	}
	if n == 0 || events[n-1].Position != next {
		return
	}
	first := n
	for first > 0 && (first == n || events[first].Before == events[first-1].Position.ID) && r.bytes+size(events[first-1]) <= r.limit {
		first--
		r.bytes += size(events[first])
		r.order = append(r.order, c)
	}
	c.recent = append(slices.Clone(events[first:n]), c.recent...)
}

// shift forgets the oldest event of c.
func (r *recents) shift(c *chain) {
	if len(c.recent) == 0 {
		return
	}
	r.bytes -= size(c.recent[0])
	c.recent[0] = nil
	c.recent = c.recent[1:]
}

// drop forgets the events of c.
func (r *recents) drop(c *chain) {
	for len(c.recent) > 0 {
		r.shift(c)
	}
	c.recent = nil
}
