package session

import (
	"math"
	"testing"
	"time"

	"wshub/engine"
	"wshub/pubsub"
)

func TestWhoSendsOrComesMostIsShown(t *testing.T) {
	n := start(t, Config{MessageRate: -1}, engine.Config{Pollers: spread}, pubsub.NewMemory(pubsub.MemoryConfig{}))
	quiet, loud := n.v1("?user=quiet"), n.v1("?user=loud")
	quiet.send(`{"type":"ping","id":1}`)
	quiet.read()
	for range 2 * keptVisits { // more than is kept
		loud.send(`{"type":"ping","id":1}`)
		loud.read()
	}
	for range 3 {
		n.v1("?user=again")
	}
	n.v1("")
	all, err := n.hub.Busiest(looking(t))
	if err != nil || len(all.Senders) == 0 || all.Senders[0].User != "loud" || !ValidName(all.Senders[0].Session) || all.Senders[0].PerSecond < 10 {
		t.Errorf("senders are %+v, %v", all.Senders, err)
	}
	for _, b := range all.Senders[1:] {
		if b.User != "quiet" || b.PerSecond != 1/visitTime.Seconds() {
			t.Errorf("a sender is %+v", b)
		}
	}
	if len(all.Comers) != 1 || all.Comers[0].User != "again" || all.Comers[0].PerSecond != 3/visitTime.Seconds() {
		t.Errorf("comers are %+v", all.Comers)
	}
}

func TestOldVisitsDoNotCount(t *testing.T) {
	var v visits
	begin := uint32(math.MaxUint32 - 5000) // the clock turns over
	for i := range 10 {
		v.ring[i] = visit{own: "user:1", id: uint64(i), at: begin + uint32(i*1000)}
	}
	v.next = 10
	for now, want := range map[time.Duration]int{10 * time.Second: 10, visitTime + 4*time.Second: 6, visitTime + 10*time.Second: 0} {
		whom := make(map[visit]*busy)
		v.count(begin+uint32(now.Milliseconds()), whom, func(v visit) visit { return visit{own: v.own} })
		views := busiest(whom, 1)
		if want == 0 && len(views) == 0 {
			continue
		}
		if len(views) != 1 || views[0].User != "1" || views[0].Session != sessionName(9) || math.Abs(views[0].PerSecond-float64(want)/visitTime.Seconds()) > 1e-9 {
			t.Errorf("after %s they are %+v, want %d", now, views, want)
		}
	}
}
