package session

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/coder/websocket"
	"pgregory.net/rapid"

	"wshub/engine"
)

func TestTheNamesOfMembersAreExact(t *testing.T) {
	n := memory(t, Config{})
	c, hears := n.v1(""), n.plain("?topic=right", 1)
	for _, test := range []struct{ send, want string }{
		{`{"type":"ping","id":1,"TYPE":"subscribe","Id":2,"topic":"a"}`, `{"type":"pong","id":1}`},
		{`{"TYPE":"subscribe","type":"ping","ID":7,"Topic":"a"}`, `{"type":"pong"}`},
		{`{"type":"subscribe","id":2,"topic":"first","Topic":"wrong","\u0054opic":"wrong"}`, `{"type":"subscribed","id":2,"topic":"first"}`},
		{`{"type":"subscribe","id":3,"topic":"wrong","t\u006fpic":"second"}`, `{"type":"subscribed","id":3,"topic":"second"}`},
		{`{"type":"publish","id":4,"topic":"right","DATA":1,"data":2,"Data":3,"KEY":4}`, `{"type":"ok","id":4}`},
	} {
		c.send(test.send)
		if got := c.read(); got != test.want {
			t.Errorf("%s: got %s", test.send, got)
		}
	}
	hears.want(`2`)
	c.send(`{"Type":"ping","id":5}`)
	c.wantError(UnknownType)
}

// JSON has broken text become U+FFFD: names that differ would be one topic.
func TestANameWithABrokenCharacterIsNoTopic(t *testing.T) {
	n := bend(t, Config{}, engine.Config{Pollers: 1}, &bent{})
	_, welcome := n.enter("")
	c, _ := n.enter("")
	for _, name := range []string{`x\ud800`, `x\udfff`, `x\ufffd`, "x\ufffd", `\udc00\ud800`} {
		for _, request := range []string{
			`{"type":"subscribe","id":1,"topic":"%"}`, `{"type":"unsubscribe","id":1,"topic":"%"}`,
			`{"type":"publish","id":1,"topic":"%","data":1}`, `{"type":"history","id":1,"topic":"%"}`,
		} {
			c.send(strings.Replace(request, "%", name, 1))
			want := `"code":"bad_topic"`
			if strings.Contains(request, "unsubscribe") {
				want = `"code":"not_subscribed"`
			}
			if got := c.read(); !strings.Contains(got, want) {
				t.Errorf("%s of %s: %s", request, name, got)
			}
		}
	}
	c.send(`{"type":"resume","id":1,"token":"` + welcome.Token + `","positions":{"x\ud800":"0","good":"0"}}`)
	if r := c.hear(); r.Type != "resumed" || r.Topics["x\ufffd"].Error != BadTopic || r.Topics["good"].Error != "" {
		t.Errorf("%+v", r)
	}
	for _, query := range []string{"?topic=x%EF%BF%BD", "?topic=x%FF", "?topic=x%ED%A0%80", "?user=x%EF%BF%BD"} {
		_, resp, err := websocket.Dial(t.Context(), "ws://"+n.server.Addr().String()+"/notification"+query, nil)
		if err == nil || resp == nil || resp.StatusCode != 400 {
			t.Errorf("%s: %v, %v", query, resp, err)
		}
	}
	c.send(`{"type":"subscribe","id":2,"topic":"x\ud83d\ude00"}`) // a whole character
	if h := c.hear(); h.Type != "subscribed" || h.Topic != "x😀" {
		t.Errorf("%+v", h)
	}
}

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
