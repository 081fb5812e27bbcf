package fleet

import (
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
)

// inflater inflates messages, each on its own (RFC 7692 without context takeover). It keeps those that came last: where a
// server compresses an event once for all clients, these get the very same bytes, and inflating them costs little. Its zero
// value is ready.
type inflater struct {
	kept  [inflateSize]inflated // direct-mapped by hash
	seed  maphash.Seed
	begun bool
	r     io.ReadCloser
}

// inflated is a message before and after.
type inflated struct{ in, out []byte }

// inflateSize covers the events that are under way to the clients of a loop at one time.
const inflateSize = 1024

var errInflated = errors.New("message over the limit when inflated")

// message inflates a message of at most limit bytes. The result is valid until the next call.
func (f *inflater) message(data []byte, limit int) ([]byte, error) {
	if !f.begun {
		f.seed, f.begun = maphash.MakeSeed(), true
	}
	m := &f.kept[maphash.Bytes(f.seed, data)%inflateSize]
	if m.out != nil && bytes.Equal(m.in, data) {
		return m.out, nil
	}
	// The bytes that a sender leaves out, and a last block, so that the end is one.
	in := io.MultiReader(bytes.NewReader(data), bytes.NewReader([]byte{0, 0, 0xff, 0xff, 1, 0, 0, 0xff, 0xff}))
	if f.r == nil {
		f.r = flate.NewReader(in)
	} else if err := f.r.(flate.Resetter).Reset(in, nil); err != nil {
		return nil, err
	}
	out := bytes.NewBuffer(m.out[:0])
	switch n, err := io.Copy(out, io.LimitReader(f.r, int64(limit)+1)); {
	case err != nil:
		m.in = nil
		return nil, fmt.Errorf("inflate: %w", err)
	case n > int64(limit):
		m.in = nil
		return nil, errInflated
	}
	m.in, m.out = append(m.in[:0], data...), out.Bytes()
	return m.out, nil
}
