package engine

// Records and messages of TLS (RFC 8446, 5.1 and 4), as far as they have to be told from each other without keys.
const (
	recordHeader = 5
	// maxRecord bounds a record, its header included: 2^14 bytes of text and what versions up to 1.2 may add (RFC 5246, 6.2.3).
	maxRecord = recordHeader + 1<<14 + 2048

	alertRecord       = 0x15
	handshakeRecord   = 0x16
	helloMessage      = 1 // ClientHello
	handshakeHeader   = 4
	helloAtLeast      = 38 // version, random, and the lengths of three lists
	maxHelloRecords   = 64 // of one ClientHello; a few clients cut it into two or three
	unexpectedMessage = 10 // an alert
)

// maxHello bounds a ClientHello with its record headers, and what comes behind it before it is answered, in bytes.
// Browsers send 2 KiB at most, and a session ticket may add some.
const maxHello = 16 << 10

// helloScanner looks at the bytes that open a TLS connection, each once: for the end of the ClientHello, and for the
// first byte that can't belong to one. Its zero value is ready. crypto/tls judges the rest.
type helloScanner struct {
	message int // bytes of the handshake message that have come, its header included
	length  int // of its body, once its header has come
	left    int // of the record's fragment
	records uint8
	head    [recordHeader]byte
	headLen uint8
}

// next takes the next bytes. whole is true once the ClientHello has come whole, fits false if it is none.
func (s *helloScanner) next(b []byte) (whole, fits bool) {
	for len(b) > 0 {
		if s.left == 0 {
			if !s.readHeader(b[0]) {
				return false, false
			}
			b = b[1:]
			continue
		}
		n := min(s.left, len(b))
		for _, c := range b[:min(n, max(handshakeHeader-s.message, 0))] {
			if !s.readMessage(c) {
				return false, false
			}
			n--
			s.left--
			b = b[1:]
		}
		s.message += n
		s.left -= n
		b = b[n:]
		if s.message >= handshakeHeader && s.message >= handshakeHeader+s.length {
			return true, true
		}
	}
	return false, true
}

// readHeader takes a byte of a record's header.
func (s *helloScanner) readHeader(c byte) bool {
	s.head[s.headLen] = c
	s.headLen++
	switch s.headLen {
	case 1:
		s.records++
		return c == handshakeRecord && s.records <= maxHelloRecords
	case 2:
		return c == 3
	case recordHeader:
		s.headLen = 0
		s.left = int(s.head[3])<<8 | int(s.head[4])
		return s.left > 0 && s.left <= 1<<14
	}
	return true
}

// readMessage takes a byte of the message's header.
func (s *helloScanner) readMessage(c byte) bool {
	s.message++
	if s.message == 1 {
		return c == helloMessage
	}
	s.length = s.length<<8 | int(c)
	return s.message < handshakeHeader || s.length >= helloAtLeast && s.length <= maxHello
}

// recordSize is the size of the record that b begins with, its header included, or 0 while its header has not come whole. A
// record that is too long is as long as its header: crypto/tls refuses it by that.
func recordSize(b []byte) int {
	if len(b) < recordHeader {
		return 0
	}
	if n := recordHeader + (int(b[3])<<8 | int(b[4])); n <= maxRecord {
		return n
	}
	return recordHeader
}
