// Package wire is the client's side of RFC 6455 as hubbench needs it: the opening handshake, a frame
// parser that accepts nothing that a server must not send, and masked frames to send.
package wire

import (
	"encoding/binary"
	"errors"
	"unicode/utf8"
)

// Opcode is a frame's kind (RFC 6455, 5.2).
type Opcode byte

const (
	Continuation Opcode = 0
	Text         Opcode = 1
	Binary       Opcode = 2
	Close        Opcode = 8
	Ping         Opcode = 9
	Pong         Opcode = 10
)

// Control reports whether o is a control frame's.
func (o Opcode) Control() bool { return o >= Close }

// Frames that a server must not send.
var (
	ErrReserved = errors.New("reserved bits set in a frame")
	ErrOpcode   = errors.New("unknown opcode in a frame")
	ErrMasked   = errors.New("masked frame from a server")
	ErrControl  = errors.New("control frame fragmented or over 125 bytes")
	ErrLength   = errors.New("frame length not in its shortest form")
	ErrTooBig   = errors.New("frame over the message limit")
	ErrClose    = errors.New("malformed close frame")
)

// Frame is one frame; its payload shares the memory that was parsed.
type Frame struct {
	Op  Opcode
	Fin bool
	// Deflated, of a message's first frame: it is compressed (RFC 7692).
	Deflated bool
	Payload  []byte
}

// Parse reads the frame that b begins with and returns how many bytes it took: 0 when b holds only a
// part of it. Payloads over limit bytes are refused before they have arrived. deflate says that messages may be compressed.
func Parse(b []byte, limit int, deflate bool) (Frame, int, error) {
	if len(b) < 2 {
		return Frame{}, 0, nil
	}
	f := Frame{Op: Opcode(b[0] & 15), Fin: b[0]&0x80 != 0}
	short := int(b[1] & 0x7f)
	reserved := b[0] & 0x70
	if reserved == 0x40 && deflate && (f.Op == Text || f.Op == Binary) {
		f.Deflated, reserved = true, 0
	}
	switch {
	case reserved != 0:
		return f, 0, ErrReserved
	case f.Op > Pong || f.Op > Binary && f.Op < Close:
		return f, 0, ErrOpcode
	case b[1]&0x80 != 0:
		return f, 0, ErrMasked
	case f.Op.Control() && (!f.Fin || short > 125):
		return f, 0, ErrControl
	}
	size, start := short, 2
	switch short {
	case 126:
		if len(b) < 4 {
			return f, 0, nil
		}
		size, start = int(binary.BigEndian.Uint16(b[2:])), 4
		if size < 126 {
			return f, 0, ErrLength
		}
	case 127:
		if len(b) < 10 {
			return f, 0, nil
		}
		long := binary.BigEndian.Uint64(b[2:])
		if long < 1<<16 || long >= 1<<63 {
			return f, 0, ErrLength
		}
		if long > uint64(limit) {
			return f, 0, ErrTooBig
		}
		size, start = int(long), 10
	}
	if size > limit {
		return f, 0, ErrTooBig
	}
	if len(b)-start < size {
		return f, 0, nil
	}
	f.Payload = b[start : start+size]
	return f, start + size, nil
}

// CloseCode reads a close frame's payload: 1005 where it is empty (RFC 6455, 7.1.5).
func CloseCode(payload []byte) (int, error) {
	if len(payload) == 0 {
		return 1005, nil
	}
	if len(payload) == 1 || !utf8.Valid(payload[2:]) {
		return 0, ErrClose
	}
	code := int(binary.BigEndian.Uint16(payload))
	if code < 1000 || code > 4999 || code >= 1004 && code <= 1006 || code >= 1015 && code < 3000 {
		return 0, ErrClose
	}
	return code, nil
}

// Append appends one whole frame as a client sends it, masked with key.
func Append(dst []byte, op Opcode, payload []byte, key uint32) []byte {
	dst = append(dst, 0x80|byte(op))
	switch n := len(payload); {
	case n < 126:
		dst = append(dst, 0x80|byte(n))
	case n < 1<<16:
		dst = binary.BigEndian.AppendUint16(append(dst, 0x80|126), uint16(n))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, 0x80|127), uint64(n))
	}
	dst = binary.BigEndian.AppendUint32(dst, key)
	mask := [4]byte{byte(key >> 24), byte(key >> 16), byte(key >> 8), byte(key)}
	for i, c := range payload {
		dst = append(dst, c^mask[i&3])
	}
	return dst
}

// AppendClose appends a close frame with code and no reason.
func AppendClose(dst []byte, code int, key uint32) []byte {
	return Append(dst, Close, []byte{byte(code >> 8), byte(code)}, key)
}
