package pubsub

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func FuzzEnvelope(f *testing.F) {
	f.Add([]byte(nil))
	f.Add([]byte("\x01"))
	f.Add([]byte(`{"price":1}`))
	f.Add(appendEnvelope(nil, &Event{Position: Position{7, ID{1732361000123, 1}}, Before: ID{1732361000122, 4}, Number: 1, Data: []byte(`{"a":1}`)}))
	f.Add(appendEnvelope(nil, &Event{Position: Position{7, ID{0, 1}}, Number: 1}))
	f.Add(appendEnvelope(nil, &Event{Position: Position{7, ID{9, 1}}, Number: 1, Data: []byte(`{}`), Attributes: attributed[6]}))
	f.Add(appendEnvelope(nil, &Event{Position: Position{7, ID{5, 1}}, Before: ID{5, 1}, Number: 1}))
	f.Fuzz(func(t *testing.T, payload []byte) {
		ev, ok := parseEnvelope(payload)
		if !ok {
			return
		}
		if !isEnvelope(payload) || json.Valid(payload) {
			t.Error("an envelope that could be raw JSON")
		}
		if ev.Position.IsZero() || ev.Before.Compare(ev.Position.ID) >= 0 {
			t.Errorf("%s after %s", ev.Position, ev.Before)
		}
		if again := appendEnvelope(nil, &ev); !bytes.Equal(again, payload) {
			t.Errorf("%q became %q", payload, again)
		}
	})
}

func TestAnEnvelopeIsReadAsItWasWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		number := rapid.Uint64Range(1, 1<<53)
		want := Event{
			Position: Position{rapid.Uint64Min(1).Draw(t, "epoch"), ID{number.Draw(t, "ms"), number.Draw(t, "seq")}},
			Number:   number.Draw(t, "number"),
			Data:     append([]byte("["), rapid.SliceOf(rapid.Byte()).Draw(t, "data")...),

			Attributes: rapid.SampledFrom(attributed).Draw(t, "attributes"),
		}
		want.Before = ID{rapid.Uint64Max(want.Position.ID.Ms-1).Draw(t, "before"), number.Draw(t, "seq")}
		got, ok := parseEnvelope(appendEnvelope(nil, &want))
		if !ok || got.Position != want.Position || got.Before != want.Before || got.Number != want.Number || !reflect.DeepEqual(got.Attributes, want.Attributes) || !bytes.Equal(got.Data, want.Data) {
			t.Errorf("%+v became %+v", want, got)
		}
	})
}

func FuzzAddressed(f *testing.F) {
	for _, s := range []string{
		`{"to":{"user":"42"},"data":{"a":1}}`, `{"data":null,"to":{"topic":"news"}}`, `{"to":{"user":"1","topic":"2"},"data":1}`,
		`{"to":{},"data":1}`, `{"to":{"user":""},"data":1}`, `{"to":{"topic":"$hub"},"data":1}`, `{"to":{"user":"1"}}`,
		`{"to":{"user":"1"},"data":1,"more":1}`, `{"to":{"user":"1"},"data": [1,{"to":2}]\t}`, `{"to":{"topic":"\"},\"data\":"},"data":1}`, `[]`, `{"to":{"user":"\u0000"},"data":1}`, `{"to":{"user":"1"},"data":1} `,
		`{"to":{"user":"1"},"data":"` + strings.Repeat("x", 63) + `"}`,
	} {
		f.Add([]byte(s))
	}
	const limit = 64
	f.Fuzz(func(t *testing.T, message []byte) {
		topic, data, why, ok := parseAddressed(message, limit)
		if topic2, data2, why2, ok2 := parseUnusual(message, limit); topic != topic2 || !bytes.Equal(data, data2) || why != why2 || ok != ok2 {
			t.Errorf("%q, %q, %s, %t; by the slow way %q, %q, %s, %t", topic, data, why, ok, topic2, data2, why2, ok2)
		}
		if !ok {
			return
		}
		if !ValidTopic(topic) {
			t.Errorf("topic %q", topic)
		}
		if why, ok := fault(data, limit); !ok {
			t.Errorf("data %q is %s", data, why)
		}
		if !bytes.Contains(message, data) {
			t.Errorf("data %q is not in %q", data, message)
		}
	})
}

func TestAddressedMessagesNameExactlyOne(t *testing.T) {
	for message, want := range map[string]string{
		`{"to":{"user":"42"},"data":1}`:                    "user:42",
		`{"to":{"topic":"news"},"data":{}}`:                "news",
		` {"data" : [ ], "to" : {"topic" : "a b"} } `:      "a b",
		`{"to":{"user":"42","topic":"news"},"data":1}`:     "",
		`{"to":{"user":"42"},"to":{"topic":"n"},"data":1}`: "",
		`{"to":{},"data":1}`:                               "",
		`{"to":{"user":""},"data":1}`:                      "",
		`{"to":{"user":42},"data":1}`:                      "",
		`{"to":{"users":"42"},"data":1}`:                   "",
		`{"to":{"topic":"$hub"},"data":1}`:                 "$hub",
		`{"to":{"topic":"a\nb"},"data":1}`:                 "",
		`{"to":{"user":"42"}}`:                             "",
		`{"to":{"user":"42"},"data":1,"x":1}`:              "",
		`{"data":1}`:                                       "",
		`[]`:                                               "",
	} {
		topic, _, why, ok := parseAddressed([]byte(message), 100)
		if topic != want || ok != (want != "") || !ok && why != BadAddress {
			t.Errorf("%s: got %q, %s, %t", message, topic, why, ok)
		}
	}
}

func FuzzParsePosition(f *testing.F) {
	for _, s := range []string{"0", "", "00000000000000ff:1732361000123-1", "ff:1-1", "00000000000000FF:1-1", "00000000000000ff:01-1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePosition(s)
		if err != nil {
			return
		}
		if again := p.String(); again != s {
			t.Errorf("%q became %q", s, again)
		}
	})
}

func TestAPositionIsReadAsItWasWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := Position{rapid.Uint64().Draw(t, "epoch"), ID{rapid.Uint64().Draw(t, "ms"), rapid.Uint64().Draw(t, "seq")}}
		if got, err := ParsePosition(want.String()); err != nil || got != want {
			t.Errorf("%v became %v, %v", want, got, err)
		}
	})
}

func TestTopicNames(t *testing.T) {
	for topic, want := range map[string]bool{
		"news": true, "user:42": true, "é ñ": true, "$hub": true, strings.Repeat("x", MaxTopic): true,
		"": false, strings.Repeat("x", MaxTopic+1): false, "a\x00": false, "a\x7f": false, "a\u0085": false, "a\xff": false,
	} {
		if ValidTopic(topic) != want {
			t.Errorf("%q: %t", topic, !want)
		}
	}
}
