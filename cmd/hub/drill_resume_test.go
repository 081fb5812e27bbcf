package main

import (
	"slices"
	"syscall"
	"time"
)

const (
	largeEvent = 30 << 10
	// missedPages is how many large events of each topic clients miss: more than a page, and in all more than a
	// client's queue, the kernel's buffers and what the hub may read ahead.
	missedPages = 5
)

// heavy are the manners of clients that come back to many topics with large events. Unread bytes stay with
// the hub.
var heavy = []manner{
	{way: resumes, window: 16 << 10},
	{way: resumes, window: 16 << 10, hasty: true},
	{way: subscribes, window: 16 << 10},
	{way: positions, window: 16 << 10},
}

// resumesAreBroken in all their stages, in all ways, at default limits. Clients come back to 20 topics of which they
// missed more than fits into a page; a slow one and the usual ones are beside them.
func resumesAreBroken(d *drill) {
	d.args = []string{"--log-level=info", "--history=drill:*=1000,10m", "--resume-key=" + resumeKeyText}
	d.topics = d.topics[:min(len(d.topics), 20)]
	d.startHubs(3, d.redis.URL())
	var all []int
	for i := range d.topics {
		all = append(all, i)
	}
	var back []*follower
	for i, m := range heavy {
		f := newFollower(d, i, i, all)
		f.manner = m
		back = append(back, d.add(f))
	}
	slow := newFollower(d, len(back), 0, all[:4])
	slow.manner = manner{way: resumes, window: 16 << 10, rate: 1 << 20}
	back = append(back, d.add(slow))
	for i := range len(manners) {
		d.join(len(back)+i, 1+i, []int{i, i + 1})
	}
	d.await("followed", (*follower).follows)

	d.miss(back, 1)
	d.gate.let()
	d.costsNothing(d.endRound("a large event of each topic"))
	if cut := d.metric(`wshub_connections_closed_total{cause="slow_consumer"}`); cut > 0 {
		d.t.Errorf("%.0f clients were cut as slow", cut)
	}

	for _, s := range []stage{waiting, answered, amid} {
		for _, fault := range d.resumeFaults(back) {
			d.miss(back, missedPages)
			d.publish()
			if s == waiting { // so that nothing can be answered
				d.redis.Freeze()
			}
			t := d.setTrap(s, slices.DeleteFunc(slices.Clone(back), func(f *follower) bool { return f == slow }))
			for _, f := range back {
				f.hub = 0
			}
			d.gate.let()
			d.full(t)
			fault.strike()
			t.let()
			fault.mend()
			d.pass(200 * time.Millisecond)
			d.costsNothing(d.endRound(fault.name + " " + s.String()))
		}
	}
}

// miss sends clients away and publishes large events of all topics.
func (d *drill) miss(clients []*follower, events int) {
	d.t.Helper()
	d.await("followed", (*follower).follows)
	d.gate.shut()
	for _, f := range clients {
		f.cut()
	}
	d.until("away", drillPatience, func() bool { return !slices.ContainsFunc(clients, (*follower).connectedNow) })
	d.publishMore(events, largeEvent)
}

// resumeFault is what breaks, and how that ends.
type resumeFault struct {
	name         string
	strike, mend func()
}

func (d *drill) resumeFaults(clients []*follower) []resumeFault {
	return []resumeFault{
		{"connections break", func() {
			for _, f := range clients {
				f.cut()
			}
		}, d.redis.Thaw},
		{"a hub is killed", func() {
			h := d.hub(0)
			h.signal(syscall.SIGKILL)
			d.leave(h)
		}, func() {
			d.redis.Thaw()
			d.startHubs(1, d.redis.URL())
		}},
		{"redis is killed", d.redis.Kill, d.redis.Restart},
		{"redis stands still", d.redis.Freeze, func() {
			d.pass(d.scale.standstill)
			d.redis.Thaw()
		}},
	}
}
