package session

import (
	"slices"

	"wshub/pubsub"
)

// news are of a topic's presence: one change, or where some are missing, the whole. They are in the topic's batches, and
// go to its followers that watch the presence.
type news struct {
	moved *pubsub.Moved    // nil with the whole
	whole *pubsub.Presence // Members are nil where they are too many
}

// make makes their frame, nil where f has no words for them.
func (n *news) make(topic string, f *Format) []byte {
	switch {
	case n.moved != nil && f.words.Moved != nil:
		return f.words.Moved(n.moved)
	case n.whole != nil && f.words.Presence != nil:
		return f.words.Presence(topic, n.whole)
	}
	return nil
}

// size is roughly what they cost while they wait, in bytes.
func (n *news) size() int {
	if n.moved == nil {
		return membersSize(n.whole.Members)
	}
	m := &n.moved.Member
	return len(m.Session) + len(m.User) + len(m.Info)
}

// watches reports whether the session watches t's presence.
func (s *Session) watches(t *topic) bool {
	if !t.watched {
		return false
	}
	_, ok := s.shard.presence.watches[t].who[s]
	return ok
}

// formatFor is the session's format for m: one who watches no more gets no news.
func (s *Session) formatFor(m *message) uint8 {
	if m.news == nil {
		return s.format
	}
	if t := s.shard.topics.get(m.topic); t != nil && s.watches(t) {
		return s.format | watching
	}
	return s.format
}

// forWaiting is what of the batch one gets who is on the way to follow t.
func (ext *topicExt) forWaiting(s *Session, t *topic) []*message {
	if ext.news == 0 || s.watches(t) {
		return ext.batch
	}
	kept := make([]*message, 0, len(ext.batch)-ext.news)
	for _, m := range ext.batch {
		if m.news == nil {
			kept = append(kept, m)
		}
	}
	return kept
}

// takeNews has m, news of t, go on its way, or returns false if it does not, or not yet.
func (sh *shard) takeNews(t *topic, m *message) bool {
	return t.watched && sh.presence.watches[t].take(m)
}

// loseNews is called when news of a topic did not fit into the inbox.
func (sh *shard) loseNews(name string) {
	if t := sh.topics.get(name); t != nil && t.watched {
		sh.presence.watches[t].lose()
	}
}

// handed is called when so many news were handed to all who watch.
func (w *watch) handed(n int) {
	w.out -= n
	w.settle()
}

// dropNews drops the news that wait for their batch: nobody watches any more, and whoever does next must not get them.
func (sh *shard) dropNews(t *topic) {
	if t.ext == nil {
		return
	}
	dropped := 0
	t.ext.queue = slices.DeleteFunc(t.ext.queue, func(m *message) bool {
		if m.news != nil {
			dropped += m.size()
		}
		return m.news != nil
	})
	t.ext.queued -= dropped
	sh.giveBack(dropped)
}
