package session

import (
	"slices"

	"wshub/pubsub"
)

// topic is what one loop knows of a topic that somebody on it follows. The loop owns it.
type topic struct {
	name      string
	followers crowd
	ext       *topicExt // what a topic has only for a moment; nil otherwise
	last      pubsub.ID // of the newest event of a batch that has begun
	confirmed bool      // the broker has said that its events arrive
	asked     bool      // Broker.Follow has not answered yet
	dead      bool      // nobody is left and the shard has forgotten it
	listed    bool      // in shard.active
	shown     bool      // in shard.watches
	present   bool      // who follows it are its members
	watched   bool      // in presence.watches
}

// topicExt is what a topic has while messages or subscribers are on their way.
type topicExt struct {
	queue     []*message // arrived since the last batch began
	queued    int        // bytes of queue
	batch     []*message // on its way to the followers; empty between batches
	next      int        // the batch's way through the followers: see crowd
	limit     int
	written   int             // bytes of batch
	news      int             // of batch,
	watch     *watch          // and whose they are; nil without
	excepted  []uint64        // ids of sessions that do not get all of batch
	chunks    []chunks        // the batch as it is written, in each format that was asked for
	joined    []*[]byte       // buffers behind chunks, to be given back
	rereading bool            // lost messages are being read again; the queue waits
	older     int             // messages of queue that came before the last loss
	torn      pubsub.Position // not zero: more was lost meanwhile, up to there
	page      []*message      // what was read; the next batch
	pageBytes int
	readOn    pubsub.Position // not zero: behind page, more is to be read
	waiting   []*subscribing  // they hold, or trail behind a replay
	trailing  int             // of waiting
}

// chunks are a batch in one format: frames joined, for one write each, and the index of the first message in each.
type chunks struct {
	format  uint8
	stamped bool // nothing is joined: each follower's frames differ
	frames  [][]byte
	first   []int
	gap     *message // of the batch, where a session of this format leaves the topic; nil without
}

// idle tells whether nobody follows, waits or watches.
func (t *topic) idle() bool {
	return !t.shown && t.followers.len() == 0 && (t.ext == nil || len(t.ext.waiting) == 0)
}

// pending reports whether there is something to write now.
func (ext *topicExt) pending() bool {
	return len(ext.batch)+len(ext.page) > 0 || len(ext.queue) > 0 && !ext.rereading || !ext.readOn.IsZero()
}

// remove takes out the follower at index i. moved is called for those that get another index.
func (t *topic) remove(i int, moved func(s *Session, to int)) {
	var none topicExt
	ext := t.ext
	if ext == nil {
		ext = &none
	}
	t.followers.remove(i, &ext.next, &ext.limit, moved)
}

// fresh drops from batch the events that are not newer than what the topic has seen on this loop, and notes
// the newest. Messages without a position always pass. An event that leaves out the newest comes behind a gap: who has
// read the log ahead of the loop would not know.
func (t *topic) fresh(batch []*message) []*message {
	kept := batch[:0]
	for i, m := range batch {
		switch {
		case m.position.IsZero():
		case m.event == nil: // a log that lost its end goes on from before what was seen
			t.last = m.position.ID
		case m.position.ID.Compare(t.last) <= 0:
			continue
		case m.leavesOut(t.last):
			gap := m.lossBefore()
			t.last = gap.position.ID
			rest := t.fresh(slices.Clone(batch[i:]))
			return append(append(slices.Clip(kept), gap), rest...)
		default:
			t.last = m.position.ID
		}
		kept = append(kept, m)
	}
	clear(batch[len(kept):])
	return kept
}
