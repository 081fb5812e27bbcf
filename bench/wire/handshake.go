package wire

import (
	"bytes"
	"crypto/sha1" // the handshake's own hash (RFC 6455, 4.2.2)
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// headLimit bounds the head of the server's answer.
const headLimit = 8 << 10

const acceptGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

// ErrHandshake is what every defect of an answer that did say 101 wraps.
var ErrHandshake = errors.New("bad handshake answer")

// Refused is a server's answer other than 101.
type Refused struct {
	Status string // such as "503 Service Unavailable"
}

func (r Refused) Error() string { return "refused: " + r.Status }

// Request is what every handshake of one run has in common.
type Request struct {
	Host        string
	Subprotocol string   // offered, and to be selected by the server; empty for none
	Header      []string // further lines, "Name: value"
	Deflate     bool     // permessage-deflate without context takeover is offered, and must be agreed on
	Stream      bool     // asks for text/event-stream over plain HTTP, and no WebSocket
}

// Key is the Sec-WebSocket-Key of a client's nth socket. It is derived, so that nobody has to remember it
// while the handshake is under way.
func Key(client, nth uint32) string {
	var raw [16]byte
	binary.BigEndian.PutUint64(raw[:], uint64(client)<<32|uint64(nth))
	binary.BigEndian.PutUint64(raw[8:], (uint64(client)<<32|uint64(nth))*0x9e3779b97f4a7c15)
	return base64.StdEncoding.EncodeToString(raw[:])
}

// Append appends the handshake request for a path (with its query).
func (r Request) Append(dst []byte, path, key string) []byte {
	dst = append(dst, "GET "...)
	dst = append(dst, path...)
	dst = append(dst, " HTTP/1.1\r\nHost: "...)
	dst = append(dst, r.Host...)
	if r.Stream {
		dst = append(dst, "\r\nAccept: text/event-stream"...)
	} else {
		dst = append(dst, "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "...)
		dst = append(dst, key...)
	}
	if r.Subprotocol != "" {
		dst = append(dst, "\r\nSec-WebSocket-Protocol: "...)
		dst = append(dst, r.Subprotocol...)
	}
	if r.Deflate {
		dst = append(dst, "\r\nSec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover"...)
	}
	for _, line := range r.Header {
		dst = append(dst, "\r\n"...)
		dst = append(dst, line...)
	}
	return append(dst, "\r\n\r\n"...)
}

// Answer checks the server's answer that b begins with and returns its size: 0 when b holds only a part
// of it. Anything but a correct 101, or of a stream 200, is an error: Refused, or one that wraps ErrHandshake.
func (r Request) Answer(b []byte, key string) (int, error) {
	end := bytes.Index(b, []byte("\r\n\r\n"))
	if end < 0 {
		if len(b) > headLimit {
			return 0, fmt.Errorf("%w: head over %d bytes", ErrHandshake, headLimit)
		}
		if known := min(len(b), len("HTTP/1.1 ")); string(b[:known]) != "HTTP/1.1 "[:known] {
			return 0, fmt.Errorf("%w: not HTTP/1.1: %.20q", ErrHandshake, b)
		}
		return 0, nil
	}
	lines := strings.Split(string(b[:end]), "\r\n")
	status, ok := strings.CutPrefix(lines[0], "HTTP/1.1 ")
	if !ok {
		return 0, fmt.Errorf("%w: not HTTP/1.1: %.20q", ErrHandshake, lines[0])
	}
	want := "101"
	if r.Stream {
		want = "200"
	}
	if code, _, _ := strings.Cut(status, " "); code != want {
		return 0, Refused{Status: strings.TrimSpace(status)}
	}
	if r.Stream {
		for _, line := range lines[1:] {
			if name, value, _ := strings.Cut(line, ":"); strings.EqualFold(name, "Content-Type") && strings.HasPrefix(strings.TrimSpace(value), "text/event-stream") {
				return end + 4, nil
			}
		}
		return 0, fmt.Errorf("%w: no stream of events", ErrHandshake)
	}
	if err := r.validateHeader(lines[1:], key); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrHandshake, err)
	}
	return end + 4, nil
}

func (r Request) validateHeader(lines []string, key string) error {
	seen := map[string]string{}
	for _, line := range lines {
		name, value, ok := strings.Cut(line, ":")
		if !ok || name == "" || strings.ContainsAny(name, " \t") {
			return fmt.Errorf("header line %q", line)
		}
		name = strings.ToLower(name)
		if _, twice := seen[name]; twice && strings.HasPrefix(name, "sec-websocket-") {
			return fmt.Errorf("%s twice", name)
		}
		seen[name] = strings.TrimSpace(value)
	}
	switch sum := sha1.Sum([]byte(key + acceptGUID)); {
	case !strings.EqualFold(seen["upgrade"], "websocket"):
		return fmt.Errorf("header Upgrade is %q", seen["upgrade"])
	case !hasToken(seen["connection"], "upgrade"):
		return fmt.Errorf("header Connection is %q", seen["connection"])
	case seen["sec-websocket-accept"] != base64.StdEncoding.EncodeToString(sum[:]):
		return errors.New("Sec-WebSocket-Accept does not fit the key")
	case seen["sec-websocket-protocol"] != r.Subprotocol:
		return fmt.Errorf("subprotocol %q selected, %q offered", seen["sec-websocket-protocol"], r.Subprotocol)
	case r.Deflate && !isDeflate(seen["sec-websocket-extensions"]):
		return fmt.Errorf("extensions %q, where permessage-deflate with server_no_context_takeover was offered: does the server compress?", seen["sec-websocket-extensions"])
	case !r.Deflate && seen["sec-websocket-extensions"] != "":
		return fmt.Errorf("extensions %q were never offered", seen["sec-websocket-extensions"])
	}
	return nil
}

// isDeflate reports whether the extensions agreed on are permessage-deflate whose messages each stand for themselves.
func isDeflate(extensions string) bool {
	name, params, _ := strings.Cut(extensions, ";")
	for param := range strings.SplitSeq(params, ";") {
		if strings.TrimSpace(param) == "server_no_context_takeover" {
			return strings.TrimSpace(name) == "permessage-deflate"
		}
	}
	return false
}

func hasToken(list, token string) bool {
	for part := range strings.SplitSeq(list, ",") {
		if strings.EqualFold(strings.TrimSpace(part), token) {
			return true
		}
	}
	return false
}
