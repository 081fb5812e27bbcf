package hubv1

import (
	"encoding/json"
	"slices"
	"strconv"

	"wshub/pubsub"
	"wshub/session"
)

// presence reads a page of who follows a topic.
func (r asking) presence() {
	name, ok := r.required("topic", r.m.topic)
	if !ok {
		return
	}
	after, ok := r.text("after", r.m.after)
	if !ok {
		return
	}
	limit, ok := number(r.m.limit)
	if !ok || r.m.limit != nil && limit == 0 {
		limit = -1 // refused with the bounds
	}
	s, id := r.s, r.m.id
	s.Presence(name, after, limit, func(p pubsub.Presence, why session.Refusal) {
		if !why.None() {
			WriteError(s, id, why)
			return
		}
		if p.Members == nil {
			p.Members = []pubsub.Member{}
		}
		b := slices.Grow(appendHead(`{"type":"presence"`, id, name), 256)
		b = appendMembers(appendCounts(b, p.Clients, p.Users), p.Members)
		if p.Next != "" {
			b = appendString(append(b, `,"next":`...), p.Next)
		}
		s.Write(TextFrame(append(b, '}')))
	})
}

// presenceStats counts who follows a topic.
func (r asking) presenceStats() {
	name, ok := r.required("topic", r.m.topic)
	if !ok {
		return
	}
	s, id := r.s, r.m.id
	s.PresenceStats(name, func(p pubsub.Presence, why session.Refusal) {
		if why.None() {
			s.Write(TextFrame(append(appendCounts(appendHead(`{"type":"presence_stats"`, id, name), p.Clients, p.Users), '}')))
		} else {
			WriteError(s, id, why)
		}
	})
}

// appendHead begins a message about a topic. id is nil for one that nobody asked for.
func appendHead(head string, id json.RawMessage, topic string) []byte {
	return appendString(append(appendID([]byte(head), id), `,"topic":`...), topic)
}

func appendCounts(dst []byte, clients, users int) []byte {
	dst = strconv.AppendInt(append(dst, `,"clients":`...), int64(clients), 10)
	return strconv.AppendInt(append(dst, `,"users":`...), int64(users), 10)
}

// appendMembers appends the member members; nil: they are too many, and there is none.
func appendMembers(dst []byte, members []pubsub.Member) []byte {
	if members == nil {
		return dst
	}
	dst = append(dst, `,"members":[`...)
	for i := range members {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendMember(append(dst, '{'), &members[i]), '}')
	}
	return append(dst, ']')
}

// appendMember appends what others see of a member.
func appendMember(dst []byte, m *pubsub.Member) []byte {
	dst = appendString(append(dst, `"session":`...), m.Session)
	if m.User != "" {
		dst = appendString(append(dst, `,"user":`...), m.User)
	}
	if m.Info != nil {
		dst = append(append(dst, `,"info":`...), m.Info...)
	}
	return strconv.AppendInt(append(dst, `,"since":`...), m.Since, 10)
}

// appendMoved appends the news of a change.
func appendMoved(dst []byte, m *pubsub.Moved) []byte {
	if m.Counted {
		return append(appendCounts(append(dst, appendHead(`{"type":"presence_stats"`, nil, m.Topic)...), m.Clients, m.Users), '}')
	}
	head, edge := `{"type":"joined"`, `,"first":true`
	if m.Left {
		head, edge = `{"type":"left"`, `,"last":true`
	}
	dst = append(append(dst, appendHead(head, nil, m.Topic)...), ',')
	dst = appendMember(dst, &m.Member)
	if m.First || m.Last {
		dst = append(dst, edge...)
	}
	return append(dst, '}')
}

// appendWhole appends a whole presence that nobody asked for. Without members they are too many.
func appendWhole(dst []byte, topic string, p *pubsub.Presence) []byte {
	dst = append(dst, appendHead(`{"type":"presence"`, nil, topic)...)
	return append(appendMembers(appendCounts(dst, p.Clients, p.Users), p.Members), '}')
}
