package pubsub

import (
	"context"
	"errors"
	"math/bits"
)

// Broker carries events between the instances of a hub. Memory and Redis keep this contract, and one
// suite of tests (TestMemoryKeepsTheContract, TestRedisKeepsTheContract) holds both to it.
//
// All methods may be called from any goroutine. Only those that take a context block.
type Broker interface {
	// Run connects and hands events to sink until ctx ends, then returns nil after its goroutines
	// have. A server that is away, at the start or later, does not end it. Call it once.
	Run(ctx context.Context, sink Sink) error

	// Follow makes loop one of those that topic's events go to, until Unfollow, through every
	// reconnect. It never blocks. done is called once, from another goroutine or before Follow
	// returns: nil when events published from then on arrive, ErrUnavailable when that was not
	// confirmed in time, ErrRefused when the server does not let the topic's log be read (the topic
	// stays followed all the same; when it begins to arrive, a Gap says so), or ErrUnavailable when Run
	// has ended. done must not block.
	Follow(topic string, loop int, done func(error))

	// Unfollow takes loop off topic. It never blocks. Leaving a topic that is not followed is
	// harmless.
	Unfollow(topic string, loop int)

	// Publish hands out batch in order and answers each item in its place: a position (zero where
	// the topic keeps no history) or one of ErrBadEvent, ErrUnavailable, ErrUnknownOutcome and
	// ErrRefused. One item's error does not stop the next.
	Publish(ctx context.Context, batch []Publication) []Result

	// Replay reads the first page of what a topic's history holds after since, as large as limit says; it
	// costs no more than that page, however long the history is. Events that are published behind Head arrive by
	// Deliver at those whose Follow was confirmed before they called: Head is never older than what was
	// delivered by then, but may be older than what somebody has just published. ErrUnavailable or
	// ErrRefused if the history can't be read. A topic without history is answered with the zero Replay.
	Replay(ctx context.Context, topic string, since Position, limit Limit) (Replay, error)

	// RemoveHistory removes the events of a topic's history. Its position stays: events go on behind it, and nobody
	// recovers over what was removed. Other instances may answer a Replay with it for a moment. To repeat it does no
	// harm. ErrUnavailable, ErrUnknownOutcome or ErrRefused as with Publish.
	RemoveHistory(ctx context.Context, topic string) error

	// ChangePresence makes the changes of batch, those of a topic in order, and answers each in its place: nil, or one of
	// ErrNoPresence, ErrBadMember, ErrUnavailable, ErrUnknownOutcome and ErrRefused. Followers are told of each by Moved.
	// To enter a member again tells nobody, and has this instance answer for it from then on, unless another one has
	// entered it with a larger Generation; it may bring another Info. A leave of who is no member of this
	// instance, or has a larger Generation, does nothing. Changes that fail with one of the last three errors are repaired
	// later: the caller need not repeat them.
	ChangePresence(ctx context.Context, batch []Change) []error

	// ReadPresence reads who is in topic: a page of at most limit members, MaxPresencePage at most, behind the page whose
	// Next after is; "" is the first one. With limit 0 counts only, which cost the same however many there are.
	// ErrNoPresence, ErrBadPage, ErrUnavailable or ErrRefused.
	ReadPresence(ctx context.Context, topic, after string, limit int) (Presence, error)

	// RepairPresence says that changes of topic were not made and won't be asked for again: soon the members that the
	// broker knows are compared with PresenceConfig.Members. It never blocks.
	RepairPresence(topic string)

	// Ready is nil when the broker was seen working a moment ago, else why not. It never blocks.
	Ready() error
}

// Sink takes what a Broker hands over. A broker calls it from one goroutine at a time, in order within
// each topic; across topics there is none. A Sink must neither block nor call the broker back.
type Sink interface {
	// Deliver hands one event to every loop in loops.
	Deliver(ev *Event, loops Loops)

	// Gap says that events of topic may have been lost for good.
	Gap(topic string, loops Loops, loss Loss)

	// Moved says that somebody has come to topic or gone, in the order of Version. One may come twice, and some may be
	// lost: their versions show it.
	Moved(m *Moved, loops Loops)

	// HandOver says that the calls so far are all for now. Until then a Sink may keep what they brought.
	HandOver()
}

// Loss says where a topic goes on from behind events that may be lost.
type Loss struct {
	// At is that position, or zero if the topic keeps no history.
	At Position
	// Read is the number of the reading of the log that has shown the loss: a Replay of an earlier number does not know of it. One of
	// that number or a later one does, unless the two were under way at a time: then it ends before At, or the next event's link shows
	// the loss. It is 0 where no log shows what was lost.
	Read uint64
	// Next is the ID of the event behind At that the log had then, zero if it had none. It is larger than those of all
	// events that its log has lost.
	Next ID
}

// Concerns reports whether the log's loss concerns a follower that has everything up to at, as a Replay of number read has said.
// One of another log, or ahead of what the follower has, concerns it whatever the numbers are.
func (l *Loss) Concerns(at Position, read uint64) bool {
	if !at.IsZero() && (at.Epoch != l.At.Epoch || at.ID.Compare(l.At.ID) < 0) {
		return true
	}
	goesOn := !l.Next.IsZero() && at.ID.Compare(l.Next) >= 0
	return l.Read > read && !goesOn && at != l.At
}

// Event is one message of a topic. It is shared by all who get it: nobody changes it.
type Event struct {
	Topic string
	// Position is zero for events that are kept nowhere.
	Position Position
	// Before is the ID of the topic's event before this one: the link that shows a loss.
	Before ID
	// Number counts the topic's events, from 1 on: the difference of two numbers is how many lie between. Zero without a
	// position.
	Number uint64
	Data   []byte
	// Attributes is nil where there are none.
	Attributes *Attributes
}

// bytes is about how much data and attributes ev has.
func (ev *Event) bytes() int { return len(ev.Data) + ev.Attributes.Size() }

// Publication is one event on its way in.
type Publication struct {
	Topic string
	// Data is one JSON value in UTF-8, handed on verbatim. The broker keeps it: nobody changes it.
	Data []byte
	// Attributes is nil, as good as empty, where there are none. The broker keeps them.
	Attributes *Attributes
	// Key, where not empty, makes a retry safe: a second publication with the same Topic, Caller
	// and Key within five minutes is answered with the first one's result and not published again.
	Key    string
	Caller string
	// Unkept leaves the event out of its topic's history. It has no position: who is away misses it for good.
	Unkept bool
}

// Result is what became of one Publication.
type Result struct {
	Position Position
	Err      error
}

// Limit bounds one answer of Replay.
type Limit struct {
	// Events is how many events an answer has at most. 0: none, only the topic's position.
	Events int
	// Bytes is how much data, attributes included, the events have together at most; 0: no bound. The first event of an answer
	// is there however long it is. With a bound an answer may also have fewer than fit: there may be
	// events behind its last one unless that is Head.
	Bytes int
	// Backwards: the answer has the last events before since, or with the zero position of all, newest first. Recovered
	// then says that since is of this log, and Missed is 0.
	Backwards bool
}

// admits reports whether an answer of n events may have one more, all having that many bytes.
func (l Limit) admits(n, bytes int) bool {
	return n < l.Events && (n == 0 || l.Bytes == 0 || bytes <= l.Bytes)
}

// page is the beginning of events that l lets in.
func (l Limit) page(events []*Event) []*Event {
	bytes := 0
	for i, ev := range events {
		if bytes += ev.bytes(); !l.admits(i, bytes) {
			return events[:i]
		}
	}
	return events
}

// Replay is one page of what a topic's history could serve.
type Replay struct {
	// Events are the first of the topic's events after the position asked for that are kept, as many as
	// the limit lets in, oldest first; also where Recovered is false: then some are missing before,
	// between or behind them. None if the position is of another epoch. Callers may share the slice:
	// nobody changes it.
	Events []*Event
	// Head is the position of the topic's last event, or of the place before its first.
	// Zero if the topic keeps no history.
	Head Position
	// Recovered is true if nothing is missing between the position asked for and the last of Events, or
	// where there are none, Head; and if, as far as the log shows, nothing is between them and Head:
	// a caller that asks again from the last of Events gets the rest, or learns it then. It is false where that
	// can't be proven: the log lost its beginning or its end, is another, or the position is of a time
	// that nothing is remembered of. Start is recovered if the events from the first that is remembered
	// are there; with Limit.Events 0, only if there was none.
	Recovered bool
	// Read numbers the readings of logs by this broker: see Loss.
	Read uint64
	// Missed is the number of events after the position asked for, up to Head, in Events or not. Zero
	// unless Recovered.
	Missed int
}

var (
	// ErrUnavailable: the server can't be reached now; nothing was published. Retry later.
	ErrUnavailable = errors.New("broker unavailable")
	// ErrUnknownOutcome: the answer got lost; the event may or may not have been published.
	// Retry with an idempotency key, or accept a possible repetition.
	ErrUnknownOutcome = errors.New("publish outcome unknown")
	// ErrRefused: the server refused the command (out of memory, read only, no permission).
	ErrRefused = errors.New("broker refused")
)

// Loops is a set of loop numbers, 0 to MaxLoops-1.
type Loops uint64

// MaxLoops is how many loops a Broker can address.
const MaxLoops = 64

// With returns the set and loop.
func (s Loops) With(loop int) Loops { return s | 1<<loop }

// Without returns the set less loop.
func (s Loops) Without(loop int) Loops { return s &^ (1 << loop) }

// Has reports whether loop is in the set.
func (s Loops) Has(loop int) bool { return s&(1<<loop) != 0 }

// Len is the number of loops in the set.
func (s Loops) Len() int { return bits.OnesCount64(uint64(s)) }

// All calls yield for each loop of the set, lowest first: for loop := range s.All.
func (s Loops) All(yield func(int) bool) {
	for s != 0 {
		if !yield(bits.TrailingZeros64(uint64(s))) {
			return
		}
		s &= s - 1
	}
}
