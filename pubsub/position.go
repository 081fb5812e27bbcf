package pubsub

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ID is an event's place in its topic: Redis's stream ID, milliseconds and a sequence number, 1 to 4095.
type ID struct{ Ms, Seq uint64 }

// Compare orders IDs by time, then sequence: -1, 0 or +1.
func (a ID) Compare(b ID) int {
	if c := cmp.Compare(a.Ms, b.Ms); c != 0 {
		return c
	}
	return cmp.Compare(a.Seq, b.Seq)
}

// maxSeq is the largest sequence number that is given, which publish.lua keeps to: 12 bits, so that a
// protocol can make one number below 2^53 of an ID.
const maxSeq = 4095

// next is the ID behind a, of the same millisecond if that has room.
func (a ID) next() ID {
	if a.Seq >= maxSeq {
		return ID{a.Ms + 1, 1}
	}
	return ID{a.Ms, a.Seq + 1}
}

// IsZero reports whether a names no event.
func (a ID) IsZero() bool { return a == ID{} }

// String is Redis's notation, as in 1732361000123-1.
func (a ID) String() string {
	return strconv.FormatUint(a.Ms, 10) + "-" + strconv.FormatUint(a.Seq, 10)
}

// ParseID reads Redis's notation.
func ParseID(s string) (ID, error) {
	ms, seq, ok := strings.Cut(s, "-")
	a, err1 := strconv.ParseUint(ms, 10, 64)
	b, err2 := strconv.ParseUint(seq, 10, 64)
	if !ok || err1 != nil || err2 != nil {
		return ID{}, fmt.Errorf("%w: ID %q", ErrBadPosition, clip(s))
	}
	return ID{a, b}, nil
}

// Position says where an event stands: in which log (an epoch names one) and where in it.
// To clients it is an opaque string.
type Position struct {
	Epoch uint64
	ID    ID
}

// Start is the place before a topic's first event, written "0".
var Start = Position{}

// ErrBadPosition: a string is no position.
var ErrBadPosition = errors.New("bad position")

// IsZero reports whether p is Start, or the absence of a position.
func (p Position) IsZero() bool { return p == Position{} }

// String is <epoch>:<ms>-<seq>, the epoch as 16 hex digits; "0" for the zero position.
func (p Position) String() string {
	if p.IsZero() {
		return "0"
	}
	return string(p.Append(nil))
}

// Append appends p's string to dst.
func (p Position) Append(dst []byte) []byte {
	if p.IsZero() {
		return append(dst, '0')
	}
	const digits = "0123456789abcdef"
	for shift := 60; shift >= 0; shift -= 4 {
		dst = append(dst, digits[p.Epoch>>shift&15])
	}
	dst = append(dst, ':')
	dst = strconv.AppendUint(dst, p.ID.Ms, 10)
	dst = append(dst, '-')
	return strconv.AppendUint(dst, p.ID.Seq, 10)
}

// ParsePosition reads what String wrote. Anything else is ErrBadPosition, another spelling too: equal
// positions are equal strings.
func ParsePosition(s string) (Position, error) {
	if s == "0" {
		return Start, nil
	}
	epoch, id, ok := strings.Cut(s, ":")
	if !ok || len(epoch) != 16 {
		return Position{}, fmt.Errorf("%w: %q", ErrBadPosition, clip(s))
	}
	e, err := strconv.ParseUint(epoch, 16, 64)
	if err != nil {
		return Position{}, fmt.Errorf("%w: %q", ErrBadPosition, clip(s))
	}
	at, err := ParseID(id)
	if err != nil {
		return Position{}, fmt.Errorf("%w: %q", ErrBadPosition, clip(s))
	}
	p := Position{e, at}
	if string(p.Append(make([]byte, 0, 64))) != s {
		return Position{}, fmt.Errorf("%w: %q", ErrBadPosition, clip(s))
	}
	return p, nil
}

// clip bounds what a stranger's string adds to an error.
func clip(s string) string {
	if len(s) > 64 {
		return s[:64]
	}
	return s
}
