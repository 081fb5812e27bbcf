package main

import (
	"syscall"
	"time"

	"wshub/pubsub/redistest"
)

// clockBehind is how far the replica's clock is behind the master's.
const clockBehind = 2 * time.Second

// aReplicaIsPromoted that lacks the last second, and whose clock is behind: in its first seconds it lives again through
// times of which the master has given positions. No position may be given twice. Clients that have seen what the replica
// lacks are told, be they there or away meanwhile; for the others it was never there.
func aReplicaIsPromoted(d *drill) {
	replica := redistest.Start(d.t)
	replica.SetClock(-clockBehind)
	replica.Restart()
	replica.Follow(d.redis)
	d.servers = []*redistest.Server{replica}
	proxy := redistest.NewProxy(d.t, d.redis.Addr())
	d.topics = d.topics[:min(len(d.topics), 20)]
	d.scale.topics, d.scale.each, d.scale.every = len(d.topics), 2, 20*time.Millisecond
	d.startHubs(2, proxy.URL())
	d.follow()
	d.publish()
	d.pass(time.Second)

	d.redis.CLI("wait", "1", "0")
	replica.Promote()
	var away []*follower
	d.gate.shut()
	for i, f := range d.clients {
		if i%2 == 0 || f.publishes { // a publisher that is away publishes nothing
			continue
		}
		f.cut()
		away = append(away, f)
		d.pass(time.Second / time.Duration(len(d.clients)/2)) // so that they have seen more and more
	}
	d.redis.Kill()
	lived := time.Now()
	d.pass(300 * time.Millisecond) // what was acknowledged is known to be
	before := d.reading().acked
	proxy.Point(replica.Addr())
	d.until("events are acknowledged again", drillPatience, func() bool { return d.reading().acked > before+d.scale.topics })
	d.pass(time.Until(lived.Add(clockBehind + 500*time.Millisecond)))
	d.gate.let()
	d.await("followed", (*follower).follows)
	c := d.endRound("a replica is promoted")
	if c.gaps == 0 || c.unrecovered == 0 || c.failedOver == 0 {
		d.t.Errorf("%d events were lost, %d gaps, %d recovered:false: nobody had seen what was lost", c.failedOver, c.gaps, c.unrecovered)
	}
	d.t.Logf("%d clients were away", len(away))

	d.publish() // and all is well behind it
	h := d.hub(0)
	h.signal(syscall.SIGKILL)
	d.leave(h)
	d.pass(500 * time.Millisecond)
	d.costsNothing(d.endRound("behind the failover"))
}
