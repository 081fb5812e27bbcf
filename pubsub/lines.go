package pubsub

import (
	"time"
)

// This file is where the partitions of the table of follows are heard: see follows.

// line is one subscriber connection after the other: its commands to send, and those sent. The table's lock
// guards it.
type line struct {
	work chan struct{} // wakes the connection's writer

	live  bool     // a connection is there
	queue []string // channels that may need a command
	batch batch    // whose commands are not answered yet
	// refused are channels whose commands the server refused. They are asked for again by and by.
	refused []string
	// apart has each channel of the next batch asked for by a command of its own, since one of the last was refused.
	apart bool
	// strays are channels that events came on though nobody here wants them.
	strays []string
}

// batch is the commands sent to a server at a time.
type batch struct {
	subscribe, unsubscribe []string
	// apart is true if each channel is to be subscribed by a command of its own.
	apart bool
}

func (b *batch) len() int { return len(b.subscribe) + len(b.unsubscribe) }

// reset forgets what was sent and is to be sent: it was another connection's.
func (l *line) reset(live bool) {
	l.live, l.queue, l.batch, l.refused, l.apart, l.strays = live, nil, batch{}, nil, false, nil
}

func newLine() *line { return &line{work: make(chan struct{}, 1)} }

// place is where a partition's topics are heard.
type place struct {
	line *line // nil: nobody serves the partition
	// connection numbers the subscriptions of the partition: on a later one nothing is subscribed yet.
	connection uint32
	// lost is true since the line's server said that it does not serve the partition.
	lost bool
	// silent is when what is published in the partition was last sure to arrive, by the table's clock; 0 while it is,
	// and before it was for the first time.
	silent int64
}

// live is true if commands may be sent.
func (p *place) live() bool { return p.line != nil && p.line.live && !p.lost }

// begin says that l has a fresh connection, on which nothing is subscribed yet.
func (t *follows) begin(l *line) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l.reset(true)
	t.restart(func(_ byte, p *place) bool { return p.line == l })
	t.noteSilence(l)
}

// noteSilence counts how long l's partitions were silent, once all that is wanted of them has been asked for and answered.
func (t *follows) noteSilence(l *line) {
	if len(l.queue)+l.batch.len() > 0 {
		return
	}
	longest, now := int64(0), t.clock()
	for n := range t.places {
		if p := &t.places[n]; p.line == l && p.live() && p.silent != 0 {
			longest = max(longest, now-p.silent)
			p.silent = 0
		}
	}
	if longest > 0 {
		t.silences.count(time.Duration(longest))
	}
}

// mute notes that p is silent from now on. The caller does it while p is still sure to be heard.
func (t *follows) mute(p *place) {
	if p.live() && p.silent == 0 {
		p.silent = t.clock()
	}
}

// place says which line each partition is heard on from now on; nil where nobody serves it. Partitions that were
// lost, or heard on another line, begin anew.
func (t *follows) place(lines *[partitions]*line) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.restart(func(n byte, p *place) bool {
		if p.line == lines[n] && !p.lost {
			return false
		}
		t.mute(p)
		p.line = lines[n]
		return true
	})
	for i, l := range lines {
		if l != nil && l.live && (i == 0 || l != lines[i-1]) {
			t.noteSilence(l)
		}
	}
}

// restart begins the subscriptions of those partitions anew that choose says. The table is walked in parts,
// because loops wait for it. The caller holds t.mu.
func (t *follows) restart(choose func(byte, *place) bool) {
	var chosen [partitions]bool
	some := false
	for n := range t.places {
		if p := &t.places[n]; choose(byte(n), p) {
			chosen[n], some = true, true
			p.connection++
			p.lost = false
		}
	}
	if !some {
		return
	}
	seen := 0
	for channel := range t.topics.all {
		if seen++; seen%followBatch == 0 {
			t.mu.Unlock()
			t.mu.Lock()
		}
		if !chosen[partition(t.names.topicOf(channel))] {
			continue
		}
		f, p, known := t.get(channel)
		switch {
		case !known: // left meanwhile
		case f.wanted():
			enqueue(channel, &f, p)
			t.topics.set(channel, f)
		case f.phase == off:
			t.drop(channel, &f)
		}
	}
}

// lose says that l's server does not serve partition n any more: nothing of it arrives until place says from where.
// It is false if that was known.
func (t *follows) lose(l *line, n byte) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := &t.places[n]
	if p.line != l || p.lost {
		return false
	}
	t.mute(p)
	p.lost = true
	return true
}

// end says that l's connection is gone.
func (t *follows) end(l *line) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for n := range t.places {
		if p := &t.places[n]; p.line == l {
			t.mute(p)
		}
	}
	l.reset(false)
}
