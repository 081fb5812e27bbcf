package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"wshub/pubsub/redistest"
	"wshub/pubsub/redistest/drills"
)

// TestARollingRestartBehindTheLoadBalancers restarts three hubs, one after the other, behind each load balancer with its
// file of deploy/, under clients of hub.v1 and streams, while events flow. No client is left outside, and none misses
// an event. It measures how long each client is without a connection.
//
//	WSHUB_DRILL=full go test -count=1 -v -run TestARollingRestartBehindTheLoadBalancers ./cmd/hub
func TestARollingRestartBehindTheLoadBalancers(t *testing.T) {
	drills.Programs(t)
	drills.SideBySide(t)
	clients, streams, grace, window := 150, 15, time.Second, time.Second
	if drills.IsFull(t) {
		clients, streams, grace, window = 1500, 100, 2*time.Second, 10*time.Second
	}
	path := buildHub(t)
	for _, b := range balancers {
		t.Run(b.program, func(t *testing.T) {
			if !drills.IsFull(t) && b.program != "nginx" {
				t.Skip("a short run restarts the hubs behind nginx only, which asks no /readyz")
			}
			drills.SideBySide(t)
			net, redis := newHubNet(t, b), redistest.Start(t)
			start := func(i int) {
				net.startHub(path, i, "--log-level=info", "--redis-url="+redis.URL(), "--history=news*=1000,10m",
					"--drain-grace="+grace.String(), "--drain-window="+window.String())
			}
			for i := 1; i <= 3; i++ {
				start(i)
				(&threeHubs{t: t}).awaitReady(net.hubs[i])
			}
			net.balance(nil)
			net.awaitHubs(1, 2, 3)

			all := newCrowd(t, net.url, clients, streams)
			all.awaitAll()
			news := publishNews(t, net.hubs[2])
			report := all.watch()
			for i := 1; i <= 3; i++ {
				h := net.hubs[i]
				news.hub.Store(net.hubs[i%3+1]) // this one stays
				h.terminate()
				if code := h.exitCode(); code != 0 {
					t.Fatalf("hub %d exits with %d", i, code)
				}
				start(i)
				(&threeHubs{t: t}).awaitReady(net.hubs[i])
			}
			all.awaitAll()
			report(window)
			all.awaitEvent(news.end())
			all.awaitAll()
			all.wantNothingOdd()
			for i, h := range net.hubs {
				if n := h.metric("wshub_panics_total"); n > 0 {
					t.Errorf("hub %d panicked %v times", i, n)
				}
			}
			for i := 1; i <= 2; i++ { // they were there when the next one sent its clients away
				if n := net.hubs[i].metric("wshub_connections"); n < float64(clients/10) {
					t.Errorf("hub %d got %v clients since its restart", i, n)
				}
			}
			net.awaitHubs(3)
		})
	}
}

// news is a publisher of numbered events to the topic of that name.
type news struct {
	hub     atomic.Pointer[process] // publishes them
	stop    context.CancelFunc
	running sync.WaitGroup
	t       *testing.T
	n       int64
}

// newsEvery is the time between two events: each is a delivery for every client.
const newsEvery = 500 * time.Millisecond

// publishNews publishes from event 1 on, until its end or the test's.
func publishNews(t *testing.T, h *process) *news {
	ctx, stop := context.WithCancel(t.Context())
	p := &news{t: t, stop: stop}
	p.hub.Store(h)
	p.running.Go(func() {
		tick := time.NewTicker(newsEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			p.publish()
		}
	})
	t.Cleanup(func() { stop(); p.running.Wait() })
	return p
}

// publish publishes the next event.
func (p *news) publish() {
	p.n++
	body := fmt.Sprintf(`{"topic":"news","data":{"n":%d}}`, p.n)
	res, err := http.Post(p.hub.Load().control+"/api/publish", "application/json", strings.NewReader(body))
	if err != nil {
		p.t.Errorf("event %d: %v", p.n, err)
		return
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		p.t.Errorf("event %d is answered %s", p.n, res.Status)
	}
}

// end publishes the last event, and returns its number.
func (p *news) end() int64 {
	p.stop()
	p.running.Wait()
	p.publish()
	return p.n
}
