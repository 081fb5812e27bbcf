package engine

import (
	"bytes"
	"crypto/tls"
	"reflect"
	"unsafe"
)

// A tls.Conn keeps the largest buffers that its handshake needed, some 3.4 KB, and there is no call that lets go of them.
// This file, and no other, reaches into a tls.Conn: for two bytes.Buffers and one bytes.Reader, all of them at rest. With a
// version of Go that has them elsewhere nothing is done, connections are larger, and a test fails.
var (
	rawInputField, rawInputKnown = tlsField[bytes.Buffer]("rawInput") // the record that is read; input is part of it
	handField, handKnown         = tlsField[bytes.Buffer]("hand")     // the handshake message that is read
	inputField, inputKnown       = tlsField[bytes.Reader]("input")    // the text that Read has not returned yet

	// knowsTLSBuffers is false with a version of Go that has the buffers elsewhere.
	knowsTLSBuffers = rawInputKnown && handKnown && inputKnown
)

func tlsField[T any](name string) (offset uintptr, ok bool) {
	f, ok := reflect.TypeFor[tls.Conn]().FieldByName(name)
	return f.Offset, ok && f.Type == reflect.TypeFor[T]()
}

func fieldOf[T any](c *tls.Conn, offset uintptr) *T {
	return (*T)(unsafe.Add(unsafe.Pointer(c), offset))
}

// lend has c, which has read all that it was given, use buf for what it reads next: a record must fit in, with
// 2 × bytes.MinRead more.
func lend(c *tls.Conn, buf []byte) {
	if raw := fieldOf[bytes.Buffer](c, rawInputField); knowsTLSBuffers && raw.Len() == 0 {
		*raw = *bytes.NewBuffer(buf[:0])
	}
}

// letGo frees the buffers of c: what was lent is the lender's again. An unread rest stays with c.
func letGo(c *tls.Conn) {
	if !knowsTLSBuffers {
		return
	}
	raw, hand, input := fieldOf[bytes.Buffer](c, rawInputField), fieldOf[bytes.Buffer](c, handField), fieldOf[bytes.Reader](c, inputField)
	if input.Len() > 0 {
		*input = *bytes.NewReader(restOf(input))
	} else {
		*input = bytes.Reader{}
	}
	if raw.Len() > 0 {
		*raw = *bytes.NewBuffer(bytes.Clone(raw.Bytes()))
	} else {
		*raw = bytes.Buffer{}
	}
	if hand.Len() == 0 {
		*hand = bytes.Buffer{}
	}
}

func restOf(r *bytes.Reader) []byte {
	rest := make([]byte, r.Len())
	_, _ = r.Read(rest)
	return rest
}
