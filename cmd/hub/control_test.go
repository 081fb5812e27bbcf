package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"wshub/pubsub"
	"wshub/session"
)

// backend is a hub that the control port talks to.
type backend struct {
	live, ready error
	refusal     error         // of a whole batch
	result      pubsub.Result // of each event but those that odd names
	odd         map[string]error
	published   []pubsub.Publication
	targets     []string // what was done to whom
	replay      pubsub.Replay
	presence    pubsub.Presence
	many        bool // more topics match than are asked for
	sharded     bool // the broker is a cluster
	streams     []string
	counts      bool // the loops say in time how many follow
}

func (b *backend) Publish(_ context.Context, batch []pubsub.Publication) ([]pubsub.Result, error) {
	if b.refusal != nil {
		return nil, b.refusal
	}
	results := make([]pubsub.Result, len(batch))
	for i, p := range batch {
		b.published = append(b.published, p)
		if results[i] = b.result; b.odd[p.Topic] != nil {
			results[i] = pubsub.Result{Err: b.odd[p.Topic]}
		}
	}
	return results, nil
}

func (b *backend) Disconnect(_ context.Context, target session.Target) error {
	b.targets = append(b.targets, "disconnect "+named(target))
	return b.result.Err
}

// named shows a target.
func named(t session.Target) string {
	text := fmt.Sprintf("{User:%s Session:%s}", t.User, t.Session)
	if t.Of != "" {
		text += " of " + t.Of
	}
	if len(t.Keep) > 0 {
		text += " but " + strings.Join(t.Keep, " ")
	}
	return text
}

func (b *backend) Subscribe(_ context.Context, target session.Target, f session.Following) error {
	what := "subscribe " + named(target) + " " + f.Topic
	if f.Since != nil {
		what += " since " + f.Since.String()
	}
	if !f.Until.IsZero() {
		what += " until " + f.Until.UTC().Format(time.RFC3339Nano)
	}
	b.targets = append(b.targets, what)
	return b.result.Err
}

func (b *backend) Unsubscribe(_ context.Context, target session.Target, topic string) error {
	b.targets = append(b.targets, "unsubscribe "+named(target)+" "+topic)
	return b.result.Err
}

func (b *backend) Refresh(_ context.Context, target session.Target, expires time.Time) error {
	what := "refresh " + named(target)
	switch {
	case expires.IsZero():
		what += " never"
	case time.Since(expires) >= 0 && time.Since(expires) < time.Minute:
		what += " now"
	default:
		what += " " + expires.UTC().Format(time.RFC3339Nano)
	}
	b.targets = append(b.targets, what)
	return b.result.Err
}

func (b *backend) Keeps(topic string) bool { return strings.HasPrefix(topic, "kept") }

func (b *backend) Replay(context.Context, string, pubsub.Position, pubsub.Limit) (pubsub.Replay, error) {
	return b.replay, b.result.Err
}

func (b *backend) RemoveHistory(_ context.Context, topic string) error {
	b.targets = append(b.targets, "remove "+topic)
	return b.result.Err
}

func (b *backend) Presence(_ context.Context, topic, after string, limit int) (pubsub.Presence, error) {
	if b.presence.Clients == 0 && b.result.Err == nil {
		return pubsub.Presence{}, pubsub.ErrNoPresence
	}
	b.targets = append(b.targets, fmt.Sprintf("presence %s %q %d", topic, after, limit))
	return b.presence, b.result.Err
}

func (b *backend) Topics(context.Context, func(string) bool, int) (map[string]int, bool, error) {
	return map[string]int{"a": 2}, !b.many, b.result.Err
}

func (b *backend) Followers(topics []string) func(context.Context) ([]int, bool) {
	return func(context.Context) ([]int, bool) { return make([]int, len(topics)), b.counts }
}

func (b *backend) Sessions(context.Context, session.Target) (int, error) { return 2, nil }

func (b *backend) DisconnectFollowers(_ context.Context, topic string) error {
	b.targets = append(b.targets, "disconnect followers of "+topic)
	return b.result.Err
}

func (b *backend) Census(context.Context) (users, topics int, err error) { return 0, 0, b.result.Err }

func (b *backend) Stats() session.Stats { return session.Stats{} }

func (b *backend) Revoke(_ context.Context, target session.Target, before time.Time) error {
	what := "revoke " + named(target)
	if !before.IsZero() {
		what += " before " + before.UTC().Format(time.RFC3339Nano)
	}
	b.targets = append(b.targets, what)
	return b.result.Err
}

func (b *backend) channel(topic string) (channel string, sharded bool) {
	return "c:" + topic, b.sharded
}

// start runs a control port for b and returns its URL.
func (b *backend) start(t *testing.T, args ...string) string {
	t.Helper()
	cfg := parsed(t, nil, append(args, "--control=127.0.0.1:0")...).cfg
	log, _ := newLogger(cfg, t.Output())
	c, err := listenControl(t.Context(), cfg, log, controlled{
		live:      func() error { return b.live },
		ready:     func() error { return b.ready },
		hub:       b,
		channel:   b.channel,
		lifecycle: func() []string { return b.streams },
		rebalance: func(context.Context, int, time.Duration) (int, *apiError) { return 0, nil },
		registry:  prometheus.NewRegistry(),
		console:   console("127.0.0.1:3000", cfg),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	return "http://" + c.addr()
}

// ask sends one request with headers given as pairs, and returns the answer's status and body. Both must be as openapi.yaml
// says.
func ask(t *testing.T, method, url, body string, headers ...string) (status int, answer string, header http.Header) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	holdToOpenAPI(t, r, body, res, text)
	return res.StatusCode, string(text), res.Header
}

var asJSON = []string{"Content-Type", "application/json"}

func TestProbesSayWhyNot(t *testing.T) {
	b := &backend{}
	url := b.start(t)
	for _, path := range []string{"/livez", "/readyz"} {
		if status, body, _ := ask(t, "GET", url+path, ""); status != 200 || body != "ok\n" {
			t.Errorf("%s: %d %q", path, status, body)
		}
	}
	b.live, b.ready = errors.New("loop 1 has not turned for 20s"), fmt.Errorf("%w: not connected", pubsub.ErrUnavailable)
	if status, body, _ := ask(t, "GET", url+"/livez", ""); status != 503 || body != "loop 1 has not turned for 20s\n" {
		t.Errorf("%d %q", status, body)
	}
	status, body, _ := ask(t, "GET", url+"/readyz", "", "Accept", "application/json")
	if status != 503 || strings.TrimSpace(body) != `{"ok":false,"reason":"broker unavailable: not connected"}` {
		t.Errorf("%d %q", status, body)
	}
}

func TestTheIndexListsWhatIsThere(t *testing.T) {
	url := (&backend{}).start(t)
	_, index, _ := ask(t, "GET", url+"/", "")
	for _, path := range []string{"/livez", "/readyz", "/metrics", "/try", "/hub.js", "/openapi.yaml", "/debug/pprof/"} {
		if status, _, _ := ask(t, "GET", url+path, ""); status != 200 || !strings.Contains(index, path) {
			t.Errorf("%s is answered %d; the index:\n%s", path, status, index)
		}
	}
	if status, answer, _ := ask(t, "POST", url+"/api/channel", "", asJSON...); status != 405 || !strings.Contains(answer, "list of its paths") || !strings.Contains(index, "GET  /api/channel") {
		t.Errorf("POST /api/channel is answered %d; the index:\n%s", status, index)
	}
	for _, path := range []string{"/api/publish", "/api/broadcast", "/api/subscribe", "/api/unsubscribe", "/api/refresh", "/api/disconnect", "/api/revoke", "/api/rebalance", "/centrifugo/api/"} {
		if status, _, _ := ask(t, "GET", url+path, ""); status != 405 || !strings.Contains(index, "POST "+path) {
			t.Errorf("GET %s is answered %d; the index:\n%s", path, status, index)
		}
	}
	if status, answer, _ := ask(t, "GET", url+"/nothing", ""); status != 404 || !strings.Contains(answer, "list of its paths") {
		t.Errorf("an unknown path is answered %d %s", status, answer)
	}
	if status, _, _ := ask(t, "GET", url+"/debug/pprof/cmdline", ""); status != 404 {
		t.Errorf("the command line, which may hold keys, is answered %d", status)
	}
}

func TestProfilesNeedTheKeyToo(t *testing.T) {
	url := (&backend{}).start(t, "--api-key=0123456789abcdef")
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/trace", "/debug/pprof/profile"} {
		if status, _, _ := ask(t, "GET", url+path, ""); status != 401 {
			t.Errorf("%s is answered %d without a key", path, status)
		}
	}
	if status, _, _ := ask(t, "GET", url+"/debug/pprof/heap", "", "X-API-Key", "0123456789abcdef"); status != 200 {
		t.Errorf("answered %d with the key", status)
	}
}

func TestPublishHandsOnWhatItGot(t *testing.T) {
	at := pubsub.Position{Epoch: 7, ID: pubsub.ID{Ms: 1732361000123, Seq: 1}}
	b := &backend{result: pubsub.Result{Position: at}}
	url := b.start(t)
	status, body, _ := ask(t, "POST", url+"/api/publish", ` {"topic":"news é","data": {"a": [1, 2.50]} ,"key":"k"} `, asJSON...)
	if want := fmt.Sprintf(`{"position":%q}`, at); status != 200 || strings.TrimSpace(body) != want {
		t.Errorf("answered %d %s, want %s", status, body, want)
	}
	if p := b.published[0]; p.Topic != "news é" || string(p.Data) != `{"a": [1, 2.50]}` || p.Key != "k" || p.Caller != "api" {
		t.Errorf("published %+v", p)
	}
	if b.published[0].Attributes != nil {
		t.Errorf("with %+v", b.published[0].Attributes)
	}
	ask(t, "POST", url+"/api/publish", `{"topic":"a","data":1,"name":"n","except":"s_1","tags":{"k":"v"}}`, asJSON...)
	if a := b.published[1].Attributes; a == nil || a.Name != "n" || a.Except != "s_1" || a.Tags["k"] != "v" || a.Info != nil {
		t.Errorf("published with %+v", a)
	}
	b.result = pubsub.Result{}
	for _, data := range []string{"null", "0", `""`, "[]"} {
		if status, body, _ := ask(t, "POST", url+"/api/publish", `{"topic":"user:42","data":`+data+`}`, asJSON...); status != 200 || strings.TrimSpace(body) != "{}" {
			t.Errorf("%s without history is answered %d %s", data, status, body)
		}
	}
}

func TestABatchIsAnsweredEventByEvent(t *testing.T) {
	at := pubsub.Position{Epoch: 7, ID: pubsub.ID{Ms: 1732361000123, Seq: 1}}
	b := &backend{result: pubsub.Result{Position: at}}
	url := b.start(t)
	events := `[{"topic":"a","data":1},{"topic":"b","data":2,"key":"k"},{"topic":"a","data":3}]`
	ok := fmt.Sprintf(`{"position":%q}`, at)
	status, body, _ := ask(t, "POST", url+"/api/publish", events, asJSON...)
	if want := "[" + ok + "," + ok + "," + ok + "]"; status != 200 || strings.TrimSpace(body) != want {
		t.Errorf("answered %d %s, want %s", status, body, want)
	}
	var got []string
	for _, p := range b.published {
		got = append(got, p.Topic+string(p.Data)+p.Key+p.Caller)
	}
	if want := []string{"a1api", "b2kapi", "a3api"}; !slices.Equal(got, want) {
		t.Errorf("published %v, want %v", got, want)
	}

	b.odd = map[string]error{"b": pubsub.ErrUnavailable}
	status, body, header := ask(t, "POST", url+"/api/publish", events, asJSON...)
	var answers []struct {
		Position string
		Error    struct {
			Code  string
			Retry bool
		}
	}
	if err := json.Unmarshal([]byte(body), &answers); err != nil || len(answers) != 3 {
		t.Fatalf("%s: %v", body, err)
	}
	if status != 503 || header.Get("Retry-After") == "" || answers[0].Position != at.String() || answers[2].Position != at.String() ||
		answers[1].Error.Code != "unavailable" || !answers[1].Error.Retry {
		t.Errorf("one of three failed: answered %d %s", status, body)
	}

	b.refusal = fmt.Errorf("%w: event 2: the key is too long", session.ErrBadPublication)
	status, body, _ = ask(t, "POST", url+"/api/publish", events, asJSON...)
	if code, _ := errorOf(t, body); status != 400 || code != "bad_request" || !strings.Contains(body, "event 2: the key is too long; nothing was published") {
		t.Errorf("a refused batch is answered %d %s", status, body)
	}
}

func TestBadPublicationsAreNamedAndPublishedNowhere(t *testing.T) {
	big := strings.Repeat("x", 64<<10)
	b := &backend{}
	url := b.start(t)
	for _, c := range []struct {
		body   string
		header []string
		status int
		code   string
	}{
		{`{"topic":"news","data":1}`, nil, 415, "unsupported_media_type"},
		{`{"topic":"news","data":1}`, []string{"Content-Type", "text/plain"}, 415, "unsupported_media_type"},
		{`{"topic":"news","data":1}`, []string{"Content-Type", "application/jsonp"}, 415, "unsupported_media_type"},
		{``, asJSON, 400, "bad_json"},
		{`{"topic":"news","data":`, asJSON, 400, "bad_json"},
		{`{"topic":"news","data":1} {}`, asJSON, 400, "bad_json"},
		{`{"topic":"news","data":1,"to":"all"}`, asJSON, 400, "bad_json"},
		{`{"topic":1,"data":1}`, asJSON, 400, "bad_json"},
		{`{"topic":"news","data":1,"name":1}`, asJSON, 400, "bad_json"},
		{`{"topic":"news","data":1,"tags":{"a":1}}`, asJSON, 400, "bad_json"},
		{`{"topic":"news","data":1,"tags":["a"]}`, asJSON, 400, "bad_json"},
		{`{"topic":"news","data":1,"tags":{` + manyTags(17) + `}}`, asJSON, 400, "bad_json"},
		{`{"topic":"news","data":1,"name":"` + big[:256] + `"}`, asJSON, 400, "bad_request"},
		{`{"topic":"news","data":1,"info":{}}`, asJSON, 400, "bad_json"},
		{`["news",1]`, asJSON, 400, "bad_json"},
		{"{\"topic\":\"news\",\"data\":\"\xff\"}", asJSON, 400, "bad_json"},
		{`{"topic":"news"}`, asJSON, 400, "bad_request"},
		{`{"data":1}`, asJSON, 400, "bad_topic"},
		{`{"topic":"","data":1}`, asJSON, 400, "bad_topic"},
		{`{"topic":"a\nb","data":1}`, asJSON, 400, "bad_topic"},
		{`{"topic":"` + big[:256] + `","data":1}`, asJSON, 400, "bad_topic"},
		{`{"topic":"news","data":"` + big + `"}`, asJSON, 413, "too_large"},
		{`{"topic":"news","data":"` + big + big + `"}`, asJSON, 413, "too_large"},
		{`{"topic":"news","data":1` + strings.Repeat(" ", 1200<<10) + `}`, asJSON, 413, "too_large"},
		{`[]`, asJSON, 400, "bad_request"},
		{`[null]`, asJSON, 400, "bad_topic"},
		{`[{"topic":"news","data":1}`, asJSON, 400, "bad_json"},
		{`[{"topic":"news","data":1},{"topic":"","data":1}]`, asJSON, 400, "bad_topic"},
		{`[{"topic":"news","data":1},{"topic":"news"}]`, asJSON, 400, "bad_request"},
		{`[{"topic":"news","data":1},{"topic":"news","data":1,"to":"all"}]`, asJSON, 400, "bad_json"},
		{`[{"topic":"news","data":1},{"topic":"news","data":"` + big + `"}]`, asJSON, 413, "too_large"},
		{`[{"topic":"news","data":1}` + strings.Repeat(`,{"topic":"news","data":1}`, 1000) + `]`, asJSON, 400, "bad_request"},
	} {
		status, body, _ := ask(t, "POST", url+"/api/publish", c.body, c.header...)
		if code, retry := errorOf(t, body); status != c.status || code != c.code || retry || strings.Contains(body, "Go ") {
			t.Errorf("%.60s… is answered %d %s", c.body, status, body)
		}
	}
	if status, _, _ := ask(t, "GET", url+"/api/publish", ""); status != 405 {
		t.Errorf("GET is answered %d", status)
	}
	if len(b.published) > 0 {
		t.Errorf("published %+v", b.published)
	}
}

func TestTheLargestPublicationPasses(t *testing.T) {
	b := &backend{}
	url := b.start(t)
	data := `"` + strings.Repeat("x", 64<<10-2) + `"`
	topic := strings.Repeat(`\u0041`, pubsub.MaxTopic)
	tags := `"` + strings.Repeat(`\u0041`, pubsub.MaxText) + `":"` + strings.Repeat(`\u0041`, pubsub.MaxText) + `",`
	tags += tags[:len(tags)-2] + `","B":""`
	name := strings.Repeat(`\u0041`, pubsub.MaxText)
	if status, body, _ := ask(t, "POST", url+"/api/publish", `{"topic":"`+topic+`","key":"`+name[:6*128]+`","name":"`+name+`","tags":{`+tags+`},"data":`+data+`}`, asJSON...); status != 200 || len(b.published) != 1 {
		t.Errorf("answered %d %s", status, body)
	}
}

func TestFailuresOfTheBrokerAreToldApart(t *testing.T) {
	b := &backend{}
	url := b.start(t)
	for _, c := range []struct {
		err    error
		status int
		code   string
		retry  bool
	}{
		{fmt.Errorf("%w: secret detail", pubsub.ErrUnavailable), 503, "unavailable", true},
		{fmt.Errorf("%w: secret detail", pubsub.ErrUnknownOutcome), 504, "unknown_outcome", true},
		{fmt.Errorf("%w: secret detail", pubsub.ErrRefused), 502, "refused", false},
		{fmt.Errorf("%w: the key is too long", session.ErrBadPublication), 400, "bad_request", false},
		{fmt.Errorf("%w: want either user or session", session.ErrBadTarget), 400, "bad_request", false},
		{errors.New("secret detail"), 500, "internal", false},
	} {
		b.result.Err = c.err
		for path, request := range map[string]string{"publish": `{"topic":"news","data":1}`, "disconnect": `{"user":"42"}`, "revoke": `{"user":"42"}`} {
			status, body, _ := ask(t, "POST", url+"/api/"+path, request, asJSON...)
			if code, retry := errorOf(t, body); status != c.status || code != c.code || retry != c.retry || strings.Contains(body, "secret") {
				t.Errorf("%s: %v is answered %d %s", path, c.err, status, body)
			}
		}
	}
}

// errorOf reads the API's error.
func errorOf(t *testing.T, body string) (code string, retry bool) {
	t.Helper()
	var answer struct {
		Error struct {
			Code, Message string
			Retry         bool
		}
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil || answer.Error.Message == "" {
		t.Errorf("no error in %q: %v", body, err)
	}
	return answer.Error.Code, answer.Error.Retry
}

// nginx, where nothing but proxy_pass is written, asks like this.
func TestAProxyThatAsksByHTTP10IsNoLocalProgram(t *testing.T) {
	b := &backend{}
	url := b.start(t)
	addr := strings.TrimPrefix(url, "http://")
	for proto, want := range map[string]string{"HTTP/1.0": "401", "HTTP/1.1": "200"} {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		body := `{"topic":"news","data":1}`
		fmt.Fprintf(conn, "POST /api/publish %s\r\nHost: %s\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", proto, addr, len(body), body)
		answer, err := io.ReadAll(conn)
		if status := strings.Fields(string(answer)); err != nil || len(status) < 2 || status[1] != want {
			t.Errorf("%s is answered %s, %v", proto, answer, err)
		}
	}
	if len(b.published) != 1 {
		t.Errorf("published %+v", b.published)
	}
}

func TestIdleConnectionsToTheControlPortAreBounded(t *testing.T) {
	url, most := (&backend{}).start(t), int64(maxCallers())
	var cut atomic.Int64
	for range 3 * most {
		conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		go func() {
			if _, err := conn.Read(make([]byte, 1)); err != nil && !errors.Is(err, net.ErrClosed) {
				cut.Add(1)
			}
		}()
	}
	eventually(t, func() error {
		if status, _, _ := ask(t, "GET", url+"/livez", ""); status != 200 {
			return fmt.Errorf("a probe is answered %d", status)
		}
		if n := cut.Load(); n < 2*most {
			return fmt.Errorf("%d of %d were cut", n, 3*most)
		}
		return nil
	})
	if n := cut.Load(); n > 2*most+2 {
		t.Errorf("%d of %d were cut", n, 3*most)
	}
}

func TestAnswersOfTheAPIAreCounted(t *testing.T) {
	url := (&backend{}).start(t, "--api-key=0123456789abcdef")
	ask(t, "POST", url+"/api/publish", "{}", asJSON...)
	ask(t, "POST", url+"/api/publish", `{"topic":"news","data":1}`, "Content-Type", "application/json", "X-API-Key", "0123456789abcdef")
	_, text, _ := ask(t, "GET", url+"/metrics", "")
	for _, want := range []string{`wshub_api_answers_total{code="200"} 1`, `wshub_api_answers_total{code="401"} 1`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
}
