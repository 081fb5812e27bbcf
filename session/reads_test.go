package session

import (
	"sync/atomic"
	"testing"

	"wshub/engine"
	"wshub/pubsub"
)

func TestAReplayReadsEachEventOnce(t *testing.T) {
	const events, size = 500, 4000
	var read atomic.Int64
	n := bend(t, Config{}, engine.Config{Pollers: 1, MaxQueued: 64 << 10, SendBuffer: 8 << 10}, &bent{replayed: func(_ string, r pubsub.Replay) {
		read.Add(int64(len(r.Events)))
	}})
	n.number("news", 1, events, size)
	c := n.v1("")
	c.send(`{"type":"subscribe","topic":"news","since":"0"}`)
	c.hear()
	c.wantEvents("news", 1, events)
	if got := read.Load(); got > events+10 { // the first ones are looked at before the answer
		t.Errorf("%d events were read for %d", got, events)
	}
}
