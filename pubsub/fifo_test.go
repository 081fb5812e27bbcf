package pubsub

import (
	"testing"

	"pgregory.net/rapid"
)

func TestAFifoIsAQueue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var q fifo[int]
		first, next := 0, 0
		t.Repeat(map[string]func(*rapid.T){
			"push": func(t *rapid.T) {
				for range rapid.IntRange(1, 2*fifoBlock).Draw(t, "n") {
					q.push(next)
					next++
				}
			},
			"pop": func(t *rapid.T) {
				for n := rapid.IntRange(1, 2*fifoBlock).Draw(t, "n"); n > 0 && q.len() > 0; n-- {
					if q.first() != first {
						t.Fatalf("%d is the first, want %d", q.first(), first)
					}
					if v := q.pop(); v != first {
						t.Fatalf("%d, want %d", v, first)
					}
					first++
				}
			},
			"": func(t *rapid.T) {
				if q.len() != next-first || len(q.blocks) > (next-first)/fifoBlock+2 {
					t.Fatalf("%d entries in %d blocks, want %d", q.len(), len(q.blocks), next-first)
				}
			},
		})
	})
}
