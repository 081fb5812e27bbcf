package pubsub

import (
	"encoding/binary"
	"encoding/json"
)

// presenceMark begins the news, on a topic's channel, of a change of its presence. No JSON text begins with it. Behind it
// follow, numbers big endian:
//
//	1 to 16    version: epoch, number
//	17         flags, see below
//	18 to 25   clients and users, 4 bytes each
//	26 to end  unless it is counted: since (8 bytes), session and user, each behind its length in one byte, and info
//
// presence.lua writes it.
const (
	presenceMark = 0x04
	presenceHead = 1 + 2*8 + 1 + 2*4
	maxPresence  = presenceHead + 8 + 2*(1+MaxMemberName) + MaxMemberInfo
)

const (
	leftFlag    = 1 << iota // the member left
	edgeFlag                // it is its user's first session, or was the last
	countedFlag             // nothing is told of the member
)

// isMoved tells the news of a change from all else on a topic's channel.
func isMoved(payload []byte) bool { return len(payload) > 0 && payload[0] == presenceMark }

// parseMoved reads the news of a change. The topic is left empty, info lies in payload.
func parseMoved(payload []byte) (m Moved, ok bool) {
	if len(payload) < presenceHead || len(payload) > maxPresence || payload[0] != presenceMark {
		return Moved{}, false
	}
	flags, rest := payload[17], payload[presenceHead:]
	m = Moved{
		Version: Version{binary.BigEndian.Uint64(payload[1:]), binary.BigEndian.Uint64(payload[9:])},
		Clients: int(binary.BigEndian.Uint32(payload[18:])),
		Users:   int(binary.BigEndian.Uint32(payload[22:])),
		Counted: flags == countedFlag,
	}
	switch {
	case m.Version.Epoch == 0 || m.Version.Number == 0 || flags > countedFlag:
		return Moved{}, false
	case m.Counted:
		return m, len(rest) == 0
	case len(rest) < 8:
		return Moved{}, false
	}
	m.Left = flags&leftFlag != 0
	m.First, m.Last = flags == edgeFlag, flags == leftFlag|edgeFlag
	since := binary.BigEndian.Uint64(rest)
	session, rest, ok1 := cutName(rest[8:])
	user, info, ok2 := cutName(rest)
	if !ok1 || !ok2 {
		return Moved{}, false
	}
	m.Member, ok = newMember(session, user, info, since)
	return m, ok && (user != "" || flags&edgeFlag == 0)
}

// cutName cuts a name off, which stands behind its length in one byte.
func cutName(b []byte) (name string, rest []byte, ok bool) {
	if len(b) == 0 || len(b) < 1+int(b[0]) {
		return "", nil, false
	}
	n := 1 + int(b[0])
	return string(b[1:n]), b[n:], true
}

// parseMember reads what presence.lua stores of a session.
func parseMember(session string, stored []byte) (m Member, ok bool) {
	const head = 4 + 8 + 2
	if len(stored) < head {
		return Member{}, false
	}
	boot := int(binary.BigEndian.Uint16(stored[12:]))
	if len(stored) < head+boot {
		return Member{}, false
	}
	user, info, ok := cutName(stored[head+boot:])
	if !ok {
		return Member{}, false
	}
	m, ok = newMember(session, user, info, binary.BigEndian.Uint64(stored[4:]))
	m.Generation = binary.BigEndian.Uint32(stored)
	return m, ok
}

// newMember is a member that Redis told of. ok is false if it can't be one.
func newMember(session, user string, info []byte, since uint64) (m Member, ok bool) {
	m = Member{Session: session, User: user, Since: int64(since)}
	if len(info) > 0 {
		m.Info = json.RawMessage(info)
	}
	return m, ValidTopic(session) && since < 1<<53 && m.validate() == nil
}

// hearMoved takes the news of a change of presence.
func (s *subscriber) hearMoved(channel string, data []byte) {
	m, ok := parseMoved(data)
	m.Topic = s.names.topicOf(channel)
	if !ok || !s.cfg.Presence.has(m.Topic) {
		s.drop(BadEnvelope, channel)
		return
	}
	if !s.tellMoved(channel, &m) {
		s.follows.stray(s.line, channel)
	}
}

// tellMoved hands m to channel's followers. It is false if there are none.
func (r *Redis) tellMoved(channel string, m *Moved) bool {
	r.delivery.mu.Lock()
	defer r.delivery.unlock()
	loops, c, _ := r.follows.followers(channel)
	if loops != 0 {
		r.delivery.sink.Moved(m, loops)
	}
	return loops != 0 || c != nil
}
