package session

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"time"

	"wshub/pubsub"
)

// resuming is a client that comes back: the topics that its positions name are followed as one, and the
// answer tells of all of them before the first missed event.
type resuming struct {
	s       *Session
	request json.RawMessage
	waiting int // topics that are not ready yet
	topics  []resumed
}

// resumed is what became of one topic: a subscription with its replay, or why there is none.
type resumed struct {
	name   string
	sub    *subscribing
	replay pubsub.Replay
	code   Code
}

// requestResume takes up a session where an earlier connection, here or at another node, left it.
func (s *Session) requestResume(m *clientMessage) {
	hub := s.shard.hub
	if s.topics() > 0 || s.resumed {
		s.error(m.ID, BadRequest, "resume comes before everything else, and once")
		return
	}
	if len(m.Positions) > hub.cfg.MaxTopics {
		s.error(m.ID, TooManyTopics, "a session may follow "+strconv.Itoa(hub.cfg.MaxTopics)+" topics")
		return
	}
	sealer := hub.sealer.Load()
	if sealer == nil {
		s.error(m.ID, Unavailable, "the node has no resume key yet")
		return
	}
	ticket, err := sealer.Open(m.Token)
	switch {
	case err != nil:
		s.error(m.ID, BadToken, "the resume token is not valid here, or too old")
		return
	case ticket.User != s.user(), hub.resumeRevoked(ticket):
		s.error(m.ID, Forbidden, "the resume token is not for this session")
		return
	}
	since := make(map[string]pubsub.Position, len(m.Positions))
	for name, text := range m.Positions {
		p, err := pubsub.ParsePosition(text)
		if err != nil {
			s.error(m.ID, BadRequest, "positions: want positions as the hub gave them, or \"0\"")
			return
		}
		since[name] = p
	}
	s.takeOver(ticket.Session, uint32(ticket.Generation)+1)
	s.replaceOlder(ticket.Node)
	r := &resuming{s: s, request: slices.Clone(m.ID), waiting: 1}
	for _, name := range slices.Sorted(maps.Keys(since)) {
		r.begin(name, since[name])
	}
	r.done() // the 1 that waiting began with
}

// begin follows one topic of the earlier connection, if the session still may.
func (r *resuming) begin(name string, since pubsub.Position) {
	s := r.s
	if code, _ := s.mayFollow(name); code != "" {
		r.topics = append(r.topics, resumed{name: name, code: code})
		return
	}
	sub := &subscribing{s: s, t: s.shard.topic(name), since: &since, group: r}
	r.topics = append(r.topics, resumed{name: name, sub: sub})
	r.waiting++
	sub.begin()
}

func (r *resuming) ready(sub *subscribing, replay pubsub.Replay) {
	r.of(sub).replay = replay
	r.done()
}

func (r *resuming) failed(sub *subscribing, code Code) {
	entry := r.of(sub)
	entry.code, entry.sub = code, nil
	r.done()
}

func (r *resuming) of(sub *subscribing) *resumed {
	return &r.topics[slices.IndexFunc(r.topics, func(e resumed) bool { return e.sub == sub })]
}

// done answers once every topic is ready, and lets the missed events follow.
func (r *resuming) done() {
	if r.waiting--; r.waiting > 0 || r.s.conn.Peer() == nil {
		return
	}
	if !r.s.send(r.answer()) {
		return
	}
	for i := range r.topics {
		if sub := r.topics[i].sub; sub != nil && !sub.over {
			sub.group = nil
			sub.rounds = max(sub.rounds, 2) // what goes wrong from here on is a gap
			sub.release(r.topics[i].replay)
		}
	}
}

func (r *resuming) answer() []byte {
	s := r.s
	b := appendID([]byte(`{"type":"resumed"`), r.request)
	b = append(b, `,"session":"`...)
	b = append(b, s.name()...)
	b = append(b, '"')
	b = s.appendToken(b)
	b = append(b, `,"topics":{`...)
	for i, e := range r.topics {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, e.name)
		if e.code != "" {
			b = append(b, `:{"error":"`...)
			b = append(b, e.code...)
			b = append(b, `","retry":`...)
			b = append(strconv.AppendBool(b, e.code.Retry()), '}')
			continue
		}
		b = append(b, `:{"recovered":`...)
		b = strconv.AppendBool(b, e.replay.Recovered)
		b = append(appendPosition(b, e.replay.Head), '}')
	}
	return append(b, "}}"...)
}

// replacement is what the node of a resumed session tells the node that the session was on.
type replacement struct {
	Session    uint64 `json:"session"`
	Generation uint32 `json:"generation"`
}

// replacements are what a loop has yet to tell other nodes, by node.
type replacements map[string][]replacement

const (
	// replaceDelay is how long orders for one node are gathered: a crowd that comes back after a crash must
	// not cost the broker a command per client.
	replaceDelay = 100 * time.Millisecond
	// replaceBatch bounds the orders in one message, about 25 KiB.
	replaceBatch = 512
)

// replaceOlder has older connections of the session closed, on the node that it came from.
func (s *Session) replaceOlder(node string) {
	sh := s.shard
	if len(sh.replacing) == 0 {
		sh.loop.After(replaceDelay, sh.tellReplacements)
	}
	sh.replacing[node] = append(sh.replacing[node], replacement{s.id, s.generation})
}

func (sh *shard) tellReplacements() {
	hub := sh.hub
	for node, list := range sh.replacing {
		for batch := range slices.Chunk(list, replaceBatch) {
			hub.workers.do(batch[0].Session, func(ctx context.Context) {
				if err := hub.tell(ctx, node, control{Replace: batch}); err != nil {
					hub.log.Debug().Err(err).Msg("the node that sessions came from could not be told")
				}
			})
		}
	}
	clear(sh.replacing)
}
