package session

// Stats is what a Hub counted since it began; those up to PresenceQueued are as of now.
type Stats struct {
	Sessions      map[string]int64 // by protocol
	Topics        int64            // topics that somebody follows, each once per loop
	Subscriptions int64
	Members       int64 // memberships of topics with presence, those of who has just disconnected included
	Watches       int64 // topics whose presence somebody watches, each once per loop
	Reads         int64 // of histories and presences, that wait or are under way
	// PresenceQueued is how many changes of presence wait for the broker or are under way.
	PresenceQueued int64
	Messages       uint64            // from clients
	Published      uint64            // of these, by the broker
	Deliveries     uint64            // events handed to followers
	Batches        uint64            // times that a topic's queue was written out
	Recovered      uint64            // topics that a client came back to and got all that it missed
	Unrecovered    uint64            // topics whose client was told that it did not
	Errors         map[string]uint64 // told to clients, by Code
	Dropped        map[string]uint64 // by name: inbox_full, hold_full, rate_limit, worker_queue_full, history_queue_full, early_full, node_topics, draining, handshake_rate, key_wait_full, subscribe_refused, presence_queue_full, presence_grace_full, presence_hold_full
}

// Stats reads all counters.
func (h *Hub) Stats() Stats {
	st := Stats{
		Sessions: make(map[string]int64), Reads: h.readers.pending.Load(), PresenceQueued: h.changes.waiting.Load(),
		Errors: make(map[string]uint64), Dropped: make(map[string]uint64),
	}
	for _, sh := range h.shards {
		c := &sh.count
		for i, p := range h.protocols {
			st.Sessions[p.Name()] += c.sessions[i].Load()
		}
		if p := sh.presence; p != nil {
			st.Members += p.members.Load()
			st.Watches += int64(p.watching.Load())
		}
		st.Topics += c.topics.Load()
		st.Subscriptions += c.subscriptions.Load()
		st.Messages += c.messages.Load()
		st.Published += c.published.Load()
		st.Deliveries += c.deliveries.Load()
		st.Batches += c.batches.Load()
		st.Recovered += c.recovered.Load()
		st.Unrecovered += c.unrecovered.Load()
		c.errors.AddTo(st.Errors)
		c.drops.AddTo(st.Dropped)
	}
	return st
}
