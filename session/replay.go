package session

import (
	"math"
	"slices"

	"wshub/pubsub"
)

// This file is what a subscription does with missed and live events until the session follows.

const (
	// maxSpills bounds how often the log is read anew because too much came meanwhile, and not because the client took
	// its time.
	maxSpills = 5
	// firstPage bounds what a subscription keeps of the missed events before it is started, in bytes: many of a
	// session may be waiting for each other.
	firstPage = 4 << 10
	// pageEvents bounds the events of one page.
	pageEvents = 256
)

// keep has the events of replay, which lie behind cursor, leave next, unless they are more than limit bytes: then they
// are read again when their turn comes.
func (sub *subscribing) keep(replay pubsub.Replay, limit int) {
	size := 0
	for _, ev := range replay.Events {
		size += messageSize(ev) + sub.s.stampSize()
	}
	if n := len(replay.Events); n > 0 && size <= limit {
		sub.out = sub.s.shard.messages(replay.Events)
		sub.cursor = replay.Events[n-1].Position
		sub.missed = n < replay.Missed
		sub.owe(size)
	}
}

// owe counts n bytes more, or less, that wait for the connection.
func (sub *subscribing) owe(n int) {
	sub.owed += n
	sub.s.conn.Owe(n)
}

// next takes up to budget bytes of what leaves now, at least one message; none while a page must be read first, or when
// the replay is over.
func (sub *subscribing) next(budget int) []*message {
	for sub.stage == replaying && sub.read == nil && sub.timer == nil {
		switch {
		case len(sub.out) > 0:
			return sub.take(budget)
		case sub.missed:
			return nil // a page is read in its turn: see work.readPage
		case sub.spilled:
			sub.rereadSpilled()
		case sub.torn:
			sub.torn = false
			sub.loseSpilled()
		case len(sub.held) > 0:
			sub.out = splice(sub.held, sub.cursor, sub.asOf)
			sub.dropHeld()
			size := 0
			for _, m := range sub.out {
				size += m.sizeFor(sub.s)
				if !m.position.IsZero() {
					sub.cursor = m.position
				}
			}
			sub.owe(size)
		default:
			sub.catchUp()
		}
	}
	return nil
}

// take removes and returns the first messages of out, up to budget bytes and at least one.
func (sub *subscribing) take(budget int) []*message {
	n, size := 0, 0
	for n < len(sub.out) && (n == 0 || size+sub.out[n].sizeFor(sub.s) <= budget) {
		size += sub.out[n].sizeFor(sub.s)
		n++
	}
	taken := sub.out[:n:n]
	sub.out = sub.out[n:]
	if len(sub.out) == 0 {
		size, sub.out = sub.owed, nil
	}
	sub.owe(-size)
	return taken
}

// readPage reads on behind cursor. Events published from now on arrive live, and are held.
func (sub *subscribing) readPage() {
	chunk := sub.s.shard.hub.maxChunk
	limit := pubsub.Limit{Events: min(pageEvents, chunk/(1+sub.s.stampSize())+1), Bytes: chunk}
	sub.read = &read{topic: sub.t.name, since: sub.cursor, limit: limit, done: sub.paged}
	sub.s.queueRead(sub.read)
}

// paged is the broker's answer to readPage.
func (sub *subscribing) paged(replay pubsub.Replay, err error) {
	sub.read, sub.s.working().paging = nil, nil
	switch {
	case err != nil:
		sub.later(sub.s.pump) // what it has not got stays in the log
		sub.s.pump()          // the others go on
		return
	case !replay.Recovered:
		sub.asOf = replay.Read
		sub.lose(replay.Head)
	default:
		sub.asOf = replay.Read
		sub.missed, sub.cursor = false, replay.Head
		if n := len(replay.Events); n > 0 {
			sub.cursor = replay.Events[n-1].Position
			sub.missed = n < replay.Missed
			sub.out = sub.s.shard.messages(replay.Events)
			size := 0
			for _, m := range sub.out {
				size += m.sizeFor(sub.s)
			}
			sub.owe(size)
		}
		sub.dropLogged()
	}
	sub.tries = 0
	sub.s.pump()
}

// rereadSpilled reads what was dropped from the log, or tells that it is lost.
func (sub *subscribing) rereadSpilled() {
	sub.spilled = false
	if sub.spills <= maxSpills && sub.s.shard.hub.keeps(sub.t.name) && !sub.cursor.IsZero() {
		sub.missed = true
		return
	}
	sub.loseSpilled()
}

// loseSpilled drops the held events and announces a gap.
func (sub *subscribing) loseSpilled() {
	sub.s.drop("hold_full", sub.t.name, "too many events came while the topic was not followed yet")
	sub.lose(sub.cursor)
}

// lose announces a gap, behind which the topic goes on at a position.
func (sub *subscribing) lose(at pubsub.Position) {
	sub.missed, sub.cursor = false, at
	gap := &message{topic: sub.t.name, position: at}
	sub.out = append(sub.out, gap)
	sub.owe(gap.sizeFor(sub.s))
}

// batch takes a batch that begins now.
func (sub *subscribing) batch(batch []*message) {
	switch sub.stage {
	case over: // by what an earlier one in the list did
	case trailing:
		sub.s.deliver(sub.trail(batch))
		if sub.stage == trailing && sub.t.last.Compare(sub.cursor.ID) >= 0 {
			sub.finish() // behind the followers that this batch goes to
		}
	default:
		sub.hold(batch)
	}
}

// hold keeps a batch that comes before its turn, but for what is read from the log.
func (sub *subscribing) hold(batch []*message) {
	for _, m := range batch {
		if m.position.IsZero() || !sub.readsOn() {
			sub.held = append(sub.held, m)
			sub.countHeld(m.size())
		}
	}
	if sub.holdsTooMuch() {
		sub.spill()
	}
}

// readsOn reports whether the log will be read behind what was published by now.
func (sub *subscribing) readsOn() bool { return sub.spilled || sub.missed && sub.read == nil }

// dropLogged drops held events that are read from the log anyway.
func (sub *subscribing) dropLogged() {
	if sub.readsOn() {
		sub.held = slices.DeleteFunc(sub.held, func(m *message) bool {
			if m.position.IsZero() {
				return false
			}
			sub.countHeld(-m.size())
			return true
		})
	}
}

// holdsTooMuch: a subscription may hold MaxHold while the hub keeps it waiting. While it waits for its client, which may
// take hours, all those of a session whose topics have a log may hold a quarter of the client's queue.
func (sub *subscribing) holdsTooMuch() bool {
	hub := sub.s.shard.hub
	slow := sub.s.conn.Queued() > 0 && hub.keeps(sub.t.name) && sub.s.working().held > hub.maxChunk/2
	return sub.heldBytes > hub.cfg.MaxHold || slow && sub.heldBytes > 0 && !sub.readsOn()
}

// spill drops the held events. Those in the log are read again; the others are lost.
func (sub *subscribing) spill() {
	if sub.s.shard.hub.keeps(sub.t.name) {
		if !sub.spilled && sub.s.conn.Queued() == 0 {
			sub.spills++
		}
		sub.spilled = true
		sub.dropLogged()
	}
	if sub.heldBytes > sub.s.shard.hub.cfg.MaxHold {
		sub.dropHeld()
		sub.torn = true
		sub.s.watchAnew(sub.t) // news may have been among it, and are in no log
	}
}

func (sub *subscribing) dropHeld() {
	sub.countHeld(-sub.heldBytes)
	sub.held = nil
}

func (sub *subscribing) countHeld(n int) {
	sub.heldBytes += n
	sub.s.working().held += n
}

// trail returns what of a batch comes behind the replay, up to which the loop has yet to catch up.
func (sub *subscribing) trail(batch []*message) []*message {
	kept := splice(batch, sub.cursor, sub.asOf)
	for _, m := range kept {
		if !m.position.IsZero() {
			sub.cursor = m.position
		}
	}
	return kept
}

// isLoss reports whether m is a gap of a topic that keeps a history, isShown whether its log shows the loss, isInNoLog
// whether the broker tells of what no log has.
func (m *message) isLoss() bool    { return m.event == nil && m.news == nil && !m.position.IsZero() }
func (m *message) isShown() bool   { return m.isLoss() && m.loss != nil && m.loss.Read > 0 }
func (m *message) isInNoLog() bool { return m.isLoss() && m.loss != nil && m.loss.Read == 0 }

// splice returns the live messages that come behind a replay up to head: each event once, in order.
// Messages without a position were never in a history, so they all pass. One of another log than head's is newer, unless
// a later one is of head's: then the replay began behind the change. If head is a place, all of its log pass: it held none
// of them when it was read. A live event that is not the next one comes behind a gap. asOf is the number of the replay's
// reading: behind a loss that concerns it, the topic goes on from where that says, perhaps from before head, if the log lost that.
// Behind a live event the live gaps are the session's. One of what is in no log takes nobody back.
func splice(live []*message, head pubsub.Position, asOf uint64) []*message {
	changed := 0
	for i, m := range live {
		if !m.position.IsZero() && m.position.Epoch == head.Epoch {
			changed = i
		}
	}
	kept := live[:0:0]
	last, begun := head, false // one of those with a position was kept
	for i, m := range live {
		newer := i >= changed // of another log
		switch {
		case m.isShown():
			if newer = (newer || m.position.Epoch == head.Epoch) && (begun || m.loss.Concerns(head, asOf)); newer {
				head = m.position
			}
		case m.isInNoLog():
			if m.position.Epoch != last.Epoch && !newer || m.position.Epoch == last.Epoch && m.position.ID.Compare(last.ID) < 0 {
				m = &message{topic: m.topic, position: last, loss: m.loss}
			}
			newer = true
		case m.position.Epoch == head.Epoch:
			newer = head.ID.Seq == 0 || m.position.ID.Compare(head.ID) > 0
		}
		if m.position.IsZero() || newer {
			if m.skips(last) {
				kept = append(kept, m.lossBefore())
			}
			if !m.position.IsZero() {
				last, begun = m.position, begun || m.position != last // a gap where it is has not got further
			}
			kept = append(kept, m)
		}
	}
	return kept
}

// skips reports whether m is an event that is not the next one behind last: it is of another log, or its link does not lead
// there. The loop may have dropped the gap before it, because of a reading that was under way as the loss happened. Where m has no link,
// its log may as well have begun anew.
func (m *message) skips(last pubsub.Position) bool {
	switch {
	case m.event == nil || m.position.IsZero() || last.IsZero():
		return false
	case m.position.Epoch != last.Epoch:
		return true
	case m.event.Before.IsZero():
		return false
	case last.ID.Seq == 0:
		return m.event.Before.Compare(last.ID) >= 0
	}
	return m.event.Before != last.ID && m.position.ID.Compare(last.ID) > 0
}

// leavesOut reports whether m is an event whose log lacks the one at last: its link leads past it. A failover has lost that
// one. Where m has no link, its log may as well have begun anew.
func (m *message) leavesOut(last pubsub.ID) bool {
	return m.event != nil && last.Seq != 0 && !m.event.Before.IsZero() &&
		m.event.Before.Compare(last) < 0 && m.position.ID.Compare(last) > 0
}

// lossBefore is a gap that ends before m, which shows it itself: no replay that lacks m knows of it.
func (m *message) lossBefore() *message {
	at := m.event.Before
	if at.IsZero() {
		at.Ms = m.position.ID.Ms
	}
	loss := pubsub.Loss{At: pubsub.Position{Epoch: m.position.Epoch, ID: at}, Read: math.MaxUint64, Next: m.position.ID}
	return &message{topic: m.topic, position: loss.At, loss: &loss}
}
