package pusher_test

import (
	"encoding/json"
	"testing"
	"unicode/utf8"

	"github.com/coder/websocket"

	"wshub/engine"
	"wshub/pubsub"
	"wshub/session"
	"wshub/session/pusher"
)

// FuzzClient sends whatever to a hub: the connection ends, or answers what comes behind it; a healthy one beside it goes on.
func FuzzClient(f *testing.F) {
	for _, seed := range []string{
		``, `{}`, `null`, `{"event":"pusher:subscribe","data":{"channel":"a"}}`, `{"event":"pusher:subscribe","data":"{\"channel\":\"cache-a\"}"}`,
		`{"event":"pusher:subscribe","data":{"channel":"presence-a","auth":"key:00","channel_data":"{\"user_id\":1}"}}`,
		`{"event":"pusher:unsubscribe","data":{"channel":"a"}}`, `{"event":"pusher:signin","data":{"auth":":","user_data":"{}"}}`,
		`{"event":"client-a","channel":"private-a","data":[null]}`, `{"event":"pusher:pong"}`, `{"event":"pusher:subscribe","data":{"channel":"#server-to-user-a"}}`,
	} {
		f.Add([]byte(seed))
	}
	n := start(f, session.Config{MessageRate: -1}, engine.Config{MaxMessage: 64 << 10})
	healthy := n.connect(app)
	healthy.subscribe("news")
	var open *client
	f.Fuzz(func(t *testing.T, frame []byte) {
		n.t = t
		if open == nil {
			open = n.connect(app)
		}
		open.t, healthy.t = t, t
		if !utf8.Valid(frame) {
			return // the engine refuses it
		}
		_ = open.conn.Write(t.Context(), websocket.MessageText, frame) // an earlier one may have ended it
		_ = open.conn.Write(t.Context(), websocket.MessageText, []byte(`{"event":"pusher:ping"}`))
		for {
			h, err := open.read()
			if err != nil {
				open = nil
				break
			}
			if h.Event == "pusher:pong" {
				break
			}
		}
		healthy.wantNothing()
		if p := n.server.Stats().Panics; p > 0 {
			t.Fatal("a panic")
		}
	})
}

// FuzzEvent publishes whatever text under whatever name: a subscriber gets both back as they are, and others see JSON.
func FuzzEvent(f *testing.F) {
	for _, seed := range []string{`{"a":1}`, `"text"`, ``, ` "x"`, `null`, "\x00\\\"", `}`, ` 1 `} {
		f.Add("my-event", seed)
		f.Add(seed, seed)
	}
	f.Fuzz(func(t *testing.T, name, data string) {
		if !pusher.ValidName(name) || !utf8.ValidString(data) || len(name) > 6 && name[:7] == "client-" {
			return
		}
		p := app.Publication("news", name, data, "")
		if !json.Valid(p.Data) {
			t.Fatalf("no JSON: %s", p.Data)
		}
		frame := pusher.EventFrame("news", &pubsub.Event{Topic: p.Topic, Data: p.Data, Attributes: p.Attributes})
		var h heard
		if err := json.Unmarshal(frame, &h); err != nil || h.Event != name || h.text() != data || h.Channel != "news" {
			t.Fatalf("%q: %q came back as %s, %v", name, data, frame, err)
		}
	})
}

// FuzzParseMessage reads whatever as a message.
func FuzzParseMessage(f *testing.F) {
	f.Add([]byte(`{"event":"a","channel":"b","data":{"c":1}}`))
	f.Add([]byte(`{"event":"a","channel":null,"data":null}`))
	f.Fuzz(func(t *testing.T, frame []byte) {
		event, _, data, err := pusher.ParseMessage(frame)
		if err == nil && (event == "" || len(data) > 0 && !json.Valid(data)) {
			t.Errorf("%q, %s", event, data)
		}
	})
}

func FuzzSocket(f *testing.F) {
	f.Add("1.2")
	f.Add("4294967296.4294967296")
	f.Fuzz(func(t *testing.T, socket string) {
		if name, ok := pusher.SessionOf(socket); ok && !session.ValidName(name) {
			t.Errorf("%q is %q", socket, name)
		}
	})
}
