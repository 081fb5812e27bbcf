package session

import "wshub/pubsub"

// topic is what one loop knows of a topic that somebody on it follows. The loop owns it.
type topic struct {
	name string
	// followers in dense order. While a batch is on its way it has three parts:
	// [0,next) have it, [next,limit) get it, [limit,len) came later and do not.
	followers   []*Session
	next, limit int
	ext         *topicExt // what a topic has only for a moment; nil otherwise
	last        pubsub.ID // of the newest event of a batch that has begun
	confirmed   bool      // the broker has said that its events arrive
	asked       bool      // Broker.Follow has not answered yet
	dead        bool      // nobody is left and the shard has forgotten it
	listed      bool      // in shard.active
}

// topicExt is what a topic has while messages or subscribers are on their way.
type topicExt struct {
	queue   []*message        // arrived since the last batch began
	batch   []*message        // on its way to the followers; empty between batches
	chunks  [formats][][]byte // the batch as it is written: frames joined, one write each
	joined  []*[]byte         // buffers behind chunks, to be given back
	waiting []*subscribing    // they hold, or trail behind a replay
}

func (t *topic) extra() *topicExt {
	if t.ext == nil {
		t.ext = &topicExt{}
	}
	return t.ext
}

// idle tells whether nobody follows or waits.
func (t *topic) idle() bool {
	return len(t.followers) == 0 && (t.ext == nil || len(t.ext.waiting) == 0)
}

// add makes s a follower, from the next batch on, and returns its index.
func (t *topic) add(s *Session) int {
	t.followers = append(t.followers, s)
	return len(t.followers) - 1
}

// remove takes the follower at index i out. moved is called for each follower that changes its index: the
// last one of each part fills the hole before it, so that each part keeps its members.
func (t *topic) remove(i int, moved func(s *Session, to int)) {
	last := len(t.followers) - 1
	if i < t.next {
		t.next--
		i = t.move(t.next, i, moved)
	}
	if i < t.limit {
		t.limit--
		i = t.move(t.limit, i, moved)
	}
	t.move(last, i, moved)
	t.followers[last] = nil
	t.followers = t.followers[:last]
	if cap(t.followers) > 64 && len(t.followers) < cap(t.followers)/4 {
		t.followers = append(make([]*Session, 0, cap(t.followers)/2), t.followers...)
	}
}

// move fills the hole at to with the follower at from, and returns the new hole.
func (t *topic) move(from, to int, moved func(*Session, int)) int {
	if from != to {
		t.followers[to] = t.followers[from]
		moved(t.followers[to], to)
	}
	return from
}

// fresh drops from batch the events that are not newer than what the topic has seen on this loop, and notes
// the newest. Messages without a position always pass.
func (t *topic) fresh(batch []*message) []*message {
	kept := batch[:0]
	for _, m := range batch {
		if m.event != nil && !m.position.IsZero() {
			if m.position.ID.Compare(t.last) <= 0 {
				continue
			}
			t.last = m.position.ID
		}
		kept = append(kept, m)
	}
	clear(batch[len(kept):])
	return kept
}
