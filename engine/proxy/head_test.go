package proxy

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"
)

// binaryHead is a head of version 2 that announces so many bytes and has this block.
func binaryHead(command, family byte, length int, block string) string {
	return string(binary.BigEndian.AppendUint16(append(append([]byte{}, signature2...), command, family), uint16(length))) + block
}

const (
	ends4 = "\xc0\x00\x02\x01\xc0\x00\x02\x02\x04\xd2\x00\x50" // 192.0.2.1:1234 to 192.0.2.2:80
	ends6 = "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01" +
		"\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x04\xd2\x00\x50"
	mapped = "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xc0\x00\x02\x01" +
		"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xc0\x00\x02\x02\x04\xd2\x00\x50"
)

var heads = []struct {
	name, head, want string // want is the address, "" for the socket's
	err              error
}{
	{"v1 IPv4", "PROXY TCP4 192.0.2.1 192.0.2.2 1234 80\r\n", "192.0.2.1:1234", nil},
	{"v1 IPv6", "PROXY TCP6 2001:db8::1 2001:db8::2 1234 80\r\n", "[2001:db8::1]:1234", nil},
	{"v1 IPv4 in IPv6", "PROXY TCP6 ::ffff:192.0.2.1 ::ffff:192.0.2.2 1234 80\r\n", "192.0.2.1:1234", nil},
	{"v1 unknown", "PROXY UNKNOWN\r\n", "", nil},
	{"v1 unknown with more", "PROXY UNKNOWN ffff::1 what ever\r\n", "", nil},
	{"v1 the longest", "PROXY UNKNOWN " + strings.Repeat("x", 107-16) + "\r\n", "", nil},
	{"v1 longer", "PROXY UNKNOWN " + strings.Repeat("x", 107-15) + "\r\n", "", ErrTooLong},
	{"v1 without end", "PROXY TCP4 " + strings.Repeat("1", 100), "", ErrTooLong},
	{"v1 bare LF", "PROXY TCP4 192.0.2.1 192.0.2.2 1234 80\n", "", ErrLine},
	{"v1 nothing", "PROXY \r\n", "", ErrLine},
	{"v1 two blanks", "PROXY TCP4  192.0.2.1 192.0.2.2 1234 80\r\n", "", ErrLine},
	{"v1 blank at the end", "PROXY TCP4 192.0.2.1 192.0.2.2 1234 80 \r\n", "", ErrLine},
	{"v1 CR within", "PROXY TCP4 192.0.2.1 192.0.2.2 1234\r 80\r\n", "", ErrLine},
	{"v1 family in lower case", "PROXY tcp4 192.0.2.1 192.0.2.2 1234 80\r\n", "", ErrLine},
	{"v1 UDP", "PROXY UDP4 192.0.2.1 192.0.2.2 1234 80\r\n", "", ErrLine},
	{"v1 wrong family", "PROXY TCP4 2001:db8::1 2001:db8::2 1234 80\r\n", "", ErrLine},
	{"v1 mixed families", "PROXY TCP6 2001:db8::1 192.0.2.2 1234 80\r\n", "", ErrLine},
	{"v1 zone", "PROXY TCP6 fe80::1%eth0 fe80::2 1234 80\r\n", "", ErrLine},
	{"v1 octal", "PROXY TCP4 192.0.2.01 192.0.2.2 1234 80\r\n", "", ErrLine},
	{"v1 port with zero", "PROXY TCP4 192.0.2.1 192.0.2.2 01234 80\r\n", "", ErrLine},
	{"v1 port with sign", "PROXY TCP4 192.0.2.1 192.0.2.2 +1234 80\r\n", "", ErrLine},
	{"v1 port too large", "PROXY TCP4 192.0.2.1 192.0.2.2 65536 80\r\n", "", ErrLine},
	{"v1 a port is missing", "PROXY TCP4 192.0.2.1 192.0.2.2 1234\r\n", "", ErrLine},

	{"v2 IPv4", binaryHead(0x21, 0x11, 12, ends4), "192.0.2.1:1234", nil},
	{"v2 IPv6", binaryHead(0x21, 0x21, 36, ends6), "[2001:db8::1]:1234", nil},
	{"v2 IPv4 in IPv6", binaryHead(0x21, 0x21, 36, mapped), "192.0.2.1:1234", nil},
	{"v2 UDP, as HTTP/3", binaryHead(0x21, 0x12, 12, ends4), "192.0.2.1:1234", nil},
	{"v2 with more behind", binaryHead(0x21, 0x11, 12+7, ends4+"\x03\x00\x04abcd"), "192.0.2.1:1234", nil},
	{"v2 Unix", binaryHead(0x21, 0x31, 216, strings.Repeat("/", 216)), "", nil},
	{"v2 unspecified", binaryHead(0x21, 0x00, 0, ""), "", nil},
	{"v2 unspecified with more", binaryHead(0x21, 0x00, 5, "?????"), "", nil},
	{"v2 local", binaryHead(0x20, 0x00, 0, ""), "", nil},
	{"v2 local with addresses", binaryHead(0x20, 0x11, 12, ends4), "", nil},
	{"v2 local of no family", binaryHead(0x20, 0xff, 3, "abc"), "", nil},
	{"v2 too short for IPv4", binaryHead(0x21, 0x11, 11, ends4), "", ErrTooShort},
	{"v2 too short for IPv6", binaryHead(0x21, 0x21, 12, ends4), "", ErrTooShort},
	{"v2 too short for Unix", binaryHead(0x21, 0x31, 12, ends4), "", ErrTooShort},
	{"v2 without addresses", binaryHead(0x21, 0x11, 0, ""), "", ErrTooShort},
	{"v2 over the limit", binaryHead(0x21, 0x11, 4096-15, ends4), "", ErrTooLong},
	{"v2 the largest length", binaryHead(0x20, 0x00, 65535, ""), "", ErrTooLong},
	{"v2 version 3", binaryHead(0x31, 0x11, 12, ends4), "", ErrCommand},
	{"v2 version 1", binaryHead(0x11, 0x11, 12, ends4), "", ErrCommand},
	{"v2 unknown command", binaryHead(0x22, 0x11, 12, ends4), "", ErrCommand},
	{"v2 unknown family", binaryHead(0x21, 0x41, 12, ends4), "", ErrFamily},
	{"v2 unknown transport", binaryHead(0x21, 0x13, 12, ends4), "", ErrFamily},
	{"v2 family without transport", binaryHead(0x21, 0x10, 12, ends4), "", ErrFamily},

	{"HTTP", "GET / HTTP/1.1\r\n", "", ErrNoHead},
	{"TLS", "\x16\x03\x01", "", ErrNoHead},
	{"POST", "POST / HTTP/1.1\r\n", "", ErrNoHead},
	{"an empty line first", "\r\nGET", "", ErrNoHead},
	{"one wrong byte in the signature", "\r\n\r\n\x00\r\nQUIX", "", ErrNoHead},
}

// Heads come whole, or in pieces, and with bytes behind them.
func TestHeadsOfTheProxyProtocol(t *testing.T) {
	for _, c := range heads {
		h, err := ParseHead([]byte(c.head+"GET /"), 4096)
		switch {
		case !errors.Is(err, c.err):
			t.Errorf("%s: error %v, want %v", c.name, err, c.err)
		case err == nil && (h.Size != len(c.head) || addressOf(h) != c.want):
			t.Errorf("%s: %d bytes of %d, from %s, want %q", c.name, h.Size, len(c.head), h.Addr, c.want)
		}
		for n := range len(c.head) {
			h, err := ParseHead([]byte(c.head[:n]), 4096)
			if h.Size != 0 || c.err == nil && err != nil {
				t.Errorf("%s: of %d bytes %+v, %v", c.name, n, h, err)
				break
			}
		}
	}
}

func addressOf(h Head) string {
	if !h.Addr.IsValid() {
		return ""
	}
	return h.Addr.String()
}

// A head that is refused is refused at the first byte that can't be there, and stays so.
func FuzzProxyHead(f *testing.F) {
	for _, c := range heads {
		f.Add([]byte(c.head))
		f.Add([]byte(c.head + "GET / HTTP/1.1\r\n"))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		const limit = 4096
		whole, wrong := 0, false
		for n := range min(len(b), limit+1) + 1 {
			if n > len(b) {
				break
			}
			h, err := ParseHead(b[:n], limit)
			switch {
			case err != nil && whole == 0:
				wrong = true
			case err != nil:
				t.Fatalf("whole with %d bytes, and %v with %d", whole, err, n)
			case wrong:
				t.Fatalf("refused before, and %+v with %d bytes", h, n)
			case h.Size > n || whole > 0 && h.Size != whole || h.Size > limit:
				t.Fatalf("%+v of %d bytes; before: %d", h, n, whole)
			case h.Size > 0:
				whole = h.Size
			}
		}
		if len(b) > limit && whole == 0 && !wrong {
			t.Fatalf("%d bytes are neither whole nor refused", len(b))
		}
	})
}

func TestAWholeHeadCostsNoMemory(t *testing.T) {
	head := []byte(binaryHead(0x21, 0x11, 12, ends4))
	if n := testing.AllocsPerRun(100, func() { _, _ = ParseHead(head, 4096) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
