package engine

import (
	"unicode/utf8"
	"unsafe"
)

// message is a complete message or control frame. Its payload is unmasked, and if op is OpText, UTF-8. With
// OpContinuation it is a fragment that completes nothing, and has no payload. Where it is deflated, the payload is
// compressed, and may be anything.
type message struct {
	op       Opcode
	deflated bool
	payload  []byte
}

// reader decodes what one client sends. Its zero value is ready; between messages it holds no memory
// beyond one pointer.
type reader struct {
	p *partial
}

// partial is the received part of a message or control frame that is not complete.
type partial struct {
	// The message. op is OpContinuation until its first header is complete.
	payload  []byte
	text     utf8Validator
	op       Opcode
	deflated bool

	// The frame: its header as far as it has come, then the part of the payload that is missing.
	head     [maxHeader]byte
	headSize uint8
	inside   bool // the header is complete
	frame    header

	// The part that has come of a control frame, which may stand between the fragments of a message.
	control []byte
}

// next takes the next message, control frame or fragment out of data, which it unmasks in place. more is false if
// data, then used up, completes no frame. The payload may lie in data and is valid until the next
// call. limit bounds a message in bytes, all its fragments together. deflate says that messages may be compressed. After an error the stream cannot be
// read on, and the reader holds nothing; but behind a message that is too big it keeps its place, and what is sent
// from there on, rest first, can be skimmed.
func (r *reader) next(data []byte, limit int, deflate bool) (m message, rest []byte, more bool, err *protocolError) {
	if r.p == nil {
		h, size, err := parseHeader(data, false, limit, deflate)
		if err != nil {
			return message{}, data, false, err
		}
		if size > 0 && h.fin && h.length <= len(data)-size {
			payload := data[size : size+h.length : size+h.length]
			_, ascii := unmask(payload, h.key)
			if h.op == OpText && !ascii && !h.deflated && !utf8.Valid(payload) {
				return message{}, nil, false, errText
			}
			return message{h.op, h.deflated, payload}, data[size+h.length:], true, nil
		}
		if len(data) == 0 {
			return message{}, nil, false, nil
		}
		r.p = new(partial)
	}

	m, rest, more, err = r.p.next(data, limit, deflate)
	switch {
	case err == errTooBig:
		r.p.payload = nil // its place in the stream is still wanted
	case err != nil, more && !r.p.begun():
		r.p = nil // m keeps what it needs
	}
	return m, rest, more, err
}

// held is the memory held for incomplete messages and frames, in bytes.
func (r *reader) held() int {
	if r.p == nil {
		return 0
	}
	return int(unsafe.Sizeof(*r.p)) + cap(r.p.payload) + cap(r.p.control)
}

// drop frees incomplete messages and frames.
func (r *reader) drop() { r.p = nil }

// midMessage reports whether a message or control frame has begun and is not complete.
func (r *reader) midMessage() bool { return r.p != nil }

// begun reports whether a fragmented message is open. It is asked between two frames.
func (p *partial) begun() bool { return p.op != OpContinuation }

func (p *partial) next(data []byte, limit int, deflate bool) (m message, rest []byte, more bool, err *protocolError) {
	if !p.inside {
		if data, err = p.readHeader(data, limit, deflate); err != nil || !p.inside {
			return message{}, data, false, err
		}
	}
	n := min(p.frame.length, len(data))
	chunk := data[:n:n]
	data = data[n:]
	p.frame.key, _ = unmask(chunk, p.frame.key)
	p.frame.length -= n
	p.inside = p.frame.length > 0

	if p.frame.op.control() {
		p.control = gather(p.control, chunk, maxControl)
		if p.inside {
			return message{}, nil, false, nil
		}
		m = message{op: p.frame.op, payload: p.control}
		p.control = nil
		return m, data, true, nil
	}

	last := p.frame.fin && !p.inside
	if p.op == OpText && !p.deflated && (!p.text.feed(chunk) || last && !p.text.done()) {
		return message{}, nil, false, errText
	}
	p.payload = gather(p.payload, chunk, p.limit(limit))
	if last {
		m = message{p.op, p.deflated, p.payload}
		p.op, p.deflated = OpContinuation, false
	}
	return m, data, !p.inside, nil
}

// readHeader takes a frame's header, or as much of it as data has.
func (p *partial) readHeader(data []byte, limit int, deflate bool) (rest []byte, err *protocolError) {
	n := copy(p.head[p.headSize:], data)
	h, size, err := parseHeader(p.head[:int(p.headSize)+n], p.begun(), p.limit(limit)-len(p.payload), deflate && !p.begun())
	if err != nil {
		return data, err
	}
	if size == 0 {
		p.headSize += uint8(n)
		return nil, nil
	}
	data = data[size-int(p.headSize):]
	p.frame, p.inside, p.headSize = h, true, 0
	if !h.op.control() && !p.begun() {
		p.op, p.deflated = h.op, h.deflated
	}
	return data, nil
}

// limit bounds the payload, where that of a message is limit.
func (p *partial) limit(limit int) int {
	if p.deflated {
		return deflateRoom(limit)
	}
	return limit
}

// gather appends chunk to buf, which never gets more than limit bytes. It grows with what has arrived,
// not with what was announced: a client that announces much and sends nothing costs nothing.
func gather(buf, chunk []byte, limit int) []byte {
	if need := len(buf) + len(chunk); need > cap(buf) {
		grown := make([]byte, len(buf), min(max(need, 2*cap(buf), 64), limit))
		copy(grown, buf)
		buf = grown
	}
	return append(buf, chunk...)
}
