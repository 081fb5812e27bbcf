package engine

import (
	"encoding/binary"
	"math"
	"math/bits"
	"unicode/utf8"
)

// Opcode says what a frame carries (RFC 6455, 5.2).
type Opcode byte

// The opcodes of RFC 6455; all others are reserved.
const (
	OpContinuation Opcode = 0x0
	OpText         Opcode = 0x1
	OpBinary       Opcode = 0x2
	OpClose        Opcode = 0x8
	OpPing         Opcode = 0x9
	OpPong         Opcode = 0xA
)

func (op Opcode) control() bool  { return op&0x8 != 0 }
func (op Opcode) reserved() bool { return op > OpPong || op > OpBinary && op < OpClose }

const (
	finBit      = 0x80
	reserveBits = 0x70
	deflateBit  = 0x40 // RSV1: the message is compressed (RFC 7692, 6)
	maskBit     = 0x80

	// maxControl bounds a control frame's payload in bytes (RFC 6455, 5.5).
	maxControl = 125
	// maxHeader is the longest frame header: 2 bytes, 8 of length, 4 of mask.
	maxHeader = 14
)

// Close codes that this file and the reader themselves decide on (RFC 6455, 7.4.1).
const (
	codeProtocol = 1002
	codeNone     = 1005 // stands for a Close frame without a code; never on the wire
	codeCut      = 1006 // stands for an end without a Close frame; never on the wire
	codeBadText  = 1007
	codeTooBig   = 1009
)

// protocolError is how a client broke the protocol: the close code that it earns, and why.
// Its values are shared and never changed.
type protocolError struct {
	code   uint16
	reason string
}

var (
	errReservedBits   = &protocolError{codeProtocol, "reserved bits set"}
	errReservedOpcode = &protocolError{codeProtocol, "reserved opcode"}
	errUnmasked       = &protocolError{codeProtocol, "frame not masked"}
	errLength         = &protocolError{codeProtocol, "length not in its shortest form"}
	errLengthBit      = &protocolError{codeProtocol, "length out of range"}
	errLongControl    = &protocolError{codeProtocol, "control frame over 125 bytes"}
	errSplitControl   = &protocolError{codeProtocol, "control frame fragmented"}
	errContinuation   = &protocolError{codeProtocol, "continuation of nothing"}
	errInterrupted    = &protocolError{codeProtocol, "new message within a fragmented one"}
	errCloseLength    = &protocolError{codeProtocol, "close frame of one byte"}
	errCloseCode      = &protocolError{codeProtocol, "close code not allowed"}
	errCloseText      = &protocolError{codeBadText, "close reason not UTF-8"}
	errText           = &protocolError{codeBadText, "text not UTF-8"}
	errTooBig         = &protocolError{codeTooBig, "message too big"}
)

// AppendFrame appends one complete frame as a server sends it: final, unmasked, its length in the
// shortest form. The payload of a control frame is at most 125 bytes.
func AppendFrame(dst []byte, op Opcode, payload []byte) []byte {
	return append(AppendFrameHeader(dst, op, len(payload)), payload...)
}

// AppendFrameHeader appends the header of a frame whose n bytes of payload the caller appends.
func AppendFrameHeader(dst []byte, op Opcode, n int) []byte {
	dst = append(dst, finBit|byte(op))
	switch {
	case n <= 125:
		return append(dst, byte(n))
	case n <= 0xFFFF:
		return binary.BigEndian.AppendUint16(append(dst, 126), uint16(n))
	default:
		return binary.BigEndian.AppendUint64(append(dst, 127), uint64(n))
	}
}

// AppendClose appends a Close frame. A reason over 123 bytes is cut before the first character that does
// not fit. Code 1005 means none: that frame is empty, reason or not.
func AppendClose(dst []byte, code uint16, reason string) []byte {
	if code == codeNone {
		return AppendFrameHeader(dst, OpClose, 0)
	}
	if n := maxControl - 2; len(reason) > n {
		for n > 0 && !utf8.RuneStart(reason[n]) {
			n--
		}
		reason = reason[:n]
	}
	dst = AppendFrameHeader(dst, OpClose, 2+len(reason))
	dst = binary.BigEndian.AppendUint16(dst, code)
	return append(dst, reason...)
}

// parseClose reads a Close frame's payload. An empty one has code 1005.
func parseClose(payload []byte) (code uint16, reason string, err *protocolError) {
	switch len(payload) {
	case 0:
		return codeNone, "", nil
	case 1:
		return 0, "", errCloseLength
	}
	code = binary.BigEndian.Uint16(payload)
	if !sendable(code) {
		return 0, "", errCloseCode
	}
	if !utf8.Valid(payload[2:]) {
		return 0, "", errCloseText
	}
	return code, string(payload[2:]), nil
}

// sendable reports whether a Close frame may carry code (RFC 6455, 7.4, and IANA's registry up to 1014).
func sendable(code uint16) bool {
	switch {
	case code >= 1000 && code <= 1003, code >= 1007 && code <= 1014:
		return true
	default:
		return code >= 3000 && code <= 4999
	}
}

// header is the header of a client's frame.
type header struct {
	length int
	key    uint32 // the mask, its first byte lowest
	op     Opcode
	fin    bool
	// deflated, of a message's first frame: it is compressed.
	deflated bool
}

// parseHeader reads the frame header at the start of b and returns its size, 0 while it is incomplete.
// open says that a fragmented message has begun, room how many bytes its message may still grow by. A
// rule that the bytes at hand break is an error at once. deflate says that messages may be compressed.
func parseHeader(b []byte, open bool, room int, deflate bool) (h header, size int, err *protocolError) {
	if len(b) == 0 {
		return h, 0, nil
	}
	h.fin, h.op = b[0]&finBit != 0, Opcode(b[0]&0x0F)
	reserved := b[0] & reserveBits
	if reserved == deflateBit && deflate && (h.op == OpText || h.op == OpBinary) {
		h.deflated, reserved = true, 0
		room = deflateRoom(room)
	}
	switch {
	case reserved != 0:
		return h, 0, errReservedBits
	case h.op.reserved():
		return h, 0, errReservedOpcode
	case h.op.control():
		if !h.fin {
			return h, 0, errSplitControl
		}
	case open && h.op != OpContinuation:
		return h, 0, errInterrupted
	case !open && h.op == OpContinuation:
		return h, 0, errContinuation
	}

	if len(b) == 1 {
		return h, 0, nil
	}
	if b[1]&maskBit == 0 {
		return h, 0, errUnmasked
	}
	length, size := uint64(b[1]&^maskBit), 2
	if h.op.control() && length > maxControl {
		return h, 0, errLongControl
	}
	switch length {
	case 126:
		if size += 2; len(b) < size {
			return h, 0, nil
		}
		if length = uint64(binary.BigEndian.Uint16(b[2:])); length < 126 {
			return h, 0, errLength
		}
	case 127:
		if size += 8; len(b) < size {
			return h, 0, nil
		}
		length = binary.BigEndian.Uint64(b[2:])
		if length>>63 != 0 {
			return h, 0, errLengthBit
		}
		if length <= 0xFFFF {
			return h, 0, errLength
		}
	}
	if !h.op.control() && length > uint64(room) {
		return h, 0, errTooBig
	}
	h.length = int(length)

	if len(b) < size+4 {
		return h, 0, nil
	}
	h.key = binary.LittleEndian.Uint32(b[size:])
	return h, size + 4, nil
}

// deflateRoom is how long a compressed message may be that inflates to limit: one that can't be compressed grows by 5 bytes
// for each stored block of some KiB.
func deflateRoom(limit int) int { return limit + min(limit>>8+64, math.MaxInt-limit) }

// unmask unmasks b in place. It returns the key for the byte behind it, and whether all of b is ASCII:
// that comes almost free here, and spares most text a second pass.
func unmask(b []byte, key uint32) (next uint32, ascii bool) {
	var seen uint64
	wide := uint64(key)<<32 | uint64(key)
	for len(b) >= 32 {
		w := (*[32]byte)(b)
		w0 := binary.LittleEndian.Uint64(w[0:]) ^ wide
		w1 := binary.LittleEndian.Uint64(w[8:]) ^ wide
		w2 := binary.LittleEndian.Uint64(w[16:]) ^ wide
		w3 := binary.LittleEndian.Uint64(w[24:]) ^ wide
		seen |= w0 | w1 | w2 | w3
		binary.LittleEndian.PutUint64(w[0:], w0)
		binary.LittleEndian.PutUint64(w[8:], w1)
		binary.LittleEndian.PutUint64(w[16:], w2)
		binary.LittleEndian.PutUint64(w[24:], w3)
		b = b[32:]
	}
	for len(b) >= 8 {
		w := binary.LittleEndian.Uint64(b) ^ wide
		seen |= w
		binary.LittleEndian.PutUint64(b, w)
		b = b[8:]
	}
	for i := range b {
		b[i] ^= byte(key)
		seen |= uint64(b[i])
		key = bits.RotateLeft32(key, -8)
	}
	return key, seen&0x8080808080808080 == 0
}
