package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

// crowd is the clients of a rolling restart.
type crowd struct {
	t       *testing.T
	clients []roller
}

// newCrowd has clients come to url, all of hub.v1 but for some streams, until the test ends.
func newCrowd(t *testing.T, url string, clients, streams int) *crowd {
	c := &crowd{t: t, clients: make([]roller, clients)}
	ctx, end := context.WithCancel(t.Context())
	var running sync.WaitGroup
	t.Cleanup(func() { end(); running.Wait() })
	entry := make(chan struct{}, 50) // that many come at a time at the start
	for i := range c.clients {
		r := &c.clients[i]
		r.entry, r.stream = entry, i < streams
		running.Go(func() { r.run(ctx, url) })
	}
	return c
}

// awaitAll returns when every client has a connection.
func (c *crowd) awaitAll() {
	c.t.Helper()
	eventually(c.t, func() error {
		if n := c.present(); n != len(c.clients) {
			return fmt.Errorf("%d clients are away", len(c.clients)-n)
		}
		return nil
	})
}

// awaitEvent returns when every client has event n.
func (c *crowd) awaitEvent(n int64) {
	c.t.Helper()
	eventually(c.t, func() error {
		without := 0
		for i := range c.clients {
			if c.clients[i].last.Load() != n {
				without++
			}
		}
		if without > 0 {
			return fmt.Errorf("%d clients are without event %d", without, n)
		}
		return nil
	})
}

// present counts the clients that have a connection.
func (c *crowd) present() (n int) {
	for i := range c.clients {
		if c.clients[i].in.Load() {
			n++
		}
	}
	return n
}

// fewest is the least number of clients that had a connection at one time, looked at each 50 ms until done.
func (c *crowd) fewest(done <-chan struct{}) int {
	least := len(c.clients)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return least
		case <-tick.C:
			least = min(least, c.present())
		}
	}
}

// watch begins to look who is away. Its result ends that, logs how long clients were away under that drain window, and
// returns the p99 of the times without a connection.
func (c *crowd) watch() (report func(window time.Duration) (p99 time.Duration)) {
	watching, seen := make(chan struct{}), make(chan int, 1)
	go func() { seen <- c.fewest(watching) }()
	begin := time.Now()
	stop := sync.OnceFunc(func() { close(watching) })
	c.t.Cleanup(stop)
	return func(window time.Duration) time.Duration {
		c.t.Helper()
		took := time.Since(begin)
		stop()
		away := float64(len(c.clients)-<-seen) / float64(len(c.clients))
		var absences, sums []time.Duration
		for i := range c.clients {
			list, sum := c.clients[i].absences(), time.Duration(0)
			for _, d := range list {
				sum += d
			}
			absences, sums = append(absences, list...), append(sums, sum)
		}
		if len(absences) == 0 {
			c.t.Fatal("no client was ever away: the restart proves nothing")
		}
		at := func(list []time.Duration, share float64) time.Duration {
			slices.Sort(list)
			return list[min(int(share*float64(len(list))), len(list)-1)].Round(10 * time.Millisecond)
		}
		c.t.Logf("%d clients, window %v: %d returns in %v; without a connection, each time: median %v, p99 %v, longest %v; per client together: p99 %v; away at once: %.1f %% at most",
			len(c.clients), window, len(absences), took.Round(100*time.Millisecond), at(absences, 0.5), at(absences, 0.99), at(absences, 1), at(sums, 0.99), 100*away)
		return at(absences, 0.99)
	}
}

// wantNothingOdd fails the test if a client saw anything that must not be.
func (c *crowd) wantNothingOdd() {
	c.t.Helper()
	odd, shown := 0, map[string]int{}
	for i := range c.clients {
		list := c.clients[i].oddities()
		odd += min(len(list), 1)
		for _, text := range list {
			shown[text]++
		}
	}
	if odd > 0 {
		c.t.Errorf("%d clients saw what must not be: %v", odd, shown)
	}
}
