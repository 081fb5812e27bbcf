package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"wshub/pubsub"
)

func TestBackendsReadWhoFollowsATopic(t *testing.T) {
	b := &backend{presence: pubsub.Presence{Clients: 3, Users: 2, Next: "7", Members: []pubsub.Member{
		{Session: "s_1", User: "42", Info: json.RawMessage(`{"name":"Ann"}`), Since: 5}, {Session: "s_2", Since: 6},
	}}}
	at := b.start(t)
	for _, c := range []struct{ path, want, asked string }{
		{"presence?topic=room:1", `{"topic":"room:1","clients":3,"users":2,"members":[{"session":"s_1","user":"42","info":{"name":"Ann"},"since":5},{"session":"s_2","since":6}],"next":"7"}`, `presence room:1 "" 100`},
		{"presence?topic=room%3A1&limit=1000&after=7", `{"topic":"room:1","clients":3`, `presence room:1 "7" 1000`},
		{"presence_stats?topic=room:1", `{"topic":"room:1","clients":3,"users":2}`, `presence room:1 "" 0`},
	} {
		b.targets = nil
		status, body, _ := ask(t, "GET", at+"/api/"+c.path, "")
		if status != 200 || !strings.HasPrefix(body, c.want) || fmt.Sprint(b.targets) != "["+c.asked+"]" {
			t.Errorf("%s: %d %s, asked %v", c.path, status, body, b.targets)
		}
	}
	b.targets = nil
	for path, code := range map[string]string{
		"presence": "bad_topic", "presence?topic=": "bad_topic", "presence?topic=a&topic=b": "bad_request", "presence?topic=a&limit=0": "bad_request",
		"presence?topic=a&limit=1001": "bad_request", "presence?topic=a&limit=x": "bad_request", "presence?topic=a&size=1": "bad_request",
		"presence?topic=%ff": "bad_topic", "presence?topic=%zz": "bad_request", "presence_stats": "bad_request", "presence_stats?topic=a&limit=1": "bad_request",
	} {
		if status, body, _ := ask(t, "GET", at+"/api/"+path, ""); status != 400 || !strings.Contains(body, `"code":"`+code+`"`) {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	if len(b.targets) > 0 {
		t.Errorf("the hub was asked %v", b.targets)
	}
	for err, want := range map[error]string{
		pubsub.ErrNoPresence: "404 no_presence", pubsub.ErrBadPage: "400 bad_request", pubsub.ErrUnavailable: "503 unavailable", pubsub.ErrRefused: "502 refused",
	} {
		b.result.Err = fmt.Errorf("read presence: %w", err)
		for _, path := range []string{"presence?topic=a", "presence_stats?topic=a"} {
			status, body, _ := ask(t, "GET", at+"/api/"+path, "")
			var answer struct{ Error struct{ Code string } }
			if _ = json.Unmarshal([]byte(body), &answer); fmt.Sprint(status, " ", answer.Error.Code) != want {
				t.Errorf("%s: %d %s, want %s", path, status, body, want)
			}
		}
	}
}

func TestCentrifugosServerAPIHasPresence(t *testing.T) {
	b := &backend{presence: pubsub.Presence{Clients: 2, Users: 1, Members: []pubsub.Member{
		{Session: "s_1", User: "42", Info: json.RawMessage(`{"name":"Ann"}`), Since: 5}, {Session: "s_2", Since: 6},
	}}}
	at := b.start(t) + "/centrifugo/api/"
	for method, want := range map[string]string{
		"presence":       `{"result":{"presence":{"s_1":{"client":"s_1","user":"42","conn_info":{"name":"Ann"}},"s_2":{"client":"s_2","user":""}}}}`,
		"presence_stats": `{"result":{"num_clients":2,"num_users":1}}`,
	} {
		if status, body, _ := ask(t, "POST", at+method, `{"channel":"a"}`, asJSON...); status != 200 || strings.TrimSpace(body) != want {
			t.Errorf("%s: %d %s, want %s", method, status, body, want)
		}
	}
	b.presence.Next = "7" // there are more
	if _, body, _ := ask(t, "POST", at+"presence", `{"channel":"a"}`, asJSON...); !strings.Contains(body, `"code":107`) {
		t.Error(body)
	}
}

func TestPatternsOfPresence(t *testing.T) {
	c := &config{Presence: []string{"room:*", "user:*"}}
	has, err := c.presence()
	if err != nil || !has("room:1") || !has("user:42") || has("room") || has("news") {
		t.Error(err)
	}
	if has, err := (&config{}).presence(); has != nil || err != nil {
		t.Error("without patterns no topic has a presence")
	}
	for _, bad := range []string{"", "room", "room:*=5", "*:room", "a**", "\x01*"} {
		if _, err := (&config{Presence: []string{bad}}).presence(); err == nil || !strings.HasPrefix(err.Error(), "--presence ") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if err := (&config{DefaultPresence: []string{"room:*"}}).validatePresence(); err == nil {
		t.Error("--default-presence without --presence was taken")
	}
}
