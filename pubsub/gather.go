package pubsub

import "time"

// gathering has what comes fast gather for a moment before it is read: each read wakes this process's subscriber and some
// loops, whether it brings one message or twenty. It is pure state; its feed's goroutine owns it.
type gathering struct {
	pause time.Duration // before a read while it is on; 0: it never is
	on    bool
	since time.Time // of what is counted
	reads int
	heard int // messages
}

// gatherRate is the least of messages a second that gather, and while they do not of reads; gatherWindow is how long is
// counted.
const (
	gatherRate   = 4000
	gatherWindow = 10 * time.Millisecond
)

// wait is how long to wait before the read that is due now.
func (g *gathering) wait(now time.Time) time.Duration {
	g.reads++
	if window := now.Sub(g.since); window >= gatherWindow {
		n := g.reads // messages that come together anyhow gain nothing
		if g.on {
			n = g.heard
		}
		g.on = float64(n) >= gatherRate*window.Seconds()
		g.since, g.reads, g.heard = now, 0, 0
	}
	if g.on {
		return g.pause
	}
	return 0
}
