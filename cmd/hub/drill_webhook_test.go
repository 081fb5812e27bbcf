package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"wshub/pubsub/redistest"
	"wshub/pubsub/redistest/drills"
)

// takeOver is within what time another hub posts what a dead one has posted before.
const takeOver = 15 * time.Second

// TestWebhooksArriveWhateverFails posts to an endpoint that fails half of the time, while clients come and go, the hub that posts is
// killed, another one that posts stands still, and Redis fails over. Each entry that the stream has at the end must have arrived, in the
// stream's order; another hub must post within takeOver, with a greater fence. So must what the webhooks of an application of Pusher tell of its
// channels. See skipDrill.
func TestWebhooksArriveWhateverFails(t *testing.T) {
	drills.Programs(t)
	t.Parallel()
	d := startHookDrill(t)
	d.churn()

	d.until("events arrive", func() bool { return d.distinct() > 50 })
	d.pusher.killPoster(d)

	poster := d.poster(d.url)
	fence, began := d.fence(), time.Now()
	poster.signal(syscall.SIGKILL)
	d.replace(poster)
	d.until("another hub posts", func() bool { return d.fence() > fence })
	t.Logf("killed: another hub posted after %s", time.Since(began).Round(10*time.Millisecond))
	if took := time.Since(began); took > takeOver {
		t.Errorf("another hub posted after %s", took)
	}
	d.progress()

	poster = d.poster(d.url)
	fence, began = d.fence(), time.Now()
	poster.signal(syscall.SIGSTOP)
	d.until("another hub posts", func() bool { return d.fence() > fence })
	t.Logf("stopped: another hub posted after %s", time.Since(began).Round(10*time.Millisecond))
	poster.signal(syscall.SIGCONT)
	d.progress()

	d.pusher.wantNothingKnown()
	master := d.redis.Master()
	master.Kill()
	d.redis.WaitMaster(master)
	d.progress()
	d.judge()
}

// hookDrill is three hubs at a Redis with Sentinels, clients that come and go, and an endpoint.
type hookDrill struct {
	t      *testing.T
	path   string // of the program
	redis  *redistest.SentinelSet
	url    string
	pusher *pusherHooked
	fails  trouble
	stop   context.CancelFunc
	users  sync.WaitGroup
	came   atomic.Int64

	mu      sync.Mutex
	hubs    []*process
	fences  map[string]uint64
	order   []string        // entries in the order in which they came first
	seen    map[string]bool // them
	batches map[string]string
	late, failed, taken,
	again int
	lost uint64
}

func startHookDrill(t *testing.T) *hookDrill {
	d := &hookDrill{
		t: t, path: buildHub(t), redis: redistest.StartSentinel(t),
		fences: map[string]uint64{}, seen: map[string]bool{}, batches: map[string]string{}, pusher: newPusherHooked(t),
	}
	endpoint := httptest.NewServer(http.HandlerFunc(d.take))
	t.Cleanup(endpoint.Close)
	d.url = endpoint.URL + "/hook"
	for range 3 {
		d.start()
	}
	return d
}

func (d *hookDrill) start() {
	h := startHub(d.t, d.path, d.redis.URL(), hookArgs(d.url, "--presence-grace=300ms", "--log-level=info", "--resume-key="+resumeKeyText,
		"--pusher-app="+pusherApp, "--pusher-webhook=1="+d.pusher.url)...)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.hubs = append(d.hubs, h)
}

// replace starts another hub in place of h, which has gone.
func (d *hookDrill) replace(h *process) {
	d.mu.Lock()
	d.hubs = slices.DeleteFunc(d.hubs, func(one *process) bool { return one == h })
	d.mu.Unlock()
	d.start()
}

// take is the endpoint: half of the requests fail, before or after their events are taken.
func (d *hookDrill) take(w http.ResponseWriter, r *http.Request) {
	text, err := io.ReadAll(r.Body)
	var in struct {
		Stream string
		Fence  uint64
		Lost   uint64
		Events []json.RawMessage
	}
	if err != nil || json.Unmarshal(text, &in) != nil || !d.genuine(r.Header, text) || fmt.Sprint(in.Fence) != r.Header.Get("webhook-fence") {
		d.t.Errorf("got %v %s, %v", r.Header, text, err)
		return
	}
	fails := d.fails.draw()
	d.mu.Lock()
	defer d.mu.Unlock()
	if in.Fence < d.fences[in.Stream] {
		d.late++
		w.WriteHeader(409)
		return
	}
	d.fences[in.Stream] = in.Fence // also of one that fails: another hub has posted in time, and tries again later and later
	if fails == 0 {
		d.failed++
		w.WriteHeader(500)
		return
	}
	id, sum := r.Header.Get("webhook-id"), fmt.Sprintf("%q", in.Events)
	if was, known := d.batches[id]; known && was != sum {
		d.t.Errorf("batch %s had other events before", id)
	}
	d.batches[id] = sum
	d.lost += in.Lost
	for _, e := range in.Events {
		if d.seen[string(e)] {
			d.again++
			continue
		}
		d.seen[string(e)] = true
		d.order = append(d.order, string(e))
	}
	if fails == 1 {
		d.failed++
		panic(http.ErrAbortHandler) // taken, and the hub does not learn it
	}
	d.taken++
	w.WriteHeader(204)
}

// genuine verifies a request as its documentation says.
func (d *hookDrill) genuine(h http.Header, body []byte) bool {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(webhookSecret1, "whsec_"))
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.%s", h.Get("webhook-id"), h.Get("webhook-timestamp"), body)
	return err == nil && h.Get("webhook-signature") == "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// churn has users come and go until the drill is judged.
func (d *hookDrill) churn() {
	ctx, cancel := context.WithCancel(d.t.Context())
	d.stop = cancel
	d.t.Cleanup(func() { cancel(); d.users.Wait() })
	for i := range 12 {
		d.users.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				if i%3 == 2 {
					d.pusher.visit(ctx, d, fmt.Sprint("channel", n%3), fmt.Sprint("u", i/6))
				} else {
					d.visit(ctx, fmt.Sprintf("u%d-%d", i, n%5))
				}
			}
		})
	}
}

// visit is a short session of user at some hub. It may fail.
func (d *hookDrill) visit(ctx context.Context, user string) {
	dialing, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	c, _, err := websocket.Dial(dialing, d.someHub().public+"?user="+user, &websocket.DialOptions{Subprotocols: []string{"hub.v1.json"}})
	if err != nil {
		pause(ctx, 200*time.Millisecond)
		return
	}
	defer c.CloseNow()
	_ = c.Write(dialing, websocket.MessageText, []byte(`{"type":"subscribe","topic":"news"}`)) // else it might be a session that is resumed
	d.came.Add(1)
	pause(ctx, time.Second)
}

func (d *hookDrill) someHub() *process {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.hubs[rand.IntN(len(d.hubs))]
}

// pause waits for up to most, less if ctx ends.
func pause(ctx context.Context, most time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(rand.N(most)):
	}
}

func (d *hookDrill) until(what string, done func() bool) {
	d.t.Helper()
	d.within(time.Minute, what, done)
}

func (d *hookDrill) within(limit time.Duration, what string, done func() bool) {
	d.t.Helper()
	late := time.After(limit)
	for tick := time.Tick(20 * time.Millisecond); !done(); {
		select {
		case <-tick:
		case <-late:
			d.t.Fatalf("never happened: %s", what)
		}
	}
}

// distinct is how many entries have come.
func (d *hookDrill) distinct() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.order)
}

// fence is the largest one that has come.
func (d *hookDrill) fence() (most uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, f := range d.fences {
		most = max(most, f)
	}
	return most
}

// progress waits until clients have come again, and entries too.
func (d *hookDrill) progress() {
	d.t.Helper()
	came := d.came.Load()
	d.until("clients come", func() bool { return d.came.Load() > came+20 })
	before := d.distinct()
	d.until("entries come", func() bool { return d.distinct() > before+50 })
}

// poster is the hub that posts from the only stream to url.
func (d *hookDrill) poster(url string) (h *process) {
	d.t.Helper()
	host := strings.Split(url, "/")[2]
	d.until("one hub posts", func() bool {
		d.mu.Lock()
		hubs := slices.Clone(d.hubs)
		d.mu.Unlock()
		var posting []*process
		for _, one := range hubs {
			if one.metric(`wshub_webhook_streams{host="`+host+`"}`) == 1 {
				posting = append(posting, one)
			}
		}
		if len(posting) == 1 {
			h = posting[0]
		}
		return h != nil
	})
	return h
}

// stream is the name of the only stream.
func (d *hookDrill) stream() string {
	var answer struct{ Streams []string }
	_, text, _ := ask(d.t, "GET", d.hubs[0].control+"/api/lifecycle", "")
	if err := json.Unmarshal([]byte(text), &answer); err != nil || len(answer.Streams) != 1 {
		d.t.Fatalf("%s: %v", text, err)
	}
	return answer.Streams[0]
}

// judge ends the churn, and compares what came with the stream.
func (d *hookDrill) judge() {
	t := d.t
	t.Helper()
	d.stop()
	d.users.Wait()
	d.fails.over.Store(true) // or the wait for the last ones has no end that could be told
	d.pusher.fails.over.Store(true)
	master, name := d.redis.Master(), d.stream()
	var at map[string]int
	read := func() (present int) { // sessions that have not left, by the stream
		at = map[string]int{}
		there := map[string]bool{}
		for line := range strings.Lines(master.CLI("xrange", name, "-", "+")) {
			if line = strings.TrimSpace(line); !strings.HasPrefix(line, "{") {
				continue
			}
			at[line] = len(at)
			var e struct{ Type, Session string }
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Errorf("%s: %v", line, err)
			}
			switch e.Type {
			case "session_opened":
				there[e.Session] = true
			case "session_closed":
				delete(there, e.Session)
			}
		}
		return len(there)
	}
	missing := func() (list []string) {
		d.mu.Lock()
		defer d.mu.Unlock()
		for e := range at {
			if !d.seen[e] {
				list = append(list, e)
			}
		}
		return list
	}
	// A batch waits for 1 to 60 s behind its last failure.
	d.within(2*time.Minute, "all have left by the stream, and all of it has come", func() bool { return read() == 0 && len(missing()) == 0 })
	d.pusher.judge(d)
	d.mu.Lock()
	defer d.mu.Unlock()
	last, out, gone := -1, 0, 0
	for _, e := range d.order {
		i, kept := at[e]
		switch {
		case !kept:
			gone++ // by the failover
		case i < last:
			out++
		default:
			last = i
		}
	}
	t.Logf("%d sessions, %d entries in the stream, all came; %d that the failover lost; %d came again; %d requests taken, %d failed, %d late", d.came.Load(), len(at), gone, d.again, d.taken, d.failed, d.late)
	if out > 0 || d.lost > 0 || len(at) < 200 {
		t.Errorf("%d of %d entries came out of order, %d are said to be lost", out, len(at), d.lost)
	}
}
