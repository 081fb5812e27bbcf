package session

import (
	"strings"
	"testing"

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
