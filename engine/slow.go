package engine

import (
	"maps"
	"slices"
	"time"
)

// Slow is who makes no progress, not who was handed too much at once. See Config.MaxQueued.
const (
	// stallTime is how long nothing may leave while more than MaxQueued waits, hopeless how long while anything
	// waits; up to sweepTime later it is seen.
	stallTime = time.Second
	hopeless  = 30 * time.Second
	// catchUpTime is the time in which what waits, once it is more than MaxQueued, has to become less by as much.
	catchUpTime = 10 * time.Second
	// spareBacklogs is how many accounts a loop keeps the memory of when all have read what waited: 256 KiB.
	spareBacklogs = 4096
)

// cutSlow cuts those to whom nothing leaves, and those who do not catch up.
func (l *Loop) cutSlow() {
	if l.judging {
		return // the last sweep is not over
	}
	l.judging = true
	all := slices.Collect(maps.Keys(l.backlogs))
	if len(all) == 0 && l.judged > spareBacklogs {
		l.backlogs = make(map[*Conn]backlog) // an empty map keeps the memory of its largest time
	}
	l.judged = len(all)
	curious := l.curious
	l.curious = nil
	inTurns(l, all, func(c *Conn) {
		if b, ok := l.backlogs[c]; ok && c.state == open && c.socket.open() {
			if c.judge(&b); c.slow(b) {
				c.Close(SlowConsumer)
			} else {
				l.backlogs[c] = b
				c.show(b, curious)
			}
		}
	}, func() {
		l.judging = false
		for _, look := range curious {
			look.done()
		}
	})
}

// judge notes in b how c has got on. The peer gets on, too, if its kernel took bytes that ours still held, or if ours
// holds none: then we are late, and not the peer.
func (c *Conn) judge(b *backlog) {
	l := c.loop
	l.spend(jobCost)
	unsent := c.socket.unsent()
	if c.queued == 0 || unsent == 0 || unsent < b.unsent {
		b.moved = l.now
	}
	b.unsent = unsent
	waiting := c.waiting(*b)
	switch limit := int64(l.srv.cfg.MaxQueued); {
	case waiting <= limit:
		b.over = false
	case !b.over, l.now-b.since >= ticks(catchUpTime) && waiting <= b.then-limit:
		b.over, b.since, b.then = true, l.now, waiting
	}
}

// slow reports whether c, which was just judged, is to be cut.
func (c *Conn) slow(b backlog) bool {
	l := c.loop
	still := l.now - b.moved
	return still >= ticks(hopeless) || b.over && (still >= ticks(stallTime) || l.now-b.since >= ticks(catchUpTime))
}
