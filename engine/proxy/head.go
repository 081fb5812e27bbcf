package proxy

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"strconv"
	"strings"
)

// Head is the head of the PROXY protocol, version 1 or 2, as HAProxy's doc/proxy-protocol.txt has it.
type Head struct {
	// Size is its length in bytes. HTTP, or TLS, begins behind it.
	Size int
	// Addr is the client's address and port. The zero one stands for the socket's own: the proxy has come by itself (LOCAL),
	// does not know (UNKNOWN, UNSPEC), or was reached by a Unix socket.
	Addr netip.AddrPort
}

// The errors of ParseHead.
var (
	ErrNoHead   = errors.New("no PROXY protocol head")
	ErrLine     = errors.New("malformed line of the PROXY protocol, version 1")
	ErrCommand  = errors.New("unknown version or command in the PROXY protocol head")
	ErrFamily   = errors.New("unknown address family in the PROXY protocol head")
	ErrTooShort = errors.New("the PROXY protocol head is shorter than its addresses")
	ErrTooLong  = errors.New("the PROXY protocol head is too long")
)

// The first bytes of the two versions.
var (
	signature1 = []byte("PROXY ")
	signature2 = []byte("\r\n\r\n\x00\r\nQUIT\n")
)

const (
	maxLine = 107 // bytes of version 1, CR and LF included
	fixed   = 16  // bytes of version 2 before the addresses

	commandLocal = 0x20 // with the version
	commandProxy = 0x21
)

// ParseHead reads the head that b begins with. A Size of 0 without an error means that it is not whole yet; the first byte
// that no head can have there is an error. Heads of over limit bytes are ErrTooLong.
func ParseHead(b []byte, limit int) (Head, error) {
	switch {
	case begins(b, signature1):
		return parseLine(b)
	case begins(b, signature2):
		return parseBinary(b, limit)
	}
	return Head{}, ErrNoHead
}

// begins reports whether b begins with signature, or may once more of it has come.
func begins(b, signature []byte) bool {
	n := min(len(b), len(signature))
	return bytes.Equal(b[:n], signature[:n])
}

// parseLine reads version 1: PROXY TCP4 192.0.2.1 192.0.2.2 1234 80.
func parseLine(b []byte) (Head, error) {
	b = b[:min(len(b), maxLine)]
	end := bytes.IndexByte(b, '\n')
	switch {
	case end < 0 && len(b) == maxLine:
		return Head{}, ErrTooLong
	case end < 0:
		return Head{}, nil
	case end == 0 || b[end-1] != '\r':
		return Head{}, ErrLine
	}
	h := Head{Size: end + 1}
	line := string(b[len(signature1):max(end-1, len(signature1))])
	if line == "UNKNOWN" || strings.HasPrefix(line, "UNKNOWN ") {
		return h, nil
	}
	fields := strings.Split(line, " ")
	if len(fields) != 5 {
		return Head{}, ErrLine
	}
	from, ok1 := parseEnd(fields[0], fields[1], fields[3])
	_, ok2 := parseEnd(fields[0], fields[2], fields[4])
	if !ok1 || !ok2 {
		return Head{}, ErrLine
	}
	h.Addr = from
	return h, nil
}

// parseEnd reads an address of a family, and a port without leading zeros.
func parseEnd(family, host, port string) (netip.AddrPort, bool) {
	addr, err1 := netip.ParseAddr(host)
	n, err2 := strconv.ParseUint(port, 10, 16)
	switch {
	case err1 != nil, err2 != nil, strconv.FormatUint(n, 10) != port, addr.Zone() != "":
	case family == "TCP4" && addr.Is4(), family == "TCP6" && addr.Is6():
		return netip.AddrPortFrom(addr.Unmap(), uint16(n)), true
	}
	return netip.AddrPort{}, false
}

// parseBinary reads version 2. What stands behind its addresses is passed over.
func parseBinary(b []byte, limit int) (Head, error) {
	if len(b) > 12 && b[12] != commandLocal && b[12] != commandProxy {
		return Head{}, ErrCommand
	}
	if len(b) < fixed {
		return Head{}, nil
	}
	length := int(binary.BigEndian.Uint16(b[14:]))
	h := Head{Size: fixed + length}
	if h.Size > limit {
		return Head{}, ErrTooLong
	}
	addresses := 0 // bytes of both ends
	if b[12] == commandProxy {
		ok := false
		if addresses, ok = sizeOf(b[13]); !ok {
			return Head{}, ErrFamily
		}
	}
	switch {
	case length < addresses:
		return Head{}, ErrTooShort
	case len(b) < h.Size:
		return Head{}, nil
	}
	block := b[fixed:]
	switch addresses {
	case 12:
		h.Addr = netip.AddrPortFrom(netip.AddrFrom4([4]byte(block)), binary.BigEndian.Uint16(block[8:]))
	case 36:
		h.Addr = netip.AddrPortFrom(netip.AddrFrom16([16]byte(block)).Unmap(), binary.BigEndian.Uint16(block[32:]))
	}
	return h, nil
}

// sizeOf is how many bytes the two addresses of a family and transport have. A client of HTTP/3 came to its proxy by UDP.
func sizeOf(family byte) (n int, ok bool) {
	switch family {
	case 0x00: // UNSPEC
		return 0, true
	case 0x11, 0x12: // TCP, UDP over IPv4
		return 12, true
	case 0x21, 0x22: // over IPv6
		return 36, true
	case 0x31, 0x32: // Unix
		return 216, true
	}
	return 0, false
}
