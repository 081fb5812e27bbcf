package session

import "hash/maphash"

// index finds a loop's topics by name. A built-in map holds key and value in each slot, 24 bytes at some
// two thirds full; this one holds the topic alone, which knows its name. It is cut into parts that grow by
// themselves, so that no insertion pays for a million others. It belongs to one loop.
type index struct {
	seed  maphash.Seed
	parts [indexParts]indexPart
	n     int
}

// indexParts × a few thousand topics is a large node's share of one loop.
const indexParts = 256

// indexPart is a hash table with linear probing: a power of two slots, at most three quarters in use.
type indexPart struct {
	slots []*topic
	n     int
}

func newIndex() *index { return &index{seed: maphash.MakeSeed()} }

// place splits a name's hash into its part and where its slot search begins.
func (x *index) place(name string) (part *indexPart, start uint64) {
	h := maphash.String(x.seed, name)
	return &x.parts[h%indexParts], h / indexParts
}

// get returns the topic called name, or nil.
func (x *index) get(name string) *topic {
	p, h := x.place(name)
	for i := range uint64(len(p.slots)) {
		t := p.slots[(h+i)&uint64(len(p.slots)-1)]
		if t == nil || t.name == name {
			return t
		}
	}
	return nil
}

// add puts in t, whose name must not be in yet.
func (x *index) add(t *topic) {
	p, h := x.place(t.name)
	if 4*(p.n+1) > 3*len(p.slots) {
		x.resize(p, max(2*len(p.slots), 4))
	}
	p.put(t, h)
	p.n++
	x.n++
}

func (p *indexPart) put(t *topic, h uint64) {
	mask := uint64(len(p.slots) - 1)
	for p.slots[h&mask] != nil {
		h++
	}
	p.slots[h&mask] = t
}

// remove takes out t, which must be in.
func (x *index) remove(t *topic) {
	p, h := x.place(t.name)
	mask := uint64(len(p.slots) - 1)
	for p.slots[h&mask] != t {
		h++
	}
	p.slots[h&mask] = nil
	p.n--
	x.n--
	// Topics behind the hole without a gap may have been put off by t: put them in anew.
	for h++; p.slots[h&mask] != nil; h++ {
		next := p.slots[h&mask]
		p.slots[h&mask] = nil
		_, home := x.place(next.name)
		p.put(next, home)
	}
	if len(p.slots) > 4 && 8*p.n < len(p.slots) {
		x.resize(p, len(p.slots)/2)
	}
}

func (x *index) resize(p *indexPart, size int) {
	old := p.slots
	p.slots = make([]*topic, size)
	for _, t := range old {
		if t != nil {
			_, h := x.place(t.name)
			p.put(t, h)
		}
	}
}
