package fleet

import (
	"testing"
)

func TestBlocksOfAStreamAreRead(t *testing.T) {
	for block, want := range map[string]Message{
		"retry: 1000":            {Kind: Ping},
		":":                      {Kind: Ping},
		"id: 5\ndata: {\"a\":1}": {Kind: Event, Data: []byte(`{"a":1}`), Position: "5"},
		"data: [\ndata: 1]":      {Kind: Event, Data: []byte("[\n1]")},
		"event: hub\nid: 5\ndata: {\"type\":\"subscribed\",\"topic\":\"a\",\"position\":\"5\",\"recovered\":true}": {Kind: Subscribed, Topic: "a", Position: "5", Recovered: true},
		"data: {\"type\":\"event\",\"topic\":\"a\",\"position\":\"7\",\"data\":2}\nid: xyz":                        {Kind: Event, Topic: "a", Position: "7", Data: []byte("2")},
		"event: hub\ndata: {\"type\":\"gap\",\"topic\":\"a\",\"position\":\"7\"}":                                  {Kind: Gap, Topic: "a", Position: "7"},
	} {
		all, err := sse{}.Parse(nil, []byte(block))
		if err != nil || len(all) != 1 {
			t.Errorf("%q: %v, %v", block, all, err)
			continue
		}
		got := all[0]
		if got.Kind != want.Kind || got.Topic != want.Topic || got.Position != want.Position || got.Recovered != want.Recovered || string(got.Data) != string(want.Data) {
			t.Errorf("%q: got %+v, want %+v", block, got, want)
		}
	}
	for _, block := range []string{"what: 1", "event: else\ndata: 1", "data: {", "event: hub\ndata: 1"} {
		if all, err := (sse{}).Parse(nil, []byte(block)); err == nil {
			t.Errorf("%q: %v", block, all)
		}
	}
}
