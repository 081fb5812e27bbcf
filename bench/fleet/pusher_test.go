package fleet

import (
	"encoding/json"
	"reflect"
	"testing"
)

func TestMessagesOfPusherAreRead(t *testing.T) {
	for text, want := range map[string]Message{
		`{"event":"pusher:connection_established","data":"{\"socket_id\":\"1.2\",\"activity_timeout\":120}"}`:                       {Kind: Connected, Pong: true, Data: []byte("1.2")},
		`{"event":"pusher_internal:subscription_succeeded","channel":"news","data":"{}"}`:                                           {Kind: Subscribed, Topic: "news"},
		`{"event":"pusher:signin_success","data":"{\"user_data\":\"{\\\"id\\\":\\\"u7\\\"}\"}"}`:                                    {Kind: Subscribed, Topic: "#server-to-user-u7"},
		`{"event":"message","channel":"news","data":"{\"a\":\"\\\"}\"}"}`:                                                           {Kind: Event, Topic: "news", Data: []byte(`{"a":"\"}"}`)},
		`{"data":"text","channel":"news","user_id":"u1","event":"e"}`:                                                               {Kind: Event, Topic: "news", Data: []byte("text")},
		`{"event":"pusher:ping","data":"{}"}`:                                                                                       {Kind: Ping, Data: []byte(`{"event":"pusher:pong","data":{}}`)},
		`{"event":"pusher:ping"}`:                                                                                                   {Kind: Ping, Data: []byte(`{"event":"pusher:pong","data":{}}`)},
		`{"event":"pusher:pong","data":"{}"}`:                                                                                       {},
		`{"event":"pusher:cache_miss","channel":"cache-a"}`:                                                                         {},
		`{"event":"pusher_internal:subscription_count","channel":"news","data":"{\"subscription_count\":3}"}`:                       {},
		`{"event":"pusher:subscription_error","channel":"news","data":{"type":"AuthError","error":"no","status":401}}`:              {Kind: Failure, Topic: "news", Code: "AuthError"},
		`{"event":"pusher:error","data":{"code":4001,"message":"no application has this key"}}`:                                     {Kind: Failure, Code: "pusher:error 4001"},
		`{"event":"pusher:error","data":{"code":null,"message":"too many messages"}}`:                                               {Kind: Failure, Code: "pusher:error"},
		`{"event":"pusher:error","data":{"code":4100,"message":"over capacity"}}`:                                                   {Kind: Goodbye, After: 1e9},
		`{"event":"pusher:error","data":{"code":4200,"message":"the hub drains: reconnect"}}`:                                       {Kind: Goodbye},
		`{"event":"pusher_internal:subscription_succeeded","channel":"presence-a","data":"{\"presence\":{\"count\":1,\"ids\":1}}"}`: {Kind: Subscribed, Topic: "presence-a"},
	} {
		all, err := pusher{}.Parse(nil, []byte(text))
		if err != nil || len(all) != 1 || !reflect.DeepEqual(all[0], want) {
			t.Errorf("%s: got %+v, %v; want %+v", text, all, err, want)
		}
	}
	for _, text := range []string{
		``, `[]`, `{}`, `{"event":1}`, `{"event":""}`, `{"event":"e","data":"1"}`, `{"event":"e","channel":"news"}`, `{"event":"e","channel":"news","data":{"a":1}}`,
		`{"event":"e","channel":1,"data":"1"}`, `{"event":"pusher:connection_established","data":"{}"}`, `{"event":"pusher:connection_established"}`,
		`{"event":"pusher_internal:subscription_succeeded","data":"{}"}`, `{"event":"pusher:signin_success","data":"{}"}`, `{"event":"pusher:error","data":"x"}`,
		`{"event":"e","channel":"news","data":"1"`,
	} {
		if m, err := (pusher{}).Parse(nil, []byte(text)); err == nil {
			t.Errorf("%s was read as %+v", text, m)
		}
	}
}

// The signature of the signin is the example of Pusher's documentation.
func TestClientsOfPusherEnterWhenTheirConnectionHasAName(t *testing.T) {
	app := App{ID: "3", Key: "278d425bdf160c739803", Secret: "7ad3773142a6692b25b8"}
	subscribe := `{"event":"pusher:subscribe","data":{"channel":"news"}}`
	signIn := `{"event":"pusher:signin","data":{"auth":"278d425bdf160c739803:4708d583dada6a56435fb8bc611c77c359a31eebde13337c16ab43aa6de336ba","user_data":"{\"id\":\"12345\"}"}}`
	for _, c := range []struct {
		entry Entry
		want  []string
	}{
		{Entry{Topic: "news"}, []string{subscribe}},
		{Entry{Own: "#server-to-user-12345", User: "12345", App: app}, []string{signIn}},
		{Entry{Topic: "news", Own: "#server-to-user-12345", User: "12345", App: app}, []string{subscribe, signIn}},
	} {
		var got []string
		for _, m := range (pusher{}).Enter(c.entry, "1234.1234") {
			got = append(got, string(m))
		}
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%+v: %q, want %q", c.entry, got, c.want)
		}
	}
}

// FuzzPusher holds against any bytes that an event has a topic, and text that stands in the message.
func FuzzPusher(f *testing.F) {
	f.Add([]byte(`{"event":"message","channel":"news","data":"{\"a\":1}"}`))
	f.Add([]byte(`{"event":"pusher:error","data":{"code":4200,"message":"x"}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		all, err := pusher{}.Parse(nil, b)
		if err != nil {
			return
		}
		var in struct{ Event, Channel, Data any }
		if len(all) != 1 || json.Unmarshal(b, &in) != nil {
			t.Fatalf("%q is read as %+v", b, all)
		}
		if m := all[0]; m.Kind == Event && m.Topic == "" {
			t.Errorf("%q is an event of no topic", b)
		}
	})
}
