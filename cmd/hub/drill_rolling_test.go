package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"wshub/pubsub/redistest"
	"wshub/pubsub/redistest/drills"
)

// TestARollingRestart restarts three hubs, one after the other, behind a balancer, and measures how long each client is without
// a connection, all its absences together. WSHUB_DRILL_HUB names another program to measure.
//
//	WSHUB_DRILL=full go test -count=1 -v -run TestARollingRestart ./cmd/hub
func TestARollingRestart(t *testing.T) {
	drills.Programs(t)
	clients, window := 300, 4*time.Second
	if drills.IsFull(t) {
		clients, window = 1500, 10*time.Second
	}
	path := os.Getenv("WSHUB_DRILL_HUB")
	if path == "" {
		path = buildHub(t)
	}
	redis := redistest.Start(t)
	start := func() *process {
		return startHub(t, path, redis.URL(), "--log-level=info", "--history=news*=1000,10m", "--drain-grace=1s", "--drain-window="+window.String())
	}
	b := newBalancer(t)
	hubs := []*process{start(), start(), start()}
	for i, h := range hubs {
		(&threeHubs{t: t}).awaitReady(h)
		b.set(i, h)
	}

	ctx, end := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer end()
	crowd := make([]roller, clients)
	entry := make(chan struct{}, 50) // that many come at a time at the start
	for i := range crowd {
		crowd[i].entry = entry
		running.Go(func() { crowd[i].run(ctx, b.url()) })
	}
	allIn := func() {
		t.Helper()
		eventually(t, func() error {
			if n := present(crowd); n != clients {
				return fmt.Errorf("%d clients are away", clients-n)
			}
			return nil
		})
	}
	allIn()

	watching, seen := make(chan struct{}), make(chan int)
	go func() { seen <- fewest(crowd, watching) }()
	begin := time.Now()
	for i, h := range hubs {
		h.terminate()
		if code := h.exitCode(); code != 0 {
			t.Fatalf("hub %d exits with %d", i, code)
		}
		hubs[i] = start()
		(&threeHubs{t: t}).awaitReady(hubs[i])
		b.set(i, hubs[i])
	}
	allIn()
	took := time.Since(begin)
	close(watching)
	left := <-seen

	var absences []time.Duration
	returns, sum := 0, make([]time.Duration, 0, clients)
	for i := range crowd {
		list := crowd[i].absences()
		absences = append(absences, list...)
		returns += len(list)
		total := time.Duration(0)
		for _, d := range list {
			total += d
		}
		sum = append(sum, total)
	}
	at := func(list []time.Duration, share float64) time.Duration {
		slices.Sort(list)
		return list[min(int(share*float64(len(list))), len(list)-1)].Round(10 * time.Millisecond)
	}
	t.Logf("%d clients, window %v: %d returns in %v; without a connection, each time: median %v, p99 %v, longest %v; per client together: p99 %v; away at once: %.1f %% at most",
		clients, window, returns, took.Round(100*time.Millisecond), at(absences, 0.5), at(absences, 0.99), at(absences, 1), at(sum, 0.99), 100*float64(clients-left)/float64(clients))
	if p99 := at(absences, 0.99); p99 > 4*time.Second && os.Getenv("WSHUB_DRILL_HUB") == "" { // 3 s are promised where nothing else runs
		t.Errorf("p99 of the time without a connection is %v", p99)
	}
}

// present counts the clients that have a connection.
func present(crowd []roller) (n int) {
	for i := range crowd {
		if crowd[i].in.Load() {
			n++
		}
	}
	return n
}

// fewest is the least number of clients that had a connection at one time, looked at each 50 ms until done.
func fewest(crowd []roller, done <-chan struct{}) int {
	least := len(crowd)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return least
		case <-tick.C:
			least = min(least, present(crowd))
		}
	}
}

// roller is a hub.v1 client that resumes as the protocol says: after after_ms, and with full jitter where that fails.
type roller struct {
	entry chan struct{}
	in    atomic.Bool
	token string
	at    string // its position in the topic

	mu   sync.Mutex
	away []time.Duration
}

func (r *roller) absences() []time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.away)
}

func (r *roller) run(ctx context.Context, url string) {
	failures, lost := 0, time.Time{}
	for ctx.Err() == nil {
		if lost.IsZero() {
			r.entry <- struct{}{}
		}
		wait := rand.N(500 * time.Millisecond << min(failures, 5))
		came, after := r.visit(ctx, url, &lost)
		if came {
			failures, wait = 0, rand.N(500*time.Millisecond)
			if after >= 0 {
				wait = after
			}
		} else {
			failures++
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// visit is one connection. came is true if it was let in; after is what it was told when it left, or -1.
func (r *roller) visit(ctx context.Context, url string, lost *time.Time) (came bool, after time.Duration) {
	first := lost.IsZero()
	leave := sync.OnceFunc(func() {
		if first {
			<-r.entry
		}
	})
	defer leave()
	dialing, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	c, _, err := websocket.Dial(dialing, url, &websocket.DialOptions{Subprotocols: []string{"hub.v1.json"}})
	if err != nil {
		return false, -1
	}
	defer func() { _ = c.CloseNow() }()
	after = -1
	for {
		_, text, err := c.Read(ctx)
		if err != nil {
			if came {
				r.in.Store(false)
				*lost = time.Now()
			}
			return came, after
		}
		var m struct {
			Type, Token, Position string
			AfterMS               *int64 `json:"after_ms"`
		}
		if json.Unmarshal(text, &m) != nil {
			return came, after
		}
		switch m.Type {
		case "welcome":
			came = true
			leave()
			if !first {
				r.mu.Lock()
				r.away = append(r.away, time.Since(*lost))
				r.mu.Unlock()
			}
			r.in.Store(true)
			order := `{"type":"subscribe","id":1,"topic":"news"}`
			if r.at != "" {
				order = `{"type":"resume","id":1,"token":"` + r.token + `","positions":{"news":"` + r.at + `"}}`
			}
			r.token = m.Token
			_ = c.Write(ctx, websocket.MessageText, []byte(order))
		case "resumed":
			r.token = cmp.Or(m.Token, r.token)
		case "subscribed":
			r.at = m.Position
		case "goodbye":
			if m.AfterMS != nil {
				after = time.Duration(*m.AfterMS) * time.Millisecond
			}
		}
	}
}

// balancer hands connections to the hubs in turn, and passes over those that are not ready.
type balancer struct {
	listener net.Listener
	next     atomic.Uint32

	mu    sync.Mutex
	hubs  [3]*process
	ready [3]bool
}

// probeEvery is how often the balancer asks /readyz.
const probeEvery = 200 * time.Millisecond

func newBalancer(t *testing.T) *balancer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &balancer{listener: l}
	ctx, end := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { b.probe(ctx) })
	running.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { b.carry(ctx, client) })
		}
	})
	t.Cleanup(func() { end(); _ = l.Close(); running.Wait() })
	return b
}

func (b *balancer) url() string { return "ws://" + b.listener.Addr().String() + "/notification" }

// set puts h in place of the i'th hub.
func (b *balancer) set(i int, h *process) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hubs[i], b.ready[i] = h, true
}

func (b *balancer) probe(ctx context.Context) {
	client := &http.Client{Timeout: time.Second}
	defer client.CloseIdleConnections()
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		b.mu.Lock()
		hubs := b.hubs
		b.mu.Unlock()
		for i, h := range hubs {
			if h == nil {
				continue
			}
			res, err := client.Get(h.control + "/readyz")
			ok := err == nil && res.StatusCode == 200
			if err == nil {
				_ = res.Body.Close()
			}
			b.mu.Lock()
			if b.hubs[i] == h {
				b.ready[i] = ok
			}
			b.mu.Unlock()
		}
	}
}

// choose is the address of the next hub that is ready, "" if none is.
func (b *balancer) choose() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	for range b.hubs {
		if i := b.next.Add(1) % uint32(len(b.hubs)); b.ready[i] {
			at, _ := url.Parse(b.hubs[i].public)
			return at.Host
		}
	}
	return ""
}

// carry brings client to a hub, and back what that says.
func (b *balancer) carry(ctx context.Context, client net.Conn) {
	defer client.Close()
	hub, err := new(net.Dialer).DialContext(ctx, "tcp", b.choose())
	if err != nil {
		return
	}
	defer hub.Close()
	stop := context.AfterFunc(ctx, func() { _ = client.Close(); _ = hub.Close() })
	defer stop()
	var up sync.WaitGroup
	up.Go(func() {
		_, _ = io.Copy(hub, client)
		_ = hub.Close()
	})
	_, _ = io.Copy(client, hub)
	_ = client.Close()
	up.Wait()
}
