package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	pusherhttp "github.com/pusher/pusher-http-go/v5"

	"wshub/session/pusher"
)

// pusherHooked is an endpoint of Pusher's webhooks in a hookDrill, that fails half of the time. It folds all that it is told.
type pusherHooked struct {
	t   *testing.T
	url string

	fails         trouble
	mu            sync.Mutex
	fence         uint64
	seen          map[string]bool            // batches
	there         map[string]map[string]bool // users, by occupied channels
	told, failed  int
	repeated      int // that were true already
	members, gone int
	known         []string            // the channels of the repeated ones
	story         map[string][]string // all that was told, by channel
}

// trouble is how often an endpoint fails: half of the time, and no more than maxFails times in a row, behind which a hub waits some 10 s. Behind
// seven it waits for a minute and a half.
type trouble struct {
	over atomic.Bool
	row  atomic.Int32
}

const maxFails = 4

// draw is 0 for a request that fails before its events are taken, 1 for one that fails behind that, and 2 or 3 for one that
// does not.
func (f *trouble) draw() int {
	if f.over.Load() {
		return 3
	}
	n := rand.IntN(4)
	if n < 2 && f.row.Add(1) <= maxFails {
		return n
	}
	f.row.Store(0)
	return max(n, 2)
}

func newPusherHooked(t *testing.T) *pusherHooked {
	p := &pusherHooked{t: t, seen: map[string]bool{}, there: map[string]map[string]bool{}, story: map[string][]string{}}
	endpoint := httptest.NewServer(http.HandlerFunc(p.take))
	t.Cleanup(endpoint.Close)
	p.url = endpoint.URL + "/pusher"
	return p
}

func (p *pusherHooked) take(w http.ResponseWriter, r *http.Request) {
	text, _ := io.ReadAll(r.Body)
	hook, err := (&pusherhttp.Client{Key: "app-key", Secret: "app-secret"}).Webhook(r.Header, text)
	if err != nil {
		p.t.Errorf("got %v %s, %v", r.Header, text, err)
		return
	}
	fence, _ := strconv.ParseUint(r.Header.Get("webhook-fence"), 10, 64)
	fails := p.fails.draw()
	p.mu.Lock()
	defer p.mu.Unlock()
	if fence < p.fence { // of a hub that another one has replaced
		w.WriteHeader(409)
		return
	}
	if p.fence = fence; fails == 0 {
		p.failed++
		w.WriteHeader(500)
		return
	}
	if id := r.Header.Get("webhook-id"); !p.seen[id] {
		p.seen[id] = true
		for _, e := range hook.Events {
			p.fold(e)
		}
	}
	if fails == 1 {
		p.failed++
		panic(http.ErrAbortHandler) // taken, and the hub does not learn it
	}
}

// fold takes an event. The caller holds the lock.
func (p *pusherHooked) fold(e pusherhttp.WebhookEvent) {
	users, occupied := p.there[e.Channel]
	was := occupied == (e.Name == "channel_occupied")
	switch e.Name {
	case "channel_occupied":
		if !occupied {
			p.there[e.Channel] = map[string]bool{}
		}
	case "channel_vacated":
		delete(p.there, e.Channel)
	case "member_added":
		p.members++
		if was = users[e.UserID]; occupied {
			users[e.UserID] = true
		}
	case "member_removed":
		p.gone++
		was = !users[e.UserID]
		delete(users, e.UserID)
	}
	p.told++
	p.story[e.Channel] = append(p.story[e.Channel], fmt.Sprintf("%s %s (fence %d, known %t)", e.Name, e.UserID, p.fence, was))
	if was {
		p.repeated++
		p.known = append(p.known, e.Channel)
	}
}

// counts are the largest fence, and how many events were told.
func (p *pusherHooked) counts() (fence uint64, told int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fence, p.told
}

// visit is a short session of user in a presence channel at some hub. It may fail.
func (p *pusherHooked) visit(ctx context.Context, d *hookDrill, channel, user string) {
	dialing, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	c, _, err := websocket.Dial(dialing, "ws://"+d.someHub().addr()+pusher.Path+"app-key?protocol=7", nil)
	if err != nil {
		pause(ctx, 200*time.Millisecond)
		return
	}
	defer c.CloseNow()
	var frame struct{ Data string }
	var data struct {
		Socket string `json:"socket_id"`
	}
	if _, text, err := c.Read(dialing); err != nil || json.Unmarshal(text, &frame) != nil || json.Unmarshal([]byte(frame.Data), &data) != nil {
		return
	}
	app, member := &pusher.App{Secret: "app-secret"}, fmt.Sprintf(`{"user_id":%q}`, user)
	subscribe, _ := json.Marshal(map[string]any{"event": "pusher:subscribe", "data": map[string]string{ // texts can always be marshalled
		"channel": "presence-" + channel, "channel_data": member, "auth": "app-key:" + app.Sign(data.Socket+":presence-"+channel+":"+member),
	}})
	_ = c.Write(dialing, websocket.MessageText, subscribe)
	d.came.Add(1)
	pause(ctx, time.Second)
}

// killPoster kills the hub that posts to the endpoint. Another one must post within takeOver, and tell nothing that is known.
func (p *pusherHooked) killPoster(d *hookDrill) {
	d.t.Helper()
	d.until("Pusher's webhooks come", func() bool { _, told := p.counts(); return told > 20 })
	poster := d.poster(p.url)
	fence, told := p.counts()
	began := time.Now()
	poster.signal(syscall.SIGKILL)
	d.replace(poster)
	d.until("another hub posts Pusher's webhooks", func() bool { now, _ := p.counts(); return now > fence })
	took := time.Since(began)
	d.t.Logf("killed: another hub posted Pusher's webhooks after %s", took.Round(10*time.Millisecond))
	if took > takeOver {
		d.t.Errorf("another hub posted after %s", took)
	}
	d.until("Pusher's webhooks go on", func() bool { _, now := p.counts(); return now > told+20 })
	p.wantNothingKnown()
}

// wantNothingKnown wants nothing to have been told that was known: Redis has lost nothing yet.
func (p *pusherHooked) wantNothingKnown() {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, channel := range slices.Compact(slices.Sorted(slices.Values(p.known))) {
		p.t.Errorf("of %d events %d were known; of %s: %q", p.told, p.repeated, channel, p.story[channel])
	}
}

// judge wants nobody to be there, for all that was told, once all have left.
func (p *pusherHooked) judge(d *hookDrill) {
	d.t.Helper()
	d.within(4*time.Minute, "all channels are vacated", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.there) == 0
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	d.t.Logf("Pusher's webhooks: %d events in %d batches, %d of them known, behind %d failures; %d members added, %d removed", p.told, len(p.seen), p.repeated, p.failed, p.members, p.gone)
	if p.members < 20 || p.gone < 20 || p.failed == 0 {
		d.t.Error("too few")
	}
}
