package session

import (
	"testing"
	"time"

	"wshub/engine"
)

// A topic that keeps a history and has no event yet stands at another place at each look. Who follows it later than
// others is a follower like they are, and not for ever on its way.
func TestWhoFollowsATopicWithoutEventsHasArrived(t *testing.T) {
	n := keeping(t, Config{}, engine.Config{Pollers: 1})
	for range 3 {
		c := n.v1("")
		c.send(`{"type":"subscribe","topic":"empty"}`)
		at := time.Now()
		if h := c.hear(); h.Type != "subscribed" || h.Position == "" {
			t.Fatalf("%+v", h)
		}
		n.eventually("a later millisecond", func() bool { return time.Since(at) > 2*time.Millisecond })
	}
	n.onLoop(func() {
		for s := range n.sessions() {
			if s.busy() != nil || len(s.subs) != 1 {
				t.Errorf("%d topics are followed, on their way: %+v", len(s.subs), s.busy())
			}
		}
	})
}
