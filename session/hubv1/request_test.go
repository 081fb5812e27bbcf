package hubv1

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// FuzzRequest: a request has the members that encoding/json finds in it, by their exact names, of several the last.
func FuzzRequest(f *testing.F) {
	for _, seed := range []string{`{}`, `[]`, `null`, ``, `{`, `7 `, `{"type":"ping"}x`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		if !utf8.Valid(payload) {
			t.Skip() // the engine refuses it
		}
		readAsByJSON(t, payload)
	})
}

// TestARequestIsReadAsByJSON does with well-formed requests, however they are written, what FuzzRequest seldom comes to.
func TestARequestIsReadAsByJSON(t *testing.T) {
	names := []string{"type", "id", "topic", "since", "data", "key", "limit", "token", "positions", "Type", "ID", "", "x", `a"b`, "type ", "\\"}
	rapid.Check(t, func(t *rapid.T) {
		blank := func() string { return rapid.SampledFrom([]string{"", "", " ", "\r\n\t"}).Draw(t, "blank") }
		quote := func(s string) string {
			var b strings.Builder
			for _, r := range s {
				switch {
				case r < 0x80 && rapid.IntRange(0, 4).Draw(t, "escape") == 0, r == '"', r == '\\', r < 0x20:
					fmt.Fprintf(&b, `\u%04x`, r)
				default:
					b.WriteRune(r)
				}
			}
			return `"` + b.String() + `"`
		}
		var value func(depth int) string
		object := func(depth int) string {
			var members []string
			for range rapid.IntRange(0, 6).Draw(t, "members") {
				name := quote(rapid.SampledFrom(names).Draw(t, "name"))
				members = append(members, blank()+name+blank()+":"+blank()+value(depth-1)+blank())
			}
			return "{" + strings.Join(append(members, blank())[:max(len(members), 1)], ",") + "}"
		}
		value = func(depth int) string {
			switch kind := rapid.IntRange(0, 7).Draw(t, "kind"); {
			case kind < 2:
				return quote(rapid.SampledFrom(append(names, "{", "},[", `\`, "é😀")).Draw(t, "text"))
			case kind == 2 && depth > 0:
				return object(depth)
			case kind == 3 && depth > 0:
				return "[" + blank() + value(depth-1) + blank() + "," + value(depth-1) + "]"
			}
			return rapid.SampledFrom([]string{"null", "true", "0", "-7", "10", "1.5e-3", "123456789012345678901", `""`, "{}", "[]"}).Draw(t, "value")
		}
		readAsByJSON(t, []byte(blank()+object(3)+blank()))
	})
}

// readAsByJSON fails if a request is not read as encoding/json reads it into a map.
func readAsByJSON(t rapid.TB, payload []byte) {
	t.Helper()
	frame := bytes.Clone(payload)
	m, err := parseRequest(frame)
	var want map[string]json.RawMessage
	bad := json.Unmarshal(payload, &want) != nil || want == nil
	if (err != nil) != bad {
		t.Fatalf("%s: %v, and encoding/json: %v", payload, err, bad)
	}
	if bad {
		return
	}
	for name, got := range map[string]json.RawMessage{
		"type": m.kind, "id": m.id, "topic": m.topic, "since": m.since, "data": m.data, "key": m.key, "limit": m.limit,
		"token": m.token, "positions": m.positions,
	} {
		wanted, ok := want[name]
		if string(wanted) == "null" && name != "id" && name != "data" {
			wanted, ok = nil, false
		}
		if !bytes.Equal(got, wanted) || (got != nil) != ok {
			t.Errorf("%s: %s: got %q, want %q", payload, name, got, wanted)
		}
		if got == nil {
			continue
		}
		var s string
		isText := got[0] == '"'
		if isText && json.Unmarshal(got, &s) != nil {
			t.Fatalf("%s: %s: no text", payload, name)
		}
		if read, ok := text(got); ok != isText || read != s {
			t.Errorf("%s: %s: read as %q, %v, want %q", payload, name, read, ok, s)
		}
		n, err := strconv.Atoi(string(got))
		if read, ok := number(got); ok != (err == nil) || ok && read != n {
			t.Errorf("%s: %s: read as %d, %v, want %d", payload, name, read, ok, n)
		}
		_ = append(got, "overwritten"...)
	}
	if !bytes.Equal(frame, payload) {
		t.Errorf("%s: the frame is changed", payload)
	}
}
