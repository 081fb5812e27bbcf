package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"wshub/pubsub"
	"wshub/session"
)

func TestSessionsAreSubscribedAndUnsubscribedByUserOrName(t *testing.T) {
	b := &backend{}
	url := b.start(t)
	at := pubsub.Position{Epoch: 7, ID: pubsub.ID{Ms: 1732361000123, Seq: 1}}
	for _, c := range []struct{ path, body string }{
		{"subscribe", `{"user":"42","topic":"news"}`},
		{"subscribe", fmt.Sprintf(`{"session":"s_2fhfmiposqy91","topic":"news é","since":%q}`, at)},
		{"subscribe", `{"user":"42","topic":"news","since":"0"}`},
		{"unsubscribe", `{"user":"` + strings.Repeat(`\u0041`, 250) + `","topic":"` + strings.Repeat(`\u0041`, 255) + `"}`},
		{"refresh", `{"user":"42","expired":true}`},
		{"refresh", `{"user":"42","expire_at":1735689600}`},
		{"refresh", `{"session":"s_2fhfmiposqy91","expire_at":0,"expired":false}`},
	} {
		if status, body, _ := ask(t, "POST", url+"/api/"+c.path, c.body, asJSON...); status != 200 || strings.TrimSpace(body) != "{}" {
			t.Errorf("%s %s is answered %d %s", c.path, c.body, status, body)
		}
	}
	if want := []string{
		"subscribe {User:42 Session:} news", "subscribe {User: Session:s_2fhfmiposqy91} news é since " + at.String(), "subscribe {User:42 Session:} news since 0",
		"unsubscribe {User:" + strings.Repeat("A", 250) + " Session:} " + strings.Repeat("A", 255),
		"refresh {User:42 Session:} now", "refresh {User:42 Session:} 2025-01-01T00:00:00Z", "refresh {User: Session:s_2fhfmiposqy91} never",
	}; !slices.Equal(b.targets, want) {
		t.Errorf("done: %q, want %q", b.targets, want)
	}
}

func TestBadOrdersForSessionsAreRefused(t *testing.T) {
	b := &backend{}
	url := b.start(t)
	for _, c := range []struct{ path, body, code string }{
		{"subscribe", `{"user":"42"}`, "bad_topic"}, {"subscribe", `{"user":"42","topic":"a\u0001b"}`, "bad_topic"},
		{"subscribe", `{"user":"42","topic":"news","since":"yesterday"}`, "bad_request"}, {"subscribe", `{"user":"42","topic":"news","since":7}`, "bad_json"},
		{"subscribe", `{"user":"42","topic":"news","of":"7"}`, "bad_json"}, {"unsubscribe", `{"user":"42","topic":"news","since":"0"}`, "bad_json"},
		{"unsubscribe", `{"user":"42"}`, "bad_topic"}, {"disconnect", `{"user":"42","keep":["s_1"]}`, "bad_json"},
		{"refresh", `{"user":"42"}`, "bad_request"}, {"refresh", `{"user":"42","expired":true,"expire_at":1735689600}`, "bad_request"},
		{"refresh", `{"user":"42","expire_at":-1}`, "bad_request"}, {"refresh", `{"user":"42","expire_at":"soon"}`, "bad_request"}, {"refresh", `{"user":"42","expired":false}`, "bad_request"},
	} {
		status, body, _ := ask(t, "POST", url+"/api/"+c.path, c.body, asJSON...)
		if code, _ := errorOf(t, body); status != 400 || code != c.code {
			t.Errorf("%s %s is answered %d %s", c.path, c.body, status, body)
		}
	}
	if len(b.targets) > 0 {
		t.Errorf("done: %q", b.targets)
	}
	b.result.Err = fmt.Errorf("%w: secret detail", pubsub.ErrUnavailable)
	if status, body, _ := ask(t, "POST", url+"/api/subscribe", `{"user":"42","topic":"news"}`, asJSON...); status != 503 || strings.Contains(body, "secret") {
		t.Errorf("answered %d %s", status, body)
	}
}

func TestOneEventGoesToSeveralTopics(t *testing.T) {
	at := pubsub.Position{Epoch: 7, ID: pubsub.ID{Ms: 1732361000123, Seq: 1}}
	b := &backend{result: pubsub.Result{Position: at}, odd: map[string]error{"b": pubsub.ErrUnavailable}}
	url := b.start(t)
	ok := fmt.Sprintf(`{"position":%q}`, at)
	if status, body, _ := ask(t, "POST", url+"/api/broadcast", `{"topics":["a","c"],"data": {"n": 1} ,"key":"k","tags":{"x":"1"}}`, asJSON...); status != 200 || strings.TrimSpace(body) != "["+ok+","+ok+"]" {
		t.Errorf("answered %d %s", status, body)
	}
	if got, want := b.done(), []string{`publish a {"n": 1} key k tags map[x:1]`, `publish c {"n": 1} key k tags map[x:1]`}; !slices.Equal(got, want) {
		t.Errorf("published %q, want %q", got, want)
	}
	if status, body, _ := ask(t, "POST", url+"/api/broadcast", `{"topics":["a","b"],"data":1}`, asJSON...); status != 503 || !strings.HasPrefix(body, "["+ok+`,{"error":{"code":"unavailable"`) {
		t.Errorf("one of two failed: answered %d %s", status, body)
	}
	b.published = nil
	big := strings.Repeat("x", 64<<10)
	for _, c := range []struct {
		body   string
		status int
		code   session.Code
	}{
		{`{"topics":[],"data":1}`, 400, session.BadRequest}, {`{"data":1}`, 400, session.BadRequest}, {`{"topics":"a","data":1}`, 400, session.BadJSON},
		{`{"topics":["a"]}`, 400, session.BadRequest}, {`{"topics":["a",""],"data":1}`, 400, session.BadTopic}, {`{"topics":["a"],"data":1,"to":2}`, 400, session.BadJSON},
		{`{"topics":["a"` + strings.Repeat(`,"a"`, 1000) + `],"data":1}`, 400, session.BadRequest}, {`{"topics":["a"],"data":"` + big + `"}`, 413, session.TooLarge},
		{`{"topics":["a"],"data":1` + strings.Repeat(" ", 1200<<10) + `}`, 413, session.TooLarge},
	} {
		status, body, _ := ask(t, "POST", url+"/api/broadcast", c.body, asJSON...)
		if code, _ := errorOf(t, body); status != c.status || code != string(c.code) {
			t.Errorf("%.60s is answered %d %s", c.body, status, body)
		}
	}
	if status, _, _ := ask(t, "POST", url+"/api/broadcast", `{"topics":["a"],"data":1}`); status != 415 {
		t.Errorf("without a type: answered %d", status)
	}
	if len(b.published) > 0 {
		t.Errorf("published %+v", b.published)
	}
}
