package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	pusherhttp "github.com/pusher/pusher-http-go/v5"
	"github.com/rs/zerolog"

	"wshub/engine"
	"wshub/pubsub"
	"wshub/session/pusher"
	"wshub/session/sse"
)

// callPublic sends a request to a hub's public port, signed for path by the tests' application, behind what a proxy has put before it.
func callPublic(t *testing.T, addr, before, method, path, query, body string) (status int, answer string) {
	t.Helper()
	q, _ := url.ParseQuery(query) // it is the test's
	signed := signPusher(&pusher.App{ID: "1", Key: "app-key", Secret: "app-secret"}, method, path, q, body)
	status, answer, _ = ask(t, method, "http://"+addr+before+path+"?"+signed.Encode(), body)
	return status, strings.TrimSpace(answer)
}

func TestBackendsOfPusherMayComeToThePublicPort(t *testing.T) {
	h := startInside(t, "--pusher-app="+pusherApp, "--pusher-api=public", "--control=off")
	b := &pusherhttp.Client{AppID: "1", Key: "app-key", Secret: "app-secret", Host: h.addr()}
	c, socket := dialPusher(t, h.addr(), "client")
	subscribePusher(t, c, b, socket, "presence-room", "7")
	eventually(t, func() error { return b.Trigger("presence-room", "e", "1") })
	c.want(`{"event":"e","channel":"presence-room","data":"1"}`)
	channels, err := b.Channels(pusherhttp.ChannelsParams{FilterByPrefix: ptr("presence-"), Info: ptr("user_count")})
	if err != nil || channels.Channels["presence-room"].UserCount != 1 {
		t.Errorf("%+v, %v", channels, err)
	}
	batch := make([]pusherhttp.Event, 10) // of 100 KB
	for i := range batch {
		batch[i] = pusherhttp.Event{Channel: "presence-room", Name: "b", Data: strings.Repeat(`"`, 10_000)}
	}
	if _, err := b.TriggerBatch(batch); err != nil {
		t.Error(err)
	}
	c.want(`{"event":"b","channel":"presence-room"`)
	if status, answer := callPublic(t, h.addr(), "/behind/a/proxy", "GET", "/apps/1/channels", "", ""); status != 200 || answer != `{"channels":{"presence-room":{}}}` {
		t.Errorf("%d %s", status, answer)
	}
	const events, event = "/apps/1/events", `{"name":"e","data":"1","channel":"c"}`
	for _, test := range []struct {
		method, path, body, answer string
		status                     int
	}{
		{"POST", events, event, "{}", 200},
		{"POST", events, "garbage", "bad_json", 400},
		{"POST", events, `{"name":"e","data":"` + strings.Repeat("x", 10_241) + `","channel":"c"}`, "too_large", 413},
		{"POST", events, strings.Repeat("x", 1<<20+1), "too_large", 413},
		{"GET", "/apps/1/nothing", "", "bad_request", 400},
		{"GET", "/apps/2/channels", "", "no application", 401},
		{"DELETE", events, "", "only GET is allowed", 405},
	} {
		if status, answer := callPublic(t, h.addr(), "", test.method, test.path, "", test.body); status != test.status || !strings.Contains(answer, test.answer) {
			t.Errorf("%s %s %.50s: %d %s, want %d %s", test.method, test.path, test.body, status, answer, test.status, test.answer)
		}
	}
	if status, answer, _ := ask(t, "POST", "http://"+h.addr()+events, event); status != 401 || !strings.Contains(answer, "auth_key") {
		t.Errorf("without a signature: %d %s", status, answer)
	}
	q := signPusher(&pusher.App{ID: "1", Key: "app-key", Secret: "app-secret"}, "POST", events, url.Values{}, event)
	if status, answer, _ := ask(t, "POST", "http://"+h.addr()+events+"?"+q.Encode(), strings.Replace(event, "1", "2", 1)); status != 401 || !strings.Contains(answer, "body_md5") {
		t.Errorf("with another body: %d %s", status, answer)
	}
}

func TestThePublicPortHasNoAPIUnlessToldTo(t *testing.T) {
	h := startInside(t, "--pusher-app="+pusherApp)
	for method, want := range map[string]int{"GET": 426, "POST": 405} {
		if status, answer := callPublic(t, h.addr(), "", method, "/apps/1/channels", "", ""); status != want {
			t.Errorf("%s: %d %s, want %d", method, status, answer, want)
		}
	}
	if status, answer, _ := ask(t, "POST", "http://"+h.addr()+"/apps/1/events", "x"); status != 405 {
		t.Errorf("%d %s", status, answer)
	}
}

// stuckHub is a hub whose broker does not answer until it is told to.
type stuckHub struct {
	pusherFake
	answer chan struct{}
}

func (s *stuckHub) Publish(ctx context.Context, batch []pubsub.Publication) ([]pubsub.Result, error) {
	select {
	case <-s.answer:
		return make([]pubsub.Result, len(batch)), nil
	case <-ctx.Done():
		return nil, pubsub.ErrUnknownOutcome
	}
}

// openDoor serves the API of the tests' application at a public port, whose workers run until the test ends if they run.
func openDoor(t *testing.T, hub pusherHub, timeout time.Duration, runs bool) (d *pusherDoor, addr string) {
	t.Helper()
	c := parsed(t, nil, "--pusher-app="+pusherApp).cfg
	cfg := engine.Config{Addr: "127.0.0.1:0", Pollers: 1, HandshakeTimeout: timeout, PostError: sse.ErrorBody}
	d = newPusherDoor(&cfg, nil)
	d.api = newPusherAPI(c, zerolog.Nop(), hub, channelLister{}, newPublishAPI(c, hub.Publish))
	s, err := engine.New(cfg, d)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	go func() { ended <- s.Run(ctx) }()
	go func() {
		if runs {
			ended <- d.Run(ctx)
		} else {
			ended <- nil
		}
	}()
	t.Cleanup(func() {
		cancel()
		for range 2 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
		http.DefaultClient.CloseIdleConnections()
	})
	return d, s.Addr().String()
}

const pusherEventText = `{"name":"e","data":"1","channel":"c"}`

// Of one address a few bad signatures in a second are told why. Its good requests are answered all the same.
func TestBadSignaturesAreToldAFewTimesAndCounted(t *testing.T) {
	d, addr := openDoor(t, &pusherFake{}, 10*time.Second, true)
	d.api.now = func() time.Time { return time.Unix(1_800_000_000, 0) } // the second does not end, and no signature is of now
	told := map[int]int{}
	for range unsignedRate + 5 {
		status, _ := callPublic(t, addr, "", "POST", "/apps/1/events", "", pusherEventText)
		told[status]++
	}
	if told[401] != unsignedRate || told[429] != 5 || d.counts()["unsigned"] != unsignedRate+5 {
		t.Errorf("told %v, counts %v", told, d.counts())
	}
	q := url.Values{"auth_timestamp": {"1800000000"}, "auth_key": {"app-key"}, "auth_version": {"1.0"}}
	q.Set("auth_signature", (&pusher.App{Secret: "app-secret"}).Sign("GET\n/apps/1/channels/c\nauth_key=app-key&auth_timestamp=1800000000&auth_version=1.0"))
	if status, answer, _ := ask(t, "GET", "http://"+addr+"/apps/1/channels/c?"+q.Encode(), ""); status != 200 {
		t.Errorf("a good one behind them: %d %s", status, answer)
	}
}

func TestRequestsThatFindNoRoomAreTurnedAway(t *testing.T) {
	t.Parallel()
	d, addr := openDoor(t, &pusherFake{}, 500*time.Millisecond, false)
	d.queue = make(chan *pusherVisit, 1)
	first := make(chan int, 1)
	go func() {
		status, _ := callPublic(t, addr, "", "POST", "/apps/1/events", "", pusherEventText)
		first <- status
	}()
	eventually(t, func() error {
		if len(d.queue) == 0 {
			return fmt.Errorf("nothing waits")
		}
		return nil
	})
	if status, answer := callPublic(t, addr, "", "POST", "/apps/1/events", "", pusherEventText); status != 503 || !strings.Contains(answer, "nothing was done") {
		t.Errorf("%d %s", status, answer)
	}
	if got := d.counts(); got["busy"] != 1 {
		t.Errorf("counts %v", got)
	}
	if status := <-first; status != 504 { // nobody works here, which it can't know
		t.Errorf("who waited got %d", status)
	}
}

// A broker that is slow holds up workers, and no loop: others are let in and refused meanwhile.
func TestASlowBrokerHoldsUpNoLoop(t *testing.T) {
	hub := &stuckHub{answer: make(chan struct{})}
	_, addr := openDoor(t, hub, 10*time.Second, true)
	statuses := make(chan int, pusherWorkers+4)
	for range cap(statuses) {
		go func() {
			status, _ := callPublic(t, addr, "", "POST", "/apps/1/events", "", pusherEventText)
			statuses <- status
		}()
	}
	if status, _, _ := ask(t, "GET", "http://"+addr+"/apps/1/channels", ""); status != 401 {
		t.Errorf("a request beside them: %d", status)
	}
	close(hub.answer)
	for range cap(statuses) {
		if status := <-statuses; status != 200 {
			t.Errorf("got %d", status)
		}
	}
}

// A full hub says so to Pusher's clients by the code that has them come back in a second; others see the status.
func TestAFullHubIsOverCapacity(t *testing.T) {
	h := startInside(t, "--pusher-app="+pusherApp, "--max-connections=1")
	first, _ := dialPusher(t, h.addr(), "first")
	over := dial(t, "over", "ws://"+h.addr()+pusher.Path+"app-key?protocol=7", "")
	over.want(`{"event":"pusher:error","data":{"code":4100,"message":"over capacity"}}`)
	if code := over.wantEnd(); code != 4100 {
		t.Errorf("closed with %d", code)
	}
	if status, _, _ := ask(t, "GET", "http://"+h.addr()+"/notification", "", "Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="); status != 503 {
		t.Errorf("a client of hub.v1 sees %d", status)
	}
	first.say(`{"event":"pusher:ping","data":{}}`)
	first.want(`{"event":"pusher:pong"`)
	if n := metricOf(t, h.control, `wshub_handshakes_refused_total{status="503"}`); n != 2 {
		t.Errorf("%v were refused", n)
	}
}
