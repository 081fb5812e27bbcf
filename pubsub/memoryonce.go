package pubsub

import (
	"crypto/sha256"
	"encoding/binary"
)

// onceTable holds where publications with a key stand, for IdempotencyTime, or for less if they become too
// much.
type onceTable struct {
	limit     int // how many
	positions table[onceName, Position]
	order     fifo[onceUntil]
}

// onceName stands for a publication's topic, caller and key: two that differ have different ones.
type onceName [16]byte

// onceSize is about what an entry takes, in bytes.
const onceSize = 128

// onceUntil says when an entry's time is over.
type onceUntil struct {
	ms   uint64
	name onceName
}

func (p *Publication) onceName() onceName {
	var text []byte
	for _, part := range [...]string{p.Topic, p.Caller, p.Key} {
		text = append(binary.AppendUvarint(text, uint64(len(part))), part...)
	}
	sum := sha256.Sum256(text)
	return onceName(sum[:16])
}

// position is where p's first publication stands, if there was one.
func (t *onceTable) position(p *Publication, now uint64) (at Position, known bool) {
	if p.Key == "" {
		return Position{}, false
	}
	t.forget(now)
	return t.positions.get(p.onceName())
}

// remember notes that p stands at at. early is how many others went before their time.
func (t *onceTable) remember(p *Publication, now uint64, at Position) (early uint64) {
	if p.Key == "" {
		return 0
	}
	name := p.onceName()
	t.positions.set(name, at)
	t.order.push(onceUntil{now + uint64(IdempotencyTime.Milliseconds()), name})
	for ; t.order.len() > t.limit; early++ {
		t.positions.delete(t.order.pop().name)
	}
	return early
}

// forget drops the entries whose time is over.
func (t *onceTable) forget(now uint64) {
	for t.order.len() > 0 && t.order.first().ms <= now {
		t.positions.delete(t.order.pop().name)
	}
}
