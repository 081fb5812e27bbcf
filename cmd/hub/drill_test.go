package main

import (
	"syscall"
	"testing"
	"time"

	"wshub/pubsub/redistest/drills"
)

// TestDrills breaks what can break while events flow. Among acknowledged events none may be lost, repeated
// or reordered unless the client is told, and no request unanswered. -v prints what happened.
func TestDrills(t *testing.T) {
	drills.Programs(t)
	drills.SideBySide(t)
	path := buildHub(t)
	for _, one := range []struct {
		name  string
		redis []string
		run   func(d *drill)
	}{
		{"a hub is killed", nil, aHubIsKilled},
		{"rolling restart", nil, rollingRestart},
		{"redis with AOF is killed", []string{"--appendonly", "yes", "--appendfsync", "always"}, redisWithAOFIsKilled},
		{"redis forgets", nil, redisForgets},
		{"subscribers are killed", nil, subscribersAreKilled},
		{"output limit", []string{"--client-output-buffer-limit", "pubsub 64kb 32kb 1"}, subscribersAreTooSlow},
		{"network", nil, theNetworkFails},
		{"redis says no", nil, redisSaysNo},
		{"slow clients", nil, clientsReadSlowly},
		{"crowd", nil, aCrowdComesBack},
		{"a replica is promoted", nil, aReplicaIsPromoted},
		{"rights change", nil, rightsChange},
		{"one token twice", nil, oneTokenTwice},
		{"resumes are broken", []string{"--appendonly", "yes", "--appendfsync", "always"}, resumesAreBroken},
		{"resumes are broken over TLS", []string{"--appendonly", "yes", "--appendfsync", "always"}, func(d *drill) {
			cert, key := newAuthority(d.t).pair()
			d.tls = []string{"--tls-cert=" + cert, "--tls-key=" + key}
			resumesAreBroken(d)
		}},
		{"tokens", nil, tokensAreJudged},
	} {
		t.Run(one.name, func(t *testing.T) {
			drills.SideBySide(t)
			d := newDrill(t, path, one.redis...)
			defer d.end()
			one.run(d)
		})
	}
}

// begin is three hubs on one Redis, clients and events.
func (d *drill) begin() {
	d.t.Helper()
	d.startHubs(3, d.redis.URL())
	d.follow()
	d.publish()
	d.pass(500 * time.Millisecond)
}

func aHubIsKilled(d *drill) {
	d.begin()
	h := d.hub(0)
	h.signal(syscall.SIGKILL)
	d.leave(h)
	d.pass(2 * time.Second)
	c := d.endRound("a hub is killed")
	d.costsNothing(c)
	d.hearThemselves(c)
}

// rollingRestart replaces one hub after the other, as a deployment does.
func rollingRestart(d *drill) {
	d.begin()
	for range 3 {
		old := d.hub(0)
		d.startHubs(1, d.redis.URL())
		old.terminate()
		d.leave(old)
		if code := old.exitCode(); code != 0 {
			d.t.Errorf("a drained hub exits with %d", code)
		}
	}
	c := d.endRound("rolling restart")
	d.costsNothing(c)
	d.hearThemselves(c)
}

// redisWithAOFIsKilled: what was acknowledged is on disk. A part of the clients comes back meanwhile.
func redisWithAOFIsKilled(d *drill) {
	d.begin()
	for _, dead := range d.scale.deaths {
		d.redis.Kill()
		d.pass(300 * time.Millisecond)
		for _, f := range d.clients[:len(d.clients)/4] {
			f.cut()
		}
		d.pass(dead - 300*time.Millisecond)
		before := d.reading().acked
		d.redis.Restart()
		d.until("events are acknowledged again", drillPatience, func() bool { return d.reading().acked > before+d.scale.topics })
		d.pass(time.Second)
	}
	d.costsNothing(d.endRound("redis with AOF is killed"))
}

// redisForgets: Redis comes back empty. Half of the clients were away meanwhile and each must be told that it
// can't catch up; the others are told of a gap.
func redisForgets(d *drill) {
	d.calm = true // the numbers of answers are asserted
	d.begin()
	d.gate.shut()
	away := d.clients[:len(d.clients)/2]
	for _, f := range away {
		f.cut()
	}
	d.redis.Kill()
	d.pass(500 * time.Millisecond)
	before := d.reading()
	d.redis.Restart()
	d.gate.let()
	d.await("followed", (*follower).follows)
	d.pass(time.Second)
	after := d.endRound("redis forgets")
	if len(after.refused) > 0 {
		d.t.Errorf("publishers were refused: %v", after.refused)
	}
	if after.recovered > before.recovered {
		d.t.Errorf("%d times recovered:true of what nobody has", after.recovered-before.recovered)
	}
	if want := expectedGaps(away); after.unrecovered-before.unrecovered != want {
		d.t.Errorf("%d times recovered:false, want %d", after.unrecovered-before.unrecovered, want)
	}
	if want := expectedGaps(d.clients) - expectedGaps(away); after.gaps-before.gaps < want {
		d.t.Errorf("%d gaps told, want %d", after.gaps-before.gaps, want)
	}
}

// expectedGaps is how many losses are reported to clients when all topics have one: clients with positions get one for
// each topic.
func expectedGaps(clients []*follower) (n int) {
	for _, f := range clients {
		if f.way != verbatim {
			n += len(f.places)
		}
	}
	return n
}

func subscribersAreKilled(d *drill) {
	d.begin()
	kill := time.NewTicker(500 * time.Millisecond)
	defer kill.Stop()
	for end := time.Now().Add(d.scale.killing); time.Now().Before(end); <-kill.C {
		d.redis.CLI("client", "kill", "type", "pubsub")
	}
	d.costsNothing(d.endRound("subscribers are killed"))
}
