package pubsub

import (
	"slices"
	"sort"
)

// recent are the events of one chain that are kept in memory. A chain without any has none.
type recent struct {
	// events are the last up to the chain's last, without a gap.
	events []*Event
	// earlier are events further back, without a gap, that do not reach up to events yet: somebody reads
	// the log page by page, and others will want the same pages.
	earlier []*Event
}

// behind are the events of r behind at: of events, if they begin there or before; else of earlier.
func (r *recent) behind(at ID) []*Event {
	if r == nil {
		return nil
	}
	for _, list := range [][]*Event{r.events, r.earlier} {
		first := sort.Search(len(list), func(i int) bool { return list[i].Position.ID.Compare(at) > 0 })
		if first > 0 || len(list) > 0 && list[0].Before.Compare(at) <= 0 {
			return list[first:]
		}
	}
	return r.events
}

// recents bounds the recent events of all chains together, in bytes: the oldest of all goes first. So
// every followed topic can be replayed from memory over the same stretch of time, however busy it is.
// Whoever holds delivery.mu owns it.
type recents struct {
	limit, bytes int
	// kept is how many events all chains have.
	kept int
	// order has one entry per event kept, oldest first, and some of events that went with others of their
	// chain: these stand for a later one, which then goes early.
	order []*chain
	// removed is up to where the history of a chain was removed, for the few of which it was. nil without any.
	removed map[*chain]ID
}

// eventOverhead is about what an event takes beside its data: the struct, its place in two lists.
const eventOverhead = 128

func size(ev *Event) int { return ev.bytes() + eventOverhead }

// count takes one more event of c into the books.
func (r *recents) count(c *chain, ev *Event) {
	r.bytes += size(ev)
	r.kept++
	r.order = append(r.order, c)
}

// push keeps ev as the last of c.
func (r *recents) push(c *chain, ev *Event) {
	if ev.Position.ID.Compare(r.removed[c]) <= 0 {
		return
	}
	if c.recent == nil {
		c.recent = &recent{}
	}
	c.recent.events = append(c.recent.events, ev)
	r.count(c, ev)
	r.fit()
}

// recall keeps a page that was read from the log of c: others will ask for it, too. It does so while there is
// room: what is newer is not given up for it.
func (r *recents) recall(c *chain, page []*Event) {
	if removed := r.removed[c]; !removed.IsZero() {
		page = page[sort.Search(len(page), func(i int) bool { return page[i].Position.ID.Compare(removed) > 0 }):]
	}
	next := c.last // what has to come behind the page: c's last, or what the oldest recent event follows
	if c.recent == nil {
		c.recent = &recent{}
	}
	kept := c.recent
	if len(kept.events) > 0 {
		next = before(kept.events[0])
	}
	page = upTo(page, next)
	switch n := len(page); {
	case n == 0:
	case page[n-1].Position == next:
		kept.events = append(r.fill(c, page), kept.events...)
		r.join(c)
	case goesOn(kept.earlier, page):
		kept.earlier = append(kept.earlier, r.extend(c, page)...)
	case len(kept.earlier) > 0 && goesOn(page, kept.earlier):
		kept.earlier = append(r.fill(c, upTo(page, before(kept.earlier[0]))), kept.earlier...)
	default:
		r.forget(&kept.earlier)
		kept.earlier = r.extend(c, page)
	}
	r.tidy(c)
	r.fit()
}

// upTo is the last stretch of page without a gap that ends at next or before.
func upTo(page []*Event, next Position) []*Event {
	end := 0
	for end < len(page) && page[end].Position.Epoch == next.Epoch && page[end].Position.ID.Compare(next.ID) <= 0 {
		end++
	}
	first := end
	for first > 0 && (first == end || page[first].Before == page[first-1].Position.ID) {
		first--
	}
	return page[first:end]
}

// goesOn reports whether page goes on behind list, or behind an event of it.
func goesOn(list, page []*Event) bool {
	n := len(list)
	return n > 0 && page[0].Position.Epoch == list[n-1].Position.Epoch &&
		page[0].Before.Compare(list[0].Before) >= 0 && page[0].Before.Compare(list[n-1].Position.ID) <= 0
}

// fill returns the end of page, as long as there is room.
func (r *recents) fill(c *chain, page []*Event) []*Event {
	first := len(page)
	for first > 0 && r.bytes+size(page[first-1]) <= r.limit {
		first--
		r.count(c, page[first])
	}
	return slices.Clone(page[first:])
}

// extend returns what of page comes behind c's earlier events, as long as there is room.
func (r *recents) extend(c *chain, page []*Event) []*Event {
	if n := len(c.recent.earlier); n > 0 {
		last := c.recent.earlier[n-1].Position.ID
		page = page[sort.Search(len(page), func(i int) bool { return page[i].Position.ID.Compare(last) > 0 }):]
	}
	n := 0
	for n < len(page) && r.bytes+size(page[n]) <= r.limit {
		r.count(c, page[n])
		n++
	}
	return slices.Clone(page[:n])
}

// join makes one stretch of c's earlier events and its recent ones, if there is nothing between.
func (r *recents) join(c *chain) {
	kept := c.recent
	if len(kept.earlier) == 0 || len(kept.events) == 0 {
		return
	}
	next := before(kept.events[0])
	meets := upTo(kept.earlier, next)
	if n := len(meets); n == 0 || meets[n-1].Position != next {
		return
	}
	both := append(slices.Clone(meets), kept.events...)
	more := len(kept.earlier) - len(meets)
	for _, ev := range kept.earlier[len(kept.earlier)-more:] {
		r.bytes -= size(ev) // these are among events already
		r.kept--
	}
	kept.events, kept.earlier = both, nil
}

// fit lets the oldest go until the rest fits, and drops entries from order that stand for nothing.
func (r *recents) fit() {
	for r.bytes > r.limit {
		r.shift(r.order[0])
		r.order = r.order[1:]
	}
	if len(r.order) <= 2*r.kept+1024 {
		return
	}
	left := map[*chain]int{}
	for _, c := range r.order {
		if c.recent != nil {
			left[c] = len(c.recent.events) + len(c.recent.earlier)
		}
	}
	var order []*chain // from the end: of each chain the newest entries stay
	for _, c := range slices.Backward(r.order) {
		if left[c] > 0 {
			left[c]--
			order = append(order, c)
		}
	}
	slices.Reverse(order)
	r.order = order
}

// shift forgets the oldest event of c.
func (r *recents) shift(c *chain) {
	kept := c.recent
	if kept == nil {
		return
	}
	list := &kept.earlier
	if len(*list) == 0 {
		list = &kept.events
	}
	r.bytes -= size((*list)[0])
	r.kept--
	(*list)[0] = nil
	*list = (*list)[1:]
	r.tidy(c)
}

// forget forgets the events of list.
func (r *recents) forget(list *[]*Event) {
	for _, ev := range *list {
		r.bytes -= size(ev)
		r.kept--
	}
	*list = nil
}

// drop forgets the events of c.
func (r *recents) drop(c *chain) {
	if c.recent != nil {
		r.forget(&c.recent.events)
		r.forget(&c.recent.earlier)
		r.tidy(c)
		r.fit()
	}
}

// remove forgets the events of c, and keeps none up to last any more.
func (r *recents) remove(c *chain, last ID) {
	r.drop(c)
	if r.removed == nil {
		r.removed = make(map[*chain]ID)
	}
	r.removed[c] = last
}

// tidy gives back what an empty c has.
func (r *recents) tidy(c *chain) {
	if len(c.recent.earlier) == 0 {
		c.recent.earlier = nil
	}
	if len(c.recent.earlier)+len(c.recent.events) == 0 {
		c.recent = nil
	}
}
