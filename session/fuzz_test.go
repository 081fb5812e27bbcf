package session

import (
	"bytes"
	"context"
	"encoding/json"
	"testing"
	"unicode/utf8"

	"github.com/coder/websocket"
)

// FuzzClientJSON sends whatever to a hub, as a client of either mode: the session stays, and answers what
// comes behind it.
func FuzzClientJSON(f *testing.F) {
	for _, seed := range []string{
		``, `{`, `null`, `7`, `[]`, `{}`, `"x"`, "{\"type\":\"ping\",\"id\":1e999}", `{"type":"ping","id":"\ud800"}`,
		`{"type":"subscribe","id":1,"topic":"news","since":"0"}`,
		`{"type":"subscribe","topic":"\u0000"}`, `{"type":"subscribe","topic":"user:2"}`,
		`{"type":"publish","id":{},"topic":"news","data":[1,2,{"a":null}]}`,
		`{"type":"publish","topic":"news","data":1,"key":"k"}`,
		`{"type":"unsubscribe","topic":"news"}`, `{"TYPE":"ping"}`, `{"type":"ping","type":7}`,
	} {
		f.Add([]byte(seed))
	}
	n := memory(f, Config{MessageRate: -1})
	v1, plain := n.v1("?user=1"), n.plain("?topic=plain", 1)
	v1.send(`{"type":"ping","id":"begin"}`)
	v1.until([]byte(`{"type":"pong","id":"begin"}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		if !utf8.Valid(payload) || len(payload) > 64<<10 {
			t.Skip() // the engine refuses it
		}
		v1.t, plain.t = t, t
		for _, c := range []*client{v1, plain} {
			if err := c.conn.Write(context.Background(), websocket.MessageText, payload); err != nil {
				t.Fatal(err)
			}
		}
		v1.send(`{"type":"ping","id":"end of it"}`)
		v1.until([]byte(`{"type":"pong","id":"end of it"}`))
		plain.send(`"end of it"`)
		plain.until([]byte(`"end of it"`))
	})
}

// until reads up to the message want; all before it must be JSON, too.
func (c *client) until(want []byte) {
	c.t.Helper()
	for {
		_, got, err := c.conn.Read(context.Background())
		if err != nil {
			c.t.Fatal(err)
		}
		if !json.Valid(got) {
			c.t.Fatalf("not JSON: %q", got)
		}
		if bytes.Equal(got, want) {
			return
		}
	}
}
