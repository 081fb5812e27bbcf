package engine

import (
	"cmp"
	"slices"
	"time"
)

// A socket is a connection from the end of its head until it closes: it then holds one of Config.MaxConnections
// places. Before and after that it is in transit: its head is still to come, or it was refused, or it closes. Sockets
// in transit have the places that connections leave free, and a few more; over that those go first that have been in
// transit for longest. So silent ones keep nobody out, however many come.

// transit is what only a socket in transit needs.
type transit struct {
	older, newer *Conn         // in transits
	since        time.Duration // the clock's age when it came into transit
	// The PROXY protocol's head so far; then TLS's or HTTP's; then what came behind it before frames can be worked on.
	buf        []byte
	introduced bool // the PROXY protocol's head has come
	hello      helloScanner
	scan       headScanner
	// Input that comes while it closes.
	skimmer skimmer
	late    int  // bytes, and lateFrame for each frame
	page    bool // it was answered with a Page
	bare    bool // a HEAD: its answer has no body
	// A plain HTTP request whose head is there; nil for others.
	exchange *exchange
}

// transits are the sockets of a loop that are in transit, in the order in which they came to be.
type transits struct{ oldest, newest *Conn }

func (q *transits) push(c *Conn) {
	c.transit.older = q.newest
	if q.newest != nil {
		q.newest.transit.newer = c
	} else {
		q.oldest = c
	}
	q.newest = c
}

func (q *transits) remove(c *Conn) {
	t := c.transit
	if t.older != nil {
		t.older.transit.newer = t.newer
	} else {
		q.oldest = t.newer
	}
	if t.newer != nil {
		t.newer.transit.older = t.older
	} else {
		q.newest = t.older
	}
	t.older, t.newer = nil, nil
}

// class is what a socket counts as.
type class uint8

const (
	inTransit class = iota
	connection
	none
)

// parting reports whether the peer may not have had our last word yet.
func (s state) parting() bool { return s >= closing && s <= departing }

func (s state) class() class {
	switch s {
	case deciding, open:
		return connection
	case ended:
		return none
	}
	return inTransit
}

// move changes c's state, and what c counts as. A place for a connection was taken before.
func (c *Conn) move(to state) {
	l, s := c.loop, c.loop.srv
	from, into := c.state.class(), to.class()
	switch was, will := c.state.parting(), to.parting(); {
	case will && !was:
		l.count.parting.Add(1)
	case was && !will:
		l.count.parting.Add(-1)
	}
	c.state = to
	if from == into {
		return
	}
	switch from {
	case connection:
		s.leave(c)
	case inTransit:
		l.transits.remove(c)
		l.count.transit.Add(-1)
	}
	switch into {
	case inTransit:
		if c.transit == nil {
			c.transit = new(transit)
		}
		c.transit.since = l.age
		l.transits.push(c)
		l.count.transit.Add(1)
	case none:
		s.room.living.Add(-1)
		if l.layers != nil {
			c.dropLayer()
		}
	}
}

// dropOldest ends the socket that has been in transit for longest, if there are more sockets than there is room for.
// If there still are, the loop goes on that has the most in transit by then.
func (l *Loop) dropOldest() {
	s := l.srv
	if c := l.transits.oldest; c != nil && s.room.over() {
		if c.state <= arriving {
			s.dropped.Add("half_open")
		} else {
			s.dropped.Add("closing")
		}
		c.cut()
	}
	if s.room.over() { // so that there are sockets in transit, too
		s.dropOldest()
	}
}

// dropOldest makes the loop with the most sockets in transit drop its oldest one.
func (s *Server) dropOldest() {
	l := slices.MaxFunc(s.loops, func(a, b *Loop) int {
		return cmp.Compare(a.count.transit.Load(), b.count.transit.Load())
	})
	l.Post(l.dropOldest)
}
