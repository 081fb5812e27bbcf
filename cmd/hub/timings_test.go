package main

import (
	"testing"
	"time"

	"wshub/pubsub/redistest"
	"wshub/pubsub/redistest/drills"
)

// Each histogram counts an event's way once: a client comes, follows a topic with history, and publishes to it.
func TestTheTimesOfAnEventsWayAreMetrics(t *testing.T) {
	drills.Programs(t)
	t.Parallel()
	redis := redistest.Start(t)
	h := startHub(t, buildHub(t), redis.URL(), "--history=news*=10")
	c := dial(t, "v1", h.public, "hub.v1.json")
	c.say(`{"type":"subscribe","id":1,"topic":"news"}`)
	c.want(`{"type":"subscribed"`)
	trips := h.metric("wshub_broker_round_trip_seconds_count")
	c.say(`{"type":"publish","id":2,"topic":"news","data":1}`)
	c.wantEvent("news", "1")
	for _, name := range []string{"handshake", "publish", "fanout", "delivery"} {
		late := time.After(patience)
		for name = "wshub_" + name + "_seconds"; h.metric(name+"_count") == 0; {
			select {
			case <-late:
				t.Fatal("nothing counts in " + name)
			default:
			}
		}
		if n, sum := h.metric(name+"_count"), h.metric(name+"_sum"); n != 1 || sum < 0 || sum > patience.Seconds() || h.metric(name+`_bucket{le="+Inf"}`) != 1 {
			t.Errorf("%s: %v times, %v s", name, n, sum)
		}
	}
	if h.metric("wshub_broker_round_trip_seconds_count") == trips {
		t.Error("the publication is no round trip")
	}
}
