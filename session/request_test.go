package session

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/coder/websocket"

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
	for _, seed := range []string{
		`{}`, `[]`, `null`, ``, `{`, ` { "type" : "ping" , "id" : 1 } `, `{"type":"a","type":"b","Type":"c"}`, `{"id":null,"topic":null,"data":null}`,
		`{"t\u0079pe":"x","\u0069d":"y","\ud800":1}`, `{"data":{"topic":"no","a":[1,{"type":"no"}]},"topic":"yes"}`,
		`{"data":"}\",\"topic\":\"no","topic":"yes"}`, `{"limit":-7,"since":"0","key":"k","token":"t","positions":{"a":"0"}}`,
		"{\"data\":\t1e-7\r\n}", `{"data":-0.5,"limit":10}`, `{"data":true,"id":"\\"}`, `{"":1," topic":2,"topic ":3}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		if !utf8.Valid(payload) {
			t.Skip() // the engine refuses it
		}
		frame := bytes.Clone(payload)
		m, err := parseRequest(frame)
		var want map[string]json.RawMessage
		bad := json.Unmarshal(payload, &want) != nil || want == nil
		if (err != nil) != bad {
			t.Fatalf("%v, and encoding/json: %v", err, bad)
		}
		if !bytes.Equal(frame, payload) {
			t.Fatal("the frame is changed")
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
				t.Errorf("%s: got %q, want %q", name, got, wanted)
			}
			if cap(got) != len(got) && string(got) != "null" {
				t.Errorf("%s: an append would write into the frame", name)
			}
			if got == nil {
				continue
			}
			var s string
			isText := got[0] == '"'
			if isText && json.Unmarshal(got, &s) != nil {
				t.Fatal("no text")
			}
			if read, ok := text(got); ok != isText || read != s {
				t.Errorf("%s: read as %q, %v, want %q", name, read, ok, s)
			}
			n, err := strconv.Atoi(string(got))
			if read, ok := number(got); ok != (err == nil) || read != n {
				t.Errorf("%s: read as %d, %v, want %d", name, read, ok, n)
			}
		}
		_ = validID(m.id)
	})
}
