package session

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"wshub/engine"
)

// wait makes n sessions wait for t's confirmation. On the loop.
func (sh *shard) wait(t *topic, n int) {
	t.asked = true // by nobody: the test answers
	for range n {
		s := &Session{conn: new(engine.Conn), shard: sh, format: TestFormat.id}
		(&subscribing{s: s, t: t, owner: unasked{s}}).begin()
	}
}

// abandon takes all followers off t. On the loop.
func (t *topic) abandon() {
	for t.followers.len() > 0 {
		t.followers.at(0).unfollow(0)
	}
}

func TestACrowdThatWaitsIsLetInSliceBySlice(t *testing.T) {
	const crowd = 3*sliceWrites + 1
	n := oneLoop(t)
	sh := n.hub.shards[0]
	var following []int // after each turn
	done := make(chan struct{})
	n.onLoop(func() {
		name := sh.topic("channel")
		sh.wait(name, crowd)
		sh.followed(name, nil)
		var visit func()
		visit = func() {
			following = append(following, name.followers.len())
			if len(following) < 4 {
				sh.loop.Post(visit) // behind the next slice
				return
			}
			if name.ext != nil {
				t.Errorf("%d wait still", len(name.ext.waiting))
			}
			name.abandon()
			close(done)
		}
		visit()
	})
	<-done
	if want := []int{sliceWrites, 2 * sliceWrites, 3 * sliceWrites, crowd}; !slices.Equal(following, want) {
		t.Errorf("%v follow after each turn, want %v", following, want)
	}
}

// Those who wait come and go in any order; each is on the list once, where it thinks it is.
func TestWaitingSessionsKnowTheirPlaces(t *testing.T) {
	n := oneLoop(t)
	sh := n.hub.shards[0]
	n.onLoop(func() {
		name := sh.topic("channel")
		sh.wait(name, 5)
		for _, leaves := range []int{1, 3, 0} {
			sub := name.ext.waiting[leaves]
			sub.end(Refusal{})
			sub.end(Refusal{}) // the second time is nothing
			for i, other := range name.ext.waiting {
				if other == sub || other.at != i {
					t.Errorf("after %d left: at %d is one who thinks it is at %d", leaves, i, other.at)
				}
			}
		}
		if got := len(name.ext.waiting); got != 2 {
			t.Errorf("%d wait, want 2", got)
		}
		sh.followed(name, nil)
		if got := name.followers.len(); got != 2 {
			t.Errorf("%d follow, want 2", got)
		}
		name.abandon()
	})
}

// BenchmarkLetIn is the confirmation of a topic that many wait for: the time for each must not grow with
// their number.
func BenchmarkLetIn(b *testing.B) {
	for _, crowd := range []int{1_000, 100_000} {
		b.Run(fmt.Sprint("waiting=", crowd), func(b *testing.B) {
			n := oneLoop(b)
			sh := n.hub.shards[0]
			var took time.Duration
			for b.Loop() {
				var name *topic
				var begin time.Time
				n.onLoop(func() {
					name = sh.topic("channel")
					sh.wait(name, crowd)
					begin = time.Now()
					sh.followed(name, nil)
				})
				for in := 0; in < crowd; {
					n.onLoop(func() { in = name.followers.len() })
				}
				took += time.Since(begin)
				n.onLoop(func() { name.abandon() })
			}
			b.ReportMetric(float64(took.Nanoseconds())/float64(b.N*crowd), "ns/session")
			b.ReportMetric(0, "ns/op") // it has the waiting in it
		})
	}
}
