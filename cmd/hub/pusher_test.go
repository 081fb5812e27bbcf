package main

import (
	"cmp"
	"context"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"wshub/pubsub"
	"wshub/session"
	"wshub/session/fleet"
	"wshub/session/pusher"
)

func TestApplicationsOfPusherReachThePackages(t *testing.T) {
	const apps = "1:key:app:secret\n2:other:another-secret"
	c := parsed(t, nil, "--pusher-app="+apps, "--pusher-share=2", "--history=news:*=3,10m").cfg
	if err := c.validatePusher(); err != nil {
		t.Error(err)
	}
	e, err := c.engine(zerolog.Nop())
	if want := []string{"/notification", "/connection/websocket", "/app/"}; err != nil || !reflect.DeepEqual(e.Paths, want) {
		t.Errorf("paths %v, %v", e.Paths, err)
	}
	c = parsed(t, nil, "--pusher-app="+apps, "--pusher-share=2", "--history=news:*=3,10m").cfg
	s, err := c.session(zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	for topic, want := range map[string]string{
		"pusher:1:cache-a": "1 30m0s", "pusher:1:private-encrypted-cache-a": "1 30m0s", "pusher:1:presence-cache-a": "1 30m0s", "pusher:1:a": "0 0s",
		"cache-a": "1 30m0s", "private-cache-a": "1 30m0s", "news:a": "3 10m0s", "a": "0 0s", "pusher:2:cache-a": "0 0s",
	} {
		if rule, _ := s.History.For(topic); fmt.Sprint(rule.Count, " ", rule.Age) != want {
			t.Errorf("%s: %+v, want %s", topic, rule, want)
		}
	}
	for topic, want := range map[string]bool{"pusher:1:a": true, "pusher:1:#server-to-user-a b": true, "a": true, "a:b": false, "pusher:2:a": false, "pusher:3:a": false} {
		if got := s.Presence(topic); got != want {
			t.Errorf("%s has a presence: %t", topic, got)
		}
	}
	if s := parsed(t, nil).cfg; len(s.paths()) != 2 {
		t.Error("without an application its path is open")
	}
	_, out, _ := call(t, nil, "check", "--pusher-app="+apps)
	if strings.Contains(out, "app:secret") || strings.Contains(out, "another-secret") {
		t.Errorf("hub check prints a secret:\n%s", out)
	}
}

// pusherFake is a hub that has these members, and notes what is published.
type pusherFake struct {
	backend
	members   map[string]pubsub.Presence // by topic
	uncounted error                      // nobody can be counted
}

func (f *pusherFake) Presence(_ context.Context, topic, _ string, _ int) (pubsub.Presence, error) {
	return f.members[topic], cmp.Or(f.uncounted, f.result.Err)
}

func (f *pusherFake) Topics(_ context.Context, match func(string) bool, most int) (map[string]int, bool, error) {
	found := map[string]int{}
	for topic := range f.members {
		if match(topic) {
			found[topic] = 1
		}
	}
	return found, len(found) <= most, nil
}

// loneAsker has this hub alone answer.
type loneAsker struct{ handlers map[string]fleet.Handler }

func (l *loneAsker) Handle(kind string, answer fleet.Handler) { l.handlers[kind] = answer }

func (l *loneAsker) Ask(ctx context.Context, _ []string, kind string, args []byte) ([]fleet.Answer, []string, error) {
	data, err := l.handlers[kind](ctx, args)
	return []fleet.Answer{{Node: "this", Data: data, Err: err}}, nil, nil
}

// pusherCaller makes requests that the application's backend has signed.
type pusherCaller struct {
	api  *pusherAPI
	app  *pusher.App
	fake *pusherFake
}

func newPusherCaller(t *testing.T, args ...string) *pusherCaller {
	t.Helper()
	c := parsed(t, nil, append([]string{"--pusher-app=1:key:app-secret", "--pusher-app=2:other:another-secret"}, args...)...).cfg
	f := &pusherFake{members: map[string]pubsub.Presence{}}
	l := &looks{fleet: &loneAsker{map[string]fleet.Handler{}}}
	lister := channelLister{l, f.Topics}
	handle(l, "channels", lister.page)
	return &pusherCaller{newPusherAPI(c, zerolog.Nop(), f, lister, newPublishAPI(c, f.Publish)), &pusher.App{ID: "1", Key: "key", Secret: "app-secret"}, f}
}

func (p *pusherCaller) ask(method, path, query, body string) (status int, answer string) {
	q, _ := url.ParseQuery(query) // it is the test's
	return p.send(method, path+"?"+signPusher(p.app, method, path, q, body).Encode(), body)
}

// signPusher adds to q that app's backend asks.
func signPusher(app *pusher.App, method, path string, q url.Values, body string) url.Values {
	q.Set("auth_key", app.Key)
	q.Set("auth_version", "1.0")
	q.Set("auth_timestamp", fmt.Sprint(time.Now().Unix()))
	if body != "" {
		sum := md5.Sum([]byte(body))
		q.Set("body_md5", hex.EncodeToString(sum[:]))
	}
	var pairs []string
	for _, pair := range strings.Split(q.Encode(), "&") { // sorted
		plain, _ := url.QueryUnescape(pair)
		pairs = append(pairs, plain)
	}
	q.Set("auth_signature", app.Sign(method+"\n"+path+"\n"+strings.Join(pairs, "&")))
	return q
}

func (p *pusherCaller) send(method, target, body string) (status int, answer string) {
	w := httptest.NewRecorder()
	p.api.before(http.NotFoundHandler(), p.api).ServeHTTP(w, httptest.NewRequest(method, target, strings.NewReader(body)))
	return w.Code, strings.TrimSpace(w.Body.String())
}

func TestEventsOfPusherBackendsArePublished(t *testing.T) {
	p := newPusherCaller(t)
	for _, body := range []string{
		`{"name":"e","data":"{\"a\":1}","channel":"news"}`, `{"name":"e","data":"text","channels":["private-a","presence-b"],"socket_id":"2147483648.7"}`,
	} {
		if status, answer := p.ask("POST", "/apps/1/events", "", body); status != 200 || answer != "{}" {
			t.Errorf("%s: %d %s", body, status, answer)
		}
	}
	if status, answer := p.ask("POST", "/apps/1/batch_events", "", `{"batch":[{"channel":"c","name":"e","data":"2"},{"channel":"d","name":"e","data":"3"}]}`); status != 200 || answer != "{}" {
		t.Errorf("%d %s", status, answer)
	}
	var got []string
	for _, e := range p.fake.published {
		got = append(got, e.Topic+" "+string(e.Data)+" "+e.Attributes.Name+" "+e.Attributes.Except)
	}
	except, _ := pusher.SessionOf("2147483648.7")
	want := []string{
		`pusher:1:news {"event":"e","data":{"a":1}} e `, `pusher:1:private-a {"event":"e","data":"text"} e ` + except, `pusher:1:presence-b {"event":"e","data":"text"} e ` + except,
		`pusher:1:c {"event":"e","data":2} e `, `pusher:1:d {"event":"e","data":3} e `,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("published %q, want %q", got, want)
	}
	if status, answer := p.ask("POST", "/apps/1/users/a%2Fb/terminate_connections", "", "{}"); status != 200 || answer != "{}" || p.fake.targets[0] != "disconnect followers of pusher:1:#server-to-user-a/b" {
		t.Errorf("%d %s %q", status, answer, p.fake.targets)
	}
}

func TestChannelsAreCounted(t *testing.T) {
	p := newPusherCaller(t)
	p.fake.members = map[string]pubsub.Presence{
		"pusher:1:presence-a": {Clients: 3, Users: 2, Members: []pubsub.Member{{Session: "1", User: "u"}, {Session: "2", User: "u"}, {Session: "3", User: "v"}}},
		"pusher:1:news":       {Clients: 4}, "pusher:1:#server-to-user-u": {Clients: 1}, "pusher:2:news": {Clients: 9}, "news": {Clients: 9},
	}
	for _, test := range []struct{ path, query, answer string }{
		{"/channels", "", `{"channels":{"news":{},"presence-a":{}}}`},
		{"/channels", "filter_by_prefix=presence-&info=user_count", `{"channels":{"presence-a":{"user_count":2}}}`},
		{"/channels", "info=subscription_count", `{"channels":{"news":{"subscription_count":4},"presence-a":{"subscription_count":3}}}`},
		{"/channels", "filter_by_prefix=nothing", `{"channels":{}}`},
		{"/channels/news", "", `{"occupied":true}`},
		{"/channels/news", "info=subscription_count", `{"occupied":true,"subscription_count":4}`},
		{"/channels/presence-a", "info=user_count,subscription_count", `{"occupied":true,"user_count":2,"subscription_count":3}`},
		{"/channels/nobody", "", `{"occupied":false}`},
		{"/channels/presence-a/users", "", `{"users":[{"id":"u"},{"id":"v"}]}`},
		{"/channels/presence-none/users", "", `{"users":[]}`},
	} {
		if status, answer := p.ask("GET", "/apps/1"+test.path, test.query, ""); status != 200 || answer != test.answer {
			t.Errorf("%s?%s: %d %s, want %s", test.path, test.query, status, answer, test.answer)
		}
	}
}

func TestBadRequestsOfPusherBackendsAreRefused(t *testing.T) {
	p := newPusherCaller(t)
	channels, _ := json.Marshal(strings.Split(strings.Repeat("c,", 101)+"c", ","))
	event := func(members string) string { return `{"name":"e","data":"1",` + members + `}` }
	for _, test := range []struct {
		method, path, query, body string
		status                    int
	}{
		{"POST", "/events", "", "garbage", 400}, {"POST", "/events", "", "", 400}, {"POST", "/events", "", "[]", 400}, {"POST", "/events", "", "\xff", 400},
		{"POST", "/events", "", `{"data":"1","channel":"a"}`, 400}, {"POST", "/events", "", `{"name":"e","channel":"a"}`, 400}, {"POST", "/events", "", `{"name":"e","data":{},"channel":"a"}`, 400},
		{"POST", "/events", "", event(`"channels":[]`), 400}, {"POST", "/events", "", event(`"channels":` + string(channels)), 400}, {"POST", "/events", "", event(`"channel":"a b"`), 400},
		{"POST", "/events", "", event(`"channel":"a","socket_id":"x"`), 400}, {"POST", "/events", "", event(`"channel":"a","info":"everything"`), 400},
		{"POST", "/events", "", `{"name":"` + strings.Repeat("e", 201) + `","data":"1","channel":"a"}`, 400},
		{"POST", "/events", "", `{"name":"e","data":"` + strings.Repeat("x", pusher.MaxEvent+1) + `","channel":"a"}`, 413},
		{"POST", "/events", "", `{"name":"e","data":"` + strings.Repeat("x", 2<<20) + `","channel":"a"}`, 413},
		{"POST", "/batch_events", "", `{"batch":[]}`, 400}, {"POST", "/batch_events", "", `{"batch":[` + strings.Repeat(event(`"channel":"a"`)+",", 10) + event(`"channel":"a"`) + `]}`, 400},
		{"POST", "/batch_events", "", `{"batch":[` + event(`"channels":["a","b"]`) + `]}`, 400}, {"POST", "/batch_events", "", `{"batch":[` + event(`"channel":"a"`) + `,{}]}`, 400},
		{"GET", "/channels", "info=user_count", "", 400}, {"GET", "/channels", "filter_by_prefix=private-&info=user_count", "", 400}, {"GET", "/channels", "info=x", "", 400},
		{"GET", "/channels", "filter_by_prefix=a:b", "", 400}, {"GET", "/channels/news", "info=user_count", "", 400}, {"GET", "/channels/a%20b", "", "", 400},
		{"GET", "/channels/news/users", "", "", 400}, {"GET", "/events", "", "", 400}, {"POST", "/channels", "", "", 400}, {"GET", "/", "", "", 400}, {"POST", "/users/%00/terminate_connections", "", "", 400},
	} {
		if status, answer := p.ask(test.method, "/apps/1"+test.path, test.query, test.body); status != test.status || !strings.Contains(answer, `"message":"`) {
			t.Errorf("%s %s?%s %.80s: %d %s, want %d", test.method, test.path, test.query, test.body, status, answer, test.status)
		}
	}
	if len(p.fake.published) > 0 {
		t.Errorf("published: %+v", p.fake.published)
	}
	const body = `{"name":"e","data":"1","channel":"a"}`
	for name, ask := range map[string]func() (int, string){
		"no signature":           func() (int, string) { return p.send("POST", "/apps/1/events", body) },
		"an unknown application": func() (int, string) { return p.ask("POST", "/apps/3/events", "", body) },
		"another's application":  func() (int, string) { return p.ask("POST", "/apps/2/events", "", body) },
	} {
		if status, answer := ask(); status != 401 || !strings.Contains(answer, `"code":"unauthorized"`) {
			t.Errorf("%s: %d %s", name, status, answer)
		}
	}
	if status, _ := p.send("GET", "/api/nodes", ""); status != 404 {
		t.Errorf("another path is answered %d", status)
	}
	for err, want := range map[error]int{pubsub.ErrUnavailable: 503, pubsub.ErrUnknownOutcome: 504, pubsub.ErrRefused: 502, errors.New("x"): 500} {
		p.fake.result.Err = err
		if status, _ := p.ask("POST", "/apps/1/events", "", body); status != want {
			t.Errorf("%v: %d", err, status)
		}
		if status, _ := p.ask("GET", "/apps/1/channels/news", "", ""); status != want {
			t.Errorf("%v: channel: %d", err, status)
		}
	}
}

// Whoever hears that nothing was done sends it again. So nobody hears that where some events were published, or may have been.
func TestEventsThatWerePublishedAreNotSaidToBeUndone(t *testing.T) {
	const three = `{"name":"e","data":"1","channels":["a","b","c"]`
	for _, test := range []struct {
		body      string
		odd       map[string]error
		uncounted error
		status    int
		says      string
	}{
		{three + "}", map[string]error{"pusher:1:b": pubsub.ErrUnavailable}, nil, 504, "1 of 3 events were not published"},
		{three + "}", map[string]error{"pusher:1:a": pubsub.ErrRefused, "pusher:1:b": pubsub.ErrUnknownOutcome, "pusher:1:c": pubsub.ErrUnavailable}, nil, 504, "2 of 3 events were not published"},
		{three + "}", map[string]error{"pusher:1:b": pubsub.ErrUnknownOutcome}, nil, 504, "it may or may not have been done"},
		{three + "}", map[string]error{"pusher:1:a": pubsub.ErrUnavailable, "pusher:1:b": pubsub.ErrUnavailable, "pusher:1:c": pubsub.ErrUnavailable}, nil, 503, "nothing was done"},
		{three + `,"info":"subscription_count"}`, nil, pubsub.ErrUnavailable, 504, "the events were published"},
		{`{"batch":[{"name":"e","data":"1","channel":"a","info":"subscription_count"}]}`, nil, pubsub.ErrUnavailable, 504, "the events were published"},
	} {
		p, path := newPusherCaller(t), "/apps/1/events"
		if strings.Contains(test.body, "batch") {
			path = "/apps/1/batch_events"
		}
		p.fake.odd, p.fake.uncounted = test.odd, test.uncounted
		if status, answer := p.ask("POST", path, "", test.body); status != test.status || !strings.Contains(answer, test.says) {
			t.Errorf("%s: %d %s, want %d and %s", test.body, status, answer, test.status, test.says)
		}
	}
}

// Loops sort the parameters of a query before anybody has shown a signature.
func TestAQueryHasFewParameters(t *testing.T) {
	p := newPusherCaller(t)
	for own, want := range map[int]int{pusherParameters - 4: 200, pusherParameters - 3: 400} { // the signature brings four
		query := url.Values{}
		for i := range own {
			query.Set(fmt.Sprint("p", i), "1")
		}
		if status, answer := p.ask("GET", "/apps/1/channels/news", query.Encode(), ""); status != want {
			t.Errorf("%d of its own: %d %s", own, status, answer)
		}
	}
}

// A proxy may put a prefix before the path, which is not signed.
func TestAProxysPrefixIsNotSigned(t *testing.T) {
	p := newPusherCaller(t)
	const path = "/apps/1/channels/news"
	q := url.Values{"auth_key": {"key"}, "auth_version": {"1.0"}, "auth_timestamp": {fmt.Sprint(time.Now().Unix())}}
	text, _ := url.QueryUnescape(q.Encode())
	q.Set("auth_signature", p.app.Sign("GET\n"+path+"\n"+text))
	if status, answer := p.send("GET", "/behind/a/proxy"+path+"?"+q.Encode(), ""); status != 200 {
		t.Errorf("%d %s", status, answer)
	}
}

// Lists that do not fit into one answer of a hub come in pages.
func TestManyChannelsAreListedInPages(t *testing.T) {
	p := newPusherCaller(t)
	for i := range 5000 {
		p.fake.members[fmt.Sprintf("pusher:1:%0150d", i)] = pubsub.Presence{Clients: 1}
	}
	status, answer := p.ask("GET", "/apps/1/channels", "", "")
	var got struct{ Channels map[string]struct{} }
	if err := json.Unmarshal([]byte(answer), &got); err != nil || status != 200 || len(got.Channels) != 5000 {
		t.Errorf("%d, %d channels, %v", status, len(got.Channels), err)
	}
	for i := range 6000 {
		p.fake.members[fmt.Sprintf("pusher:1:more-%d", i)] = pubsub.Presence{Clients: 1}
	}
	if status, answer = p.ask("GET", "/apps/1/channels", "", ""); status != 400 || !strings.Contains(answer, "filter_by_prefix") {
		t.Errorf("%d %.200s", status, answer)
	}
}

// However many users have signed in, their topics are no channels.
func TestTopicsOfUsersLeaveRoomForChannels(t *testing.T) {
	p := newPusherCaller(t)
	for i := range 50_000 {
		p.fake.members[fmt.Sprintf("pusher:1:#watch-%d", i)] = pubsub.Presence{Clients: 1}
	}
	p.fake.members["pusher:1:news"] = pubsub.Presence{Clients: 1}
	if status, answer := p.ask("GET", "/apps/1/channels", "", ""); status != 200 || answer != `{"channels":{"news":{}}}` {
		t.Errorf("%d %.200s", status, answer)
	}
}

// A hub of an earlier version asks without the wall.
func TestAQuestionForChannelsWithoutAWallIsAnswered(t *testing.T) {
	p := newPusherCaller(t)
	p.fake.members["pusher:1:news"] = pubsub.Presence{Clients: 1}
	replies, _, err := askAll[channelsPage](t.Context(), p.api.channels.looks, nil, "channels", struct{ Prefix, After string }{Prefix: "pusher:1:"})
	if err != nil || len(replies) != 1 || !slices.Equal(replies[0].answer.Topics, []string{"pusher:1:news"}) {
		t.Errorf("%+v, %v", replies, err)
	}
}

var _ pusherHub = (*session.Hub)(nil)

// unread is a body that must not be read.
type unread struct{ t *testing.T }

func (u unread) Read([]byte) (int, error) {
	u.t.Error("the body is read")
	return 0, errors.New("unread")
}

func TestNothingIsReadOfARequestThatNobodySigned(t *testing.T) {
	p := newPusherCaller(t)
	for _, query := range []string{"", "?auth_key=key&auth_version=1.0&auth_timestamp=" + fmt.Sprint(time.Now().Unix()) + "&auth_signature=00"} {
		w := httptest.NewRecorder()
		p.api.ServeHTTP(w, httptest.NewRequest("POST", "/apps/1/events"+query, unread{t}))
		if w.Code != 401 {
			t.Errorf("%q: %d", query, w.Code)
		}
	}
}
