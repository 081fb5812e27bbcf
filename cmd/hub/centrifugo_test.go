package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"wshub/pubsub"
	"wshub/session"
)

const centrifugoKeyText = "0123456789abcdef"

// The ways in which libraries say who they are, and where they send to. Requests in this file are written by hand in the
// shapes that these libraries give them.
var (
	pycent   = []string{"User-Agent", "centrifugal/pycent", "Content-Type", "application/json", "X-API-Key", centrifugoKeyText}
	phpcent  = []string{"User-Agent", "curl/7.39.0", "Content-Type", "application/json", "X-API-Key", centrifugoKeyText}
	gocent   = []string{"Authorization", "apikey " + centrifugoKeyText, "Content-Type", "application/json"}
	rubycent = []string{"User-Agent", "Faraday v2.9.0", "Content-Type", "application/json", "X-API-Key", centrifugoKeyText}
	laravel  = []string{"User-Agent", "GuzzleHttp/7", "Content-type", "application/json", "Authorization", "apikey " + centrifugoKeyText}
)

func TestBackendLibrariesOfCentrifugoAreUnderstood(t *testing.T) {
	at := pubsub.Position{Epoch: 0xfedcba9876543210, ID: pubsub.ID{Ms: 1577836800001, Seq: 2}}
	place := `"offset":4098,"epoch":"fedcba9876543210"`
	event := &pubsub.Event{Position: at, Data: []byte(`{"a": "<b>"}`), Attributes: &pubsub.Attributes{Info: []byte(`{"user":"1"}`), Tags: map[string]string{"x": "1"}}}
	for _, c := range []struct {
		library      string
		header       []string
		path, body   string
		answer       string
		done         string // published or done to sessions
		result       pubsub.Result
		withoutReply bool
	}{
		{library: "pycent", header: pycent, path: "/publish", body: `{"channel": "example:2", "data": {"input": "Hello world!"}}`,
			answer: `{"result":{` + place + `}}`, done: `publish example:2 {"input": "Hello world!"}`, result: pubsub.Result{Position: at}},
		{library: "pycent", header: pycent, path: "/publish", body: `{"channel":"a","data":1,"skip_history":true,"tags":{"x":"1"},"idempotency_key":"k"}`,
			answer: `{"result":{}}`, done: `publish a 1 key k unkept tags map[x:1]`},
		{library: "pycent", header: pycent, path: "/broadcast", body: `{"channels": ["a", "b"], "data": {"n": 1}, "idempotency_key": "k"}`,
			answer: `{"result":{"responses":[{"result":{}},{"result":{}}]}}`, done: `publish a {"n": 1} key k, publish b {"n": 1} key k`},
		{library: "pycent", header: pycent, path: "/subscribe", body: `{"user":"42","channel":"news","recover_since":{"offset":4098,"epoch":"fedcba9876543210"}}`,
			answer: `{"result":{}}`, done: "subscribe {User:42 Session:} news since " + at.String()},
		{library: "pycent", header: pycent, path: "/subscribe", body: `{"user":"42","channel":"news","recover_since":{"offset":1,"epoch":"xyz"}}`,
			answer: `{"result":{}}`, done: "subscribe {User:42 Session:} news since ffffffffffffffff:1-1"},
		{library: "pycent", header: pycent, path: "/disconnect", body: `{"user":"42","whitelist":["s_1"],"disconnect":{"code":4100,"reason":"bye"}}`,
			answer: `{"result":{}}`, done: "disconnect {User:42 Session:} but s_1"},
		{library: "pycent", header: pycent, path: "/refresh", body: `{"user":"42","client":"s_1","expire_at":1735689600}`,
			answer: `{"result":{}}`, done: "refresh {User: Session:s_1} of 42 2025-01-01T00:00:00Z"},
		{library: "pycent", header: pycent, path: "/refresh", body: `{"user":"42","expired":true}`, answer: `{"result":{}}`, done: "refresh {User:42 Session:} now"},
		{library: "pycent", header: pycent, path: "/presence", body: `{"channel":"a"}`, answer: `{"error":{"code":108,"message":"not available"}}`},
		{library: "pycent", header: pycent, path: "/batch", body: `{"commands":[{"publish":{"channel":"a","data":1}},{"presence_stats":{"channel":"a"}},{"unsubscribe":{"user":"42","channel":"a"}}],"parallel":true}`,
			answer: `{"replies":[{"publish":{}},{"error":{"code":108,"message":"not available"}},{"unsubscribe":{}}]}`,
			done:   "publish a 1, unsubscribe {User:42 Session:} a"},

		{library: "phpcent", header: phpcent, path: "/publish", body: `{"channel":"a","data":["x"],"skip_history":false,"tags":[],"b64data":"","idempotency_key":""}`,
			answer: `{"result":{}}`, done: `publish a ["x"]`},
		{library: "phpcent", header: phpcent, path: "/publish", body: `{"channel":"a","data":[],"skip_history":false}`, answer: `{"result":{}}`, done: `publish a []`},
		{library: "phpcent", header: phpcent, path: "/subscribe", body: `{"channel":"a","user":"42","client":"","info":[],"data":[],"override":[],"recover_since":[]}`,
			answer: `{"result":{}}`, done: "subscribe {User:42 Session:} a"},
		{library: "phpcent", header: phpcent, path: "/unsubscribe", body: `{"channel":"a","user":"42","client":"s_7"}`,
			answer: `{"result":{}}`, done: "unsubscribe {User: Session:s_7} of 42 a"},
		{library: "phpcent", header: phpcent, path: "/disconnect", body: `{"user":"42","client":"","whitelist":[],"disconnect":[]}`,
			answer: `{"result":{}}`, done: "disconnect {User:42 Session:}"},
		{library: "phpcent", header: phpcent, path: "/history", body: `{"channel":"kept","limit":0,"reverse":false}`,
			answer: `{"result":{"publications":[{"data":{"a":"<b>"},"info":{"user":"1"},"tags":{"x":"1"},"offset":4098}],` + place + `}}`},
		{library: "phpcent", header: phpcent, path: "/history_remove", body: `{"channel":"kept"}`, answer: `{"result":{}}`, done: "remove kept"},
		{library: "phpcent", header: phpcent, path: "/history_remove", body: `{"channel":"lost"}`, answer: `{"error":{"code":108,"message":"not available"}}`},
		{library: "phpcent", header: phpcent, path: "/info", body: `{}`, answer: "*"},

		{library: "gocent", header: gocent, body: `{"method":"publish","params":{"channel":"a","data":{"n":1}}}` + "\n",
			answer: `{"result":{` + place + `}}`, done: `publish a {"n":1}`, result: pubsub.Result{Position: at}},
		{library: "gocent", header: gocent, body: `{"method":"publish","params":{"channel":"a","data":1}}` + "\n" + `{"method":"broadcast","params":{"channels":["b",""],"data":2}}` + "\n" + `{"method":"presence","params":{"channel":"a"}}` + "\n" + `{"method":"info","params":{}}` + "\n",
			answer: `{"result":{}}` + "\n" + `{"result":{"responses":[{"result":{}},{"error":{"code":107,"message":"bad request: channel: want 1 to 255 bytes without control characters"}}]}}` + "\n" + `{"error":{"code":108,"message":"not available"}}` + "\n*",
			done:   "publish a 1, publish b 2"},
		{library: "gocent", header: gocent, body: `{"method":"unsubscribe","params":{"channel":"a","user":"42"}}` + "\n" + `{"method":"disconnect","params":{"user":"42"}}` + "\n",
			answer: `{"result":{}}` + "\n" + `{"result":{}}`, done: "unsubscribe {User:42 Session:} a, disconnect {User:42 Session:}"},
		{library: "old cent", header: gocent, body: `{"id":1,"params":{"channel":"a","data":1}}{"id":2,"method":7,"params":{"channel":"kept"}} {"method":3,"params":{"user":"1"}} {"method":"DANCE"} {"method":99} {"method":{}}`,
			answer: `{"id":1,"result":{}}` + "\n" + `{"id":2,"result":{}}` + "\n" + `{"result":{}}` + strings.Repeat("\n"+`{"error":{"code":104,"message":"method not found"}}`, 3),
			done:   "publish a 1, remove kept, disconnect {User:1 Session:}"},

		{library: "rubycent", header: rubycent, path: "/broadcast", body: `{"channels":["a","a\nb","c"],"data":{"text":"hi"}}`,
			answer: `{"result":{"responses":[{"result":{}},{"error":{"code":107,"message":"bad request: channel: want 1 to 255 bytes without control characters"}},{"result":{}}]}}`,
			done:   `publish a {"text":"hi"}, publish c {"text":"hi"}`},
		{library: "rubycent", header: rubycent, path: "/publish", body: `{"channel":"a","data":null,"b64data":"eyJuIjoxfQ=="}`, answer: `{"result":{}}`, done: `publish a {"n":1}`},
		{library: "rubycent", header: rubycent, path: "/history", body: `{"channel":"kept","limit":10,"since":{"offset":1,"epoch":"xyz"}}`,
			answer: `{"error":{"code":112,"message":"unrecoverable position"}}`},
		{library: "rubycent", header: rubycent, path: "/history", body: `{"channel":"kept","limit":10,"since":{"offset":1,"epoch":"0000000000000007"}}`,
			answer: `{"error":{"code":112,"message":"unrecoverable position"}}`},
		{library: "rubycent", header: rubycent, path: "/batch", body: `{"commands":[{"publish":{"channel":"a","data":{}}},{"dance":{}},{"info":null}]}`,
			answer: `{"replies":[{"publish":{}},{"error":{"code":104,"message":"method not found"}},{"error":{"code":104,"message":"method not found"}}]}`, done: "publish a {}"},

		{library: "laravel", header: laravel, body: `{"method":"broadcast","params":{"channels":["private-room.1"],"data":{"text":"hi","event":"App\\Events\\Sent"}}}`,
			answer: `{"result":{"responses":[{"result":{}}]}}`, done: `publish private-room.1 {"text":"hi","event":"App\\Events\\Sent"}`},
		{library: "laravel", header: laravel, body: `{"method":"info","params":[]}`, answer: "*"},
		{library: "laravel", header: laravel, body: `{"method":"channels","params":[]}`, answer: `{"result":{"channels":{"a":{"num_clients":2}}}}`},

		{library: "none", header: []string{"X-API-Key", centrifugoKeyText}, path: "/publish", body: `{"channel":"a","data":1}`, answer: `{"result":{}}`, done: "publish a 1"},
		{library: "none", path: "/publish/?api_key=" + centrifugoKeyText, body: `{"channel":"a","data":1}`, answer: `{"result":{}}`, done: "publish a 1"},
	} {
		b := &backend{result: c.result, replay: pubsub.Replay{Events: []*pubsub.Event{event}, Head: at}}
		url := b.start(t, "--api-key="+centrifugoKeyText)
		status, body, header := ask(t, "POST", url+"/centrifugo/api"+c.path, c.body, c.header...)
		exact, isExact := c.answer, true
		if strings.HasSuffix(c.answer, "*") {
			exact, isExact = strings.TrimSuffix(c.answer, "*"), false
		}
		if status != 200 || header.Get("Content-Type") != "application/json" || body != exact && isExact || !strings.HasPrefix(body, exact) || !isExact && !strings.Contains(body, `"nodes":[{"uid":`) {
			t.Errorf("%s %s %s is answered\n%d %s, want\n    %s", c.library, c.path, c.body, status, body, c.answer)
		}
		if done := strings.Join(b.done(), ", "); done != c.done {
			t.Errorf("%s %s %s: done %q, want %q", c.library, c.path, c.body, done, c.done)
		}
	}
}

// done is all that was asked of b.
func (b *backend) done() []string {
	var list []string
	for _, p := range b.published {
		text := "publish " + p.Topic + " " + string(p.Data)
		if p.Key != "" {
			text += " key " + p.Key
		}
		if p.Unkept {
			text += " unkept"
		}
		if p.Attributes != nil {
			text += fmt.Sprintf(" tags %v", p.Attributes.Tags)
		}
		list = append(list, text)
	}
	return append(list, b.targets...)
}

func TestCommandsThatCannotBeDoneAreAnsweredByAnError(t *testing.T) {
	b := &backend{many: true}
	url := b.start(t)
	big := strings.Repeat("x", 64<<10)
	for _, c := range []struct {
		path, body string
		code       int
	}{
		{"/dance", `{}`, 104},
		{"/presence", ``, 107}, {"/presence_stats", `{}`, 107}, {"/presence", `{"channel":"a"}`, 108}, {"/presence_stats", `{"channel":"a"}`, 108}, {"/rpc", `{"method":"x"}`, 108},
		{"/publish", ``, 107}, {"/publish", `[]`, 107}, {"/publish", `[1]`, 107}, {"/publish", `7`, 107},
		{"/publish", `{"channel":"a"}`, 107}, {"/publish", `{"data":1}`, 107}, {"/publish", `{"channel":7,"data":1}`, 107},
		{"/publish", `{"channel":"a","b64data":"!"}`, 107}, {"/publish", `{"channel":"a","b64data":"AAAA"}`, 107},
		{"/publish", `{"channel":"a","data":"` + big + `"}`, 107}, {"/publish", `{"channel":"` + big[:256] + `","data":1}`, 107},
		{"/publish", `{"channel":"a","data":1,"tags":{"a":1}}`, 107}, {"/publish", `{"channel":"a","data":1,"tags":{"a":"` + big[:256] + `"}}`, 107},
		{"/broadcast", `{"data":1}`, 107}, {"/broadcast", `{"channels":"a","data":1}`, 107}, {"/broadcast", `{"channels":[` + strings.Repeat(`"a",`, 1000) + `"a"],"data":1}`, 107},
		{"/subscribe", `{"channel":"a"}`, 107}, {"/subscribe", `{"user":"42"}`, 107}, {"/subscribe", `{"user":"42","channel":"a","data":{"x":1}}`, 108},
		{"/subscribe", `{"user":"42","channel":"a","recover_since":7}`, 107},
		{"/unsubscribe", `{"channel":"a","client":"s_1","session":"s_2"}`, 107},
		{"/disconnect", `{}`, 107}, {"/disconnect", `{"user":""}`, 107}, {"/disconnect", `{"user":"42","whitelist":"s_1"}`, 107},
		{"/refresh", `{}`, 107}, {"/refresh", `{"user":"42","expire_at":-1}`, 107}, {"/refresh", `{"user":"42","expire_at":"soon"}`, 107},
		{"/history", `{}`, 107}, {"/history", `{"channel":"a"}`, 108}, {"/history", `{"channel":"kept","limit":-2}`, 107},
		{"/history", `{"channel":"kept","since":{"offset":-1}}`, 107}, {"/history", `{"channel":"kept","since":{"offset":9007199254740992}}`, 112},
		{"/history_remove", `{}`, 107},
		{"/channels", `{"pattern":"{a"}`, 107}, {"/channels", `{"pattern":"[z-a]"}`, 107}, {"/channels", `{"pattern":"` + big[:300] + `"}`, 107}, {"/channels", `{}`, 107},
		{"/batch", `{"commands":[` + strings.Repeat(`{},`, 1000) + `{}]}`, 107},
	} {
		status, body, _ := ask(t, "POST", url+"/centrifugo/api"+c.path, c.body, asJSON...)
		var in struct {
			Result any
			Error  struct {
				Code    int
				Message string
			}
		}
		if err := json.Unmarshal([]byte(body), &in); err != nil || status != 200 || in.Error.Code != c.code || in.Error.Message == "" || in.Result != nil || strings.Contains(body, "Go ") {
			t.Errorf("%s %.60s is answered %d %s, want %d", c.path, c.body, status, body, c.code)
		}
	}
	if done := b.done(); len(done) > 0 {
		t.Errorf("done: %q", done)
	}
}

func TestFaultsOfTheBrokerAreInternalErrors(t *testing.T) {
	b := &backend{result: pubsub.Result{Err: fmt.Errorf("%w: secret detail", pubsub.ErrUnavailable)}}
	url := b.start(t)
	for path, body := range map[string]string{
		"publish": `{"channel":"a","data":1}`, "subscribe": `{"user":"42","channel":"a"}`, "history": `{"channel":"kept","limit":1}`,
		"history_remove": `{"channel":"kept"}`, "info": `{}`, "channels": `{}`, "disconnect": `{"user":"42"}`,
	} {
		if status, answer, _ := ask(t, "POST", url+"/centrifugo/api/"+path, body, asJSON...); status != 200 || !strings.HasPrefix(answer, `{"error":{"code":100,`) || strings.Contains(answer, "secret") {
			t.Errorf("%s is answered %d %s", path, status, answer)
		}
	}
	b.result.Err, b.odd = nil, map[string]error{"b": pubsub.ErrRefused}
	_, answer, _ := ask(t, "POST", url+"/centrifugo/api/broadcast", `{"channels":["a","b","c"],"data":1}`, asJSON...)
	if !strings.HasPrefix(answer, `{"result":{"responses":[{"result":{}},{"error":{"code":100,`) || !strings.HasSuffix(answer, `{"result":{}}]}}`) {
		t.Error(answer)
	}
	b.refusal = fmt.Errorf("%w: the key is too long", session.ErrBadPublication)
	_, answer, _ = ask(t, "POST", url+"/centrifugo/api/publish", `{"channel":"a","data":1}`, asJSON...)
	if !strings.HasPrefix(answer, `{"error":{"code":107,"message":"bad request: `) {
		t.Error(answer)
	}
}

func TestABodyThatIsNoneIsABadRequest(t *testing.T) {
	b := &backend{}
	url := b.start(t)
	for _, c := range []struct {
		path, body string
		status     int
	}{
		{"/publish", `{`, 400}, {"/publish", `{} {}`, 400}, {"/publish", "{\"channel\":\"\xff\"}", 400},
		{"/batch", ``, 400}, {"/batch", `{"commands":7}`, 400}, {"/batch", `[`, 400},
		{"", ``, 400}, {"", ` `, 400}, {"", `{"method":"publish"`, 400}, {"", `[]`, 400}, {"", strings.Repeat(`{"method":"rpc"}`, 1001), 400},
		{"/publish", `{"channel":"a","data":"` + strings.Repeat("x", 1200<<10) + `"}`, 413},
	} {
		if status, answer, _ := ask(t, "POST", url+"/centrifugo/api"+c.path, c.body, asJSON...); status != c.status || answer != "" {
			t.Errorf("%s %.40s is answered %d %s", c.path, c.body, status, answer)
		}
	}
	if status, _, _ := ask(t, "GET", url+"/centrifugo/api/publish", ""); status != 405 {
		t.Errorf("GET is answered %d", status)
	}
	if done := b.done(); len(done) > 0 {
		t.Errorf("done: %q", done)
	}
}

func TestWhoMayNotAskGetsNothing(t *testing.T) {
	b := &backend{}
	withKey, open, tokens := b.start(t, "--api-key="+centrifugoKeyText), b.start(t), b.start(t, "--jwt-secret="+strings.Repeat("s", 32))
	for _, c := range []struct {
		url, query string
		header     []string
		status     int
	}{
		{withKey, "", nil, 401}, {withKey, "", []string{"X-API-Key", "wrong"}, 401}, {withKey, "?api_key=wrong", nil, 401},
		{withKey, "", []string{"Authorization", "apikey wrong"}, 401}, {withKey, "", []string{"Authorization", "Bearer wrong"}, 401},
		{withKey, "?api_key=" + centrifugoKeyText, []string{"Authorization", "apikey wrong"}, 401},
		{withKey, "?api_key=" + centrifugoKeyText, []string{"Origin", "https://evil.example"}, 403},
		{tokens, "", asJSON, 401},
		{open, "", nil, 415}, {open, "", []string{"Content-Type", "text/plain"}, 415},
		{open, "", append([]string{"X-Forwarded-For", "192.0.2.1"}, asJSON...), 401},
	} {
		for _, path := range []string{"/publish", "", "/batch", "/dance"} {
			status, answer, _ := ask(t, "POST", c.url+"/centrifugo/api"+path+c.query, `{"method":"publish","channel":"a","data":1,"params":{"channel":"a","data":1}}`, c.header...)
			if status != c.status || answer != "" {
				t.Errorf("%s%s with %q is answered %d %q, want %d", path, c.query, c.header, status, answer, c.status)
			}
		}
	}
	if done := b.done(); len(done) > 0 {
		t.Errorf("done: %q", done)
	}
}

func TestAKeyInTheQueryIsNotLogged(t *testing.T) {
	h := startInside(t, "--api-key="+centrifugoKeyText, "--log-level=debug")
	for _, key := range []string{centrifugoKeyText, "fedcba9876543210"} {
		for _, body := range []string{`{"channel":"a","data":1}`, `{`, `{}`} {
			ask(t, "POST", h.control+"/centrifugo/api/publish?api_key="+key, body)
			ask(t, "POST", h.control+"/centrifugo/api/publish?api_key="+key+"&x=%zz", body)
		}
	}
	eventually(t, func() error { // the log is written behind the answers
		if log := h.log.String(); !strings.Contains(log, "control request refused") {
			return errors.New(log)
		}
		return nil
	})
	if log := h.log.String(); strings.Contains(log, "0123456789") || strings.Contains(log, "9876543210") {
		t.Error(log)
	}
}

// TestCentrifugosAPIDoesWhatItSays is the API of a hub with clients.
func TestCentrifugosAPIDoesWhatItSays(t *testing.T) {
	h := startInside(t, "--history=kept:*=100,1m", "--replay-limit=5")
	api := func(method, body string) string {
		t.Helper()
		status, answer, _ := ask(t, "POST", h.control+"/centrifugo/api/"+method, body, asJSON...)
		if status != 200 {
			t.Fatalf("%s %s is answered %d %s", method, body, status, answer)
		}
		return answer
	}
	c := dial(t, "a client", h.public+"?user=42", "hub.v1.json")
	welcome := c.want(`{"type":"welcome"`)
	var me struct{ Session string }
	_ = json.Unmarshal([]byte(welcome), &me)
	c.say(`{"type":"ping"}`)
	c.want(`{"type":"subscribed","topic":"user:42"`)

	api("subscribe", `{"user":"42","channel":"kept:a"}`)
	c.want(`{"type":"subscribed","topic":"kept:a"`)
	type place struct {
		Offset uint64
		Epoch  string
	}
	var places []place
	for i := range 8 {
		var out struct{ Result place }
		_ = json.Unmarshal([]byte(api("publish", fmt.Sprintf(`{"channel":"kept:a","data":{"n":%d}}`, i))), &out)
		c.wantEvent("kept:a", fmt.Sprintf(`{"n":%d}`, i))
		if i > 0 && (out.Result.Offset <= places[i-1].Offset || out.Result.Epoch != places[0].Epoch || len(out.Result.Epoch) != 16) {
			t.Errorf("publication %d is at %+v", i, out.Result)
		}
		places = append(places, out.Result)
	}
	api("publish", `{"channel":"kept:a","data":"passes","skip_history":true}`)
	c.wantEvent("kept:a", `"passes"`)

	for _, q := range []struct {
		params string
		want   []int
	}{
		{`,"limit":0`, nil}, {``, nil}, {`,"limit":3`, []int{0, 1, 2}}, {`,"limit":-1`, []int{0, 1, 2, 3, 4}}, {`,"limit":100`, []int{0, 1, 2, 3, 4}},
		{`,"limit":2,"reverse":true`, []int{7, 6}}, {`,"limit":-1,"reverse":true`, []int{7, 6, 5, 4, 3}},
		{fmt.Sprintf(`,"limit":3,"since":{"offset":%d,"epoch":%q}`, places[3].Offset, places[3].Epoch), []int{4, 5, 6}},
		{fmt.Sprintf(`,"limit":3,"since":{"offset":%d}`, places[6].Offset), []int{7}},
		{fmt.Sprintf(`,"limit":3,"since":{"offset":%d,"epoch":""}`, places[7].Offset), nil},
		{fmt.Sprintf(`,"limit":3,"since":{"offset":0,"epoch":%q}`, places[7].Epoch), []int{0, 1, 2}},
		{fmt.Sprintf(`,"limit":3,"reverse":true,"since":{"offset":%d,"epoch":%q}`, places[3].Offset, places[3].Epoch), []int{2, 1, 0}},
		{fmt.Sprintf(`,"limit":0,"reverse":true,"since":{"offset":%d,"epoch":%q}`, places[3].Offset, places[3].Epoch), nil},
	} {
		var out struct {
			Result struct {
				place
				Publications []struct {
					Data   struct{ N int }
					Offset uint64
				}
			}
		}
		answer := api("history", `{"channel":"kept:a"`+q.params+`}`)
		_ = json.Unmarshal([]byte(answer), &out)
		var got []int
		for _, p := range out.Result.Publications {
			if got = append(got, p.Data.N); p.Offset != places[p.Data.N].Offset {
				t.Errorf("%s: event %d is at %d", q.params, p.Data.N, p.Offset)
			}
		}
		if !slices.Equal(got, q.want) || out.Result.place != places[7] {
			t.Errorf("%s: %s, want %v", q.params, answer, q.want)
		}
	}

	for pattern, want := range map[string]string{
		"": `{"result":{"channels":{"kept:a":{"num_clients":1},"user:42":{"num_clients":1}}}}`, "kept:?": `{"result":{"channels":{"kept:a":{"num_clients":1}}}}`, "x*": `{"result":{"channels":{}}}`,
	} {
		if got := api("channels", fmt.Sprintf(`{"pattern":%q}`, pattern)); got != want {
			t.Errorf("%q: %s", pattern, got)
		}
	}
	if got := api("info", ``); !strings.Contains(got, `"num_clients":1,"num_users":1,"num_channels":2,"num_subs":2,"uptime":`) {
		t.Error(got)
	}

	if got := api("history_remove", `{"channel":"kept:a"}`); got != `{"result":{}}` {
		t.Error(got)
	}
	want := fmt.Sprintf(`{"result":{"publications":[],"offset":%d,"epoch":%q}}`, places[7].Offset, places[7].Epoch)
	if got := api("history", `{"channel":"kept:a","limit":10}`); got != want {
		t.Errorf("%s, want %s", got, want)
	}

	// A channel that only the hub itself refuses does not keep the event from the others.
	if got := api("broadcast", `{"channels":["a","\ufffd","b"],"data":1}`); !strings.HasPrefix(got, `{"result":{"responses":[{"result":{}},{"error":{"code":107,`) || !strings.HasSuffix(got, `,{"result":{}}]}}`) {
		t.Error(got)
	}

	api("unsubscribe", fmt.Sprintf(`{"user":"42","client":%q,"channel":"kept:a"}`, me.Session))
	c.want(`{"type":"error","code":"unsubscribed"`)
	api("disconnect", fmt.Sprintf(`{"user":"42","whitelist":[%q]}`, me.Session))
	c.say(`{"type":"ping","id":"still here"}`)
	c.want(`{"type":"pong","id":"still here"`)
	api("disconnect", `{"user":"42"}`)
	if code := c.wantEnd(); code != 4003 {
		t.Errorf("closed with %d", code)
	}
}

// A request of a thousand histories is answered by no more than one may be long, and does the rest.
func TestTheAnswerOfManyCommandsIsBounded(t *testing.T) {
	h := startInside(t, "--history=kept*=1000,1m")
	data := `"` + strings.Repeat("x", 10_000) + `"`
	publish := strings.TrimSuffix(strings.Repeat(`{"publish":{"channel":"kept","data":`+data+`}},`, 50), ",")
	for range 4 {
		ask(t, "POST", h.control+"/centrifugo/api/batch", `{"commands":[`+publish+`]}`, asJSON...)
	}
	for form, body := range map[string]string{
		"/batch": `{"commands":[` + strings.Repeat(`{"history":{"channel":"kept","limit":-1}},`, 100) + `{"publish":{"channel":"raw","data":1}}]}`,
		"":       strings.Repeat(`{"method":"history","params":{"channel":"kept","limit":-1}}`, 100) + `{"method":"publish","params":{"channel":"raw","data":1}}`,
	} {
		status, answer, _ := ask(t, "POST", h.control+"/centrifugo/api"+form, body, asJSON...)
		full, refused := strings.Count(answer, `"publications"`), strings.Count(answer, `"code":107`)
		if status != 200 || full != 3 || refused != 97 || len(answer) > 10<<20 {
			t.Errorf("%q: %d, %d bytes, %d histories, %d refused", form, status, len(answer), full, refused)
		}
		if end := answer[len(answer)-30:]; strings.Contains(end, "error") {
			t.Errorf("%q ends with %s", form, end)
		}
	}
}

func TestGlobs(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"", "anything", true}, {"*", "any\nthing", true}, {"news", "news", true}, {"news", "newsy", false}, {"news", "a news", false},
		{"news:*", "news:", true}, {"news:*", "news:a/b.c", true}, {"n?ws", "news", true}, {"n?ws", "nws", false}, {"n?ws", "néws", true},
		{"[a-c]x", "bx", true}, {"[a-c]x", "dx", false}, {"[!a-c]x", "dx", true}, {"[!a-c]x", "ax", false}, {"[]x]", "]", true}, {"[a-]", "-", true}, {"[^a]", "^", true}, {"[^a]", "b", false},
		{"{news,sport}:*", "sport:1", true}, {"{news,sport}:*", "war:1", false}, {"a.c", "abc", false}, {"a+", "aa", false}, {`\*`, "*", true}, {`\*`, "x", false}, {"a,b", "a,b", true}, {"$x(1)", "$x(1)", true},
	} {
		match, err := globMatcher(c.pattern)
		if err != nil || match(c.name) != c.want {
			t.Errorf("%q, %q: %v", c.pattern, c.name, err)
		}
	}
	for _, bad := range []string{"{", "}", "{a", "{{a}}", "[", "[a", "[]", "[z-a]", `\`, strings.Repeat("a", 256)} {
		if _, err := globMatcher(bad); err == nil {
			t.Errorf("%q is a pattern", bad)
		}
	}
}

// FuzzGlob: no pattern costs much, and what it is made of is a regular expression.
func FuzzGlob(f *testing.F) {
	for _, seed := range []string{"news:*", "[!a-z]?", "{a,b*}", `\[`, "[a-]"} {
		f.Add(seed, "news:1")
	}
	f.Fuzz(func(t *testing.T, pattern, name string) {
		match, err := globMatcher(pattern)
		if err != nil {
			return
		}
		begin := time.Now()
		if match(name); len(name) < 1000 && time.Since(begin) > time.Second {
			t.Errorf("%q takes %s", pattern, time.Since(begin))
		}
	})
}
