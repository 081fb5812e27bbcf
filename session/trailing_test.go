package session

import (
	"testing"
	"time"

	"wshub/engine"
)

// A topic that keeps a history and has no event yet stands at another place at each read. A session that
// follows it later than others becomes a follower like them, and does not stay on its way for ever.
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

// A trailing subscription may lag, and is dropped with its subscription: nothing of a topic leaves behind the answer that it was left.
func TestNothingOfATopicThatTrailedLeavesBehindItsEnd(t *testing.T) {
	n := oneLoop(t)
	c := n.v1("")
	n.onLoop(func() {
		sh := n.hub.shards[0]
		for s := range n.sessions() {
			name := sh.topic("t")
			name.asked = true // by nobody
			s.Subscribe("t", nil, func(Outcome) {})
			sub := s.waitingFor("t")
			sub.stage, sub.reported, sub.cursor = trailing, true, at(5)
			name.ext.trailing++
			s.working().pumping = true // as if bytes were queued
			s.lag([]*message{event(6)})
			if !s.lagging {
				t.Fatal("nothing lags")
			}
			sub.end(Refusal{NotSubscribed, "left"})
			if s.lagging || s.busy() != nil && len(s.busy().lag) > 0 {
				t.Error("an event of the topic waits still")
			}
			s.working().pumping = false
			s.pump()
			s.trim()
		}
	})
	c.send(`{"type":"ping"}`)
	c.want(`{"type":"pong"}`)
}
