package pubsub

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"unicode/utf8"
)

// Attributes are what an event carries besides its data, for protocols that show it. Shared: nobody changes them.
type Attributes struct {
	// Name is the event's name, "" for none: UTF-8 of at most MaxText bytes.
	Name string
	// Info says who published it, a JSON object as protocols show it; nil for none, else MaxInfo bytes at most.
	Info json.RawMessage
	// Except is the public name of the session that does not get it, "" for none: UTF-8 of at most MaxText bytes.
	Except string
	// Tags are up to MaxTags, their keys and values UTF-8 of at most MaxText bytes each and MaxTagBytes all together.
	Tags map[string]string
}

// Bounds of Attributes, in bytes but for MaxTags.
const (
	MaxText = 255
	// MaxInfo has room for 1 KiB from a token, as much from a subscription's token, and names around them.
	MaxInfo     = 4 << 10
	MaxTags     = 16
	MaxTagBytes = 1 << 10
)

// empty reports whether there is nothing in a, which may be nil.
func (a *Attributes) empty() bool {
	return a == nil || a.Name == "" && len(a.Info) == 0 && a.Except == "" && len(a.Tags) == 0
}

// Validate returns nil if a, which may be nil, keeps the bounds, else an ErrBadEvent that names the bound.
func (a *Attributes) Validate() error {
	if a == nil {
		return nil
	}
	text := func(s string) bool { return len(s) <= MaxText && utf8.ValidString(s) }
	switch {
	case !text(a.Name):
		return fmt.Errorf("%w: the name must be UTF-8 of at most %d bytes", ErrBadEvent, MaxText)
	case !text(a.Except):
		return fmt.Errorf("%w: except must be UTF-8 of at most %d bytes", ErrBadEvent, MaxText)
	case len(a.Info) > MaxInfo:
		return fmt.Errorf("%w: info has %d bytes, at most %d are allowed", ErrBadEvent, len(a.Info), MaxInfo)
	case len(a.Info) > 0 && !isObject(a.Info):
		return fmt.Errorf("%w: info is not a JSON object", ErrBadEvent)
	case len(a.Tags) > MaxTags:
		return fmt.Errorf("%w: %d tags, at most %d are allowed", ErrBadEvent, len(a.Tags), MaxTags)
	}
	sum := 0
	for key, value := range a.Tags {
		if sum += len(key) + len(value); !text(key) || !text(value) || sum > MaxTagBytes {
			return fmt.Errorf("%w: tags must be UTF-8, their keys and values of at most %d bytes each and %d together", ErrBadEvent, MaxText, MaxTagBytes)
		}
	}
	return nil
}

// isObject reports whether text is one JSON object in UTF-8.
func isObject(text []byte) bool {
	head := bytes.TrimLeft(text, " \t\r\n")
	return len(head) > 0 && head[0] == '{' && utf8.Valid(text) && json.Valid(text)
}

// About what Attributes take beside their texts, in bytes: the struct; a map of up to 8 tags; more for each tag.
const attributesOverhead, tagsOverhead, tagOverhead = 64, 256, 48

// Size is about what a takes in memory, in bytes: 0 for nil.
func (a *Attributes) Size() int {
	if a == nil {
		return 0
	}
	n := attributesOverhead + len(a.Name) + len(a.Info) + len(a.Except)
	if len(a.Tags) > 0 {
		n += tagsOverhead
	}
	for key, value := range a.Tags {
		n += tagOverhead + len(key) + len(value)
	}
	return n
}

// An event's body is its data, and before it, where it has some, its attributes:
//
//	byte 0     0x02, which no JSON text begins with
//	           name, info and except: 2 bytes of length and the text, no text where there is none
//	           the number of tags, 1 byte
//	           of each tag key and value, as the texts above; in the order of the keys
//	the rest   data, verbatim
//
// Lengths are big endian. So it is in logs, in envelopes, and by itself on the channel of a topic without history.
const attributesMark = 0x02

// maxAttributes is what attributes add to a body at most.
const maxAttributes = 1 + 3*2 + 2*MaxText + MaxInfo + 1 + MaxTags*2*2 + MaxTagBytes

// body is what stands for p in envelopes and logs: without attributes p.Data itself.
func (p *Publication) body() []byte {
	if p.Attributes.empty() {
		return p.Data
	}
	return appendBody(make([]byte, 0, p.Attributes.Size()+len(p.Data)), p.Attributes, p.Data)
}

// appendBody appends the body of an event with attributes a, nil for none, to dst.
func appendBody(dst []byte, a *Attributes, data []byte) []byte {
	if a == nil {
		return append(dst, data...)
	}
	dst = append(dst, attributesMark)
	dst = appendText(dst, a.Name)
	dst = appendText(dst, a.Info)
	dst = appendText(dst, a.Except)
	dst = append(dst, byte(len(a.Tags)))
	for _, key := range slices.Sorted(maps.Keys(a.Tags)) {
		dst = appendText(dst, key)
		dst = appendText(dst, a.Tags[key])
	}
	return append(dst, data...)
}

func appendText[T string | json.RawMessage](dst []byte, text T) []byte {
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(text))), text...)
}

// parseBody reads what appendBody wrote; a is nil where there are no attributes. data, which is not looked at, and the
// info lie in body. ok is false for attributes that appendBody does not write so, are out of bounds, or empty.
func parseBody(body []byte) (a *Attributes, data []byte, ok bool) {
	if len(body) == 0 || body[0] != attributesMark {
		return nil, body, true
	}
	r := bodyReader{rest: body[1:]}
	a = &Attributes{Name: string(r.next()), Info: r.next(), Except: string(r.next())}
	n := int(r.byte())
	if r.short || n > MaxTags {
		return nil, nil, false
	}
	last := ""
	for i := range n {
		key, value := string(r.next()), string(r.next())
		if i > 0 && key <= last {
			return nil, nil, false
		}
		if a.Tags == nil {
			a.Tags = make(map[string]string, n)
		}
		a.Tags[key], last = value, key
	}
	if r.short || a.empty() || a.Validate() != nil {
		return nil, nil, false
	}
	return a, r.rest, true
}

// bodyReader reads the texts of a body one by one.
type bodyReader struct {
	rest  []byte
	short bool // rest ended too early
}

// next is the next text, nil if it is empty or missing.
func (r *bodyReader) next() []byte {
	n := int(r.byte())<<8 | int(r.byte())
	if n == 0 || r.short || n > len(r.rest) {
		r.short = r.short || n > len(r.rest)
		return nil
	}
	text := r.rest[:n:n]
	r.rest = r.rest[n:]
	return text
}

func (r *bodyReader) byte() byte {
	if len(r.rest) == 0 {
		r.short = true
		return 0
	}
	b := r.rest[0]
	r.rest = r.rest[1:]
	return b
}
