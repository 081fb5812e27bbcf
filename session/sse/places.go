package sse

import (
	"encoding/base64"
	"encoding/binary"
	"hash/fnv"
	"slices"

	"wshub/pubsub"
)

// places are where a session stands in its topics. Their id is what a client of several topics hands back.
type places struct {
	topics []string
	mark   uint32 // of the topics
	at     []place
}

// place is where a session stands in a topic.
type place struct {
	pubsub.Position
	known bool // the client was told; else it asks for nothing missed
	lost  bool // the client had a position that is not known here: it has missed something, and was not told so yet
}

// An id is base64url of a version, the mark of the topics (4 bytes), and for each topic its state, with a position behind
// isAt: the epoch (8 bytes), the milliseconds (6) and the number in them (2). Where ids of another length are needed, the
// version changes.
const (
	idVersion = 1
	idHead    = 5
	idPlace   = 17
	maxID     = 2048 // bytes, as some proxies allow for a header line
	// maxPlaces bounds the topics of one session, its user's own included, so that its id is never longer than maxID.
	maxPlaces = (maxID*3/4 - idHead) / idPlace
)

const (
	isUnknown byte = iota
	isStart        // before the topic's first event, or in one that keeps no history
	isAt
	isLost // a position that was not understood, or does not fit
)

func newPlaces(topics []string) *places {
	h := fnv.New32a()
	for _, name := range topics {
		_, _ = h.Write(binary.AppendUvarint(nil, uint64(len(name)))) // a hash takes all
		_, _ = h.Write([]byte(name))
	}
	return &places{topics: topics, mark: h.Sum32(), at: make([]place, len(topics))}
}

// index is topic's place in p, -1 for another's.
func (p *places) index(topic string) int { return slices.Index(p.topics, topic) }

// appendID appends the id.
func (p *places) appendID(dst []byte) []byte {
	var buf [idHead + maxPlaces*idPlace]byte
	raw := binary.BigEndian.AppendUint32(append(buf[:0], idVersion), p.mark)
	for _, at := range p.at {
		raw = at.append(raw)
	}
	return base64.RawURLEncoding.AppendEncode(dst, raw)
}

// idSize is the most bytes of an id.
func (p *places) idSize() int { return base64.RawURLEncoding.EncodedLen(idHead + len(p.at)*idPlace) }

func (p place) append(raw []byte) []byte {
	switch {
	case p.lost:
		return append(raw, isLost)
	case !p.known:
		return append(raw, isUnknown)
	case p.IsZero():
		return append(raw, isStart)
	case p.ID.Ms >= 1<<48 || p.ID.Seq >= 1<<16:
		return append(raw, isLost)
	}
	raw = binary.BigEndian.AppendUint64(append(raw, isAt), p.Epoch)
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], p.ID.Ms)
	return binary.BigEndian.AppendUint16(append(raw, ms[2:]...), uint16(p.ID.Seq))
}

// parse sets where the session stands from an id. False: it is none, or one of other topics.
func (p *places) parse(id string) bool {
	if len(id) > maxID {
		return false
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(id)
	if err != nil || len(raw) < idHead || raw[0] != idVersion || binary.BigEndian.Uint32(raw[1:]) != p.mark {
		return false
	}
	at := make([]place, 0, len(p.topics))
	for raw = raw[idHead:]; len(raw) > 0; {
		kind := raw[0]
		raw = raw[1:]
		next := place{known: kind == isStart || kind == isAt, lost: kind == isLost}
		switch {
		case kind == isUnknown || kind == isStart || kind == isLost:
		case kind == isAt && len(raw) >= idPlace-1:
			next.Epoch = binary.BigEndian.Uint64(raw)
			next.ID = pubsub.ID{Ms: binary.BigEndian.Uint64(raw[6:]) & (1<<48 - 1), Seq: uint64(binary.BigEndian.Uint16(raw[14:]))}
			raw = raw[idPlace-1:]
		default:
			return false
		}
		at = append(at, next)
	}
	if len(at) != len(p.topics) {
		return false
	}
	p.at = at
	return true
}
