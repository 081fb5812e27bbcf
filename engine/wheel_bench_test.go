package engine

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// BenchmarkWheel: what it holds must not matter, but for the processor's caches, which a million entries
// outgrow. "move" is what a heartbeat does to any connection; "add and remove" a deadline that is met; "fire"
// is a connection whose time has come, its share of the ticks included, and that is set anew.
func BenchmarkWheel(b *testing.B) {
	const heartbeat = 250 // ticks, half of them at random
	random := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{1_000, 20_000, 1_000_000} {
		var w wheel[*entry]
		set := func(e *entry) { w.set(e, w.now+heartbeat-random.Uint32N(heartbeat/2)) }
		all := make([]entry, n)
		for _, i := range random.Perm(n) {
			set(&all[i])
		}
		run := func(name string, op func()) {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					op()
				}
			})
		}
		run("move", func() { set(&all[random.IntN(n)]) })
		var one entry
		run("add and remove", func() {
			set(&one)
			w.remove(&one)
		})
		run("fire", func() {
			e, due := w.pop()
			for ; !due; e, due = w.pop() {
				w.advance(w.now + 1)
			}
			set(e)
		})
	}
}
