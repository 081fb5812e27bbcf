package pubsub

import (
	"maps"
	"runtime"
	"strconv"
	"testing"

	"pgregory.net/rapid"
)

func TestATableIsAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var table table[string, int]
		model := map[string]int{}
		key := rapid.StringMatching("[a-e]{1,4}")
		t.Repeat(map[string]func(*rapid.T){
			"set": func(t *rapid.T) {
				k, v := key.Draw(t, "key"), rapid.Int().Draw(t, "value")
				table.set(k, v)
				model[k] = v
			},
			"delete": func(t *rapid.T) {
				k := key.Draw(t, "key")
				table.delete(k)
				delete(model, k)
			},
			"": func(t *rapid.T) {
				if table.len() != len(model) || !maps.Equal(maps.Collect(table.all), model) {
					t.Fatalf("%d entries, want %d", table.len(), len(model))
				}
				for k, v := range model {
					if got, ok := table.get(k); !ok || got != v {
						t.Fatalf("%s is %d, want %d", k, got, v)
					}
				}
			},
		})
	})
}

// heap is how many bytes are in use. Memory that pools and finalizers hold goes with the second collection.
func heap() int64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

func TestATableGivesMemoryBackWhenMostIsGone(t *testing.T) {
	const entries, stay = 300_000, 1000
	before := heap()
	var table table[string, [4]uint64]
	for i := range entries {
		table.set(strconv.Itoa(i), [4]uint64{})
	}
	full := heap() - before
	for key := range table.all { // while it is gone through
		if n, _ := strconv.Atoi(key); n >= stay {
			table.delete(key)
		}
	}
	left := heap() - before
	if n := table.len(); n != stay {
		t.Fatalf("%d entries are left", n)
	}
	if left > full/10 {
		t.Errorf("%d bytes of %d are left", left, full)
	}
	runtime.KeepAlive(&table)
}

func BenchmarkTable(b *testing.B) {
	var table table[string, uint64]
	keys := make([]string, 100_000)
	for i := range keys {
		keys[i] = "hub:t:user:" + strconv.Itoa(i)
		table.set(keys[i], uint64(i))
	}
	for i := 0; b.Loop(); i++ {
		table.get(keys[i%len(keys)])
	}
}
