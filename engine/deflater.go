package engine

import (
	"time"
	"unicode/utf8"

	"github.com/klauspost/compress/flate"
)

// deflater compresses messages, each on its own. It belongs to a loop, which makes it for its first client that wants it.
type deflater struct {
	wide, narrow *flate.Writer // by terms; 0.8 MB and 1.1 MB, nil until used
	out          sink
}

const (
	// maxDeflated bounds a message that is compressed, in bytes: a loop compresses it in less than a turn.
	maxDeflated = 256 << 10
	// deflateCost is the price of compressing a message, and of each KiB of it.
	deflateCost    = 10 * time.Microsecond
	deflateKiBCost = 8 * time.Microsecond
	// inflateKiBCost is the price of 1 KiB that a message inflates to, and inflateCost of the message.
	inflateCost    = 4 * time.Microsecond
	inflateKiBCost = 5 * time.Microsecond
)

// sink keeps what is written to it.
type sink struct{ b []byte }

func (s *sink) Write(b []byte) (int, error) {
	s.b = append(s.b, b...)
	return len(b), nil
}

// Deflate makes the compressed form of a frame that AppendFrame made, for all connections with these terms. nil: it goes out
// as it is, because it would not become smaller by a tenth, it is over 256 KiB, or the loop has compressed enough in this
// turn. On the loop.
func (l *Loop) Deflate(frame []byte, terms Deflate) []byte {
	h, size := ownHeader(frame)
	if terms == NoDeflate || h.length > maxDeflated || len(frame) != size+h.length {
		return nil
	}
	if l.deflating >= turnWork {
		l.count.notDeflated.Add(1)
		return nil
	}
	cost := deflateCost + time.Duration(h.length)*deflateKiBCost>>10
	l.deflating += cost
	l.spend(cost)
	payload := l.deflater.deflate(frame[size:], terms, l.srv.cfg.Deflate)
	l.count.deflated.Add(1)
	l.count.deflateIn.Add(uint64(h.length))
	if len(payload) > h.length-h.length/10 {
		l.count.deflateOut.Add(uint64(h.length))
		return nil
	}
	l.count.deflateOut.Add(uint64(len(payload)))
	out := AppendFrame(make([]byte, 0, len(payload)+maxHeader), h.op, payload)
	out[0] |= deflateBit
	return out
}

// deflate compresses a payload (RFC 7692, 7.2.1). The result is valid until the next call.
func (d *deflater) deflate(payload []byte, terms Deflate, window int) []byte {
	w := &d.wide
	if terms == DeflatedNarrow {
		w, window = &d.narrow, narrowWindow
	}
	if *w == nil {
		*w = newWriter(window)
	}
	d.out.b = d.out.b[:0]
	(*w).Reset(&d.out)
	_, _ = (*w).Write(payload) // a sink takes all
	_ = (*w).Flush()
	return d.out.b[:len(d.out.b)-len(lastBytes)]
}

// newWriter makes a compressor for a window. The fastest level costs two thirds of the others, and a tenth more bytes; it is
// there for the full window only.
func newWriter(window int) *flate.Writer {
	if window == maxWindow {
		w, err := flate.NewWriter(nil, flate.BestSpeed)
		if err == nil {
			return w
		}
	}
	w, err := flate.NewWriterWindow(nil, 1<<window)
	if err != nil {
		panic(err) // the window is one of Config's
	}
	return w
}

// ownHeader reads the header of a frame that AppendFrame made.
func ownHeader(frame []byte) (h header, size int) {
	if len(frame) < 2 {
		return h, 0
	}
	h.op, h.fin = Opcode(frame[0]&0x0F), true
	size, h.length = 2, int(frame[1])
	width := 0
	switch h.length {
	case 126:
		width = 2
	case 127:
		width = 8
	default:
		return h, size
	}
	if h.length = 0; len(frame) < size+width {
		return h, 0
	}
	for _, b := range frame[size : size+width] {
		h.length = h.length<<8 | int(b)
	}
	return h, size + width
}

// inflate puts the message that m compressed in its place.
func (l *Loop) inflate(m *message) *protocolError {
	if l.inflater == nil {
		l.inflater = new(inflater)
	}
	data, err := l.inflater.message(m.payload, l.srv.cfg.MaxMessage)
	l.spend(inflateCost + time.Duration(len(m.payload)+len(data))*inflateKiBCost>>10)
	if err != nil {
		return err
	}
	l.count.inflated.Add(1)
	l.count.inflateIn.Add(uint64(len(m.payload)))
	l.count.inflateOut.Add(uint64(len(data)))
	if m.op == OpText && !utf8.Valid(data) {
		return errText
	}
	m.payload = data
	return nil
}
