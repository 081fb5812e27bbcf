package engine

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
)

// tableLimit is the message limit that the frame cases are written for.
const tableLimit = 64 << 10

// frameCase is what a client sends once its connection is open, and what a strict server makes of it.
type frameCase struct {
	name string
	in   []byte
	want []message // in order; a Close ends them
	err  uint16    // the close code that whatever follows them earns, 0 if nothing is wrong
}

var testKey = [4]byte{0xA1, 0x02, 0xF3, 0x7C}

// clientFrame is a masked frame with its length in the shortest form.
func clientFrame(first byte, payload string) []byte {
	b := AppendFrameHeader(nil, OpText, len(payload))
	b[0], b[1] = first, b[1]|maskBit
	b = append(b, testKey[:]...)
	for i := range len(payload) {
		b = append(b, payload[i]^testKey[i%4])
	}
	return b
}

const (
	finText, finBinary, finContinuation = 0x81, 0x82, 0x80
	text, binaryOp, continuation        = 0x01, 0x02, 0x00
	finClose, finPing, finPong          = 0x88, 0x89, 0x8A
)

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func rawHex(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

func closePayload(code uint16, reason string) string {
	return string(binary.BigEndian.AppendUint16(nil, code)) + reason
}

func msg(op Opcode, payload string) message { return message{op: op, payload: []byte(payload)} }

// frameCases is RFC 6455, 5 to 8, rule by rule. The numbers in brackets are its sections.
func frameCases() []frameCase {
	long := func(n int) string { return strings.Repeat("0123456789abcdef", n/16+1)[:n] }
	cases := []frameCase{
		// These must be understood.
		{"text [5.6]", clientFrame(finText, "Hello"), []message{msg(OpText, "Hello")}, 0},
		{"text of the RFC's example [5.7]", rawHex("81 85 37fa213d 7f9f4d5158"), []message{msg(OpText, "Hello")}, 0},
		{"binary [5.6]", clientFrame(finBinary, "\x00\xFF\xC0"), []message{msg(OpBinary, "\x00\xFF\xC0")}, 0},
		{"empty text", clientFrame(finText, ""), []message{msg(OpText, "")}, 0},
		{"empty binary", clientFrame(finBinary, ""), []message{msg(OpBinary, "")}, 0},
		{"mask of zeros", rawHex("81 82 00000000 6869"), []message{msg(OpText, "hi")}, 0},
		{"several frames in one segment", join(clientFrame(finText, "a"), clientFrame(finBinary, "b"), clientFrame(finText, "")),
			[]message{msg(OpText, "a"), msg(OpBinary, "b"), msg(OpText, "")}, 0},
		{"two fragments [5.4]", join(clientFrame(text, "Hel"), clientFrame(finContinuation, "lo")), []message{msg(OpText, "Hello")}, 0},
		{"binary fragments [5.4]", join(clientFrame(binaryOp, "\xFF"), clientFrame(continuation, "\xFE"), clientFrame(finContinuation, "\xFD")),
			[]message{msg(OpBinary, "\xFF\xFE\xFD")}, 0},
		{"empty fragments", join(clientFrame(text, ""), clientFrame(continuation, ""), clientFrame(finContinuation, "")),
			[]message{msg(OpText, "")}, 0},
		{"empty fragments around a full one", join(clientFrame(text, ""), clientFrame(continuation, "x"), clientFrame(finContinuation, "")),
			[]message{msg(OpText, "x")}, 0},
		{"only the last fragment has a payload", join(clientFrame(text, ""), clientFrame(finContinuation, "x")), []message{msg(OpText, "x")}, 0},
		{"2000 fragments of one byte", join(clientFrame(text, ""), bytes.Repeat(clientFrame(continuation, "x"), 2000), clientFrame(finContinuation, "")),
			[]message{msg(OpText, strings.Repeat("x", 2000))}, 0},
		{"a message after a fragmented one", join(clientFrame(text, "a"), clientFrame(finContinuation, "b"), clientFrame(finBinary, "c")),
			[]message{msg(OpText, "ab"), msg(OpBinary, "c")}, 0},
		{"ping [5.5.2]", clientFrame(finPing, "are you there"), []message{msg(OpPing, "are you there")}, 0},
		{"empty ping", clientFrame(finPing, ""), []message{msg(OpPing, "")}, 0},
		{"ping of 125 bytes [5.5]", clientFrame(finPing, long(125)), []message{msg(OpPing, long(125))}, 0},
		{"ping that is not UTF-8", clientFrame(finPing, "\xFF\xFE"), []message{msg(OpPing, "\xFF\xFE")}, 0},
		{"unasked pong [5.5.3]", join(clientFrame(finPong, "p"), clientFrame(finText, "t")), []message{msg(OpPong, "p"), msg(OpText, "t")}, 0},
		{"ping between fragments [5.4]", join(clientFrame(text, "a"), clientFrame(finPing, "p"), clientFrame(finContinuation, "b")),
			[]message{msg(OpPing, "p"), msg(OpText, "ab")}, 0},
		{"pings between all fragments", join(clientFrame(text, "a"), clientFrame(finPing, "1"), clientFrame(continuation, "b"), clientFrame(finPing, "2"), clientFrame(finPong, "3"), clientFrame(finContinuation, "c")),
			[]message{msg(OpPing, "1"), msg(OpPing, "2"), msg(OpPong, "3"), msg(OpText, "abc")}, 0},
		{"long pings between fragments", join(clientFrame(text, "a"), clientFrame(finPing, "the first"), clientFrame(finPing, "the second"), clientFrame(finContinuation, "b")),
			[]message{msg(OpPing, "the first"), msg(OpPing, "the second"), msg(OpText, "ab")}, 0},
		{"ping within a character", join(clientFrame(text, "\xE2\x82"), clientFrame(finPing, "\xAC"), clientFrame(finContinuation, "\xAC")),
			[]message{msg(OpPing, "\xAC"), msg(OpText, "€")}, 0},

		// Close [5.5.1, 7.4].
		{"close without a code", clientFrame(finClose, ""), []message{msg(OpClose, "")}, 0},
		{"close with a reason", clientFrame(finClose, closePayload(1000, "bye ☮")), []message{msg(OpClose, closePayload(1000, "bye ☮"))}, 0},
		{"close of 125 bytes", clientFrame(finClose, closePayload(1000, long(123))), []message{msg(OpClose, closePayload(1000, long(123)))}, 0},
		{"close between fragments", join(clientFrame(text, "a"), clientFrame(finClose, "")), []message{msg(OpClose, "")}, 0},
		{"whatever follows a close", join(clientFrame(finClose, ""), rawHex("FF FF FF FF")), []message{msg(OpClose, "")}, 0},
		{"close of one byte", clientFrame(finClose, "\x03"), nil, 1002},
		{"close of 126 bytes", clientFrame(finClose, closePayload(1000, long(124))), nil, 1002},
		{"close with a reason not UTF-8", clientFrame(finClose, closePayload(1000, "\xC3\x28")), nil, 1007},
		{"close with a reason cut within a character", clientFrame(finClose, closePayload(1000, "\xE2\x82")), nil, 1007},

		// Reserved bits and opcodes [5.2].
		{"RSV1", clientFrame(finText|0x40, "x"), nil, 1002},
		{"RSV2", clientFrame(finText|0x20, "x"), nil, 1002},
		{"RSV3", clientFrame(finText|0x10, "x"), nil, 1002},
		{"RSV on a ping", clientFrame(finPing|0x40, ""), nil, 1002},
		{"RSV on a continuation", join(clientFrame(text, "a"), clientFrame(finContinuation|0x40, "b")), nil, 1002},
		{"RSV on a close", clientFrame(finClose|0x10, ""), nil, 1002},

		// Masking [5.1].
		{"unmasked text", rawHex("81 02 6869"), nil, 1002},
		{"unmasked empty text", rawHex("81 00"), nil, 1002},
		{"unmasked ping", rawHex("89 00"), nil, 1002},
		{"unmasked close", rawHex("88 02 03E8"), nil, 1002},
		{"unmasked second fragment", join(clientFrame(text, "a"), rawHex("80 01 62")), nil, 1002},
		{"unmasked and too long", rawHex("81 7F 7000000000000000"), nil, 1002},

		// Lengths [5.2].
		{"125 in 16 bits", rawHex("82 FE 007D"), nil, 1002},
		{"0 in 16 bits", rawHex("82 FE 0000"), nil, 1002},
		{"65535 in 64 bits", rawHex("82 FF 000000000000FFFF"), nil, 1002},
		{"5 in 64 bits", rawHex("81 FF 0000000000000005"), nil, 1002},
		{"length with its highest bit", rawHex("82 FF 8000000000000000"), nil, 1002},
		{"all length bits", rawHex("82 FF FFFFFFFFFFFFFFFF"), nil, 1002},

		// Control frames [5.5].
		{"ping of 126 bytes", clientFrame(finPing, long(126)), nil, 1002},
		{"pong of 126 bytes", clientFrame(finPong, long(126)), nil, 1002},
		{"ping of 65536 bytes", clientFrame(finPing, long(65536)), nil, 1002},
		{"ping over every limit", rawHex("89 FF 7000000000000000"), nil, 1002},
		{"short ping in 16 bits", rawHex("89 FE 0001"), nil, 1002},
		{"fragmented ping", clientFrame(0x09, "x"), nil, 1002},
		{"fragmented pong", clientFrame(0x0A, ""), nil, 1002},
		{"fragmented close", clientFrame(0x08, ""), nil, 1002},

		// Fragments in order [5.4].
		{"continuation of nothing", clientFrame(finContinuation, "x"), nil, 1002},
		{"open continuation of nothing", clientFrame(continuation, "x"), nil, 1002},
		{"continuation of a whole message", join(clientFrame(finText, "a"), clientFrame(finContinuation, "b")), []message{msg(OpText, "a")}, 1002},
		{"continuation after the last fragment", join(clientFrame(text, "a"), clientFrame(finContinuation, "b"), clientFrame(continuation, "c")),
			[]message{msg(OpText, "ab")}, 1002},
		{"continuation of a ping", join(clientFrame(finPing, ""), clientFrame(finContinuation, "")), []message{msg(OpPing, "")}, 1002},
		{"text within a fragmented text", join(clientFrame(text, "a"), clientFrame(finText, "b")), nil, 1002},
		{"fragment of a text within another", join(clientFrame(text, "a"), clientFrame(text, "b")), nil, 1002},
		{"binary within a fragmented text", join(clientFrame(text, ""), clientFrame(finBinary, "")), nil, 1002},
		{"text within a fragmented binary", join(clientFrame(binaryOp, ""), clientFrame(finPing, ""), clientFrame(finText, "")), []message{msg(OpPing, "")}, 1002},

		// The message limit: from the header, before any payload.
		{"message at the limit", clientFrame(finBinary, long(tableLimit)), []message{msg(OpBinary, long(tableLimit))}, 0},
		{"message over the limit", rawHex("82 FF 0000000000010001"), nil, 1009},
		{"message far over the limit", rawHex("81 FF 7FFFFFFFFFFFFFFF"), nil, 1009},
		{"fragment over the limit", rawHex("02 FF 0000000000010001"), nil, 1009},
		{"fragments at the limit", join(clientFrame(binaryOp, long(40000)), clientFrame(finContinuation, long(tableLimit-40000))),
			[]message{msg(OpBinary, long(40000)+long(tableLimit-40000))}, 0},
		{"fragments over the limit", join(clientFrame(binaryOp, long(40000)), rawHex("80 FE 6400")), nil, 1009},
		{"one byte over the limit after a ping", join(clientFrame(binaryOp, long(tableLimit)), clientFrame(finPing, "p"), rawHex("80 81")),
			[]message{msg(OpPing, "p")}, 1009},

		// UTF-8 [8.1].
		{"characters of all lengths", clientFrame(finText, "$£€𐍈"), []message{msg(OpText, "$£€𐍈")}, 0},
		{"the last characters of each length", clientFrame(finText, "\x7F\u07FF\uFFFF\U0010FFFF"), []message{msg(OpText, "\x7F\u07FF\uFFFF\U0010FFFF")}, 0},
		{"around the surrogates", clientFrame(finText, "\uD7FF\uE000"), []message{msg(OpText, "\uD7FF\uE000")}, 0},
		{"a NUL", clientFrame(finText, "a\x00b"), []message{msg(OpText, "a\x00b")}, 0},
		{"character over two fragments", join(clientFrame(text, "\xF0\x90"), clientFrame(finContinuation, "\x8D\x88")), []message{msg(OpText, "𐍈")}, 0},
		{"character over four fragments", join(clientFrame(text, "\xF0"), clientFrame(continuation, "\x90"), clientFrame(continuation, "\x8D"), clientFrame(finContinuation, "\x88")),
			[]message{msg(OpText, "𐍈")}, 0},
		{"long text beyond ASCII", clientFrame(finText, strings.Repeat("κόσμε", 500)), []message{msg(OpText, strings.Repeat("κόσμε", 500))}, 0},
		{"bad byte behind long ASCII", clientFrame(finText, long(1000)+"\xFF"), nil, 1007},
		{"bad byte in an unfinished frame", clientFrame(finText, "ab\xFF"+long(100))[:6+3], nil, 1007},
		{"bad byte in an unfinished long frame", clientFrame(finText, "\xC0"+long(1000))[:8+1], nil, 1007},
		{"bad byte in the first fragment", clientFrame(text, "\xFF"), nil, 1007},
		{"bad byte in the second fragment", join(clientFrame(text, "κ"), clientFrame(continuation, "\xED\xA0")), nil, 1007},
		{"bad byte over two fragments", join(clientFrame(text, "\xF4"), clientFrame(continuation, "\x90")), nil, 1007},
		{"character cut by the message's end", clientFrame(finText, "abc\xE2\x82"), nil, 1007},
		{"character cut by the last fragment's end", join(clientFrame(text, "\xE2"), clientFrame(finContinuation, "\x82")), nil, 1007},
		{"character cut by an empty last fragment", join(clientFrame(text, "\xE2\x82"), clientFrame(finContinuation, "")), nil, 1007},
		{"a good message before a bad one", join(clientFrame(finText, "good"), clientFrame(finText, "\x80")), []message{msg(OpText, "good")}, 1007},
	}

	for _, op := range []byte{3, 4, 5, 6, 7, 0xB, 0xC, 0xD, 0xE, 0xF} {
		cases = append(cases, frameCase{fmt.Sprintf("reserved opcode %#x [5.2]", op), clientFrame(0x80|op, ""), nil, 1002})
	}
	for _, n := range []int{1, 7, 8, 9, 31, 32, 33, 124, 125, 126, 127, 65535, 65536} {
		cases = append(cases, frameCase{fmt.Sprintf("text of %d bytes", n), clientFrame(finText, long(n)), []message{msg(OpText, long(n))}, 0})
	}
	for _, code := range []uint16{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999} {
		payload := closePayload(code, "")
		cases = append(cases, frameCase{fmt.Sprintf("close %d [7.4]", code), clientFrame(finClose, payload), []message{msg(OpClose, payload)}, 0})
	}
	for _, code := range []uint16{0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535} {
		cases = append(cases, frameCase{fmt.Sprintf("close %d must not be sent [7.4]", code), clientFrame(finClose, closePayload(code, "")), nil, 1002})
	}
	for _, bad := range []string{
		"\x80", "\xBF", "\xC0\x80", "\xC1\xBF", "\xC2\x41", "\xE0\x80\x80", "\xE0\x9F\xBF", "\xE1\x80\xC0", "\xED\xA0\x80", "\xED\xBF\xBF",
		"\xF0\x80\x80\x80", "\xF0\x8F\xBF\xBF", "\xF0\x90\x80\x41", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xF8\x88\x80\x80\x80", "\xFC", "\xFE", "\xFF",
	} {
		cases = append(cases, frameCase{fmt.Sprintf("text % X [8.1]", bad), clientFrame(finText, "a"+bad+"z"), nil, 1007})
	}
	return cases
}

const tablePath = "/notification"

// tableOrigins is what the handshake cases are written for, besides Host: hub.example.com.
var tableOrigins = []string{"https://app.example.com", "https://*.wild.example", "http://port.example:8080", "capacitor://localhost"}

// handshakeCase is a head that a client sends and how it is answered.
type handshakeCase struct {
	name   string
	head   string
	status int
	has    string // a line of the answer, or its beginning
}

// goodLines are the RFC's own example [1.2].
var goodLines = []string{
	"GET /notification HTTP/1.1",
	"Host: hub.example.com",
	"Upgrade: websocket",
	"Connection: Upgrade",
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
	"Sec-WebSocket-Version: 13",
}

// head is the good handshake with edits: "GET …" is another request line, "-Name" takes a header away,
// "+Name: value" adds one, "Name: value" replaces one.
func head(edits ...string) string {
	lines := append([]string(nil), goodLines...)
	for _, e := range edits {
		name, _, _ := strings.Cut(strings.TrimLeft(e, "+-"), ":")
		at := -1
		for i, l := range lines {
			if i > 0 && strings.HasPrefix(l, name+":") {
				at = i
			}
		}
		switch {
		case e[0] == '+':
			lines = append(lines, e[1:])
		case e[0] == '-':
			lines = append(lines[:at], lines[at+1:]...)
		case at > 0:
			lines[at] = e
		default:
			lines[0] = e
		}
	}
	return strings.Join(lines, "\r\n") + "\r\n\r\n"
}

// handshakeCases is RFC 6455, 4.2, and what RFC 9112 asks of a server that stands behind proxies.
func handshakeCases() []handshakeCase {
	const accept = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
	return []handshakeCase{
		// These must be accepted.
		{"the RFC's example", head(), 101, accept},
		{"switching", head(), 101, "Connection: Upgrade"},
		{"switching to", head(), 101, "Upgrade: websocket"},
		{"header names in any case", head("-Host", "-Sec-WebSocket-Key", "+HOST: hub.example.com", "+sec-websocket-KEY: dGhlIHNhbXBsZSBub25jZQ=="), 101, accept},
		{"tokens in any case", head("Upgrade: WebSocket", "Connection: UPGRADE"), 101, ""},
		{"tokens in lists", head("Upgrade: h2c, websocket", "Connection: keep-alive,  Upgrade"), 101, ""},
		{"tokens over several lines", head("Connection: keep-alive", "+Connection: upgrade", "Upgrade: h2c", "+Upgrade: websocket"), 101, ""},
		{"lists with empty elements", head("Connection: ,, Upgrade ,"), 101, ""},
		{"values without space", head("-Host", "+Host:hub.example.com"), 101, ""},
		{"values with more space", head("Sec-WebSocket-Version:  \t 13 \t"), 101, ""},
		{"query", head("GET /notification?user=42&topic=%C3%A9 HTTP/1.1"), 101, ""},
		{"absolute target", head("GET http://hub.example.com/notification HTTP/1.1"), 101, ""},
		{"absolute target, its scheme in other letters (RFC 3986, 3.1)", head("GET hTtp://hub.example.com/notification HTTP/1.1"), 101, ""},
		{"HTTP/1.2", head("GET /notification HTTP/1.2"), 101, ""},
		{"Host with a port", head("Host: hub.example.com:3000"), 101, ""},
		{"Host an IPv4 address", head("Host: 192.0.2.1:3000"), 101, ""},
		{"Host an IPv6 address", head("Host: [2001:db8::1]:3000"), 101, ""},
		{"header line empty", head("+X-Empty:"), 101, ""},
		{"header line beyond ASCII", head("+X-Name: Jos\xE9, José"), 101, ""},
		{"body of no length", head("+Content-Length: 0"), 101, ""},
		{"subprotocols are no duty", head("+Sec-WebSocket-Protocol: a, b"), 101, ""},
		{"extensions are not taken up", head("+Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits; x=\"10\", foo"), 101, ""},
		{"16 subprotocols", head("+Sec-WebSocket-Protocol: " + numbered(16)), 101, ""},
		{"key with loose last bits", head("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZR=="), 101, ""},

		// The request line.
		{"nothing", "\r\n\r\n", 400, "Connection: close"},
		{"garbage", "\x17\x03\x01\x02\x00\x01\r\n\r\n", 400, refuseLines.Reason},
		{"TLS", "\x16\x03\x01\x02\x00\x01\r\n\r\n", 400, refuseTLS.Reason},
		{"PROXY protocol before the head", "PROXY TCP4 192.0.2.1 192.0.2.2 1234 80\r\n" + head(), 400, refuseProxy.Reason},
		{"no target", head("GET HTTP/1.1"), 400, refuseHead.Reason},
		{"two spaces", head("GET  /notification HTTP/1.1"), 400, refuseHead.Reason},
		{"tab for space", head("GET\t/notification HTTP/1.1"), 400, refuseHead.Reason},
		{"four parts", head("GET /notification x HTTP/1.1"), 400, refuseHead.Reason},
		{"space at the end", head("GET /notification HTTP/1.1 "), 400, refuseHead.Reason},
		{"space at the beginning", head(" GET /notification HTTP/1.1"), 400, refuseHead.Reason},
		{"HTTP/0.9", "GET /notification\r\n\r\n", 400, refuseHead.Reason},
		{"HTTP/1.0", head("GET /notification HTTP/1.0"), 400, refuseVersion.Reason},
		{"HTTP/2.0", head("GET /notification HTTP/2.0"), 400, refuseVersion.Reason},
		{"HTTP/11", head("GET /notification HTTP/1.10"), 400, refuseHead.Reason},
		{"http in lower case", head("GET /notification http/1.1"), 400, refuseHead.Reason},
		{"target beyond ASCII", head("GET /notification?a=é HTTP/1.1"), 400, refuseHead.Reason},
		{"bad percent encoding", head("GET /notification%zz HTTP/1.1"), 400, refuseTarget.Reason},
		{"relative target", head("GET notification HTTP/1.1"), 400, refuseTarget.Reason},
		{"fragment [3]", head("GET /notification#x HTTP/1.1"), 400, refuseTarget.Reason},
		{"fragment behind a query", head("GET /notification?a=1#x HTTP/1.1"), 400, refuseTarget.Reason},
		{"absolute target of another host", head("GET http://evil.example/notification HTTP/1.1"), 400, refuseTarget.Reason},
		{"absolute target with a user", head("GET http://u:p@hub.example.com/notification HTTP/1.1"), 400, refuseTarget.Reason},
		{"absolute target of another scheme", head("GET ftp://hub.example.com/notification HTTP/1.1"), 400, refuseTarget.Reason},
		{"method no token", head("GE(T /notification HTTP/1.1"), 400, refuseHead.Reason},
		{"POST", head("POST /notification HTTP/1.1"), 405, "Allow: GET"},
		{"HEAD", head("HEAD /notification HTTP/1.1"), 405, "Allow: GET"},
		{"get in lower case", head("get /notification HTTP/1.1"), 405, refuseMethod.Reason},
		{"CONNECT", head("CONNECT hub.example.com:80 HTTP/1.1"), 405, refuseMethod.Reason},
		{"OPTIONS", head("OPTIONS * HTTP/1.1"), 405, refuseMethod.Reason},
		{"other path", head("GET /other HTTP/1.1"), 404, refusePath.Reason},
		{"longer path", head("GET /notification/ HTTP/1.1"), 404, refusePath.Reason},
		{"path in other case", head("GET /Notification HTTP/1.1"), 404, refusePath.Reason},
		{"path with needless escapes", head("GET /notif%69cation HTTP/1.1"), 404, refusePath.Reason},
		{"path with dots", head("GET /x/../notification HTTP/1.1"), 404, refusePath.Reason},
		{"two slashes", head("GET //notification HTTP/1.1"), 404, refusePath.Reason},
		{"star", head("GET * HTTP/1.1"), 404, refusePath.Reason},

		// Header lines (RFC 9112, 2.2 and 5).
		{"bare LF", strings.ReplaceAll(head(), "\r\n", "\n"), 400, refuseLines.Reason},
		{"bare LF once", strings.Replace(head(), "\r\n", "\n", 1), 400, refuseLines.Reason},
		{"bare LF at the end", strings.TrimSuffix(head(), "\r\n") + "\n", 400, refuseLines.Reason},
		{"bare CR", head("+X-A: a\rb"), 400, refuseLines.Reason},
		{"bare CR before CR LF", head("+X-A: a\r"), 400, refuseLines.Reason},
		{"NUL", head("+X-A: a\x00b"), 400, refuseLines.Reason},
		{"DEL", head("+X-A: a\x7Fb"), 400, refuseLines.Reason},
		{"escape character", head("+X-A: \x1B[31m"), 400, refuseLines.Reason},
		{"folded line", head("+X-A: a\r\n b"), 400, refuseFolding.Reason},
		{"folded line with a tab", head("+X-A: a\r\n\tb"), 400, refuseFolding.Reason},
		{"folded first line", head("GET /notification HTTP/1.1\r\n X: y"), 400, refuseFolding.Reason},
		{"space before the colon", head("+X-A : b"), 400, refuseName.Reason},
		{"no colon", head("+X-A b"), 400, refuseName.Reason},
		{"no colon, no space", head("+X-A"), 400, refuseName.Reason},
		{"no name", head("+: b"), 400, refuseName.Reason},
		{"name no token", head("+X(A): b"), 400, refuseName.Reason},
		{"name beyond ASCII", head("+Ho\u017Ft: b"), 400, refuseName.Reason},

		{"256 header lines", head("+" + strings.Repeat("X-A: a\r\n", 256-5-1) + "X-A: a"), 101, ""},
		{"257 header lines", head("+" + strings.Repeat("X-A: a\r\n", 257-5-1) + "X-A: a"), 431, refuseTooMany.Reason},

		// Bodies and smuggling.
		{"body", head("+Content-Length: 5"), 413, refuseBody.Reason},
		{"chunked body", head("+Transfer-Encoding: chunked"), 413, refuseBody.Reason},
		{"unknown coding", head("+Transfer-Encoding: gzip"), 413, refuseBody.Reason},
		{"length beyond all integers", head("+Content-Length: 99999999999999999999999"), 413, refuseBody.Reason},
		{"body of a POST", head("POST /notification HTTP/1.1", "+Content-Length: 5"), 405, refuseMethod.Reason},
		{"two lengths", head("+Content-Length: 0", "+Content-Length: 5"), 400, refuseLength.Reason},
		{"the same length twice", head("+Content-Length: 0", "+Content-Length: 0"), 400, refuseLength.Reason},
		{"list of lengths", head("+Content-Length: 0, 0"), 400, refuseLength.Reason},
		{"negative length", head("+Content-Length: -1"), 400, refuseLength.Reason},
		{"length with a plus", head("+Content-Length: +0"), 400, refuseLength.Reason},
		{"length in hex", head("+Content-Length: 0x0"), 400, refuseLength.Reason},
		{"empty length", head("+Content-Length:"), 400, refuseLength.Reason},
		{"space before the length's colon", head("+Content-Length : 5"), 400, refuseName.Reason},
		{"length and coding", head("+Content-Length: 0", "+Transfer-Encoding: chunked"), 400, refuseLength.Reason},
		{"two codings", head("+Transfer-Encoding: identity", "+Transfer-Encoding: chunked"), 400, refuseLength.Reason},

		// Upgrade, Connection [4.2.1, 3 and 4].
		{"plain GET", "GET / HTTP/1.1\r\nHost: hub.example.com\r\n\r\n", 426, "Upgrade: websocket"},
		{"plain GET says that it closes", "GET / HTTP/1.1\r\nHost: hub.example.com\r\n\r\n", 426, "Connection: upgrade, close"},
		{"other upgrade", head("Upgrade: h2c"), 426, refuseUpgrade.Reason},
		{"upgrade with a version", head("Upgrade: websocket/13"), 426, refuseUpgrade.Reason},
		{"upgrade with more letters", head("Upgrade: websockets"), 426, refuseUpgrade.Reason},
		{"upgrade with a Kelvin sign for k", head("Upgrade: websoc\u212Aet"), 426, refuseUpgrade.Reason},
		{"empty upgrade", head("Upgrade:"), 426, refuseUpgrade.Reason},
		{"no Connection", head("-Connection"), 400, refuseConnection.Reason},
		{"other Connection", head("Connection: keep-alive"), 400, refuseConnection.Reason},
		{"Connection close to upgrade", head("Connection: upgraded"), 400, refuseConnection.Reason},

		// Key and version [4.2.1, 5 and 6].
		{"no key", head("-Sec-WebSocket-Key"), 400, refuseKey.Reason},
		{"empty key", head("Sec-WebSocket-Key:"), 400, refuseKey.Reason},
		{"two keys", head("+Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="), 400, refuseKey.Reason},
		{"key of 15 bytes", head("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j"), 400, refuseKey.Reason},
		{"key of 17 bytes", head("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZWU="), 400, refuseKey.Reason},
		{"key of 18 bytes", head("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZWVl"), 400, refuseKey.Reason},
		{"key without padding", head("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ"), 400, refuseKey.Reason},
		{"key in the URL alphabet", head("Sec-WebSocket-Key: -_hlIHNhbXBsZSBub25jZQ=="), 400, refuseKey.Reason},
		{"key with garbage", head("Sec-WebSocket-Key: dGhlIHNhbXBs!SBub25jZQ=="), 400, refuseKey.Reason},
		{"no version", head("-Sec-WebSocket-Version"), 426, "Sec-WebSocket-Version: 13"},
		{"version 8", head("Sec-WebSocket-Version: 8"), 426, "Sec-WebSocket-Version: 13"},
		{"version 14", head("Sec-WebSocket-Version: 14"), 426, refuseVersion13.Reason},
		{"version 013", head("Sec-WebSocket-Version: 013"), 426, refuseVersion13.Reason},
		{"versions in a list", head("Sec-WebSocket-Version: 13, 8"), 426, refuseVersion13.Reason},
		{"two versions", head("+Sec-WebSocket-Version: 13"), 400, refuseTwice.Reason},

		// Host (RFC 9112, 3.2).
		{"no Host", head("-Host"), 400, refuseHost.Reason},
		{"empty Host", head("Host:"), 400, refuseHost.Reason},
		{"two Hosts", head("+Host: hub.example.com"), 400, refuseHost.Reason},
		{"Host with a path", head("Host: hub.example.com/x"), 400, refuseHost.Reason},
		{"Host with a user", head("Host: u@hub.example.com"), 400, refuseHost.Reason},
		{"Host with a space", head("Host: hub example.com"), 400, refuseHost.Reason},
		{"Host with a bad port", head("Host: hub.example.com:99999"), 400, refuseHost.Reason},
		{"Host with a port of letters", head("Host: hub.example.com:http"), 400, refuseHost.Reason},
		{"Host an IPv6 address without brackets", head("Host: 2001:db8::1"), 400, refuseHost.Reason},
		{"Host half in brackets", head("Host: [::1"), 400, refuseHost.Reason},
		{"Hosts in a list", head("Host: a.example, b.example"), 400, refuseHost.Reason},
		{"plain GET without Host", "GET / HTTP/1.1\r\n\r\n", 400, refuseHost.Reason},
		{"plain GET with a bad Host", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400, refuseHost.Reason},
		{"plain GET with an absolute target of another host", "GET http://evil.example/ HTTP/1.1\r\nHost: hub.example.com\r\n\r\n", 400, refuseTarget.Reason},

		// Subprotocols and extensions [4.1, 10 and 11; 9.1].
		{"subprotocol no token", head("+Sec-WebSocket-Protocol: a b"), 400, refuseProtocol.Reason},
		{"subprotocol twice", head("+Sec-WebSocket-Protocol: a, a"), 400, refuseProtocol.Reason},
		{"subprotocol twice over two lines", head("+Sec-WebSocket-Protocol: a", "+Sec-WebSocket-Protocol: b, a"), 400, refuseProtocol.Reason},
		{"no subprotocol", head("+Sec-WebSocket-Protocol: ,,"), 400, refuseProtocol.Reason},
		{"empty subprotocol", head("+Sec-WebSocket-Protocol:"), 400, refuseProtocol.Reason},
		{"17 subprotocols", head("+Sec-WebSocket-Protocol: " + numbered(17)), 400, refuseProtocol.Reason},
		{"extension no token", head("+Sec-WebSocket-Extensions: per message"), 400, refuseExtensions.Reason},
		{"extension with an empty parameter", head("+Sec-WebSocket-Extensions: x; =1"), 400, refuseExtensions.Reason},
		{"extension with an empty value", head("+Sec-WebSocket-Extensions: x; a="), 400, refuseExtensions.Reason},
		{"extension with a value no token", head("+Sec-WebSocket-Extensions: x; a=\"b c\""), 400, refuseExtensions.Reason},
		{"extension with an open quote", head("+Sec-WebSocket-Extensions: x; a=\"b"), 400, refuseExtensions.Reason},

		// Origin [10.2].
		{"own origin", head("+Origin: https://hub.example.com"), 101, ""},
		{"loopback origin", head("+Origin: http://localhost:5173"), 101, ""},
		{"listed origin", head("+Origin: https://app.example.com"), 101, ""},
		{"origin below a listed domain", head("+Origin: https://a.b.wild.example"), 101, ""},
		{"foreign origin", head("+Origin: https://evil.example"), 403, refuseOrigin.Reason},
		{"null origin", head("+Origin: null"), 403, refuseOrigin.Reason},
		{"empty origin", head("+Origin:"), 400, refuseTwoOrigins.Reason},
		{"two origins", head("+Origin: https://app.example.com", "+Origin: https://evil.example"), 400, refuseTwoOrigins.Reason},

		// Which refusal comes first.
		{"method before body", head("PUT /other HTTP/1.1", "+Content-Length: 1", "-Upgrade"), 405, refuseMethod.Reason},
		{"body before upgrade", head("GET /other HTTP/1.1", "+Content-Length: 1", "-Upgrade"), 413, refuseBody.Reason},
		{"upgrade before path", head("GET /other HTTP/1.1", "-Upgrade"), 426, "Upgrade: websocket"},
		{"path before connection", head("GET /other HTTP/1.1", "-Connection", "-Sec-WebSocket-Key"), 404, refusePath.Reason},
		{"key before version", head("-Sec-WebSocket-Key", "-Sec-WebSocket-Version"), 400, refuseKey.Reason},
		{"version before origin", head("Sec-WebSocket-Version: 8", "+Origin: https://evil.example"), 426, refuseVersion13.Reason},
	}
}

// numbered is a list of n different tokens.
func numbered(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "p%d, ", i)
	}
	return strings.TrimSuffix(b.String(), ", ")
}
