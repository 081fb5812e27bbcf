package pubsub

import "hash/maphash"

// table is a map that gives memory back when most of what was in it is gone: a Go map never does. It is
// many small maps, each of which is made anew now and then, so that no single call takes long. The zero table is
// empty. It has no lock.
type table[K comparable, V any] struct {
	parts [tableParts]tablePart[K, V]
	n     int
}

// tableParts divides a million entries into parts that are copied in well under a millisecond.
const tableParts = 256

type tablePart[K comparable, V any] struct {
	entries map[K]V
	most    int // entries since the map was made
}

// leastShrunk is the size below which a part is left as it is.
const leastShrunk = 32

var tableSeed = maphash.MakeSeed()

func (t *table[K, V]) part(key K) *tablePart[K, V] {
	return &t.parts[maphash.Comparable(tableSeed, key)%tableParts]
}

func (t *table[K, V]) get(key K) (value V, ok bool) {
	value, ok = t.part(key).entries[key]
	return value, ok
}

func (t *table[K, V]) set(key K, value V) {
	p := t.part(key)
	if p.entries == nil {
		p.entries = map[K]V{}
	}
	t.n -= len(p.entries)
	p.entries[key] = value
	t.n += len(p.entries)
	p.most = max(p.most, len(p.entries))
}

func (t *table[K, V]) delete(key K) {
	p := t.part(key)
	t.n -= len(p.entries)
	delete(p.entries, key)
	left := len(p.entries)
	t.n += left
	if p.most < leastShrunk || left > p.most/4 {
		return
	}
	old := p.entries
	p.entries, p.most = nil, left
	if left == 0 {
		return
	}
	p.entries = make(map[K]V, left)
	for key, value := range old {
		p.entries[key] = value
	}
}

func (t *table[K, V]) len() int { return t.n }

// all calls yield for each entry. Yield may change the table, and so may others while yield lets them: who is
// there from beginning to end is named once, who comes or goes meanwhile perhaps.
func (t *table[K, V]) all(yield func(K, V) bool) {
	for i := range t.parts {
		for key, value := range t.parts[i].entries {
			if !yield(key, value) {
				return
			}
		}
	}
}
