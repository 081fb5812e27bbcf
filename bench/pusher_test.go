package bench

import (
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	pusherhttp "github.com/pusher/pusher-http-go/v5"

	"wshub/bench/fleet"
	"wshub/pubsub/redistest/drills"
)

// pusherApp is the application of the tests.
const pusherApp = "1:app-key:app-secret"

// pusherConn is what the faulty server needs of a client that speaks Pusher's protocol.
type pusherConn struct {
	socket string
	pings  int // sent and not answered
}

// pusherAt returns nil for requests of other protocols.
func pusherAt(r *http.Request, nth int) *pusherConn {
	if r.URL.Path != "/app/app-key" || r.URL.Query().Get("protocol") != "7" {
		return nil
	}
	return &pusherConn{socket: "7." + strconv.Itoa(nth)}
}

func newPusher(t *testing.T, f faults) *faulty {
	s := newFaulty(t, f)
	s.path = "/app/app-key"
	return s
}

// word is a message whose data is a text.
func (*pusherConn) word(event, channel, data string) string {
	m := map[string]string{"event": event, "data": data}
	if channel != "" {
		m["channel"] = channel
	}
	b, _ := json.Marshal(m) // it can always be marshalled
	return string(b)
}

// hear does what one frame asks for. False ends the connection.
func (s *faulty) hear(c *faultyConn, frame []byte) bool {
	var m struct {
		Event string
		Data  struct {
			Channel, Auth string
			UserData      string `json:"user_data"`
		}
	}
	if json.Unmarshal(frame, &m) != nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch m.Event {
	case "pusher:subscribe":
		c.topics[m.Data.Channel] = true
		c.say(c.ps.word("pusher_internal:subscription_succeeded", m.Data.Channel, "{}"))
	case "pusher:signin":
		var about struct{ ID string }
		backend := pusherhttp.Client{AppID: "1", Key: "app-key", Secret: "app-secret"}
		if json.Unmarshal([]byte(m.Data.UserData), &about) != nil {
			return false
		}
		want, err := backend.AuthenticateUser([]byte("socket_id="+c.ps.socket), map[string]any{"id": about.ID})
		if err != nil || !strings.Contains(string(want), `"auth":"`+m.Data.Auth+`"`) {
			c.say(`{"event":"pusher:error","data":{"code":4009,"message":"not authorized"}}`)
			return true
		}
		c.topics["#server-to-user-"+about.ID] = true
		c.say(c.ps.word("pusher:signin_success", "", `{"user_data":`+strconv.Quote(m.Data.UserData)+`}`))
	case "pusher:pong":
		s.pongs++
		c.ps.pings--
		return c.ps.pings >= 0
	default:
		return false
	}
	return true
}

// postBatch is Pusher's HTTP API.
func (s *faulty) postBatch(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Batch []struct{ Channel, Name, Data string }
	}
	body, err := io.ReadAll(r.Body)
	sum := md5.Sum(body)
	q := r.URL.Query()
	signed := fleet.App{Secret: "app-secret"}.Sign("POST\n/apps/1/batch_events\n" + strings.Split(r.URL.RawQuery, "&auth_signature=")[0])
	switch {
	case err != nil || json.Unmarshal(body, &in) != nil || len(in.Batch) < 1 || len(in.Batch) > 10:
		http.Error(w, "bad request", http.StatusBadRequest)
		return
	case q.Get("auth_key") != "app-key" || q.Get("body_md5") != hex.EncodeToString(sum[:]) || q.Get("auth_signature") != signed:
		http.Error(w, "not signed", http.StatusUnauthorized)
		return
	}
	for _, ev := range in.Batch {
		s.publish(ev.Channel, ev.Data)
	}
	_, _ = io.WriteString(w, "{}")
}

func TestEveryScenarioSpeaksPusher(t *testing.T) {
	drills.InProcess(t)
	t.Parallel()
	for line, assert := range map[string]func(*testing.T, *Run){
		"idle --steps=10,20 --rest=0s --watch=0s --events=2":             func(t *testing.T, r *Run) { wantEqual(t, r.Counts.Delivered, 40) },
		"idle --users --private --steps=10 --rest=0s --watch=0s":         func(t *testing.T, r *Run) { wantEqual(t, r.Counts.Ready, 10) },
		"connect --clients=50 --shards=2":                                func(t *testing.T, r *Run) { wantEqual(t, r.Connect.Ready, 50) },
		"fanout --clients=20 --rate=100 --duration=1s":                   func(t *testing.T, r *Run) { wantEqual(t, r.Counts.Delivered, 2000) },
		"fanout --clients=20 --rate=100 --duration=1s --publish=pusher":  func(t *testing.T, r *Run) { wantEqual(t, r.Counts.Delivered, 2000) },
		"rooms --topics=10 --followers=3 --rate=200 --duration=1s":       func(t *testing.T, r *Run) { wantEqual(t, r.Counts.Delivered, 600) },
		"unicast --clients=20 --rate=200 --duration=1s --shards=2":       func(t *testing.T, r *Run) { wantEqual(t, r.Counts.Delivered, 200) },
		"unicast --clients=20 --rate=200 --duration=1s --publish=pusher": func(t *testing.T, r *Run) { wantEqual(t, r.Counts.Delivered, 200) },
		"max --clients=5 --from=2 --to=4 --trial=1s --p99=5s --tries=5":  func(t *testing.T, r *Run) { wantEqual(t, r.Max.Best.Rate, 4) },
		"churn --clients=40 --churn=50 --rate=50 --duration=2s":          func(t *testing.T, r *Run) { wantEqual(t, r.Counts.Closed, 0) },
		"storm --clients=40 --rate=100 --duration=3s --window=300ms": func(t *testing.T, r *Run) {
			if r.Storm.Away != 20 || r.Counts.Missed == 0 || r.Counts.Lost != 0 {
				t.Errorf("%+v, %+v", r.Storm, r.Counts)
			}
		},
	} {
		t.Run(line, func(t *testing.T) {
			t.Parallel()
			words := strings.Fields(line)
			args := append([]string{"run", words[0], "--protocol=pusher", "--pusher-app=" + pusherApp}, newPusher(t, faults{}).flagsOf(words[0])...)
			o := hubbench(t, t.Context(), append(args, words[1:]...)...)
			if o.status != exitOK {
				t.Errorf("status %d", o.status)
			}
			assert(t, o.run(t))
		})
	}
}

func TestFaultsOfAPusherServerAreCountedAsWhatTheyAre(t *testing.T) {
	drills.InProcess(t)
	t.Parallel()
	type want struct{ lost, repeated, reordered, foreign, corrupt uint64 }
	spoil := func(from, to string) func(string) []byte {
		return func(event string) []byte { return []byte(strings.Replace(event, from, to, 1)) }
	}
	for name, c := range map[string]struct {
		faults faults
		want   func(n uint64) want
	}{
		"none":              {faults{}, func(uint64) want { return want{} }},
		"drops":             {faults{dropEvery: 50}, func(n uint64) want { return want{lost: n} }},
		"repeats":           {faults{repeatEvery: 50}, func(n uint64) want { return want{repeated: n} }},
		"swaps":             {faults{swapEvery: 40}, func(n uint64) want { return want{reordered: n} }},
		"changes a byte":    {faults{corruptEvery: 50, spoil: spoil(`\"pad`, `\"pae`)}, func(n uint64) want { return want{lost: n, corrupt: n} }},
		"no text":           {faults{corruptEvery: 50, spoil: spoil(`"data":"`, `"data":1,"more":"`)}, func(n uint64) want { return want{lost: n, corrupt: n} }},
		"another's channel": {faults{corruptEvery: 50, spoil: spoil(`"channel":"channel"`, `"channel":"canal"`)}, func(n uint64) want { return want{lost: n, foreign: n} }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := fanoutAt(t, newPusher(t, c.faults), "--rate=250", "--duration=1s", "--protocol=pusher", "--publish=http")
			n := o.run(t).Counts
			every := uint64(50)
			if c.faults.swapEvery > 0 {
				every = 40
			}
			expected := c.want(250 / every * followers)
			if got := (want{n.Lost, n.Repeated, n.Reordered, n.Foreign, n.Corrupt}); got != expected {
				t.Errorf("counted %+v, want %+v", got, expected)
			}
		})
	}
}

// The server sends a ping before each event, and ends a connection that answers one that it did not send.
func TestPingsOfPusherAreAnswered(t *testing.T) {
	drills.InProcess(t)
	t.Parallel()
	s := newPusher(t, faults{ping: true})
	o := fanoutAt(t, s, "--rate=50", "--protocol=pusher", "--publish=http")
	if c := o.run(t).Counts; o.status != exitOK || c.Pings != c.Delivered || c.Pings == 0 {
		t.Errorf("status %d, %+v", o.status, c)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pongs == 0 {
		t.Error("none was answered")
	}
}

func TestAWrongSecretOfAPusherApplicationIsTold(t *testing.T) {
	t.Parallel()
	s := newPusher(t, faults{})
	args := append([]string{"run", "unicast", "--clients=3", "--rate=10", "--duration=1s", "--protocol=pusher", "--pusher-app=1:app-key:wrong-secret"}, s.flags()...)
	o := hubbench(t, t.Context(), args...)
	if o.status != exitFailed || !strings.Contains(o.stderr, "refused: pusher:error 4009") || !strings.Contains(o.stderr, "secret of --pusher-app") {
		t.Errorf("signing in: status %d", o.status)
	}
	o = hubbench(t, t.Context(), append([]string{"run", "fanout", "--clients=1", "--rate=10", "--duration=1s", "--protocol=pusher", "--pusher-app=1:app-key:wrong-secret"},
		append(s.flags(), "--publish=pusher")...)...)
	if o.status != exitFailed || !strings.Contains(o.stderr, "401") || !strings.Contains(o.stderr, "one of the hub's own") || strings.Contains(o.stderr, "wrong-secret") {
		t.Errorf("by Pusher's API: status %d", o.status)
	}
}

func TestSettingsOfPusherThatMakeNoSense(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"fanout --protocol=pusher":                                                 "--pusher-app",
		"fanout --protocol=pusher --pusher-app=1:hidden-part":                      "want id:key:secret",
		"unicast --protocol=pusher --url=ws://127.0.0.1:1/app/k":                   "sign in",
		"inbound --protocol=pusher --url=ws://127.0.0.1:1/app/k":                   "do not get",
		"fanout --protocol=pusher --url=ws://127.0.0.1:1/app/k --publish=ws":       "do not get",
		"fanout --protocol=pusher --url=ws://127.0.0.1:1/a --publish=pusher":       "--publish=pusher",
		"fanout --publish=pusher --pusher-app=1:app-key:secret":                    "--publish=pusher",
		"storm --protocol=pusher --pusher-app=1:k:secret --publish=pusher":         "--publish=pusher",
		"fanout --protocol=pusher --pusher-app=1:k:s --publish=pusher --control=x": "--control",
	} {
		o := hubbench(t, t.Context(), append([]string{"run"}, strings.Fields(line)...)...)
		if o.status != exitUsage || !strings.Contains(o.stderr, want) || strings.Contains(o.stderr, "hidden-part") {
			t.Errorf("%s: status %d, want %q", line, o.status, want)
		}
	}
}

// The request is the example of Pusher's documentation.
func TestRequestsOfPusherAreSignedAsDocumented(t *testing.T) {
	app := fleet.App{ID: "3", Key: "278d425bdf160c739803", Secret: "7ad3773142a6692b25b8"}
	body := []byte(`{"name":"foo","channels":["project-3"],"data":"{\"some\":\"data\"}"}`)
	got := signedQuery(app, "POST", "/apps/3/events", body, time.Unix(1353088179, 0))
	want := "auth_key=278d425bdf160c739803&auth_timestamp=1353088179&auth_version=1.0&body_md5=ec365a775a4cd0599faeb73354201b6f" +
		"&auth_signature=da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c"
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
