package sse

import (
	"bytes"

	"wshub/pubsub"
	"wshub/session"
	"wshub/session/hubv1"
)

// The formats of events. A session that follows one topic has frames that end in its id; of one that follows several topics,
// or had one added by a backend, the frames are stamped with the id. Verbatim ones carry the event's data alone,
// enveloped ones that of hub.v1 with topic and position.
var (
	verbatim = session.NewFormat(session.Words{
		Event: func(ev *pubsub.Event) []byte { return closed(appendData(begun(ev), ev.Data)) },
		Gap:   func(topic string, at pubsub.Position) []byte { return closed(gap(idLine(nil, at), topic, at)) },
	})
	enveloped = session.NewFormat(session.Words{
		Event: func(ev *pubsub.Event) []byte { return closed(appendEnvelope(begun(ev), ev)) },
		Gap:   func(topic string, at pubsub.Position) []byte { return closed(gap(idLine(nil, at), topic, at)) },
	})
	verbatimStamped = session.NewFormat(session.Words{
		Event: func(ev *pubsub.Event) []byte { return appendData(nil, ev.Data) },
		Gap:   func(topic string, at pubsub.Position) []byte { return gap(nil, topic, at) },
		Stamp: stamp, StampSize: stampSize,
	})
	envelopedStamped = session.NewFormat(session.Words{
		Event: func(ev *pubsub.Event) []byte { return appendEnvelope(nil, ev) },
		Gap:   func(topic string, at pubsub.Position) []byte { return gap(nil, topic, at) },
		Stamp: stamp, StampSize: stampSize,
	})
)

// begun is the beginning of a frame for ev: its id.
func begun(ev *pubsub.Event) []byte {
	return idLine(make([]byte, 0, 128+len(ev.Topic)+len(ev.Data)), ev.Position)
}

// idLine appends the id that is a position. Without a position the client keeps the last id that it had.
func idLine(dst []byte, at pubsub.Position) []byte {
	if at.IsZero() {
		return dst
	}
	return append(at.Append(append(dst, "id: "...)), '\n')
}

func closed(frame []byte) []byte { return append(frame, '\n') }

func appendEnvelope(dst []byte, ev *pubsub.Event) []byte {
	return appendData(dst, hubv1.AppendEvent(make([]byte, 0, 64+len(ev.Topic)+len(ev.Data)), ev))
}

// appendData appends data as the lines of a field. JSON has line breaks between its tokens only: the client joins the lines
// by LF.
func appendData(dst, data []byte) []byte {
	for {
		dst = append(dst, "data: "...)
		n := bytes.IndexAny(data, "\r\n")
		if n < 0 {
			return append(append(dst, data...), '\n')
		}
		dst = append(append(dst, data[:n]...), '\n')
		if data[n] == '\r' && n+1 < len(data) && data[n+1] == '\n' {
			n++
		}
		data = data[n+1:]
	}
}

// hubEvent begins each message of the hub itself: a page listens to them by addEventListener("hub", …).
const hubEvent = "event: hub\n"

func gap(dst []byte, topic string, at pubsub.Position) []byte {
	return appendData(append(dst, hubEvent...), hubv1.AppendGap(nil, topic, at))
}

// appendHub appends a message of the hub itself, with an id unless it is "".
func appendHub(dst []byte, id string, message []byte) []byte {
	dst = append(dst, hubEvent...)
	if id != "" {
		dst = append(append(append(dst, "id: "...), id...), '\n')
	}
	return closed(appendData(dst, message))
}
