package session

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	"wshub/pubsub"
	"wshub/session/token"
)

// resuming is a client that comes back: the topics that its positions name are followed as one, and the
// answer tells of all of them before the first missed event. It owns their subscriptions.
type resuming struct {
	s       *Session
	request json.RawMessage
	waiting int // topics that are not settled yet
	topics  []resumed
}

// resumed is what became of one topic.
type resumed struct {
	outcome
	sub *subscribing // to be started
}

// requestResume takes up a session where an earlier connection, here or at another node, left it.
func (s *Session) requestResume(m *request) {
	hub := s.shard.hub
	if s.generation != 0 || s.followsMoreThanOwn() {
		s.error(m.id, BadRequest, "resume comes before everything else, and once")
		return
	}
	if s.conn.HungUp() { // the client may be back already, on a connection that this one must not replace
		return
	}
	ticket, r := s.openTicket(m)
	if !r.none() {
		s.refuse(m.id, r)
		return
	}
	positions := map[string]json.RawMessage{}
	if m.positions != nil && json.Unmarshal(m.positions, &positions) != nil {
		s.error(m.id, BadRequest, "positions: want an object of topics and positions")
		return
	}
	if len(positions) > hub.cfg.MaxTopics {
		s.refuse(m.id, refusal{TooManyTopics, "a session may follow " + strconv.Itoa(hub.cfg.MaxTopics) + " topics"})
		return
	}
	if _, named := positions[s.own]; named && s.own != "" {
		s.letGoOwn()
	}
	s.takeOver(ticket)
	group := &resuming{s: s, request: m.id, waiting: 1}
	for _, name := range slices.Sorted(maps.Keys(positions)) {
		group.begin(name, positions[name])
	}
	group.done() // the 1 that waiting began with
}

// followsMoreThanOwn tells whether the session follows, or is about to follow, any topic but its user's own.
func (s *Session) followsMoreThanOwn() bool {
	n := s.topics()
	if s.own != "" && (s.following(s.own) >= 0 || s.waitingFor(s.own) != nil) {
		n--
	}
	return n > 0
}

// openTicket opens the resume token of a request.
func (s *Session) openTicket(m *request) (token.Resume, refusal) {
	hub := s.shard.hub
	sealer := hub.sealer.Load()
	if sealer == nil {
		return token.Resume{}, refusal{Unavailable, "the node has no resume key yet"}
	}
	raw, _ := text(m.token)
	ticket, err := sealer.Open(raw)
	switch {
	case err != nil:
		return ticket, refusal{BadToken, "the resume token is not valid here, or too old"}
	case ticket.User != s.user(), hub.resumeRevoked(ticket):
		return ticket, refusal{Forbidden, "the resume token is not for this session"}
	case s.granted().over(hub.now()):
		return ticket, refusal{ExpiredToken, "the token has expired: send auth with another one"}
	}
	return ticket, refusal{}
}

// begin follows one topic of the earlier connection. A topic without a position, "" or null, is followed from now on.
func (r *resuming) begin(name string, position json.RawMessage) {
	r.waiting++
	var since *pubsub.Position
	at, ok := text(position)
	if ok && at != "" {
		p, err := pubsub.ParsePosition(at)
		since, ok = &p, err == nil
	}
	if !ok && string(position) != "null" {
		r.settle(nil, outcome{topic: name, refusal: refusal{code: BadRequest}})
		return
	}
	r.s.subscribe(name, since, r)
}

// patient and gathers implement owner.
func (r *resuming) patient() bool { return false }
func (r *resuming) gathers() bool { return true }

// settle implements owner.
func (r *resuming) settle(sub *subscribing, o outcome) (start bool) {
	if !o.none() {
		sub = nil
	}
	r.topics = append(r.topics, resumed{o, sub})
	r.done()
	return false
}

// done answers once every topic is settled, and lets the missed events follow.
func (r *resuming) done() {
	if r.waiting--; r.waiting > 0 || r.s.conn.Peer() == nil {
		return
	}
	for i := range r.topics {
		r.topics[i].ask(r.s)
	}
	if !r.s.send(r.answer()) {
		return
	}
	for _, t := range r.topics {
		if t.sub != nil {
			t.sub.start()
		}
	}
}

// ask looks once more whether the topic may be followed: others may have taken long, and another token have come.
func (t *resumed) ask(s *Session) {
	switch sub := t.sub; {
	case sub == nil:
	case sub.stage == over: // left meanwhile
		t.sub, t.refusal = nil, refusal{code: NotSubscribed}
	default:
		if r := s.mayFollow(t.topic); !r.none() {
			t.sub, t.refusal = nil, r
			sub.end(refusal{code: r.code})
		}
	}
}

func (r *resuming) answer() []byte {
	s := r.s
	slices.SortFunc(r.topics, func(a, b resumed) int { return strings.Compare(a.topic, b.topic) })
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
		b = appendString(b, e.topic)
		if !e.none() {
			b = append(b, `:{"error":"`...)
			b = append(b, e.code...)
			b = append(b, `","retry":`...)
			b = append(strconv.AppendBool(b, e.code.Retry()), '}')
			continue
		}
		b = append(b, `:{"recovered":`...)
		b = strconv.AppendBool(b, e.recovered)
		b = append(e.appendPosition(b), '}')
	}
	return append(b, "}}"...)
}
