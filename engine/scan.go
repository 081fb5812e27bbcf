package engine

import "bytes"

// headScanner looks at a head that comes in pieces, each byte once: for its end, and for the first byte that no
// HTTP request head can have there. Its zero value is ready. It refuses nothing that parse would take; parse judges
// the rest.
type headScanner struct {
	place headPlace
	lines uint16 // header lines that have begun
}

// headPlace is the part of a head that the next byte belongs to.
type headPlace uint8

const (
	beforeMethod headPlace = iota
	inMethod
	beforeTarget
	inTarget
	inVersion // the first of as many places as a version has bytes
)

const (
	afterVersion = inVersion + headPlace(len(version)) + iota
	afterLine    // its CR has come
	beforeName
	inName
	inValue
	beforeEnd // the CR of the blank line has come
)

// version is the shape of an HTTP version: a 0 stands for a digit.
const version = "HTTP/0.0"

// next takes the next bytes of a head. end is the number of those that belong to it once it is whole, else -1.
func (s *headScanner) next(b []byte) (end int, refusal *Refusal) {
	for i, c := range b {
		if s.place == inValue && c >= ' ' && c != 0x7F || s.place == inName && tokenByte[c] {
			continue // by far the most
		}
		if s.place == beforeEnd && c == '\n' {
			return i + 1, nil
		}
		if refusal := s.step(c); refusal != nil {
			return -1, refusal
		}
	}
	return -1, nil
}

// step takes one byte.
func (s *headScanner) step(c byte) *Refusal {
	switch p := s.place; {
	case (c < ' ' && c != '\t' && c != '\r') || c == 0x7F:
		if c == '\n' && p == afterLine {
			s.place = beforeName
			return nil
		}
		return refuseLines
	case p == afterLine, p == beforeEnd:
		return refuseLines
	case p < afterVersion:
		return s.stepRequestLine(c)
	case c == '\r' && (p == afterVersion || p == inValue):
		s.place = afterLine
	case p == afterVersion:
		return refuseHead
	case p == inValue: // a tab
	case p == beforeName && c == '\r':
		s.place = beforeEnd
	case p == beforeName && (c == ' ' || c == '\t'):
		return refuseFolding
	case p == inName && c == ':':
		s.place = inValue
	case p == beforeName && tokenByte[c]:
		if s.lines++; s.lines > maxHeaderLines {
			return refuseTooMany
		}
		s.place = inName
	default:
		return refuseName
	}
	return nil
}

func (s *headScanner) stepRequestLine(c byte) *Refusal {
	switch p := s.place; {
	case p <= inMethod && tokenByte[c]:
		s.place = inMethod
	case p == inMethod && c == ' ':
		s.place = beforeTarget
	case p <= inMethod:
		return refuseHead
	case p <= inTarget && c > ' ' && c < 0x7F:
		s.place = inTarget
	case p == inTarget && c == ' ':
		s.place = inVersion
	case p <= inTarget:
		return refuseHead
	default:
		want := version[p-inVersion]
		if c != want && (want != '0' || !isDigit(c)) {
			return refuseHead
		}
		s.place++
	}
	return nil
}

// foreign names the protocol of bytes that begin with no HTTP request line, if it is one of those that now and then
// find the wrong port; else it returns refusal. The answer is HTTP for all: TLS clients take it, by its first bytes,
// for the sign that there is no TLS here.
func foreign(b []byte, refusal *Refusal) *Refusal {
	const proxyV2 = "\r\n\r\n\x00\r\nQUIT\n"
	switch {
	case len(b) == 0:
		return refusal
	case b[0] == 0x16: // a record of TLS' handshake protocol
		return refuseTLS
	case bytes.HasPrefix(b, []byte("PROXY ")), len(b) > 4 && bytes.HasPrefix(b, []byte(proxyV2[:5])):
		return refuseProxy
	case bytes.HasPrefix(b, []byte("SSH-")):
		return refuseSSH
	}
	return refusal
}
