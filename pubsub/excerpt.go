package pubsub

import "time"

// excerpt is a part of a topic's log behind a position: the first events, or all. This file decides, for both brokers,
// how much of it is proved to be complete.
type excerpt struct {
	epoch uint64
	// last is the topic's last event, from its record, and number that event's number. Zero: it had none
	// in the record's life.
	last   ID
	number uint64
	// now is the time of reading by the log's own clock, in milliseconds.
	now uint64
	// back is how far before now a place is that head gives, in milliseconds: the log's clock may be set back by as much, and
	// what is published then still lies behind the place.
	back uint64
	// life is how long a record is kept behind the topic's last event.
	life time.Duration
	// forgotten is the time up to which records may have been forgotten before their life was over, in
	// milliseconds; zero if none was.
	forgotten uint64
	// events are the first that lie behind the position asked for, oldest first.
	events []*Event
	// newest is the last event that the log holds; zero if it holds none behind the position.
	newest ID
	// read is the last entry that was read for events, dropped ones included.
	read ID
	// err is why nothing was read; the rest is zero then.
	err error
}

// head is the position of the topic's last event, or of the place before its first.
func (x *excerpt) head() Position {
	if x.last.IsZero() {
		return Position{x.epoch, ID{Ms: x.now - min(x.back, x.now)}}
	}
	return Position{x.epoch, x.last}
}

// reading is what must be read of a log to answer a Replay: one event more than nothing, as proof, unless
// that is of no use.
func (l Limit) reading(since Position) Limit {
	if l.Events == 0 && !since.IsZero() {
		l.Events = 1
	}
	return l
}

// replay answers Broker.Replay. Its Events are those that follow since as far as is known, whether or
// not some are missing between.
func (x *excerpt) replay(since Position, limit Limit) Replay {
	answer := Replay{Head: x.head()}
	if !since.IsZero() && since.Epoch != x.epoch {
		return answer
	}
	if limit.Events > 0 {
		answer.Events = x.events
	}
	if x.joined(since) && x.complete(since) {
		answer.Recovered, answer.Missed = true, x.missed()
	}
	return answer
}

// joined reports whether nothing is missing between since and the last of events.
func (x *excerpt) joined(since Position) bool {
	for i, ev := range x.events {
		if i == 0 && !x.links(since, ev) || i > 0 && ev.Before != x.events[i-1].Position.ID {
			return false
		}
	}
	return true
}

// missed is the number of events from the first of events to the last of the log.
func (x *excerpt) missed() int {
	if len(x.events) == 0 {
		return 0
	}
	return int(x.number - x.events[0].Number + 1)
}

// links reports whether ev is the first event after since.
func (x *excerpt) links(since Position, ev *Event) bool {
	return since.IsZero() && ev.Before.IsZero() || links(since, ev) && x.remembers(since) && !x.isAhead(since)
}

// complete reports whether the last of events, or since if there are none, is the last of the log, or the
// last of the log is there to be read later.
func (x *excerpt) complete(since Position) bool {
	switch n := len(x.events); {
	case n > 0:
		end := x.events[n-1]
		return end.Position.ID == x.last && end.Number == x.number ||
			end.Position.ID.Compare(x.last) < 0 && end.Number < x.number && x.newest.Compare(x.last) >= 0
	case since.IsZero():
		return x.last.IsZero() && x.forgotten == 0
	case since.Epoch != x.epoch:
		return false
	case since.ID.Seq == 0:
		return x.last.Compare(since.ID) < 0 && x.remembers(since) && !x.isAhead(since)
	default:
		return since.ID == x.last
	}
}

// ended reports whether events go up to the last of the log.
func (x *excerpt) ended() bool {
	n := len(x.events)
	return n == 0 || x.events[n-1].Position.ID == x.last
}

// remembers reports whether an event after since would have left a record. It is asked of places between
// events only: an event's own ID is either named in the log or not.
func (x *excerpt) remembers(since Position) bool {
	return since.ID.Seq != 0 || since.ID.Ms > x.forgotten && x.now < since.ID.Ms+uint64(x.life.Milliseconds())
}

// isAhead reports whether since is a place that the log's clock has not reached: the clock was set back since it gave that, and
// events that were published behind it lie before it. As with remembers, it is asked of places only.
func (x *excerpt) isAhead(since Position) bool { return since.ID.Seq == 0 && since.ID.Ms > x.now }

// links reports whether ev is the first event after at, which is an event's position or, with sequence 0,
// a place that had none before it in the record's life.
func links(at Position, ev *Event) bool {
	switch {
	case at.Epoch != ev.Position.Epoch:
		return false
	case at.ID.Seq == 0:
		return ev.Before.Compare(at.ID) < 0 && ev.Position.ID.Compare(at.ID) > 0
	default:
		return ev.Before == at.ID
	}
}

// before is the position that ev follows.
func before(ev *Event) Position {
	if ev.Before.IsZero() {
		return Position{ev.Position.Epoch, ID{Ms: ev.Position.ID.Ms}}
	}
	return Position{ev.Position.Epoch, ev.Before}
}
