package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gobwas/ws"
)

// slowClients is how many clients read a byte a second, beside the others.
const slowClients = 10

// clientsReadSlowly and are cut; the others notice nothing.
func clientsReadSlowly(d *drill) {
	d.startHubs(3, d.redis.URL(), "--max-queued=32KiB", "--send-buffer=8KiB")
	d.follow()
	d.publish()
	d.pass(2 * time.Second)
	before := d.endRound("before slow clients")

	d.publish()
	var slow sync.WaitGroup
	ctx, cancel := context.WithCancel(d.t.Context())
	for i := range slowClients {
		slow.Go(func() { d.readSlowly(ctx, d.hub(i).public+"?topic=flood") })
	}
	cut := func() float64 { return d.metric(`wshub_connections_closed_total{cause="slow_consumer"}`) }
	d.flood(8<<10, 1, 100*time.Millisecond, func() bool { return cut() == slowClients })
	cancel()
	slow.Wait()
	c := d.endRound("slow clients")
	d.costsNothing(c)
	quick, with := percentile(before.late, 99), percentile(c.late, 99)
	d.t.Logf("p99 of the others: %s before, %s with %d slow clients", quick, with, slowClients)
	if with > quick+time.Second { // what waits for a slow one waits for much longer
		d.t.Errorf("others wait %s", with)
	}
}

// readSlowly reads a byte a second. It would not soon notice that it was cut: there is something to read.
func (d *drill) readSlowly(ctx context.Context, url string) {
	dialer := ws.Dialer{NetDial: dialNarrow(4 << 10)}
	conn, _, _, err := dialer.Dial(ctx, url)
	if err != nil {
		d.oddity("slow client: %v", err)
		return
	}
	defer conn.Close()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for b := make([]byte, 1); ; {
		if _, err := conn.Read(b); err != nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// missedByCrowd is how many events of each topic a crowd misses.
const missedByCrowd = 5

// aCrowdComesBack: all clients of a hub that is killed come back at once. The work of Redis for them goes
// with the number of topics.
func aCrowdComesBack(d *drill) {
	d.startHubs(3, d.redis.URL(), "--max-queued=1MiB")
	d.scale.each = 1
	d.calm = d.scale.full // its figures are told: they are of clients that come back once and publish nothing
	for i := range d.scale.crowd {
		d.join(i, 0, []int{i % d.scale.topics})
	}
	d.await("followed", (*follower).follows)
	d.publish()
	d.pass(time.Second)
	d.endRound("before the crowd")

	h := d.hub(0)
	d.gate.shut()
	h.signal(syscall.SIGKILL)
	d.leave(h)
	d.await("away", func(f *follower) bool { return !f.connectedNow() }) // else one of them would begin to publish
	for i := range d.topics {
		for range missedByCrowd {
			d.publishNext(i)
		}
	}
	before, probes := d.commands(), time.Now()
	d.gate.let()
	d.await("followed", (*follower).follows)
	able := slices.DeleteFunc(slices.Clone(d.clients), func(f *follower) bool { return f.way == verbatim })
	d.until("caught up", drillPatience, func() bool { return behind(able) == 0 })
	took := time.Since(probes)
	commands, which := 0, []string(nil)
	for name, n := range d.commands() {
		if n -= before[name]; n > 0 {
			commands += n
			which = append(which, fmt.Sprintf("%s %d", name, n))
		}
	}
	c := d.endRound("a crowd comes back")
	d.costsNothing(c)
	d.hearThemselves(c)
	d.t.Logf("%d clients of %d topics are back and caught up after %s; Redis ran %d commands: %s",
		d.scale.crowd, d.scale.topics, took.Round(time.Millisecond), commands, strings.Join(which, ", "))
	const publishing = 16 // commands: each client without positions follows a topic of its own and publishes once
	if most := 20*d.scale.topics + 20*int(took/time.Second+1) + publishing*(len(d.clients)-len(able)); commands > most {
		d.t.Errorf("Redis ran %d commands, want at most %d", commands, most)
	}
}

// commands is how often Redis ran each command, those in scripts included.
func (d *drill) commands() map[string]int {
	d.t.Helper()
	counts := map[string]int{}
	for line := range strings.Lines(d.redis.CLI("info", "commandstats")) {
		name, rest, ok := strings.Cut(strings.TrimPrefix(line, "cmdstat_"), ":calls=")
		var n int
		if _, err := fmt.Sscan(strings.ReplaceAll(rest, ",", " "), &n); ok && err == nil {
			counts[name] = n
		}
	}
	delete(counts, "info")
	return counts
}
