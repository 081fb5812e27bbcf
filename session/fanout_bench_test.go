package session

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"wshub/engine"
	"wshub/pubsub"
)

// BenchmarkFanOut delivers events of 128 bytes, one by one or as many as queue up under load, to the
// followers of a topic: from the broker's call to the kernel's. B/op and allocs/op are of all of them together.
func BenchmarkFanOut(b *testing.B) {
	for _, followers := range []int{1, 10, 1_000} {
		for _, queued := range []int{1, 64} {
			b.Run(fmt.Sprintf("followers=%d/queued=%d", followers, queued), func(b *testing.B) {
				n := oneLoop(b)
				var all []unheard
				for range followers {
					all = append(all, n.unheard(protocolPlain))
				}
				n.eventually("all follow", func() bool { return n.hub.Stats().Subscriptions == int64(followers) })
				n.onLoop(func() {
					n.fanOut(b, n.hub.shards[0].topics.get("channel"), queued, func(bytes int) {
						for _, u := range all {
							if got := u.drain(); got != bytes {
								b.Errorf("%d bytes came, want %d", got, bytes)
							}
						}
					})
				})
			})
		}
	}
}

// BenchmarkFanOutAlone is the hub's own part of it: no connection is open, so the kernel is not called.
func BenchmarkFanOutAlone(b *testing.B) {
	const followers = 1_000
	for _, queued := range []int{1, 64} {
		b.Run(fmt.Sprintf("followers=%d/queued=%d", followers, queued), func(b *testing.B) {
			n := oneLoop(b)
			sh := n.hub.shards[0]
			n.onLoop(func() {
				t := sh.topic("channel")
				for range followers {
					t.followers.add(&Session{conn: new(engine.Conn), shard: sh, format: TestFormat.id})
				}
				n.fanOut(b, t, queued, func(int) {})
				t.followers = crowd{}
				sh.forget(t)
			})
		})
	}
}

// fanOut brings t's followers queued events at a time. On the loop; take is called, and not timed, when
// that many bytes have come for each.
func (n *node) fanOut(b *testing.B, t *topic, queued int, take func(bytes int)) {
	sh, loops := n.hub.shards[0], pubsub.Loops(0).With(0)
	ev := &pubsub.Event{Topic: t.name, Data: []byte(`"` + strings.Repeat("x", 126) + `"`)}
	size := queued * len(engine.AppendFrame(nil, engine.OpText, ev.Data))
	var took time.Duration
	b.ReportAllocs()
	for b.Loop() {
		begin := time.Now()
		for range queued {
			n.hub.Deliver(ev, loops)
		}
		for sh.flush(); len(sh.active) > 0; sh.flush() {
		}
		took += time.Since(begin)
		take(size)
	}
	b.ReportMetric(float64(took.Nanoseconds())/float64(b.N*queued*t.followers.len()), "ns/delivery")
	b.ReportMetric(0, "ns/op") // it has the taking in it
}
