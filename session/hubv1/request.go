package hubv1

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
)

// request is what a hub.v1 client sent, cut into its members and not read any further: each kind of request
// reads those it needs. A member that is absent or null is nil, but for id, where null is no value. All of it
// lies in the client's frame: keep copies.
type request struct {
	kind, id, topic, since, data, key, limit, token, positions, presence, after json.RawMessage

	unknown int // members of other names
}

var errNoObject = errors.New("the message is not an object")

// parseRequest cuts payload into its members. Their names are exact, upper and lower case too: a second reader,
// a proxy say, must not see another message in it than this one does. Of several with one name the last counts.
func parseRequest(payload []byte) (m request, err error) {
	if !json.Valid(payload) {
		return m, errors.New("the message is not JSON")
	}
	payload = bytes.Trim(payload, " \t\r\n")
	if payload[0] != '{' {
		return m, errNoObject
	}
	for rest := skipBlanks(payload[1:]); rest[0] != '}'; {
		n := valueEnd(rest)
		name := rest[:n]
		rest = skipBlanks(skipBlanks(rest[n:])[1:]) // behind the colon
		n = valueEnd(rest)
		m.set(name, rest[:n:n])
		if rest = skipBlanks(rest[n:]); rest[0] == ',' {
			rest = skipBlanks(rest[1:])
		}
	}
	return m, nil
}

// set takes one member, whose name stands in quotes.
func (m *request) set(name, value json.RawMessage) {
	if bytes.IndexByte(name, '\\') >= 0 {
		var s string
		_ = json.Unmarshal(name, &s) // it is valid
		name = append(append([]byte{'"'}, s...), '"')
	}
	null := string(value) == "null"
	if string(name) == `"id"` {
		m.id = value
		return
	}
	if null {
		value = nil
	}
	switch string(name) {
	case `"type"`:
		m.kind = value
	case `"topic"`:
		m.topic = value
	case `"since"`:
		m.since = value
	case `"data"`:
		m.data = value
		if null {
			m.data = json.RawMessage("null") // an event like any other
		}
	case `"key"`:
		m.key = value
	case `"limit"`:
		m.limit = value
	case `"token"`:
		m.token = value
	case `"positions"`:
		m.positions = value
	case `"presence"`:
		m.presence = value
	case `"after"`:
		m.after = value
	default:
		m.unknown++
	}
}

// kinds are the requests that there are.
var kinds = []string{"subscribe", "unsubscribe", "publish", "history", "presence", "presence_stats", "resume", "auth", "ping"}

// IsRequest reports whether payload, which is JSON, is a whole request about a topic and nothing else: most likely its sender
// means to speak hub.v1.
func IsRequest(payload []byte) bool {
	if !bytes.Contains(payload, []byte(`"type"`)) || !bytes.Contains(payload, []byte(`"topic"`)) {
		return false // by far the most
	}
	m, err := parseRequest(payload)
	if err != nil || m.unknown > 0 || m.token != nil || m.positions != nil || m.presence != nil || m.after != nil || !validID(m.id) {
		return false
	}
	kind, _ := text(m.kind)
	topic, _ := text(m.topic)
	switch kind {
	case "subscribe", "history":
		return topic != "" && m.data == nil
	case "unsubscribe":
		return topic != "" && m.data == nil && m.since == nil
	case "publish":
		return topic != "" && m.data != nil && m.since == nil
	}
	return false
}

// isA names the type of a JSON value.
func isA(value json.RawMessage) string {
	switch value[0] {
	case '"':
		return "a string"
	case '{':
		return "an object"
	case '[':
		return "a list"
	case 't', 'f':
		return string(value)
	}
	return "a number"
}

// skipBlanks returns b from its first byte on that is no white space. b is valid JSON from there, or its rest.
func skipBlanks(b []byte) []byte {
	for b[0] == ' ' || b[0] == '\t' || b[0] == '\r' || b[0] == '\n' {
		b = b[1:]
	}
	return b
}

// valueEnd returns the length of the JSON value that b begins with. b is valid JSON from there on, inside an
// object, so that something follows.
func valueEnd(b []byte) int {
	depth := 0
	for i := 0; ; i++ {
		switch b[i] {
		case '"':
			for i++; b[i] != '"'; i++ {
				if b[i] == '\\' {
					i++
				}
			}
			if depth == 0 {
				return i + 1
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
			if depth < 0 { // the object around a number or a literal
				return i
			}
		case ',', ' ', '\t', '\r', '\n':
			if depth == 0 {
				return i
			}
		}
	}
}

// text reads a member that is a string, "" if it is absent. ok is false if it is anything else.
func text(value json.RawMessage) (s string, ok bool) {
	switch {
	case value == nil:
		return "", true
	case value[0] != '"':
		return "", false
	case bytes.IndexByte(value, '\\') < 0:
		return string(value[1 : len(value)-1]), true // the frame is UTF-8
	}
	return s, json.Unmarshal(value, &s) == nil
}

// yes reads a member that is true or false, false if it is absent. ok is false if it is anything else.
func yes(value json.RawMessage) (is, ok bool) {
	return string(value) == "true", value == nil || string(value) == "true" || string(value) == "false"
}

// number reads a member that is a whole number, 0 if it is absent. ok is false if it is anything else.
func number(value json.RawMessage) (n int, ok bool) {
	if value == nil {
		return 0, true
	}
	n, err := strconv.Atoi(string(value))
	return n, err == nil
}

// maxRequestID bounds a request's id as it stands, in bytes.
const maxRequestID = 64

// validID reports whether id is absent, a number or a string, and short.
func validID(id json.RawMessage) bool {
	return len(id) == 0 || len(id) <= maxRequestID && (id[0] == '"' || id[0] == '-' || id[0] >= '0' && id[0] <= '9')
}
