package session

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

func TestIndexFindsWhatAMapWould(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x, model := newIndex(), map[string]*topic{}
		name := rapid.Map(rapid.IntRange(0, 3000), func(n int) string { return fmt.Sprint("topic", n) })
		for range rapid.IntRange(0, 5000).Draw(t, "steps") {
			n := name.Draw(t, "name")
			if x.get(n) != model[n] {
				t.Fatalf("%s: got %v, want %v", n, x.get(n), model[n])
			}
			if model[n] == nil {
				model[n] = &topic{name: n}
				x.add(model[n])
			} else {
				x.remove(model[n])
				delete(model, n)
			}
		}
		if x.n != len(model) {
			t.Fatalf("counts %d, want %d", x.n, len(model))
		}
		for n, want := range model {
			if x.get(n) != want {
				t.Fatalf("%s is lost", n)
			}
		}
	})
}

func TestIndexGivesMemoryBack(t *testing.T) {
	x := newIndex()
	var all []*topic
	for i := range 100_000 {
		all = append(all, &topic{name: fmt.Sprint(i)})
		x.add(all[i])
	}
	for _, topic := range all {
		x.remove(topic)
	}
	for i := range x.parts {
		if n := len(x.parts[i].slots); n > 4 {
			t.Fatalf("part %d keeps %d slots", i, n)
		}
	}
}

// BenchmarkIndex: how many topics there are must not matter, but for the processor's caches.
func BenchmarkIndex(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 1_000_000} {
		x := newIndex()
		all := make([]*topic, n)
		for i := range all {
			all[i] = &topic{name: fmt.Sprint("user:", i)}
			x.add(all[i])
		}
		rand.Shuffle(n, func(i, j int) { all[i], all[j] = all[j], all[i] })
		run := func(name string, op func(*topic)) {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					op(all[i%n])
				}
			})
		}
		run("get", func(t *topic) {
			if x.get(t.name) != t {
				b.Fatal("lost")
			}
		})
		run("remove and add", func(t *topic) {
			x.remove(t)
			x.add(t)
		})
	}
}
