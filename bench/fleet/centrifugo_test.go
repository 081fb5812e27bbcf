package fleet

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/centrifugal/protocol"
)

// encoded is r as a server of p sends it, without what separates it from others.
func encoded(t testing.TB, p Protocol, r *protocol.Reply) []byte {
	t.Helper()
	var encoder protocol.ReplyEncoder = protocol.NewJSONReplyEncoder()
	if (p == centrifugoProtobuf{}) {
		encoder = protocol.NewProtobufReplyEncoder()
	}
	b, err := encoder.Encode(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// joined is one frame of replies.
func joined(t testing.TB, p Protocol, replies ...*protocol.Reply) []byte {
	t.Helper()
	var encoder protocol.DataEncoder = protocol.NewJSONDataEncoder()
	if (p == centrifugoProtobuf{}) {
		encoder = protocol.NewProtobufDataEncoder()
	}
	for _, r := range replies {
		if err := encoder.Encode(encoded(t, p, r)); err != nil {
			t.Fatal(err)
		}
	}
	return encoder.Finish()
}

var bothEncodings = []Protocol{centrifugo{}, centrifugoProtobuf{}}

func publication(data string, offset uint64) *protocol.Publication {
	return &protocol.Publication{Data: protocol.Raw(data), Offset: offset}
}

func pushed(channel string, pub *protocol.Publication) *protocol.Reply {
	return &protocol.Reply{Push: &protocol.Push{Channel: channel, Pub: pub}}
}

// The other side is the codec that servers use.
func TestRepliesOfCentrifugoAreRead(t *testing.T) {
	data := []byte(`{"a":"\"}\\"}`)
	info := &protocol.ClientInfo{User: "42", Client: "c", ConnInfo: protocol.Raw(`{"offset":9}`)}
	for name, c := range map[string]struct {
		reply *protocol.Reply
		want  []Message
	}{
		"let in": {
			&protocol.Reply{Id: 1, Connect: &protocol.ConnectResult{Client: "c", Ping: 25, Pong: true}},
			[]Message{{Kind: Connected, Pong: true}},
		},
		"no pong": {
			&protocol.Reply{Id: 1, Connect: &protocol.ConnectResult{Client: "c", Ping: 25}},
			[]Message{{Kind: Connected}},
		},
		"own topic": {
			&protocol.Reply{Id: 1, Connect: &protocol.ConnectResult{Pong: true, Subs: map[string]*protocol.SubscribeResult{
				"user:\"42": {Recoverable: true, Epoch: "e1", Offset: 2, WasRecovering: true, Recovered: true, Publications: []*protocol.Publication{publication(string(data), 3)}},
			}}},
			[]Message{
				{Kind: Connected, Pong: true}, {Kind: Subscribed, Topic: "user:\"42", Position: "2:e1", Recovered: true},
				{Kind: Event, Topic: "user:\"42", Data: data, Position: "3"},
			},
		},
		"no history": {
			&protocol.Reply{Id: 2, Subscribe: &protocol.SubscribeResult{}},
			[]Message{{Kind: Subscribed}},
		},
		"an empty topic": {
			&protocol.Reply{Id: 2, Subscribe: &protocol.SubscribeResult{Recoverable: true, Positioned: true, Epoch: "e1"}},
			[]Message{{Kind: Subscribed, Position: "0:e1"}},
		},
		"recovered": {
			&protocol.Reply{Id: 2, Subscribe: &protocol.SubscribeResult{Recoverable: true, Epoch: "e1", Offset: 7, WasRecovering: true, Recovered: true, Publications: []*protocol.Publication{
				publication(string(data), 8), {Data: protocol.Raw(data), Offset: 9, Info: info, Tags: map[string]string{"offset": "4"}},
			}}},
			[]Message{
				{Kind: Subscribed, Position: "7:e1", Recovered: true},
				{Kind: Event, Data: data, Position: "8"}, {Kind: Event, Data: data, Position: "9"},
			},
		},
		"not recovered": {
			&protocol.Reply{Id: 2, Subscribe: &protocol.SubscribeResult{Recoverable: true, Epoch: "e2", Offset: 1 << 52, WasRecovering: true}},
			[]Message{{Kind: Subscribed, Position: "4503599627370496:e2"}},
		},
		"an event":            {pushed("news", publication(string(data), 4)), []Message{{Kind: Event, Topic: "news", Data: data, Position: "4"}}},
		"one without history": {pushed("news", publication(string(data), 0)), []Message{{Kind: Event, Topic: "news", Data: data}}},
		"one of somebody":     {pushed("news", &protocol.Publication{Data: data, Info: info}), []Message{{Kind: Event, Topic: "news", Data: data}}},
		"one of a new epoch":  {pushed("news", &protocol.Publication{Data: data, Offset: 1, Epoch: "e3"}), []Message{{Kind: Event, Topic: "news", Data: data, Position: "1:e3"}}},
		"position lost":       {&protocol.Reply{Push: &protocol.Push{Channel: "news", Unsubscribe: &protocol.Unsubscribe{Code: 2500, Reason: "insufficient state"}}}, []Message{{Kind: Unsubscribed, Topic: "news"}}},
		"not allowed any more": {
			&protocol.Reply{Push: &protocol.Push{Channel: "news", Unsubscribe: &protocol.Unsubscribe{Code: 2000}}},
			[]Message{{Kind: Failure, Topic: "news", Code: "unsubscribed 2000"}},
		},
		"subscribed later": {
			&protocol.Reply{Push: &protocol.Push{Channel: "user:42", Subscribe: &protocol.Subscribe{Recoverable: true, Epoch: "e1", Offset: 5}}},
			[]Message{{Kind: Subscribed, Topic: "user:42", Position: "5:e1"}},
		},
		"sent away":      {&protocol.Reply{Push: &protocol.Push{Disconnect: &protocol.Disconnect{Code: 3001, Reason: "shutdown"}}}, []Message{{Kind: Disconnected, Code: "3001"}}},
		"refused":        {&protocol.Reply{Id: 2, Error: &protocol.Error{Code: 103, Message: "permission denied"}}, []Message{{Kind: Failure, Code: "103"}}},
		"published":      {&protocol.Reply{Id: 17, Publish: &protocol.PublishResult{}}, []Message{{Kind: Ack}}},
		"somebody comes": {&protocol.Reply{Push: &protocol.Push{Channel: "news", Join: &protocol.Join{Info: info}}}, nil},
		"a message":      {&protocol.Reply{Push: &protocol.Push{Message: &protocol.Message{Data: data}}}, nil},
		"refreshed":      {&protocol.Reply{Id: 9, Refresh: &protocol.RefreshResult{Expires: true, Ttl: 60}}, nil},
	} {
		for _, p := range bothEncodings {
			got, err := p.Parse(nil, encoded(t, p, c.reply))
			if err != nil || !reflect.DeepEqual(got, c.want) {
				t.Errorf("%s, %T: got %+v, %v; want %+v", name, p, got, err, c.want)
			}
		}
	}
}

func TestAnEmptyReplyIsAPing(t *testing.T) {
	for _, c := range []struct {
		p               Protocol
		message, answer string
	}{{centrifugo{}, "{}", "{}"}, {centrifugo{}, " { } ", "{}"}, {centrifugoProtobuf{}, "", "\x00"}} {
		got, err := c.p.Parse(nil, []byte(c.message))
		if err != nil || len(got) != 1 || got[0].Kind != Ping || string(got[0].Data) != c.answer {
			t.Errorf("%T: %q is %+v, %v", c.p, c.message, got, err)
		}
	}
}

func TestWhatIsNoReplyOfCentrifugoIsRefused(t *testing.T) {
	for _, text := range []string{
		``, ` `, `[]`, `1`, `"push"`, `{`, `{}{}`, `{"id":1}x`, `{"id":"1"}`, `{"id":-1,"publish":{}}`, `{"rpc":{}}`, `{"publish":{}}`, `{"error":{"code":100}}`,
		`{"push":1}`, `{"push":{"pub":{"data":1}}}`, `{"push":{"channel":"news","pub":{}}}`, `{"push":{"channel":"news","pub":[]}}`, `{"push":{"channel":1,"pub":{"data":1}}}`,
		`{"push":{"channel":"news","pub":{"data":1,"offset":"4"}}}`, `{"push":{"channel":"news","pub":{"data":1,"offset":9007199254740992}}}`,
		`{"id":2,"subscribe":{"publications":{}}}`, `{"id":2,"subscribe":{"publications":[{"offset":1}]}}`, `{"id":2,"subscribe":{"epoch":7}}`,
		`{"id":1,"connect":{"subs":[]}}`, `{"id":1,"connect":{"subs":{"":{}}}}`, `{"id":1,"connect":{"subs":{"news":1}}}`, `{"id":2,"error":{"code":"x"}}`,
		`{"push":{"unsubscribe":{"code":2500}}}`,
	} {
		if m, err := (centrifugo{}).Parse(nil, []byte(text)); err == nil {
			t.Errorf("%s was read as %+v", text, m)
		}
	}
	for name, b := range map[string]string{
		"cut":              "\x22\x05\x12\x04ne",
		"field 0":          "\x02\x00",
		"wire type 3":      "\x0b",
		"endless varint":   "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
		"no id":            "\x42\x00",
		"id with a length": "\x0a\x01x",
		"push of a number": "\x20\x01",
		"no data":          "\x22\x08\x12\x04news\x22\x00",
		"no channel":       "\x22\x05\x22\x03\x22\x01x",
		"huge length":      "\x22\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01x",
	} {
		if m, err := (centrifugoProtobuf{}).Parse(nil, []byte(b)); err == nil {
			t.Errorf("%s was read as %+v", name, m)
		}
	}
}

func TestFramesOfCentrifugoAreCutIntoReplies(t *testing.T) {
	for _, c := range []struct {
		p     Protocol
		frame string
		want  []string
		wrong bool
	}{
		{centrifugo{}, "{}", []string{"{}"}, false},
		{centrifugo{}, "{}\n1\n{}", []string{"{}", "1", "{}"}, false},
		{centrifugo{}, "{}\n", []string{"{}", ""}, false}, // the empty line is no reply
		{centrifugo{}, "", []string{""}, false},
		{centrifugoProtobuf{}, "\x00", []string{""}, false},
		{centrifugoProtobuf{}, "\x02ab\x00\x01c", []string{"ab", "", "c"}, false},
		{centrifugoProtobuf{}, "\x02ab\x02c", []string{"ab"}, true},
		{centrifugoProtobuf{}, "", nil, true},
		{centrifugoProtobuf{}, "\x80", nil, true},
		{centrifugoProtobuf{}, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01x", nil, true},
	} {
		got, err := split(c.p, []byte(c.frame))
		if !slices.Equal(got, c.want) || (err != nil) != c.wrong {
			t.Errorf("%T: %q is cut into %q, %v", c.p, c.frame, got, err)
		}
	}
}

func split(p Protocol, frame []byte) (all []string, err error) {
	for {
		message, rest, err := p.Split(frame)
		if err != nil {
			return all, err
		}
		if all = append(all, string(message)); rest == nil {
			return all, nil
		}
		frame = rest
	}
}

// commands are what a server reads in one frame of a client.
func commands(t *testing.T, p Protocol, frame []byte) (all []*protocol.Command) {
	t.Helper()
	var decoder protocol.CommandDecoder = protocol.NewJSONCommandDecoder(frame)
	if (p == centrifugoProtobuf{}) {
		decoder = protocol.NewProtobufCommandDecoder(frame)
	}
	for {
		c, err := decoder.Decode()
		if c != nil {
			all = append(all, c)
		}
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("%q: %v", frame, err)
		}
	}
}

func TestCommandsOfCentrifugoAreReadByItsServers(t *testing.T) {
	for _, p := range bothEncodings {
		got := commands(t, p, p.Open(nil, Entry{Token: "a.b.c", Own: "user:u1", Topic: "ne\"ws", Since: "42:e1"}))
		if len(got) != 2 || got[0].Id != 1 || got[1].Id != 2 {
			t.Fatalf("%T: %v", p, got)
		}
		if in := got[0].Connect; in == nil || in.Token != "a.b.c" || in.Name != "hubbench" || len(in.Subs) != 0 {
			t.Errorf("%T: connect %v", p, in)
		}
		if s := got[1].Subscribe; s == nil || s.Channel != "ne\"ws" || !s.Recover || s.Offset != 42 || s.Epoch != "e1" || !s.Recoverable {
			t.Errorf("%T: subscribe %v", p, s)
		}
		got = commands(t, p, p.Open(nil, Entry{Topic: "news"}))
		if s := got[1].Subscribe; got[0].Connect == nil || got[0].Connect.Token != "" || s == nil || s.Channel != "news" || s.Recover || s.Epoch != "" {
			t.Errorf("%T: without a position: %v", p, got)
		}
		got = commands(t, p, p.Open(nil, Entry{Own: "user:u1", Since: "0:e1"}))
		if len(got) != 1 || got[0].Connect == nil {
			t.Fatalf("%T: %v", p, got)
		}
		if s := got[0].Connect.Subs["user:u1"]; s == nil || !s.Recover || s.Offset != 0 || s.Epoch != "e1" {
			t.Errorf("%T: a topic of one's own: %v", p, got)
		}
		got = commands(t, p, p.Publish(nil, 1, "news", []byte(`{"a":1}`)))
		if c := got[0]; len(got) != 1 || c.Id <= 2 || c.Publish == nil || c.Publish.Channel != "news" || string(c.Publish.Data) != `{"a":1}` {
			t.Errorf("%T: publish: %v", p, got)
		}
		pong, err := p.Parse(nil, encoded(t, p, &protocol.Reply{}))
		if err != nil {
			t.Fatal(err)
		}
		if got := commands(t, p, pong[0].Data); len(got) != 1 || !reflect.DeepEqual(encodedCommand(t, got[0]), encodedCommand(t, &protocol.Command{})) {
			t.Errorf("%T: pong: %v", p, got)
		}
	}
}

func encodedCommand(t *testing.T, c *protocol.Command) []byte {
	t.Helper()
	b, err := protocol.NewProtobufCommandEncoder().Encode(c)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestThePlaceOfAnEventIsInTheEpochOfItsClient(t *testing.T) {
	for _, c := range []struct{ last, at, want string }{
		{"7:e1", "8", "8:e1"}, {"7:a:b", "8", "8:a:b"}, {"7:e1", "1:e2", "1:e2"}, {"7:e1", "", ""}, {"", "8", ""},
	} {
		if got := (centrifugo{}).Place(c.last, c.at); got != c.want {
			t.Errorf("%q behind %q: %q, want %q", c.at, c.last, got, c.want)
		}
	}
}

// FuzzCentrifugo holds against any bytes that nothing but a whole reply passes.
func FuzzCentrifugo(f *testing.F) {
	for _, p := range bothEncodings {
		f.Add(joined(f, p, &protocol.Reply{}, pushed("news", publication(`{"a":[1,"\""]}`, 4))))
		f.Add(joined(f, p, &protocol.Reply{Id: 1, Connect: &protocol.ConnectResult{Pong: true, Subs: map[string]*protocol.SubscribeResult{"a": {Epoch: "e"}}}}))
		f.Add(joined(f, p, &protocol.Reply{Id: 2, Subscribe: &protocol.SubscribeResult{Epoch: "e", Recovered: true, Publications: []*protocol.Publication{publication("1", 1), publication("{}", 2)}}}))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, p := range bothEncodings {
			messages, err := split(p, b)
			if err == nil && len(messages) == 0 {
				t.Fatalf("%T: %q is cut into nothing", p, b)
			}
			for _, message := range messages {
				all, err := p.Parse(nil, []byte(message))
				for _, m := range all {
					if err == nil && m.Kind == Event && (len(m.Data) == 0 || (p == centrifugo{}) && !json.Valid(m.Data)) {
						t.Errorf("%T: %q has data %q", p, message, m.Data)
					}
				}
			}
		}
	})
}

// FuzzEncodings has both encodings say the same.
func FuzzEncodings(f *testing.F) {
	f.Add("news", `{"a":1}`, uint64(4), "e1", true)
	f.Add("a\"\\\u2028b", "[\"}\\\"{\", {}]", uint64(0), "", false)
	f.Fuzz(func(t *testing.T, channel, data string, offset uint64, epoch string, recovered bool) {
		if !json.Valid([]byte(data)) || !utf8.ValidString(channel+data+epoch) || channel == "" || offset >= 1<<53 {
			t.Skip()
		}
		pub := &protocol.Publication{Data: protocol.Raw(data), Offset: offset}
		sub := &protocol.SubscribeResult{Epoch: epoch, Offset: offset, Recovered: recovered, Publications: []*protocol.Publication{pub, pub}}
		for _, r := range []*protocol.Reply{
			pushed(channel, pub), {Id: 2, Subscribe: sub}, {Id: 1, Connect: &protocol.ConnectResult{Subs: map[string]*protocol.SubscribeResult{channel: sub}}},
		} {
			var got [2][]Message
			for i, p := range bothEncodings {
				var err error
				if got[i], err = p.Parse(nil, encoded(t, p, r)); err != nil {
					t.Fatalf("%T: %v: %v", p, r, err)
				}
				for j := range got[i] { // newlines and blanks at its ends do not last in JSON
					var compact any
					if m := &got[i][j]; m.Kind == Event {
						_ = json.Unmarshal(m.Data, &compact)
						m.Data, _ = json.Marshal(compact)
					}
				}
			}
			if !reflect.DeepEqual(got[0], got[1]) {
				t.Errorf("JSON says %+v, Protobuf %+v", got[0], got[1])
			}
		}
	})
}

// FuzzWalk holds the walk through JSON against the standard library's.
func FuzzWalk(f *testing.F) {
	f.Add([]byte(`{"a":1,"b":[{"c":"}"},"\\\""], "d" : null }`))
	f.Add([]byte(` {} `))
	f.Fuzz(func(t *testing.T, b []byte) {
		if !utf8.Valid(b) {
			t.Skip() // frames are checked for that
		}
		var want map[string]json.RawMessage
		if json.Unmarshal(b, &want) != nil || want == nil {
			if w := walkJSON(b); w.err == nil {
				t.Fatalf("%q is walked through", b)
			}
			return
		}
		got := map[string]json.RawMessage{}
		w := walkJSON(b)
		for w.next() {
			got[unquote(w.name)] = json.RawMessage(w.value)
		}
		if w.err != nil || !maps.EqualFunc(got, want, func(a, b json.RawMessage) bool { return string(a) == string(b) }) {
			t.Fatalf("%q: %v, %q, want %q", b, w.err, got, want)
		}
	})
}

// Centrifugo subscribes a user to the channels that the token names, and to no others unasked.
func TestTokensNameTheOwnTopicWhereTheProtocolWantsIt(t *testing.T) {
	for protocol, want := range map[string]string{"centrifugo": `["user:u3"]`, "centrifugo-protobuf": `["user:u3"]`, "hub.v1": "", "plain": ""} {
		to := target{protocol: Protocols[protocol], secret: "s"}
		payload, err := base64.RawURLEncoding.DecodeString(strings.Split(to.tokenOf(3), ".")[1])
		var claims struct{ Channels json.RawMessage }
		if err != nil || json.Unmarshal(payload, &claims) != nil || string(claims.Channels) != want {
			t.Errorf("%s: %s, %v", protocol, payload, err)
		}
	}
}
