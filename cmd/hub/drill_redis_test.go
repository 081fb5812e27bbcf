package main

import (
	"fmt"
	"strings"
	"time"

	"wshub/pubsub/redistest"
)

// flood publishes raw events of size bytes to the topic flood, burst of them in one step of Redis, every
// while, until done is true.
func (d *drill) flood(size, burst int, every time.Duration, done func() bool) {
	d.t.Helper()
	const script = `for i = 1, ARGV[2] do redis.call('PUBLISH', 'hub:t:flood', ARGV[1]) end`
	data := fmt.Sprintf("%q", strings.Repeat("x", size))
	tick := time.NewTicker(every)
	defer tick.Stop()
	for late := time.Now().Add(drillPatience); !done(); <-tick.C {
		d.redis.CLI("eval", script, "0", data, fmt.Sprint(burst))
		if time.Now().After(late) {
			d.t.Fatalf("the flood does in %s not what it should\n%s", drillPatience, d.line())
		}
	}
}

// subscribersAreTooSlow: a flood is more than Redis keeps for a subscriber, which it cuts.
func subscribersAreTooSlow(d *drill) {
	d.begin()
	for i, h := range d.hubs {
		dial(d.t, fmt.Sprint("flooded", i), h.public+"?topic=flood", "")
	}
	before := d.metric("wshub_broker_reconnects_total")
	over := time.Now().Add(d.scale.killing)
	d.flood(8<<10, 100, 300*time.Millisecond, func() bool { return time.Now().After(over) })
	d.costsNothing(d.endRound("redis cuts subscribers in a flood"))
	cuts := d.metric("wshub_broker_reconnects_total") - before
	d.t.Logf("subscribers were cut %.0f times", cuts)
	if cuts == 0 {
		d.t.Error("no subscriber was cut: the flood was too small")
	}
}

// metric is the sum of a counter over all hubs.
func (d *drill) metric(name string) (sum float64) {
	for _, h := range d.hubs {
		sum += h.metric(name)
	}
	return sum
}

// theNetworkFails between one hub and Redis. The others are publishers' and clients' way out, but the
// clients of the first hub stay with it.
func theNetworkFails(d *drill) {
	proxy := redistest.NewProxy(d.t, d.redis.Addr())
	d.startHubs(1, proxy.URL())
	d.startHubs(2, d.redis.URL())
	d.follow()
	freeze := func(way redistest.Way, length time.Duration) func() {
		return func() {
			proxy.Freeze(way)
			d.pass(length / 2)
			for _, f := range d.clients[:len(d.clients)/4] {
				f.cut()
			}
			d.pass(length / 2)
			proxy.Thaw(way)
		}
	}
	type fault struct {
		name string
		run  func()
	}
	faults := []fault{
		{"frozen to redis", freeze(redistest.ToServer, d.scale.freezes[0])},
		{"frozen from redis", freeze(redistest.ToClient, d.scale.freezes[0])},
		{"a reply is lost", func() {
			for range 5 {
				proxy.Lose(1)
				d.pass(300 * time.Millisecond)
			}
		}},
		{"byte by byte", func() {
			proxy.Chunk(1)
			d.pass(2 * time.Second)
			proxy.Chunk(0)
		}},
		{"reset", func() {
			for range 5 {
				proxy.Reset()
				d.pass(300 * time.Millisecond)
			}
		}},
	}
	for _, length := range d.scale.freezes {
		faults = append(faults, fault{fmt.Sprint("frozen both ways for ", length), freeze(redistest.Both, length)})
	}
	for _, fault := range faults {
		d.publish()
		d.pass(300 * time.Millisecond)
		fault.run()
		d.costsNothing(d.endRound(fault.name))
	}
}

// redisSaysNo: to scripts it knew, and to whoever writes. Then it forgets everything without a word.
func redisSaysNo(d *drill) {
	d.begin()
	for range 5 {
		d.redis.CLI("script", "flush")
		d.pass(100 * time.Millisecond)
	}
	d.costsNothing(d.endRound("SCRIPT FLUSH"))

	for _, no := range []struct{ name, begin, end string }{
		{"OOM", "config set maxmemory 1", "config set maxmemory 0"},
		{"READONLY", "replicaof 127.0.0.1 1", "replicaof no one"},
		{"NOREPLICAS", "config set min-replicas-to-write 1", "config set min-replicas-to-write 0"},
	} {
		d.publish()
		d.pass(300 * time.Millisecond)
		d.redis.CLI(strings.Fields(no.begin)...)
		d.pass(time.Second)
		for _, f := range d.clients[:len(d.clients)/4] {
			f.cut()
		}
		d.pass(time.Second)
		d.redis.CLI(strings.Fields(no.end)...)
		d.pass(300 * time.Millisecond)
		d.await("those who were cut are back", (*follower).follows) // one that is late would count in the next round
		c := d.endRound(no.name)
		if no.name == "READONLY" { // another server may be the master, or this one again
			if c.retried["unavailable"] == 0 || len(c.refused) > 0 {
				d.t.Errorf("%s: publishers retried %v, were refused %v", no.name, c.retried, c.refused)
			}
		} else if c.refused["refused"] == 0 || len(c.refused) > 1 {
			d.t.Errorf("%s: publishers are refused %v", no.name, c.refused)
		}
		clear(c.refused)
		d.costsNothing(c)
	}

	d.calm = true // the numbers of answers are asserted
	d.publish()
	d.pass(300 * time.Millisecond)
	d.gate.shut()
	away := d.clients[:len(d.clients)/2]
	for _, f := range away {
		f.cut()
	}
	d.pass(300 * time.Millisecond)
	d.redis.CLI("flushall")
	d.advance() // a hub that has heard nothing since has missed nothing either
	d.gate.let()
	d.await("followed", (*follower).follows)
	c := d.endRound("FLUSHALL")
	if want := expectedGaps(away); c.unrecovered != want || c.recovered > 0 {
		d.t.Errorf("recovered %d, not %d, want 0 and %d", c.recovered, c.unrecovered, want)
	}
	if want := expectedGaps(d.clients) - expectedGaps(away); c.gaps < want {
		d.t.Errorf("%d gaps told, want %d", c.gaps, want)
	}
}
