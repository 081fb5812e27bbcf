package engine

import (
	"maps"
	"sync"
)

// Tally counts rare things by name. The zero Tally is empty; any goroutine may use it.
type Tally[K comparable] struct {
	mu sync.Mutex
	n  map[K]uint64
}

// Add counts one more k.
func (t *Tally[K]) Add(k K) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.n == nil {
		t.n = make(map[K]uint64)
	}
	t.n[k]++
}

// AddTo adds all counts to sum.
func (t *Tally[K]) AddTo(sum map[K]uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for k, n := range t.n {
		sum[k] += n
	}
}

// Snapshot is a copy of the counts as of now.
func (t *Tally[K]) Snapshot() map[K]uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.n)
}
