package centrifugo

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"

	pb "github.com/centrifugal/protocol"
	"github.com/centrifugal/protocol/cfjson"

	"wshub/engine"
	"wshub/pubsub"
	"wshub/session"
	"wshub/session/centrifugo/offset"
)

// encoding is one way to put commands and replies into frames.
type encoding struct {
	op engine.Opcode
	// stream: a frame is a piece of an HTTP response, and only replies come so.
	stream bool
	wrap   func(payload []byte) []byte // makes a frame
	ping   []byte                      // a frame: an empty reply
	early  []byte                      // a ping before connect is answered
	format *session.Format
	// next cuts the first command off a frame. Its strings may lie in the frame.
	next func(frame []byte) (cmd *pb.Command, rest []byte, err error)
	// append appends one reply.
	append func(dst []byte, r *pb.Reply) []byte
}

var errFrame = errors.New("malformed frame")

var inJSON = &encoding{
	op:     engine.OpText,
	wrap:   wrapIn(engine.OpText),
	early:  engine.PingFrame,
	next:   nextLine,
	append: appendJSON,
}

// inLines and inEvents are for streams: each reply is a line, or a server-sent event.
var (
	inLines = &encoding{
		op:     engine.OpText,
		stream: true,
		wrap:   func(payload []byte) []byte { return append(payload, '\n') },
		next:   nextLine,
		append: appendJSON,
	}
	inEvents = &encoding{
		op:     engine.OpText,
		stream: true,
		wrap: func(payload []byte) []byte {
			// JSON has line ends between its tokens only, and the module leaves CR there: it would end the field.
			payload = bytes.ReplaceAll(payload, []byte("\r"), nil)
			return append(append(append(make([]byte, 0, len(payload)+8), "data: "...), payload...), "\n\n"...)
		},
		next:   nextLine,
		append: appendJSON,
	}
)

func wrapIn(op engine.Opcode) func([]byte) []byte {
	return func(payload []byte) []byte {
		return engine.AppendFrame(make([]byte, 0, len(payload)+10), op, payload)
	}
}

func appendJSON(dst []byte, r *pb.Reply) []byte { return r.AppendJSON(dst) }

func nextLine(frame []byte) (*pb.Command, []byte, error) {
	line, rest, _ := bytes.Cut(frame, []byte("\n"))
	var cmd pb.Command
	if err := cfjson.Unmarshal(line, &cmd, 0); err != nil {
		return nil, nil, err
	}
	return &cmd, rest, nil
}

var inProtobuf = &encoding{
	op:    engine.OpBinary,
	wrap:  wrapIn(engine.OpBinary),
	early: engine.PingFrame,
	next: func(frame []byte) (*pb.Command, []byte, error) {
		size, n := binary.Uvarint(frame)
		if n <= 0 || size > uint64(len(frame)-n) {
			return nil, nil, errFrame
		}
		var cmd pb.Command
		if err := cmd.UnmarshalCF(frame[n : n+int(size)]); err != nil {
			return nil, nil, err
		}
		return &cmd, frame[n+int(size):], nil
	},
	append: func(dst []byte, r *pb.Reply) []byte {
		body, _ := r.MarshalCF() // a reply of ours can always be marshalled
		return append(binary.AppendUvarint(dst, uint64(len(body))), body...)
	},
}

var encodings = []*encoding{inJSON, inProtobuf, inLines, inEvents}

func init() {
	for _, e := range encodings {
		if e.ping = e.frame(&pb.Reply{}); e.stream {
			e.early = e.ping
		}
		e.format = session.NewFormat(session.Words{
			Event: func(ev *pubsub.Event) []byte {
				return e.frame(&pb.Reply{Push: &pb.Push{Channel: ev.Topic, Pub: publication(ev)}})
			},
			Moved: func(m *pubsub.Moved) []byte {
				push := moved(m)
				if push == nil {
					return nil
				}
				return e.frame(&pb.Reply{Push: push})
			},
			EndsAtGap: true,
		})
	}
}

// encodingOf is the encoding that the session's client speaks.
func encodingOf(s *session.Session) *encoding {
	f := s.Format()
	for _, e := range encodings {
		if e.format == f {
			return e
		}
	}
	return inJSON
}

// frame makes a frame of one reply.
func (e *encoding) frame(r *pb.Reply) []byte {
	return e.wrap(e.append(nil, r))
}

// write sends one reply.
func write(s *session.Session, r *pb.Reply) { s.Write(encodingOf(s).frame(r)) }

// push sends one push.
func push(s *session.Session, p *pb.Push) { write(s, &pb.Reply{Push: p}) }

// publication is an event as the protocol has it.
func publication(ev *pubsub.Event) *pb.Publication {
	p := &pb.Publication{Data: pb.Raw(ev.Data)}
	_, p.Offset = offset.Of(ev.Position)
	if a := ev.Attributes; a != nil {
		p.Tags = a.Tags
		p.Info = clientInfo(a.Info)
	}
	return p
}

// clientInfo reads who published an event, nil if that is not told.
func clientInfo(info json.RawMessage) *pb.ClientInfo {
	if len(info) == 0 {
		return nil
	}
	var c pb.ClientInfo
	if cfjson.Unmarshal(info, &c, 0) != nil {
		return nil
	}
	return &c
}
