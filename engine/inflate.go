package engine

import (
	"encoding/binary"
	"math/bits"
)

// inflater inflates whole messages (RFC 1951 as RFC 7692, 7.2.2 uses it), each on its own. It is our own because a message
// lies in memory as a whole: its output is its window, so a loop needs 8 KiB of tables, and the work that a few hostile
// bytes can cause is bounded. Its zero value is ready.
type inflater struct {
	in   []byte // the input, then the tail that the sender left out
	pos  int
	tail bool   // in is the tail
	bits uint64 // the next bits, the first one lowest
	n    uint   // how many of bits count; those above are the input at pos, or 0

	out     []byte // reused
	limit   int    // of out
	dynamic int    // blocks with codes of their own

	literals, distances prefixCode
	lengths             [maxLiterals + maxDistances]uint8
	extents             prefixCode // of lengths
}

const (
	maxLiterals  = 286
	maxDistances = 30
	endOfBlock   = 256

	// A block with codes of its own takes some 17 bytes and costs as much as inflating 300. Compressors begin one where it
	// pays: a message may have freeBlocks, and one more for each bytesPerBlock that it inflates to.
	freeBlocks    = 32
	bytesPerBlock = 256

	// spareInflated is the most that a loop keeps of its buffer between two reads, in bytes.
	spareInflated = 256 << 10
)

// lastBytes end a message, and are not sent (RFC 7692, 7.2.1).
var lastBytes = []byte{0x00, 0x00, 0xff, 0xff}

var (
	errDeflate    = &protocolError{codeBadText, "compressed data is malformed"}
	errBomb       = &protocolError{codeTooBig, "message too big when inflated"}
	errManyBlocks = &protocolError{codeTooBig, "compressed data of too many blocks"}
)

// letGo frees a buffer that is too large to keep. Nobody reads the last message any more. A nil f has none.
func (f *inflater) letGo() {
	if f != nil && cap(f.out) > spareInflated {
		f.out = nil
	}
}

// message inflates the payload of one message, which is at most limit bytes then. The result is valid until the next call.
func (f *inflater) message(payload []byte, limit int) ([]byte, *protocolError) {
	f.in, f.pos, f.tail, f.bits, f.n = payload, 0, false, 0, 0
	f.out, f.limit, f.dynamic = f.out[:0], limit, 0
	defer func() { f.in = nil }()
	if len(payload) == 0 {
		return f.out, nil // some senders leave out the last byte of an empty message, too
	}
	for {
		stored, final, err := f.block()
		switch {
		case err != nil:
			return nil, err
		case final:
			// Behind a last block another stream may follow, at the least an empty block (RFC 7692, 7.2.3.4).
			f.drop(f.n & 7)
			if f.left() <= 0 {
				return f.out, nil
			}
		case stored && f.tail && f.n == 0 && f.pos == len(f.in):
			return f.out, nil
		}
	}
}

// left is how many bytes of the payload were not taken.
func (f *inflater) left() int {
	if f.tail {
		return int(f.n>>3) - f.pos
	}
	return int(f.n>>3) + len(f.in) - f.pos
}

// fill has 56 bits ready, or as many as there are.
func (f *inflater) fill() {
	if f.pos+8 <= len(f.in) {
		f.bits |= binary.LittleEndian.Uint64(f.in[f.pos:]) << f.n
		whole := (63 - f.n) >> 3
		f.pos += int(whole)
		f.n += whole << 3
		return
	}
	for f.n <= 56 {
		if f.pos == len(f.in) {
			if f.tail {
				return
			}
			f.in, f.pos, f.tail = lastBytes, 0, true
		}
		f.bits |= uint64(f.in[f.pos]) << f.n
		f.pos++
		f.n += 8
	}
}

func (f *inflater) drop(n uint) {
	f.bits >>= n
	f.n -= n
}

// take takes n bits of those that are ready; ok is false if there are less.
func (f *inflater) take(n uint) (v int, ok bool) {
	if n > f.n {
		return 0, false
	}
	v = int(f.bits & (1<<n - 1))
	f.drop(n)
	return v, true
}

// block inflates one block. stored says that it was a stored one.
func (f *inflater) block() (stored, final bool, err *protocolError) {
	f.fill()
	head, ok := f.take(3)
	if !ok {
		return false, false, errDeflate
	}
	final = head&1 != 0
	switch head >> 1 {
	case 0:
		return true, final, f.copyStored()
	case 1:
		return false, final, f.inflateBlock(&fixedLiterals, &fixedDistances)
	case 2:
		if f.dynamic++; f.dynamic > freeBlocks+len(f.out)/bytesPerBlock {
			return false, final, errManyBlocks
		}
		if !f.readCodes() {
			return false, final, errDeflate
		}
		return false, final, f.inflateBlock(&f.literals, &f.distances)
	}
	return false, final, errDeflate
}

func (f *inflater) copyStored() *protocolError {
	f.drop(f.n & 7)
	f.fill()
	size, _ := f.take(16)
	inverse, ok := f.take(16)
	if !ok || size != inverse^0xFFFF {
		return errDeflate
	}
	if !f.room(size) {
		return errBomb
	}
	for ; size > 0 && f.n > 0; size-- {
		f.out = append(f.out, byte(f.bits))
		f.drop(8)
	}
	if f.n == 0 {
		f.bits = 0
	}
	if size > len(f.in)-f.pos {
		return errDeflate // no block reaches into the tail
	}
	f.out = append(f.out, f.in[f.pos:f.pos+size]...)
	f.pos += size
	return nil
}

// room makes room for n bytes more, never for more than limit.
func (f *inflater) room(n int) bool {
	need := len(f.out) + n
	if need > f.limit {
		return false
	}
	if need > cap(f.out) {
		grown := make([]byte, len(f.out), min(max(need, 2*cap(f.out), 4<<10), f.limit))
		copy(grown, f.out)
		f.out = grown
	}
	return true
}

// Lengths and distances (RFC 1951, 3.2.5).
var (
	lengthBase   = [...]uint16{3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258}
	lengthBits   = [...]uint8{0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0}
	distanceBase = [...]uint16{1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577}
	distanceBits = [...]uint8{0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13}
)

// inflateBlock inflates up to the end of a block.
func (f *inflater) inflateBlock(literals, distances *prefixCode) *protocolError {
	for {
		f.fill() // a length and its distance are 48 bits at most
		symbol, ok := literals.next(f)
		switch {
		case !ok:
			return errDeflate
		case symbol < endOfBlock:
			if len(f.out) == cap(f.out) && !f.room(1) {
				return errBomb
			}
			f.out = append(f.out, byte(symbol))
		case symbol == endOfBlock:
			return nil
		default:
			if err := f.match(symbol-endOfBlock-1, distances); err != nil {
				return err
			}
		}
	}
}

// match repeats what was inflated before.
func (f *inflater) match(symbol int, distances *prefixCode) *protocolError {
	if symbol >= len(lengthBase) {
		return errDeflate
	}
	more, ok1 := f.take(uint(lengthBits[symbol]))
	length := int(lengthBase[symbol]) + more
	symbol, ok2 := distances.next(f)
	if !ok1 || !ok2 || symbol >= len(distanceBase) {
		return errDeflate
	}
	more, ok := f.take(uint(distanceBits[symbol]))
	distance := int(distanceBase[symbol]) + more
	if !ok || distance > len(f.out) {
		return errDeflate
	}
	if !f.room(length) {
		return errBomb
	}
	for from := len(f.out) - distance; length > 0; {
		n := min(length, len(f.out)-from) // twice as many each time where they overlap
		f.out = append(f.out, f.out[from:from+n]...)
		length -= n
	}
	return nil
}

// extentOrder is the order in which the lengths of a code's own code come (RFC 1951, 3.2.7).
var extentOrder = [...]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// readCodes reads the codes of a block.
func (f *inflater) readCodes() bool {
	f.fill()
	literals, _ := f.take(5)
	distances, _ := f.take(5)
	extents, ok := f.take(4)
	literals, distances, extents = literals+257, distances+1, extents+4
	if !ok || literals > maxLiterals || distances > maxDistances {
		return false
	}
	var lengths [len(extentOrder)]uint8
	for _, i := range extentOrder[:extents] {
		f.fill()
		n, ok := f.take(3)
		if !ok {
			return false
		}
		lengths[i] = uint8(n)
	}
	if !f.extents.build(lengths[:]) || !f.readLengths(f.lengths[:literals+distances]) {
		return false
	}
	return f.lengths[endOfBlock] > 0 && f.literals.build(f.lengths[:literals]) && f.distances.build(f.lengths[literals:literals+distances])
}

// readLengths reads the lengths of all codes of a block.
func (f *inflater) readLengths(lengths []uint8) bool {
	for i := 0; i < len(lengths); {
		f.fill()
		symbol, ok := f.extents.next(f)
		if !ok {
			return false
		}
		if symbol < 16 {
			lengths[i] = uint8(symbol)
			i++
			continue
		}
		base, width, value := 3, uint(3), uint8(0)
		switch symbol {
		case 16:
			if i == 0 {
				return false
			}
			width, value = 2, lengths[i-1]
		case 18:
			base, width = 11, 7
		}
		more, ok := f.take(width)
		if !ok || base+more > len(lengths)-i {
			return false
		}
		for range base + more {
			lengths[i] = value
			i++
		}
	}
	return true
}

// prefixCode is a canonical prefix code (RFC 1951, 3.2.2).
type prefixCode struct {
	short   [1 << shortBits]uint16 // by the next bits: symbol<<4 | length; 0 where the code is longer, or none
	count   [maxCodeBits + 1]uint16
	symbols [maxLiterals + 2]uint16 // by length, then by value
}

const (
	maxCodeBits = 15
	shortBits   = 9
)

// build makes c the code whose symbols have these lengths, 0 for none. As in zlib, a code may be incomplete only if it has one
// symbol of one bit, or none.
func (c *prefixCode) build(lengths []uint8) bool {
	c.count = [maxCodeBits + 1]uint16{}
	for _, n := range lengths {
		c.count[n]++
	}
	c.count[0] = 0
	var code, place [maxCodeBits + 2]uint16
	free, used := 1, 0
	for n := 1; n <= maxCodeBits; n++ {
		free = free<<1 - int(c.count[n])
		if free < 0 {
			return false
		}
		used += int(c.count[n])
		code[n+1] = (code[n] + c.count[n]) << 1
		place[n+1] = place[n] + c.count[n]
	}
	if free > 0 && (used > 1 || used == 1 && c.count[1] == 0) {
		return false
	}
	clear(c.short[:])
	for symbol, n := range lengths {
		if n == 0 {
			continue
		}
		c.symbols[place[n]] = uint16(symbol)
		place[n]++
		if n <= shortBits {
			entry := uint16(symbol)<<4 | uint16(n)
			for i := int(bits.Reverse16(code[n]) >> (16 - n)); i < len(c.short); i += 1 << n {
				c.short[i] = entry
			}
		}
		code[n]++
	}
	return true
}

// next takes the next symbol of those bits that are ready.
func (c *prefixCode) next(f *inflater) (symbol int, ok bool) {
	if e := c.short[f.bits&(1<<shortBits-1)]; e != 0 {
		n := uint(e & 0xF)
		if n > f.n {
			return 0, false
		}
		f.drop(n)
		return int(e >> 4), true
	}
	var code, first, index int
	for n := uint(1); n <= min(maxCodeBits, f.n); n++ {
		code |= int(f.bits>>(n-1)) & 1
		count := int(c.count[n])
		if code-first < count {
			f.drop(n)
			return int(c.symbols[index+code-first]), true
		}
		index += count
		first = (first + count) << 1
		code <<= 1
	}
	return 0, false
}

// The codes of blocks that have none of their own (RFC 1951, 3.2.6).
var fixedLiterals, fixedDistances prefixCode

func init() {
	var lengths [maxLiterals + 2]uint8
	for i := range lengths {
		switch {
		case i < 144:
			lengths[i] = 8
		case i < 256:
			lengths[i] = 9
		case i < 280:
			lengths[i] = 7
		default:
			lengths[i] = 8
		}
	}
	fixedLiterals.build(lengths[:])
	for i := range lengths[:32] {
		lengths[i] = 5
	}
	fixedDistances.build(lengths[:32])
}
