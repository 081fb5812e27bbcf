package pubsub

import (
	"encoding/binary"
)

// The envelope is how a hub sends an event that has a position, on its topic's channel:
//
//	byte 0      0x01, which no JSON text begins with
//	1 to 8      epoch
//	9 to 24     ID: milliseconds, sequence
//	25 to 32    number of the event in its topic
//	33 to 48    ID of the topic's event before, zero if there is none
//	49 to end   body: data, verbatim, and before it attributes, if there are some; see attributes.go
//
// Numbers are 64 bits, big endian. The publishing script writes it, see publish.lua.
const (
	envelopeMark = 0x01
	envelopeHead = 1 + 6*8
)

// isEnvelope tells a hub's envelope from a backend's raw JSON.
func isEnvelope(payload []byte) bool { return len(payload) > 0 && payload[0] == envelopeMark }

// parsePayload reads what comes on a topic's channel: an envelope, or an event's body by itself.
func parsePayload(payload []byte) (ev Event, ok bool) {
	if isEnvelope(payload) {
		return parseEnvelope(payload)
	}
	ev.Attributes, ev.Data, ok = parseBody(payload)
	return ev, ok
}

// appendEnvelope appends ev in its envelope to dst.
func appendEnvelope(dst []byte, ev *Event) []byte {
	dst = append(dst, envelopeMark)
	for _, n := range [...]uint64{
		ev.Position.Epoch, ev.Position.ID.Ms, ev.Position.ID.Seq, ev.Number, ev.Before.Ms, ev.Before.Seq,
	} {
		dst = binary.BigEndian.AppendUint64(dst, n)
	}
	return appendBody(dst, ev.Attributes, ev.Data)
}

// parseEnvelope reads an envelope. The event's data lies in payload; its topic is left empty. ok is false unless epoch,
// sequences and number are not zero, before, if there is one, lies before the ID, and the body's attributes are good.
func parseEnvelope(payload []byte) (ev Event, ok bool) {
	if len(payload) < envelopeHead || payload[0] != envelopeMark {
		return Event{}, false
	}
	number := func(i int) uint64 { return binary.BigEndian.Uint64(payload[1+8*i:]) }
	attributes, data, good := parseBody(payload[envelopeHead:])
	ev = Event{
		Position: Position{number(0), ID{number(1), number(2)}},
		Number:   number(3),
		Before:   ID{number(4), number(5)},
		Data:     data,

		Attributes: attributes,
	}
	ok = good && ev.Position.Epoch != 0 && ev.Position.ID.Seq != 0 && ev.Number != 0 && ev.Before.Compare(ev.Position.ID) < 0 &&
		(ev.Before.Seq != 0 || ev.Before.IsZero())
	return ev, ok
}
