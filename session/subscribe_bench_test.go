package session

import (
	"fmt"
	"testing"

	"wshub/engine"
)

// BenchmarkSubscribe: a hub.v1 client follows 100 topics and leaves them, from its requests to the answers.
// Topics that nobody else follows are asked of the broker and forgotten each time. How many follow the others
// must not matter.
func BenchmarkSubscribe(b *testing.B) {
	const topics = 100
	for _, others := range []int{0, 1, 10_000} {
		b.Run(fmt.Sprintf("others=%d", others), func(b *testing.B) {
			n := oneLoop(b)
			sh, client := n.hub.shards[0], n.unheard(protocolV1)
			var s *Session
			n.onLoop(func() {
				for _, s = range sh.named { // the only one
				}
			})
			if others > 0 {
				defer n.crowd(topics, others)()
			}
			subscribe, unsubscribe := s.requests("subscribe", topics), s.requests("unsubscribe", topics)
			client.drain() // the welcome
			b.ReportAllocs()
			for b.Loop() {
				n.onLoop(subscribe)
				n.onLoop(unsubscribe)
				client.drain()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*topics), "ns/subscription")
		})
	}
}

// requests makes one request of a kind for each of so many rooms.
func (s *Session) requests(kind string, topics int) func() {
	var list [][]byte
	for i := range topics {
		list = append(list, fmt.Appendf(nil, `{"type":%q,"id":%d,"topic":"room:%d"}`, kind, i, i))
	}
	return func() {
		for _, r := range list {
			s.Message(engine.OpText, r)
		}
	}
}

// crowd gives each of so many rooms its followers, until the func that it returns is called.
func (n *node) crowd(topics, followers int) (leave func()) {
	sh := n.hub.shards[0]
	var all []*topic
	n.onLoop(func() {
		for i := range topics {
			t := sh.topic(fmt.Sprint("room:", i))
			n.broker.Follow(t.name, 0, func(error) { t.confirmed = true })
			for range followers {
				t.followers.add(new(Session))
			}
			all = append(all, t)
		}
	})
	return func() {
		n.onLoop(func() {
			for _, t := range all {
				t.followers = crowd{}
				sh.forget(t)
			}
		})
	}
}
