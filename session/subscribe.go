package session

import (
	"context"
	"encoding/json"
	"slices"

	"wshub/pubsub"
)

// subscribing is a session on its way to follow a topic. It stands in the topic's waiting list and gets
// each batch that begins meanwhile; it owns its order:
//
//	hold     batches are kept, while the broker confirms and what was missed is read
//	release  acknowledgement, missed events, held ones that are newer than those, as fast as they leave
//	trail    the replay is ahead of the loop: until the loop has caught up, each batch is written here,
//	         less what the replay has had
type subscribing struct {
	s *Session
	t *topic
	// request is the client's id, echoed in the answer; answer is false for topics that nobody asked
	// for and that a plain client would not hear about.
	request json.RawMessage
	answer  bool
	// since is where the client left off; nil: it asks for nothing missed.
	since *pubsub.Position

	// at is its place in the topic's waiting list.
	at int
	// group is the resume that the subscription is part of, if it is.
	group *resuming

	out      [][]byte // frames to be written before the held ones
	held     []*message
	bytes    int
	overflow bool // the hold was too large and has been dropped
	rounds   int  // times that the history was read
	trailing bool
	head     pubsub.Position // newest event of the replay
	over     bool            // the session follows, or has given up
}

// maxRounds bounds how often the history is read again because the hold overflowed in the meantime.
const maxRounds = 5

// subscribe begins to follow a topic. Limits and rights have been checked.
func (s *Session) subscribe(name string, request json.RawMessage, answer bool, since *pubsub.Position) {
	if s.conn.Peer() == nil { // it has ended, perhaps in the write just before
		return
	}
	t := s.shard.topic(name)
	if t.confirmed && since == nil && !s.shard.hub.keeps(name) {
		s.follow(t)
		if answer {
			s.send(appendSubscribed(nil, request, name, nil, pubsub.Position{}))
		}
		return
	}
	(&subscribing{s: s, t: t, request: request, answer: answer, since: since}).begin()
}

// begin holds, and asks the broker to follow the topic if nobody has yet.
func (sub *subscribing) begin() {
	s, t := sub.s, sub.t
	sh := s.shard
	ext := sh.extra(t)
	sub.at = len(ext.waiting)
	ext.waiting = append(ext.waiting, sub)
	s.extra().pending = append(s.ext.pending, sub)
	switch {
	case t.confirmed:
		sub.read()
	case !t.asked:
		t.asked = true
		sh.hub.broker.Follow(t.name, sh.loop.Index, func(err error) {
			sh.loop.Post(func() { sh.followed(t, err) })
		})
	}
}

// followed is the broker's answer for t.
func (sh *shard) followed(t *topic, err error) {
	t.asked = false
	t.confirmed = err == nil
	if t.dead || t.ext == nil {
		return
	}
	sh.answer(slices.Clone(t.ext.waiting), err)
}

// answer goes on with those who waited for the broker's answer, a slice at a time.
func (sh *shard) answer(waiting []*subscribing, err error) {
	n := min(len(waiting), sliceWrites)
	for _, sub := range waiting[:n] {
		switch {
		case sub.over || sub.trailing || sub.rounds > 0: // past this
		case err == nil:
			sub.read()
		case sub.told():
			sub.fail(Unavailable, "the broker does not answer; nothing is followed")
		default:
			// Nobody could be told: the topic stays wanted, and its events come when the broker is back.
			sub.ready(pubsub.Replay{})
		}
	}
	if rest := waiting[n:]; len(rest) > 0 {
		sh.loop.Post(func() { sh.answer(rest, err) })
	}
}

// read fetches what was missed, on a worker, in the session's order.
func (sub *subscribing) read() {
	s, t := sub.s, sub.t
	hub := s.shard.hub
	if sub.since == nil && !hub.keeps(t.name) {
		sub.ready(pubsub.Replay{})
		return
	}
	sub.rounds++
	since, limit := pubsub.Position{}, 0 // no more than the head
	if sub.since != nil {
		since, limit = *sub.since, hub.cfg.ReplayLimit
	}
	queued := hub.workers.do(s.id, func(ctx context.Context) {
		replay, err := hub.broker.Replay(ctx, t.name, since, pubsub.Limit{Events: limit})
		replay.Recovered = replay.Recovered && replay.Missed == len(replay.Events)
		s.shard.loop.Post(func() { sub.replayed(replay, err) })
	})
	if !queued {
		sub.fail(Busy, "too much to do")
	}
}

// replayed is the broker's answer to read.
func (sub *subscribing) replayed(replay pubsub.Replay, err error) {
	switch {
	case sub.over:
	case err != nil && sub.rounds > 1: // it was acknowledged in an earlier round
		sub.lose()
	case err != nil && sub.told():
		sub.fail(Unavailable, "the history can't be read now; nothing is followed")
	case err != nil:
		sub.ready(pubsub.Replay{})
	default:
		sub.ready(replay)
	}
}

// told tells whether somebody waits for an answer.
func (sub *subscribing) told() bool { return sub.answer && sub.request != nil || sub.group != nil }

// ready has everything that goes before the live events. A resumed topic waits for the others.
func (sub *subscribing) ready(replay pubsub.Replay) {
	s := sub.s
	if sub.since != nil && !replay.Recovered {
		replay.Events = nil // what is left of them would look like all of them
	}
	if sub.rounds > 1 && !replay.Recovered {
		sub.lose()
		return
	}
	if sub.since != nil && sub.rounds <= 1 {
		s.shard.countResume(replay.Recovered)
	}
	if sub.group != nil {
		sub.group.ready(sub, replay)
		return
	}
	sub.release(replay)
}

// release sends the answer and the missed events.
func (sub *subscribing) release(replay pubsub.Replay) {
	sub.head = replay.Head
	if sub.answer {
		var recovered *bool
		if sub.since != nil {
			recovered = &replay.Recovered
		}
		sub.out = append(sub.out, textFrame(appendSubscribed(nil, sub.request, sub.t.name, recovered, replay.Head)))
	} else if sub.since != nil && sub.group == nil && !replay.Recovered && sub.rounds <= 1 {
		gap := &message{topic: sub.t.name, position: replay.Head}
		sub.out = append(sub.out, gap.frame(enveloped)) // a plain client hears it, too: it asked
	}
	for _, ev := range replay.Events {
		m := message{topic: sub.t.name, event: ev, position: ev.Position}
		sub.out = append(sub.out, m.frame(sub.s.format))
	}
	sub.pump()
}

// pump writes what goes before the live events, in chunks of at most half of what may be queued; the next
// one when the last has left. Batches that begin meanwhile are held.
func (sub *subscribing) pump() {
	s := sub.s
	for !sub.over {
		for len(sub.out) > 0 {
			chunk := sub.out[0]
			n := 1
			for n < len(sub.out) && len(chunk)+len(sub.out[n]) <= s.shard.hub.maxChunk {
				if n == 1 {
					chunk = append(make([]byte, 0, 2*len(chunk)), chunk...)
				}
				chunk = append(chunk, sub.out[n]...)
				n++
			}
			sub.out = sub.out[n:]
			if !s.conn.Write(chunk) {
				return
			}
			if s.conn.Queued() > 0 && len(sub.out)+len(sub.held) > 0 {
				s.conn.AfterWritten(sub.pump)
				return
			}
		}
		if sub.overflow || len(sub.held) == 0 {
			break
		}
		for _, m := range splice(sub.held, sub.head) {
			sub.out = append(sub.out, m.frame(s.format))
		}
		sub.held, sub.bytes = nil, 0
	}
	if !sub.over {
		sub.caughtUp()
	}
}

// caughtUp is called when everything before the live events is written.
func (sub *subscribing) caughtUp() {
	s, t := sub.s, sub.t
	if sub.overflow {
		if sub.rounds < maxRounds && s.shard.hub.keeps(t.name) && !sub.head.IsZero() {
			// What was held is gone, but it is in the history.
			since := sub.head
			sub.since, sub.overflow, sub.answer, sub.out = &since, false, false, nil
			sub.rounds = max(sub.rounds, 1)
			sub.read()
			return
		}
		sub.lose()
		return
	}
	if t.followers.len() == 0 && len(t.ext.waiting) == 1 && !t.listed && t.last.Compare(sub.head.ID) < 0 {
		t.last = sub.head.ID // nobody else here needs older ones
	}
	if t.last.Compare(sub.head.ID) < 0 {
		sub.trailing = true
		return
	}
	sub.unlist()
	s.follow(t)
}

// lose tells of a gap and lets the session follow from here on.
func (sub *subscribing) lose() {
	sub.s.shard.count.drops.Add("hold_full")
	sub.overflow, sub.held, sub.bytes = false, nil, 0
	gap := message{topic: sub.t.name, position: sub.head}
	if f := gap.frame(sub.s.format); len(f) > 0 {
		sub.out = append(sub.out, f)
	}
	sub.pump()
}

// batch takes a batch that begins now.
func (sub *subscribing) batch(batch []*message) {
	s := sub.s
	if sub.over { // by what an earlier one in the list did
		return
	}
	if !sub.trailing {
		sub.hold(batch)
		return
	}
	var out []byte
	for _, m := range sub.trail(batch) {
		out = append(out, m.frame(s.format)...)
	}
	if len(out) > 0 && !s.conn.Write(out) {
		return
	}
	if sub.t.last.Compare(sub.head.ID) >= 0 {
		sub.unlist()
		s.follow(sub.t) // behind the followers that this batch goes to
	}
}

func (sub *subscribing) hold(batch []*message) {
	if sub.overflow {
		return
	}
	for _, m := range batch {
		sub.bytes += m.size()
	}
	if sub.bytes > sub.s.shard.hub.cfg.MaxHold {
		sub.overflow, sub.held, sub.bytes = true, nil, 0
		return
	}
	sub.held = append(sub.held, batch...)
}

// trail returns what of a batch comes behind the replay, up to which the loop has yet to catch up. A gap is
// told: from there on the topic goes on, perhaps from before the replay's end, if the log lost that.
func (sub *subscribing) trail(batch []*message) (kept []*message) {
	for i, m := range batch {
		if m.event == nil && !m.position.IsZero() {
			sub.head = m.position
			kept = append(kept, m)
			continue
		}
		kept = append(kept, splice(batch[i:i+1], sub.head)...)
	}
	return kept
}

// splice returns the live messages that come behind a replay up to head: each event once, in order.
// Messages without a position were never in a history, so they all pass.
func splice(live []*message, head pubsub.Position) []*message {
	kept := live[:0:0]
	for _, m := range live {
		if m.position.IsZero() || m.position.Epoch != head.Epoch || m.position.ID.Compare(head.ID) > 0 {
			kept = append(kept, m)
		}
	}
	return kept
}

// fail answers with an error and gives up.
func (sub *subscribing) fail(code Code, text string) {
	sub.unlist()
	switch {
	case sub.group != nil:
		sub.group.failed(sub, code)
	case sub.answer:
		sub.s.error(sub.request, code, text)
	}
	sub.s.shard.forget(sub.t)
}

// unlist takes sub off its topic's and its session's lists.
func (sub *subscribing) unlist() {
	if sub.over {
		return
	}
	sub.over = true
	if ext := sub.t.ext; ext != nil {
		last := len(ext.waiting) - 1
		ext.waiting[sub.at] = ext.waiting[last]
		ext.waiting[sub.at].at = sub.at
		ext.waiting[last] = nil
		ext.waiting = ext.waiting[:last]
		sub.s.shard.settle(sub.t)
	}
	if ext := sub.s.ext; ext != nil {
		ext.pending = slices.DeleteFunc(ext.pending, func(other *subscribing) bool { return other == sub })
		sub.s.trim()
	}
}

func appendSubscribed(dst []byte, id json.RawMessage, topic string, recovered *bool, at pubsub.Position) []byte {
	dst = append(dst, `{"type":"subscribed"`...)
	dst = appendID(dst, id)
	dst = append(dst, `,"topic":`...)
	dst = appendString(dst, topic)
	dst = appendPosition(dst, at)
	if recovered != nil {
		if *recovered {
			dst = append(dst, `,"recovered":true`...)
		} else {
			dst = append(dst, `,"recovered":false`...)
		}
	}
	return append(dst, '}')
}

// abandon gives up without a word: the session leaves the topic, or is gone.
func (sub *subscribing) abandon() {
	sub.unlist()
	sub.s.shard.forget(sub.t)
}
