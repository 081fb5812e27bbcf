package main

import (
	"errors"
	"strings"
	"testing"
)

func TestTheAPITellsHowManyItReachedHere(t *testing.T) {
	h := startInside(t)
	publish := func(body string) string {
		t.Helper()
		_, answer, _ := ask(t, "POST", h.control+"/api/publish", body, asJSON...)
		return strings.TrimSpace(answer)
	}
	eventually(t, func() error { // the broker is there
		if got := publish(`{"topic":"news","data":1}`); got != `{"followers_here":0}` {
			return errors.New(got)
		}
		return nil
	})
	for range 2 {
		c := dial(t, "v1", h.public+"?user=42", "hub.v1.json")
		c.want(`{"type":"welcome"`)
		c.say(`{"type":"subscribe","id":1,"topic":"news"}`)
		c.until("message", "subscribed", func(s string) bool { return strings.HasPrefix(s, `{"type":"subscribed","id":1`) })
	}
	dial(t, "other", h.public+"?user=43", "hub.v1.json").want(`{"type":"welcome"`)
	if got := publish(`{"topic":"news","data":1}`); got != `{"followers_here":2}` {
		t.Error(got)
	}
	if got := publish(`[{"topic":"news","data":1},{"topic":"sport","data":1}]`); got != `[{"followers_here":2},{"followers_here":0}]` {
		t.Error(got)
	}
	for _, want := range []string{`{"closed_here":2}`, `{"closed_here":0}`} {
		if _, answer, _ := ask(t, "POST", h.control+"/api/disconnect", `{"user":"42"}`, asJSON...); strings.TrimSpace(answer) != want {
			t.Errorf("%s, want %s", answer, want)
		}
	}
}

func TestTheAPINamesTheFieldThatIsWrong(t *testing.T) {
	url := (&backend{}).start(t)
	for _, c := range []struct{ path, body, want string }{
		{"publish", `{"topic":7,"data":1}`, "topic: want a string, not a number"},
		{"publish", `{"Topic":"news","data":1,"tag":{}}`, `unknown member \"Topic\"`},
		{"publish", `{"topic":"news"}`, "data is missing"},
		{"broadcast", `{"topics":"news","data":1}`, "topics: want a list, not a string"},
		{"disconnect", `{"user":42}`, "user: want a string, not a number"},
		{"disconnect", `{"users":"42"}`, `unknown field \"users\"`},
	} {
		status, answer, _ := ask(t, "POST", url+"/api/"+c.path, c.body, asJSON...)
		if status != 400 || !strings.Contains(answer, c.want) || strings.Contains(answer, "json:") {
			t.Errorf("%s %s is answered %d %s", c.path, c.body, status, answer)
		}
	}
}

func TestAPlainRequestIsToldWhatToDo(t *testing.T) {
	h := startInside(t, "--control=off")
	for path, want := range map[string]string{"": "new WebSocket('/notification')", "/none": "plain HTTP"} {
		status, answer, _ := ask(t, "GET", "http"+strings.TrimPrefix(h.public, "ws")+path, "")
		if status != 426 || !strings.Contains(answer, want) {
			t.Errorf("GET %s is answered %d %s", path, status, answer)
		}
	}
	if status, answer, _ := ask(t, "GET", "http"+strings.TrimPrefix(h.public, "ws")+"x", "", upgrade...); status != 404 || !strings.Contains(answer, "there is one at /notification and /connection/websocket") {
		t.Errorf("answered %d %s", status, answer)
	}
	if status, answer, _ := ask(t, "POST", "http"+strings.TrimPrefix(h.public, "ws")+"x", "{}"); status != 405 || !strings.Contains(answer, "POST is taken at /connection/sse, /connection/http_stream, /emulation, /notification") {
		t.Errorf("a POST is answered %d %s", status, answer)
	}
}

func TestABackendAtTheWrongDoorIsToldSo(t *testing.T) {
	h := startInside(t, "--control=off")
	status, answer, _ := ask(t, "POST", strings.Replace(h.public, "ws", "http", 1)+"/api/publish", `{"topic":"news","data":1}`, asJSON...)
	if status != 405 || !strings.Contains(answer, "this port is for clients, and the API for backends on another one") {
		t.Errorf("a POST to the public port is answered %d %s", status, answer)
	}
}

// A client that forgets the subprotocol would show its requests to everybody.
func TestARequestOfHubV1IsNotPublishedByAPlainClient(t *testing.T) {
	h := startInside(t, "--control=off")
	c, named, heard := dial(t, "plain", h.public, ""), dial(t, "named", h.public, "hub.v1.plain"), dial(t, "listener", h.public, "")
	for _, request := range []string{
		`{"type":"subscribe","topic":"news"}`, ` {"topic":"news", "id":7, "type":"subscribe", "since":"0"}`, `{"type":"publish","topic":"news","data":{"a":1},"key":"k"}`,
		`{"type":"history","topic":"news","limit":5}`, `{"type":"unsubscribe","id":"a","topic":"news"}`,
	} {
		c.say(request)
		if got := c.want(`{"type":"error","code":"bad_request"`); !strings.Contains(got, "hub.v1.json") || !strings.Contains(got, "hub.v1.plain") {
			t.Errorf("%s is answered %s", request, got)
		}
		named.say(request)
		heard.want(request)
	}
	for _, own := range []string{
		`{"type":"subscribe","topic":"news","customer":7}`, `{"type":"ping"}`, `{"type":"order","topic":"news"}`, `{"type":"publish","topic":"news"}`, `{"type":"subscribe"}`,
		`{"type":"subscribe","topic":""}`, `[{"type":"subscribe","topic":"news"}]`, `{"type":7,"topic":"news"}`, `{"a":{"type":"subscribe","topic":"news"}}`,
	} {
		c.say(own)
		heard.want(own)
	}
}

func TestAnErrorNamesTheFieldInPlainEnglish(t *testing.T) {
	h := startInside(t, "--control=off", "--default-subscribe=news", "--history=*=10")
	c := dial(t, "v1", h.public, "hub.v1.json")
	c.want(`{"type":"welcome"`)
	for _, one := range []struct{ say, code, want string }{
		{`{"id":1,"topic":"news"}`, "unknown_type", `type is missing: want \"type\"`},
		{`{"type":5}`, "bad_request", "type: want a string, not a number"},
		{`{"type":"subscrieb","topic":"news"}`, "unknown_type", `history, presence, presence_stats, resume, auth or ping, not \"subscrieb\"`},
		{`{"type":"subscribe","Topic":"news"}`, "bad_topic", `topic is missing: want \"topic\", as in \"topic\":\"news\"; members are named exactly so`},
		{`{"type":"subscribe","topic":["news"]}`, "bad_request", "topic: want a string, not a list"},
		{`{"type":"subscribe","topic":"news","since":12}`, "bad_request", "since: want a position as the hub gave it, in quotes"},
		{`{"type":"publish","topic":"news"}`, "bad_request", "data is missing: want"},
		{`{"type":"publish","topic":"news","data":1,"key":{}}`, "bad_request", "key: want a string, not an object"},
		{`{"type":"history","topic":"news","limit":"ten"}`, "bad_request", "limit: want a whole number from 1 to 1000"},
		{`{"type":"auth"}`, "bad_request", "token is missing"},
		{`{"type":"resume","token":"x","positions":[]}`, "bad_request", "positions: want an object of topics and positions"},
		{`{"type":"ping","id":true}`, "bad_request", "id: want a number or a string of up to 64 bytes, not true"},
		{`{"type":"ping","id":"` + strings.Repeat("x", 70) + `"}`, "bad_request", "up to 64 bytes, not one of 72"},
		{`{"type":"subscribe","topic":"news:*"}`, "forbidden", "a * in a topic's name stands for itself"},
		{`["subscribe"]`, "bad_request", "not an object"},
	} {
		c.say(one.say)
		if got := c.want(`{"type":"error"`); !strings.Contains(got, `"code":"`+one.code+`"`) || !strings.Contains(got, one.want) {
			t.Errorf("%s is answered %s", one.say, got)
		}
	}
}

func TestATopicWithAStarIsOneLikeAnyOther(t *testing.T) {
	o := dial(t, "v1", startInside(t, "--control=off").public, "hub.v1.json")
	o.say(`{"type":"subscribe","id":1,"topic":"news:*"}`)
	o.want(`{"type":"subscribed","id":1,"topic":"news:*"`)
}
