package session

import "wshub/pubsub"

// lost describes the messages of a topic that did not fit into the inbox.
type lost struct {
	at      pubsub.Position // of the last one that has a position
	forGood bool            // some are in no log
}

// tear is called when messages of a topic did not fit into the inbox. Where the topic keeps a history they
// are read again, page by page as the followers get them, and what has come behind them waits. Otherwise, and for messages that no log
// has, the followers are told of a gap.
func (sh *shard) tear(name string, lost lost) {
	t := sh.topics.get(name)
	if t == nil {
		return
	}
	if lost.at.IsZero() || t.last.IsZero() {
		sh.tellGap(name, lost.at)
		return
	}
	if lost.forGood {
		sh.tellGap(name, pubsub.Position{}) // behind what is read again; it takes nobody back
	}
	if ext := sh.extra(t); ext.rereading {
		ext.torn, ext.older = lost.at, len(ext.queue)
	} else {
		ext.rereading, ext.older = true, len(ext.queue)
		sh.reread(t, lost.at)
	}
}

// tellGap has the followers told of a gap in its turn.
func (sh *shard) tellGap(name string, at pubsub.Position) {
	gap := &message{topic: name, position: at}
	sh.giveBack(-gap.size())
	sh.enqueue(gap)
}

// reread reads a page of t's log behind what its followers have.
func (sh *shard) reread(t *topic, at pubsub.Position) {
	since := pubsub.Position{Epoch: at.Epoch, ID: t.last}
	limit := pubsub.Limit{Events: sh.hub.cfg.ReplayLimit, Bytes: sh.hub.cfg.MaxInbox / 16}
	sh.hub.readers.put(job{&read{topic: t.name, since: since, limit: limit}, sh.loop, func(replay pubsub.Replay, err error) {
		sh.mend(t, at, replay, err)
	}})
}

// mend has what was read again go out before what has come since; topic.fresh drops what then is there twice.
func (sh *shard) mend(t *topic, at pubsub.Position, replay pubsub.Replay, err error) {
	ext := t.ext
	if t.dead { // what waits goes to nobody, in its turn
		ext.rereading, ext.torn = false, pubsub.Position{}
		sh.list(t)
		sh.schedule()
		return
	}
	more := !ext.torn.IsZero()
	if more { // the loss reaches further
		at, ext.torn = ext.torn, pubsub.Position{}
	}
	if err != nil || !replay.Recovered || replay.Missed > sh.hub.cfg.ReplayLimit {
		ext.page = append(ext.page, &message{topic: t.name, position: at})
		ext.rereading = false
		sh.dropOlder(ext, at)
	} else {
		sh.dropOlder(ext, replay.Head)
		for _, ev := range replay.Events {
			ext.page = append(ext.page, &message{topic: t.name, event: ev, position: ev.Position})
		}
		if more || replay.Missed > len(replay.Events) {
			ext.readOn = at
		} else {
			ext.rereading = false
		}
	}
	for _, m := range ext.page {
		ext.pageBytes += m.size()
	}
	sh.giveBack(-ext.pageBytes)
	sh.list(t)
	sh.schedule()
}

// dropOlder drops what of the queue must not go out behind what was read, or told, in its place: what came before the
// loss, and gaps up to at, which would take the followers back. Events that are in no log stay.
func (sh *shard) dropOlder(ext *topicExt, at pubsub.Position) {
	kept, dropped := make([]*message, 0, len(ext.queue)), 0
	for i, m := range ext.queue {
		gap := m.event == nil && m.position.Epoch == at.Epoch && m.position.ID.Compare(at.ID) <= 0
		if (i < ext.older || gap) && !m.position.IsZero() {
			dropped += m.size()
		} else {
			kept = append(kept, m)
		}
	}
	ext.queue, ext.older = kept, 0
	ext.queued -= dropped
	sh.giveBack(dropped)
}
