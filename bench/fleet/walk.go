package fleet

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"strconv"
)

// field is one field of a message that comes as JSON or as Protobuf.
type field struct {
	name   string // in JSON, with quotes
	number int    // in Protobuf
}

var (
	errProtobuf = errors.New("not Protobuf")
	errField    = errors.New("a field of another type than it must have")
)

// walk goes through the fields of one object. After the last one, err reports whether the object was as it
// must be. It allocates nothing.
type walk struct {
	protobuf bool
	rest     []byte
	name     []byte // JSON: of the member, with quotes; nil in an array
	number   int    // Protobuf: of the field
	value    []byte // JSON: as it stands; Protobuf: of a field with a length, else nil
	scalar   uint64 // Protobuf: of a field without one
	err      error
}

// walkJSON begins a walk through text, which must be an object.
func walkJSON(text []byte) walk {
	if !json.Valid(text) {
		return walk{err: errNotJSON}
	}
	w := walk{value: trim(text)}
	return w.inner()
}

// inner begins a walk through the object that the field holds.
func (w *walk) inner() walk {
	switch {
	case w.protobuf && w.value != nil:
		return walk{protobuf: true, rest: w.value}
	case !w.protobuf && w.value[0] == '{':
		return walk{rest: w.value[1:]}
	}
	return walk{protobuf: w.protobuf, err: errField}
}

// failed notes an error of what the field holds.
func (w *walk) failed(err error) {
	if w.err == nil {
		w.err = err
	}
}

// next moves on to the next field and reports whether there is one.
func (w *walk) next() bool {
	switch {
	case w.err != nil:
		return false
	case w.protobuf:
		return w.nextField()
	}
	return w.nextValue(true)
}

// nextValue moves on to the next member of an object, or the next element of an array.
func (w *walk) nextValue(object bool) bool {
	w.rest = trim(w.rest)
	if w.rest[0] == ',' {
		w.rest = trim(w.rest[1:])
	}
	if w.rest[0] == '}' || w.rest[0] == ']' {
		return false
	}
	if object {
		end := valueEnd(w.rest)
		w.name, w.rest = w.rest[:end], trim(w.rest[end:])
		w.rest = trim(w.rest[1:]) // the colon
	}
	end := valueEnd(w.rest)
	w.value, w.rest = w.rest[:end], w.rest[end:]
	return true
}

// nextField moves on to the next field of Protobuf.
func (w *walk) nextField() bool {
	if len(w.rest) == 0 {
		return false
	}
	tag, ok := w.varint()
	w.number, w.value, w.scalar = int(tag>>3&math.MaxInt32), nil, 0
	size := uint64(0)
	switch {
	case !ok:
	case tag&7 == 0:
		w.scalar, ok = w.varint()
	case tag&7 == 1:
		size = 8
	case tag&7 == 2:
		size, ok = w.varint()
	case tag&7 == 5:
		size = 4
	default:
		ok = false
	}
	if !ok || size > uint64(len(w.rest)) || w.number == 0 {
		w.err = errProtobuf
		return false
	}
	if tag&7 == 2 {
		w.value = w.rest[:size:size]
	}
	w.rest = w.rest[size:]
	return true
}

func (w *walk) varint() (uint64, bool) {
	n, size := binary.Uvarint(w.rest)
	if size <= 0 {
		return 0, false
	}
	w.rest = w.rest[size:]
	return n, true
}

// is reports whether the field is f.
func (w *walk) is(f field) bool {
	if w.protobuf {
		return w.number == f.number
	}
	return string(w.name) == f.name
}

// uint returns a number.
func (w *walk) uint() uint64 {
	if w.protobuf {
		if w.value != nil {
			w.failed(errField)
		}
		return w.scalar
	}
	n, err := strconv.ParseUint(string(w.value), 10, 64)
	if err != nil {
		w.failed(errField)
	}
	return n
}

// yes returns a truth value.
func (w *walk) yes() bool {
	if w.protobuf {
		return w.scalar != 0
	}
	return string(w.value) == "true"
}

// text returns a string.
func (w *walk) text() string {
	switch {
	case w.protobuf && w.value != nil:
		return string(w.value)
	case !w.protobuf && w.value[0] == '"':
		return unquote(w.value)
	}
	w.failed(errField)
	return ""
}

// elements calls f for each element of a list: Protobuf has a field for each, JSON an array of them.
func (w *walk) elements(f func(*walk)) {
	if w.protobuf {
		f(w)
		return
	}
	if w.value[0] != '[' {
		w.failed(errField)
		return
	}
	in := walk{rest: w.value[1:]}
	for in.err == nil && in.nextValue(false) {
		f(&in)
	}
	w.failed(in.err)
}

// entries calls f for each entry of a map: Protobuf has a field for each, JSON an object of them.
func (w *walk) entries(f func(key string, value *walk)) {
	in := w.inner()
	if !w.protobuf {
		for in.next() {
			f(unquote(in.name), &in)
		}
		w.failed(in.err)
		return
	}
	key, value := "", walk{protobuf: true, value: []byte{}}
	for in.next() {
		switch in.number {
		case 1:
			key = in.text()
		case 2:
			value.value = in.value
		}
	}
	f(key, &value)
	w.failed(in.err)
	w.failed(value.err)
}

// unquote reads a valid JSON string.
func unquote(quoted []byte) string {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return string(quoted[1 : len(quoted)-1])
	}
	var s string
	_ = json.Unmarshal(quoted, &s) // it is valid
	return s
}

func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\n' || b[0] == '\t' || b[0] == '\r') {
		b = b[1:]
	}
	return b
}

// valueEnd returns the size of the JSON value that b begins with: valid JSON, and not all of it.
func valueEnd(b []byte) int {
	switch b[0] {
	case '"':
		return stringEnd(b)
	case '{', '[':
	default:
		return bytes.IndexAny(b, ",]} \n\t\r")
	}
	depth := 0
	for i := 0; ; i++ {
		switch b[i] {
		case '"':
			i += stringEnd(b[i:]) - 1
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
}

// stringEnd returns the size of the JSON string that b begins with.
func stringEnd(b []byte) int {
	for i := 1; ; i++ {
		i += bytes.IndexByte(b[i:], '"')
		escapes := 0
		for b[i-1-escapes] == '\\' {
			escapes++
		}
		if escapes%2 == 0 {
			return i + 1
		}
	}
}
