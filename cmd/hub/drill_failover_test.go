package main

import (
	"regexp"
	"strconv"
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
	for _, topic := range d.topics {
		topic.lose(lastIn(d, replica, topic.name)+1, int(topic.acked.Load()))
	}
	before := d.reading().acked
	proxy.Point(replica.Addr())
	d.until("events are acknowledged again", drillPatience, func() bool { return d.reading().acked > before+d.scale.topics })
	d.pass(time.Until(lived.Add(clockBehind + 500*time.Millisecond)))
	d.gate.let()
	d.await("followed", (*follower).follows)
	c := d.settle("a replica is promoted")
	if c.gaps == 0 || c.unrecovered == 0 {
		d.t.Errorf("%d gaps, %d recovered:false: nobody had seen what was lost", c.gaps, c.unrecovered)
	}
	d.t.Logf("%d clients were away", len(away))

	d.publish() // and all is well behind it
	h := d.hub(0)
	h.signal(syscall.SIGKILL)
	d.leave(h)
	d.pass(500 * time.Millisecond)
	d.costsNothing(d.settle("behind the failover"))
}

var numberOf = regexp.MustCompile(`"n":(\d+)`)

// lastIn is the number of the last event that a server has of a topic.
func lastIn(d *drill, s *redistest.Server, topic string) int {
	d.t.Helper()
	text := s.CLI("xrevrange", s.CLI("keys", "hub:{*}:s:"+topic), "+", "-", "count", "1")
	number := numberOf.FindStringSubmatch(text)
	if number == nil {
		d.t.Fatalf("%s ends with %q", topic, text)
	}
	n, _ := strconv.Atoi(number[1]) // digits
	return n
}
