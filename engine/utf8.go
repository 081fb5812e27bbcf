package engine

import "unicode/utf8"

// utf8Validator validates UTF-8 that arrives in pieces. Its zero value stands at a character's beginning.
type utf8Validator struct {
	need   uint8 // bytes that the begun character still wants
	lo, hi uint8 // the range of the next one
}

// feed takes the next piece and reports whether all so far can still become valid. Once false, the
// validator is of no further use.
func (u *utf8Validator) feed(b []byte) bool {
	for ; u.need > 0; b = b[1:] {
		if len(b) == 0 {
			return true
		}
		if b[0] < u.lo || b[0] > u.hi {
			return false
		}
		u.need--
		u.lo, u.hi = 0x80, 0xBF
	}

	// The piece may end within a character: at most its last three bytes.
	whole := len(b)
	for i := len(b) - 1; i >= 0 && i >= len(b)-3; i-- {
		if utf8.RuneStart(b[i]) {
			if !utf8.FullRune(b[i:]) {
				whole = i
			}
			break
		}
	}
	if !utf8.Valid(b[:whole]) {
		return false
	}
	if whole == len(b) {
		return true
	}
	u.begin(b[whole])
	return u.feed(b[whole+1:])
}

// begin takes the first byte of a character of two to four bytes (RFC 3629, 4).
func (u *utf8Validator) begin(c byte) {
	u.lo, u.hi = 0x80, 0xBF
	switch {
	case c < 0xE0:
		u.need = 1
	case c < 0xF0:
		u.need = 2
	default:
		u.need = 3
	}
	switch c {
	case 0xE0: // shorter forms exist
		u.lo = 0xA0
	case 0xED: // surrogates
		u.hi = 0x9F
	case 0xF0: // shorter forms exist
		u.lo = 0x90
	case 0xF4: // beyond U+10FFFF
		u.hi = 0x8F
	}
}

// done reports whether no character is left unfinished.
func (u *utf8Validator) done() bool { return u.need == 0 }
