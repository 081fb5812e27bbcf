package sse_test

import (
	"context"
	"testing"

	"wshub/engine"
	"wshub/pubsub"
	"wshub/session"
)

// gatedBroker reads the log of one topic as often as it is let.
type gatedBroker struct {
	session.Broker
	topic string
	let   chan struct{}
}

func (b gatedBroker) Replay(ctx context.Context, topic string, since pubsub.Position, limit pubsub.Limit) (pubsub.Replay, error) {
	if topic == b.topic {
		select {
		case <-b.let:
		case <-ctx.Done():
			return pubsub.Replay{}, ctx.Err()
		}
	}
	return b.Broker.Replay(ctx, topic, since, limit)
}

// A stream breaks, and breaks again before all of its topics are served: the last id has the places of the others still,
// or that they were lost.
func TestTwoBreaksInARowLoseNoPlace(t *testing.T) {
	const query = "?topic=a&topic=slow"
	for name, c := range map[string]struct {
		lines     []string
		recovered bool
	}{
		"understood":     {nil, true},
		"not understood": {[]string{"Last-Event-ID: nonsense"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			let := make(chan struct{}, 100)
			n := startWith(t, session.Config{}, engine.Config{}, func(b session.Broker) session.Broker { return gatedBroker{b, "slow", let} })
			let <- struct{}{}
			s := n.open(query).fresh(2)
			if !c.recovered {
				s.last = "" // it comes back with the other one
			}
			n.publish("a", "1")
			n.publish("slow", "1")
			s = s.back(n, query, c.lines...)
			s.follows(map[string]bool{"a": c.recovered})
			n.publish("a", "2")
			if s.next(); c.recovered {
				s.next()
			}
			for range 3 { // further ones, of which none gets to the slow topic
				s = s.back(n, query)
				s.follows(map[string]bool{"a": true})
			}
			s = s.back(n, query)
			for range 10 { // reads of those that have gone may take some
				let <- struct{}{}
			}
			s.follows(map[string]bool{"a": true, "slow": c.recovered})
			if c.recovered {
				if ev := s.next(); ev.data[len(ev.data)-len(`"data":1}`):] != `"data":1}` {
					t.Errorf("got %+v", ev)
				}
			}
			s = s.back(n, query)
			let <- struct{}{}
			s.follows(map[string]bool{"a": true, "slow": true})
		})
	}
}
