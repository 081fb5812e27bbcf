package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"wshub/engine"
	"wshub/pubsub"
	"wshub/pubsub/redistest"
	"wshub/pubsub/redistest/drills"
	"wshub/session"
	"wshub/session/reasons"
)

// look gets a path of the control port into v, and returns the status.
func look(t *testing.T, control, path string, v any, headers ...string) int {
	t.Helper()
	status, body, header := ask(t, "GET", control+path, "", headers...)
	if header.Get("Content-Type") != "application/json" || status == 200 && header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("%s is answered with %v", path, header)
	}
	if err := json.Unmarshal([]byte(body), v); err != nil {
		t.Errorf("%s is answered %d %s: %v", path, status, body, err)
	}
	return status
}

// lookedNode is what the tests read of a look.
type lookedNode struct {
	Node, State, Version string
	Connections          int64
	Sessions             map[string]int64
	ProbeAge             *int64 `json:"probe_age_ms"`
	Settings             string
	Lately               struct{ Closed, Refused, Errors map[string]uint64 }
}

type lookedSession struct {
	Node, Session, User, Protocol, Addr string
	Topics                              []struct{ Topic, State, Position string }
	Count                               int `json:"topic_count"`
	Traced                              bool
}

type looked struct {
	Nodes    []lookedNode
	Sessions []lookedSession
	Silent   []string
	Failed   []struct{ Node, Error string }
	Alone    string
	More     bool
	Topics   []struct {
		Topic     string
		Followers int
	}
	Matched int
}

func TestALookAsksAllHubsAndSaysWhoIsSilent(t *testing.T) {
	drills.Programs(t)
	t.Parallel()
	redis := redistest.Start(t)
	path := buildHub(t)
	var hubs []*process
	for _, name := range []string{"a", "b", "c"} {
		h := startHub(t, path, redis.URL(), "--node="+name, "--history=kept*=10")
		eventually(t, func() error {
			if status, why, _ := ask(t, "GET", h.control+"/readyz", ""); status != 200 {
				return fmt.Errorf("%s is not ready: %s", name, why)
			}
			return nil
		})
		hubs = append(hubs, h)
	}
	const strange = `kept <script>alert("1")</script> & ü` // a name can be anything
	user := `<b>&42"` + "'"
	for i, h := range hubs {
		for range i + 1 {
			c := dial(t, "v1", h.public+"?user="+url.QueryEscape(user), "hub.v1.json")
			c.want(`{"type":"welcome"`)
			c.say(`{"type":"subscribe","id":1,"topic":` + quotedJSON(strange) + `}`)
			c.want(`{"type":"subscribed","id":1`)
		}
	}
	ask(t, "POST", hubs[0].control+"/api/publish", `{"topic":`+quotedJSON(strange)+`,"data":{"n":1}}`, asJSON...)

	for _, h := range hubs {
		eventually(t, func() error {
			var l looked
			if status := look(t, h.control, "/api/nodes", &l); status != 200 || len(l.Nodes) != 3 || len(l.Silent)+len(l.Failed) > 0 {
				return fmt.Errorf("answered %d %+v", status, l)
			}
			for i, n := range l.Nodes {
				if n.Node != string(rune('a'+i)) || n.State != "ready" || n.Connections != int64(i+1) || n.Sessions["v1"] != int64(i+1) || n.ProbeAge == nil {
					return fmt.Errorf("hub %d is %+v", i, n)
				}
			}
			return nil
		})
	}
	var l looked
	if look(t, hubs[1].control, "/api/user?id="+url.QueryEscape(user), &l); len(l.Sessions) != 6 || l.Sessions[0].Node != "a" || l.Sessions[5].Node != "c" || l.Sessions[0].User != user {
		t.Errorf("the user has %+v", l.Sessions)
	}
	eventually(t, func() error {
		var l, one looked
		look(t, hubs[1].control, "/api/user?id="+url.QueryEscape(user)+"&node=c", &l)
		if len(l.Sessions) != 3 || l.Sessions[0].Count != 2 {
			return fmt.Errorf("on c the user has %+v", l.Sessions)
		}
		look(t, hubs[0].control, "/api/session?id="+l.Sessions[1].Session, &one)
		if len(one.Sessions) != 1 || one.Sessions[0].Node != "c" || one.Sessions[0].Session != l.Sessions[1].Session {
			return fmt.Errorf("the session is %+v", one)
		}
		for _, topic := range one.Sessions[0].Topics {
			if topic.Topic == strange && topic.State == "follows" && topic.Position != "" {
				return nil
			}
		}
		return fmt.Errorf("its topics are %+v", one.Sessions[0].Topics)
	})
	var topic struct {
		looked
		Followers int
		Kept      bool
		Position  string
		Total     uint64 `json:"events_total"`
		Rate      *float64
		Events    []struct {
			Position string
			Data     json.RawMessage
		}
		Publish struct{ Channel, Command string }
	}
	status := look(t, hubs[2].control, "/api/topic?sample=100ms&name="+url.QueryEscape(strange), &topic)
	if status != 200 || topic.Followers != 6 || len(topic.Nodes) != 3 || !topic.Kept || topic.Position == "" || topic.Total != 1 || topic.Rate == nil ||
		len(topic.Events) != 1 || string(topic.Events[0].Data) != `{"n":1}` || topic.Events[0].Position != topic.Position || topic.Publish.Channel == "" {
		t.Errorf("the topic is %d %+v", status, topic)
	}
	if look(t, hubs[0].control, "/api/topics?limit=1&prefix=kept", &l); len(l.Topics) != 1 || l.Topics[0].Topic != strange || l.Topics[0].Followers != 6 {
		t.Errorf("topics %+v", l.Topics)
	}

	hubs[2].signal(syscall.SIGSTOP)
	defer hubs[2].signal(syscall.SIGCONT)
	began := time.Now()
	l = looked{}
	if look(t, hubs[0].control, "/api/user?timeout=2s&id="+url.QueryEscape(user), &l); len(l.Sessions) != 3 || !slices.Equal(l.Silent, []string{"c"}) || time.Since(began) > 10*time.Second {
		t.Errorf("beside a frozen hub: %+v, after %s", l, time.Since(began))
	}
	topic.Rate, topic.Events, topic.Silent = nil, nil, nil
	look(t, hubs[0].control, "/api/topic?sample=100ms&timeout=2s&name="+url.QueryEscape(strange), &topic)
	if topic.Followers != 3 || topic.Rate == nil || len(topic.Events) != 1 || !slices.Equal(topic.Silent, []string{"c"}) {
		t.Errorf("beside a frozen hub the topic is %+v", topic)
	}
}

// quotedJSON is text as a JSON string.
func quotedJSON(text string) string {
	b, _ := json.Marshal(text)
	return string(b)
}

func TestALookRefusesWhatItCantRead(t *testing.T) {
	h := startInside(t)
	for _, path := range []string{
		"/api/user", "/api/user?id=", "/api/user?id=a&id=b", "/api/user?id=a%0Ab", "/api/user?id=%zz", "/api/user?id=a&x=1", "/api/user?id=" + strings.Repeat("a", 300),
		"/api/session?id=42", "/api/session", "/api/topic", "/api/topic?name=" + strings.Repeat("a", 256), "/api/topic?name=a&events=101", "/api/topic?name=a&sample=1h",
		"/api/topic?name=a&events=x", "/api/topics?limit=0", "/api/topics?limit=1001", "/api/topics?prefix=a%00", "/api/slow?timeout=1ms", "/api/slow?timeout=11s",
		"/api/slow?timeout=x", "/api/reasons?kind=none", "/api/reasons?limit=-1", "/api/settings?changed=maybe", "/api/nodes?id=1",
		"/api/tail", "/api/tail?topic=a&user=b", "/api/tail?topic=a&rate=0", "/api/tail?topic=a&rate=1001", "/api/tail?topic=a%0A", "/api/tail?user=" + strings.Repeat("a", 252),
	} {
		status, body, _ := ask(t, "GET", h.control+path, "")
		if code, _ := errorOf(t, body); status != 400 || code != "bad_request" {
			t.Errorf("%s is answered %d %s", path, status, body)
		}
	}
	for _, body := range []string{`{"user":"a"}`, `{"user":"","for":"1m"}`, `{"user":"a","for":"61m"}`, `{"user":"a","for":"1ms"}`, `{"user":"a","for":"-1m"}`, `{"user":"a\nb","for":"1m"}`, `{"user":"a","for":"1m","x":1}`, `[]`} {
		if status, answer, _ := ask(t, "POST", h.control+"/api/trace", body, asJSON...); status != 400 {
			t.Errorf("trace %s is answered %d %s", body, status, answer)
		}
	}
	for _, path := range []string{"/api/nodes", "/api/tail?topic=a"} {
		if status, _, _ := ask(t, "POST", h.control+path, "", asJSON...); status != 405 {
			t.Errorf("POST %s is answered %d", path, status)
		}
	}
}

func TestAConsoleKeyMayLookAndNothingElse(t *testing.T) {
	const api, console = "0123456789abcdef", "fedcba9876543210"
	bearer := func(key string) []string { return []string{"Authorization", "Bearer " + key} }
	looks := []string{"/api/nodes", "/api/user?id=1", "/api/session?id=s_1", "/api/topic?name=a&sample=0s", "/api/topics", "/api/slow", "/api/busy", "/api/reasons", "/api/settings", "/api/presence?topic=room:1", "/api/presence_stats?topic=room:1"}
	for name, c := range map[string]struct {
		args   []string
		status map[string]int // of a look, by key
	}{
		"beside a key of the API": {[]string{"--api-key=" + api}, map[string]int{api: 200, console: 200, "": 401, api[1:]: 401, api + console: 401}},
		"alone":                   {[]string{"--jwt-secret=" + strings.Repeat("s", 32)}, map[string]int{api: 401, console: 200, "": 401}},
	} {
		t.Run(name, func(t *testing.T) {
			h := startInside(t, append(c.args, "--console-key="+console, "--presence=room:*")...).control
			for _, path := range looks {
				for key, want := range c.status {
					if status, body, _ := ask(t, "GET", h+path, "", bearer(key)...); status != want {
						t.Errorf("%s with key %q is answered %d %s", path, key, status, body)
					}
				}
				for from, want := range map[[2]string]int{{"Origin", "https://evil.example"}: 403, {"Sec-Fetch-Site", "cross-site"}: 403, {"Origin", h}: 200, {"Sec-Fetch-Site", "same-origin"}: 200} {
					if status, _, _ := ask(t, "GET", h+path, "", append(bearer(console), from[:]...)...); status != want {
						t.Errorf("%s with %q is answered %d", path, from, status)
					}
				}
			}
			for _, act := range []struct{ method, path, body string }{
				{"GET", "/api/tail?topic=a", ""}, {"POST", "/api/trace", `{"user":"1","for":"1m"}`}, {"POST", "/api/publish", `{"topic":"a","data":1}`},
				{"POST", "/api/disconnect", `{"user":"1"}`}, {"POST", "/api/revoke", `{"user":"1"}`}, {"GET", "/api/channel?topic=a", ""}, {"GET", "/debug/pprof/", ""},
			} {
				if status, body, _ := ask(t, act.method, h+act.path, act.body, append(bearer(console), asJSON...)...); status != 403 || !strings.Contains(body, "--console-key") {
					t.Errorf("%s is answered %d %s", act.path, status, body)
				}
			}
			if status, body, _ := ask(t, "POST", h+"/centrifugo/api/info", "{}", "X-API-Key", console, "Content-Type", "application/json"); status != 401 && status != 403 {
				t.Errorf("Centrifugo's API is answered %d %s", status, body)
			}
		})
	}
}

func TestSettingsAreShownWithoutSecrets(t *testing.T) {
	const password, api, console, sign = "p4ssw0rd-of-redis", "api-key-0123456789", "console-key-0123456789", "secret-secret-secret-secret-secret"
	s := parsed(t, map[string]string{"HUB_JWT_SECRET": sign}, "--redis-url=redis://user:"+password+"@127.0.0.1:1", "--api-key="+api, "--console-key="+console, "--max-topics=7", "--port=3000")
	shown := s.shown()
	text, err := json.Marshal(shown)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{password, api, console, sign} {
		if strings.Contains(string(text), secret) {
			t.Errorf("%s is shown in %s", secret, text)
		}
	}
	found := make(map[string]settingShown)
	for _, one := range shown.Settings {
		found[one.Name] = one
	}
	for name, want := range map[string]settingShown{
		"max-topics":  {"max-topics", "Topics", "7", "128", "flag", true},
		"port":        {"port", "Public port", "3000", "3000", "flag", false},
		"api-key":     {"api-key", "Control port", "***", "", "flag", true},
		"jwt-secret":  {"jwt-secret", "Tokens", "***", "", "HUB_JWT_SECRET", true},
		"max-message": {"max-message", "Public port", "64KiB", "64KiB", "default", false},
	} {
		if found[name] != want {
			t.Errorf("%+v, want %+v", found[name], want)
		}
	}
}

func TestWhyClientsWentIsShownByCause(t *testing.T) {
	h := startInside(t)
	for range 3 {
		dial(t, "v1", h.public+"?user=42", "hub.v1.json").want(`{"type":"welcome"`)
	}
	ask(t, "POST", h.control+"/api/disconnect", `{"user":"42"}`, asJSON...)
	res, err := http.Get("http" + strings.TrimPrefix(h.public, "ws") + "?user=") // no handshake
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	eventually(t, func() error {
		var l struct {
			Reasons []struct{ Node, Kind, Rule, Text string }
			Nodes   []causesShown
		}
		look(t, h.control, "/api/reasons?kind=handshake", &l)
		if len(l.Nodes) != 1 || l.Nodes[0].Closed["disconnect"] != 3 || l.Nodes[0].ClosedLately["disconnect"] != 3 || l.Nodes[0].Refused["426"] != 1 || l.Nodes[0].RefusedLately["426"] != 1 {
			return fmt.Errorf("counted %+v", l.Nodes)
		}
		if len(l.Reasons) != 1 || l.Reasons[0].Rule != "no_websocket" || l.Reasons[0].Node != l.Nodes[0].Node {
			return fmt.Errorf("reasons %+v", l.Reasons)
		}
		return nil
	})
}

func TestReasonsThatClientsMadeLongAreSent(t *testing.T) {
	log := reasons.New(zerolog.Nop())
	for range reasons.Kept {
		log.Add(reasons.Reason{Kind: reasons.Topic, Topic: strings.Repeat("<", 1000), User: strings.Repeat("\x01", 1000), Text: strings.Repeat(`&`, 1000)})
	}
	log.Add(reasons.Reason{Kind: reasons.Cut, Text: "the newest"})
	list := fitReasons(log.List())
	text, err := json.Marshal(list)
	if err != nil || len(text) > lookBytes-reasonCounts || len(text) < lookBytes/2 || list[0].Text != "the newest" {
		t.Errorf("%d bytes, %d reasons, %v", len(text), len(list), err)
	}
	if few := fitReasons(list[:1]); len(few) != 1 {
		t.Errorf("of one there are %d", len(few))
	}
}

func TestRatesAreMeansOfTheLastSeconds(t *testing.T) {
	var deliveries, closed uint64
	s := &sampler{from: sources{
		engine:  func() engine.Stats { return engine.Stats{Closed: map[string]uint64{"heartbeat": closed, "peer": 0}} },
		session: func() session.Stats { return session.Stats{Deliveries: deliveries} },
	}}
	for second := range 200 {
		deliveries, closed = uint64(100*second), uint64(second)
		s.read(time.Unix(int64(second), 0))
	}
	if r := s.rates(); r.Deliveries != 100 || r.Closes != 1 || r.OverMs != 5000 || r.Messages != 0 {
		t.Errorf("rates %+v", r)
	}
	closed = 205
	c := s.causes()
	if len(c.Closed) != 1 || c.Closed["heartbeat"] != 205 || c.ClosedLately["heartbeat"] != 205-140 || len(s.minute) != causeSamples || len(s.last) != rateSamples+1 {
		t.Errorf("causes %+v", c)
	}
}

func TestAPercentileIsOfWhatCameBetween(t *testing.T) {
	then := pubsub.Distribution{Count: 1000, Buckets: map[float64]uint64{0.001: 0, 0.01: 0, 0.1: 1000}}
	now := pubsub.Distribution{Count: 1100, Buckets: map[float64]uint64{0.001: 50, 0.01: 100, 0.1: 1100}}
	for part, want := range map[float64]time.Duration{0.25: 500 * time.Microsecond, 0.5: time.Millisecond, 0.75: 5500 * time.Microsecond, 1: 10 * time.Millisecond} {
		if got, ok := lengthOf(then, now, part); !ok || got.Round(time.Microsecond) != want {
			t.Errorf("%v of them is %s, want %s", part, got, want)
		}
	}
	if _, ok := lengthOf(now, now, 0.99); ok {
		t.Error("nothing has a percentile")
	}
	now.Count = 1200 // a hundred took longer than any bucket
	if got, _ := lengthOf(then, now, 0.99); got != 100*time.Millisecond {
		t.Errorf("beyond the buckets it is %s", got)
	}
}

func TestATopicsRateIsThatOfTheSample(t *testing.T) {
	t.Parallel()
	h := startInside(t)
	follow := dial(t, "v1", h.public, "hub.v1.json")
	follow.want(`{"type":"welcome"`)
	follow.say(`{"type":"subscribe","id":1,"topic":"news"}`)
	follow.want(`{"type":"subscribed","id":1`)
	publishing := time.NewTicker(time.Millisecond)
	defer publishing.Stop()
	found := make(chan *float64)
	go func() {
		var topic struct{ Rate *float64 }
		look(t, h.control, "/api/topic?sample=300ms&name=news", &topic)
		found <- topic.Rate
	}()
	for {
		select {
		case <-publishing.C:
			publishOne(t, h.control, "news", "1")
		case rate := <-found:
			if rate == nil || *rate < 1 || *rate > 2000 {
				t.Errorf("a rate of up to 1000 is %v", rate)
			}
			return
		}
	}
}

func TestOfManyTopicsFewAreCounted(t *testing.T) {
	hub := watchable(t)
	ms := newMeters(hub.Watch)
	for i := range maxMeters {
		if ms.begin(fmt.Sprint(i)) == nil {
			t.Fatalf("number %d is not counted", i)
		}
	}
	if ms.begin("one more") != nil || ms.begin("0") == nil || ms.read("0") == nil {
		t.Error("one more is counted, or one of them no more")
	}
	for topic, m := range ms.all {
		m.end.Stop()
		ms.forget(topic, m)
	}
	if ms.read("one more") != nil || len(ms.all) > 0 {
		t.Error("a topic is counted that no look began")
	}
	if ms.begin("one more") == nil {
		t.Error("there is room, and it is not counted")
	}
	ms.all["one more"].end.Stop()
	ms.forget("one more", ms.all["one more"])
	eventually(t, func() error {
		if n := hub.Stats().Topics; n != 0 {
			return fmt.Errorf("%d topics are followed", n)
		}
		return nil
	})
}
