package hubv1

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	"wshub/pubsub"
	"wshub/session"
)

// asking is a session and what it asks for.
type asking struct {
	s *session.Session
	m *request
}

// answer writes one JSON message.
func (r asking) answer(payload []byte) { r.s.Write(TextFrame(payload)) }

// refuse answers that it is not done.
func (r asking) refuse(why session.Refusal) { WriteError(r.s, r.m.id, why) }

// bad answers that the request can't be read.
func (r asking) bad(text string) {
	r.refuse(session.Refusal{Code: session.BadRequest, Text: text})
}

// done answers that it is done.
func (r asking) done() { r.answer(append(appendID([]byte(`{"type":"ok"`), r.m.id), '}')) }

// text reads a member that is to be a string, "" if it is absent, or refuses the request.
func (r asking) text(name string, value json.RawMessage) (read string, ok bool) {
	if read, ok = text(value); !ok {
		r.bad(name + ": want a string, not " + isA(value))
	}
	return read, ok
}

// required reads a member that is to be a string and there, or refuses the request.
func (r asking) required(name string, value json.RawMessage) (read string, ok bool) {
	if value == nil {
		code, ok := missing[name]
		if !ok {
			code = session.BadRequest
		}
		r.refuse(session.Refusal{Code: code, Text: name + " is missing: want " + examples[name] + "; members are named exactly so, in lower case"})
		return "", false
	}
	return r.text(name, value)
}

// missing are codes of their own for members that are not there.
var missing = map[string]session.Code{"type": session.UnknownType, "topic": session.BadTopic}

// examples show members that a request can't do without.
var examples = map[string]string{
	"type": `"type", as in {"type":"subscribe","topic":"news"}`, "topic": `"topic", as in "topic":"news"`,
	"token": `"token"`, "data": `"data", any JSON value`,
}

// clipped is what a client sent, in quotes, as an answer may repeat it.
func clipped(text string) string {
	const most = 32
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return strconv.Quote(text)
}

// since reads where the client left off, nil if it does not say, or refuses the request.
func (r asking) since() (since *pubsub.Position, ok bool) {
	if r.m.since == nil {
		return nil, true
	}
	t, ok := text(r.m.since)
	p, err := pubsub.ParsePosition(t)
	if !ok || err != nil {
		r.bad("since: want a position as the hub gave it, in quotes, or \"0\"")
		return nil, false
	}
	return &p, true
}

func (r asking) subscribe() {
	name, ok := r.required("topic", r.m.topic)
	if !ok {
		return
	}
	since, ok := r.since()
	if !ok {
		return
	}
	watch, ok := yes(r.m.presence)
	if !ok {
		r.bad("presence: want true or false, not " + isA(r.m.presence))
		return
	}
	s, id := r.s, r.m.id
	subscribe := s.Subscribe
	if watch {
		subscribe = s.SubscribeWatching
	}
	subscribe(name, since, func(o session.Outcome) {
		if o.None() {
			WriteSubscribed(s, id, o)
			return
		}
		if o.Code == session.Forbidden && strings.Contains(name, "*") {
			o.Text += "; a * in a topic's name stands for itself: subscribe to each topic by its own name"
		}
		WriteError(s, id, o.Refusal)
	})
}

func (r asking) unsubscribe() {
	name, ok := r.required("topic", r.m.topic)
	if !ok {
		return
	}
	if why := r.s.Unsubscribe(name); !why.None() {
		r.refuse(why)
		return
	}
	r.done()
}

func (r asking) publish() {
	name, ok := r.required("topic", r.m.topic)
	if !ok {
		return
	}
	key, ok := r.text("key", r.m.key)
	if !ok {
		return
	}
	if r.m.data == nil {
		r.bad("data is missing: want " + examples["data"])
		return
	}
	s, id := r.s, r.m.id
	s.Publish(pubsub.Publication{Topic: name, Data: r.m.data, Key: key}, false, func(at pubsub.Position, why session.Refusal) {
		if !why.None() {
			WriteError(s, id, why)
			return
		}
		out := appendID([]byte(`{"type":"ok"`), id)
		s.Write(TextFrame(append(appendPosition(out, at), '}')))
	})
}

// history reads a topic's log without following it.
func (r asking) history() {
	name, ok := r.required("topic", r.m.topic)
	if !ok {
		return
	}
	limit, ok := number(r.m.limit)
	switch most := r.s.Hub().Config().ReplayLimit; {
	case ok && limit == 0:
		limit = most
	case !ok:
		limit = -1 // refused behind the rights
	}
	since, ok := r.since()
	if !ok {
		return
	}
	if since == nil {
		since = &pubsub.Position{}
	}
	s, id := r.s, r.m.id
	s.History(name, *since, limit, false, func(replay pubsub.Replay, why session.Refusal) {
		if why.None() {
			s.Write(TextFrame(appendHistory(id, name, replay)))
		} else {
			WriteError(s, id, why)
		}
	})
}

// appendHistory makes the answer to history. recovered says that nothing is missing between the position asked for and
// the answer's; more, that the log goes on behind that.
func appendHistory(id json.RawMessage, name string, replay pubsub.Replay) []byte {
	b := slices.Grow(appendID([]byte(`{"type":"history"`), id), 256)
	b = append(b, `,"topic":`...)
	b = appendString(b, name)
	b = append(b, `,"events":[`...)
	at := replay.Head
	for i, ev := range replay.Events {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"position":"`...)
		b = ev.Position.Append(b)
		b = append(b, `","data":`...)
		b = append(append(b, ev.Data...), '}')
		at = ev.Position
	}
	b = appendPosition(append(b, ']'), at)
	b = strconv.AppendBool(append(b, `,"recovered":`...), replay.Recovered)
	if len(replay.Events) > 0 && at != replay.Head {
		b = append(b, `,"more":true`...)
	}
	return append(b, '}')
}

// auth takes another token of the same user in place of the session's.
func (r asking) auth() {
	raw, ok := r.required("token", r.m.token)
	if !ok {
		return
	}
	s, id := r.s, r.m.id
	s.Authenticate(raw, func(why session.Refusal) {
		if why.Code == session.ExpiredToken {
			why.Code = session.BadToken // token_expired is of the session's own
		}
		if why.None() {
			s.Write(TextFrame(append(appendExpiry(appendID([]byte(`{"type":"ok"`), id), s), '}')))
		} else {
			WriteError(s, id, why)
		}
	})
}

// resume takes up a session where an earlier connection, here or at another node, left it. False: it was refused.
func (r asking) resume() (resumed bool) {
	ticket, ok := r.required("token", r.m.token)
	if !ok {
		return false
	}
	positions := map[string]json.RawMessage{}
	if r.m.positions != nil && json.Unmarshal(r.m.positions, &positions) != nil {
		r.bad(`positions: want an object of topics and positions, as in {"news":"<position>"}, not ` + isA(r.m.positions))
		return false
	}
	var watched []string
	if r.m.presence != nil && json.Unmarshal(r.m.presence, &watched) != nil {
		r.bad(`presence: want a list of topics, as in ["room:1"], not ` + isA(r.m.presence))
		return false
	}
	var wanted []session.Wanted
	for _, name := range slices.Sorted(maps.Keys(positions)) {
		wanted = append(wanted, want(name, positions[name]))
	}
	s, id := r.s, r.m.id
	resumed = true
	s.Resume(ticket, wanted, func(why session.Refusal) {
		r.refuse(why)
		resumed = false
	}, func(topics []session.Outcome) {
		s.Write(TextFrame(appendResumed(s, id, topics)))
		s.Watch(watched)
	})
	return resumed
}

// want reads one topic of an earlier connection. One without a position, "" or null, is followed from now on.
func want(name string, position json.RawMessage) session.Wanted {
	w := session.Wanted{Topic: name}
	at, ok := text(position)
	if ok && at != "" {
		p, err := pubsub.ParsePosition(at)
		w.Since, ok = &p, err == nil
	}
	if !ok && string(position) != "null" {
		w.Refusal = session.Refusal{Code: session.BadRequest}
	}
	return w
}

func appendResumed(s *session.Session, id json.RawMessage, topics []session.Outcome) []byte {
	b := appendID([]byte(`{"type":"resumed"`), id)
	b = append(b, `,"session":"`...)
	b = append(b, s.Name()...)
	b = append(b, '"')
	b = appendExpiry(appendTicket(b, s), s)
	b = append(b, `,"topics":{`...)
	for i, o := range topics {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, o.Topic)
		if !o.None() {
			b = append(b, `:{"error":"`...)
			b = append(b, o.Code...)
			b = append(b, `","retry":`...)
			b = append(strconv.AppendBool(b, o.Code.Retry()), '}')
			continue
		}
		b = append(b, `:{"recovered":`...)
		b = strconv.AppendBool(b, o.Recovered)
		b = append(appendPlace(b, o), '}')
	}
	return append(b, "}}"...)
}
