// Package offset maps the hub's positions to Centrifugo's, which are an epoch and an integer offset, and back.
//
// An epoch is the hub's, as 16 hex digits. An offset has the milliseconds since 2020 in its upper bits and the sequence
// number in its lower 12. So it grows as positions do, and stays below 2^53, the last integer that JavaScript counts to
// without gaps, until September 2089. The map is exact: each position that a hub gives has one offset, and each offset
// one position.
package offset

import (
	"fmt"
	"math"
	"strconv"

	"wshub/pubsub"
)

const (
	// Invalid is the epoch of no log. Servers hand it to clients whose position is void, and it comes back.
	Invalid = "_"

	since2020 = 1577836800000 // the millisecond of offset 0
	seqBits   = 12            // of an offset are the sequence number
	limit     = 1 << 53       // offsets are below it
)

// Nowhere is a position of no log, for a client that names one which Position refuses: nothing is recovered from it.
var Nowhere = pubsub.Position{Epoch: math.MaxUint64, ID: pubsub.ID{Ms: 1, Seq: 1}}

// Of returns p's epoch and offset: "" and 0 for the zero position, "" with an offset for one without an epoch. A position
// from which nothing can be recovered by an offset has Invalid and 0: its sequence number is above 4095, which an older
// hub gave, or its time is not between 2020 and 2089.
func Of(p pubsub.Position) (epoch string, offset uint64) {
	if p.IsZero() {
		return "", 0
	}
	ms := p.ID.Ms - since2020 // very large for a time before
	if ms >= limit>>seqBits || p.ID.Seq >= 1<<seqBits {
		return Invalid, 0
	}
	offset = ms<<seqBits | p.ID.Seq
	if p.Epoch == 0 {
		return "", offset
	}
	return fmt.Sprintf("%016x", p.Epoch), offset
}

// Position returns the position whose epoch and offset these are. With epoch "" the position has none: it is
// pubsub.Start for offset 0, and for another offset the caller puts in the epoch of the log. An error wraps
// pubsub.ErrBadPosition: no hub gave this epoch or this offset. Clients hand in such positions in good faith, from another
// server or with Invalid; nothing can be recovered from there.
func Position(epoch string, offset uint64) (pubsub.Position, error) {
	p := pubsub.Position{ID: pubsub.ID{Ms: since2020 + offset>>seqBits, Seq: offset & (1<<seqBits - 1)}}
	switch {
	case offset >= limit:
		return pubsub.Position{}, fmt.Errorf("%w: offset %d", pubsub.ErrBadPosition, offset)
	case epoch == "" && offset == 0:
		return pubsub.Start, nil
	case epoch == "":
		return p, nil
	}
	var err error
	if p.Epoch, err = strconv.ParseUint(epoch, 16, 64); err != nil || p.Epoch == 0 || fmt.Sprintf("%016x", p.Epoch) != epoch {
		return pubsub.Position{}, fmt.Errorf("%w: epoch %.16q", pubsub.ErrBadPosition, epoch)
	}
	return p, nil
}
