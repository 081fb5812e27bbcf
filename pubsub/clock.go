package pubsub

import (
	"math"
	"sync/atomic"
	"time"
)

const (
	// leap is how far IDs jump ahead when their partition has come to another server, see publish.lua.
	leap = time.Minute
	// maxClockDifference is how far two clocks may be apart. Half of a leap is left for what a replica lacks.
	maxClockDifference = leap / 2
	// maxLead is how far an ID may be ahead of the server's clock without a doubt: two leaps that follow
	// each other, and clocks as far apart as they may be.
	maxLead = 2*leap + maxClockDifference
	// trustedLead is how far ahead of the clock IDs may have been that the next leap goes behind. A forged
	// one must not take all others along.
	trustedLead = time.Hour
)

// stopwatch measures how long it has been running, by the monotonic clock: setting the machine's clock does not
// touch it.
type stopwatch struct{ born time.Time }

func newStopwatch() stopwatch { return stopwatch{time.Now()} }

// now is in nanoseconds, never 0.
func (s stopwatch) now() int64 { return int64(time.Since(s.born)) + 1 }

// serverClock estimates the server's time between the moments when it was asked. Any goroutine may use it.
type serverClock struct {
	stopwatch
	// start is the server's time when the stopwatch began, in Unix milliseconds; 0 until it is known.
	start atomic.Int64
}

// set takes what the server's clock says now.
func (c *serverClock) set(now time.Time) {
	c.start.Store(now.UnixMilli() - c.stopwatch.now()/1e6)
}

// time is the server's time in Unix milliseconds. ok is false while it is not known.
func (c *serverClock) time() (ms int64, ok bool) {
	start := c.start.Load()
	return start + c.stopwatch.now()/1e6, start != 0
}

// believed is how far ahead an ID may be without a doubt: all there is while the time is not known.
func (c *serverClock) believed() uint64 {
	ms, ok := c.time()
	if !ok {
		return math.MaxUint64
	}
	return uint64(max(ms, 0) + maxLead.Milliseconds())
}

// difference is how far the server's clock is ahead of this machine's. Zero while it is not known.
func (c *serverClock) difference() time.Duration {
	ms, ok := c.time()
	if !ok {
		return 0
	}
	return time.Duration(ms-time.Now().UnixMilli()) * time.Millisecond
}

// lead is how far id is ahead of the server's clock. Zero while that is not known.
func (c *serverClock) lead(id ID) time.Duration {
	ms, ok := c.time()
	if !ok {
		return 0
	}
	const most = int64(time.Duration(1<<63-1) / time.Millisecond)
	return time.Duration(max(-most, min(int64(min(id.Ms, 1<<62))-ms, most))) * time.Millisecond
}

// givenIDs are the IDs that this hub's publications got.
type givenIDs struct {
	newest [partitions]atomic.Uint64 // the largest Ms in each
	lead   atomic.Int64              // of the last one, ahead of the server's clock
}

// given takes the ID of a publication in a partition.
func (g *givenIDs) given(partition byte, id ID, clock *serverClock) {
	newest := &g.newest[partition]
	for had := newest.Load(); id.Ms > had && !newest.CompareAndSwap(had, id.Ms); had = newest.Load() {
	}
	g.lead.Store(int64(clock.lead(id)))
}

// latest is the latest time that any ID of a partition is known to be of, which is this machine's own at least, in
// milliseconds. A server that comes to serve the partition must not go behind it. Other partitions' are left out: each
// that leapt would have the next one leap behind it.
func (g *givenIDs) latest(partition byte) int64 {
	now := time.Now()
	if newest := int64(min(g.newest[partition].Load(), 1<<62)); newest <= now.Add(trustedLead).UnixMilli() {
		return max(newest, now.UnixMilli())
	}
	return now.UnixMilli()
}
