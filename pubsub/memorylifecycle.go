package pubsub

import (
	"fmt"
	"sort"
)

// memoryLifecycle is Memory's only stream, a ring of its last entries. The holder of Memory.order owns it.
type memoryLifecycle struct {
	max  int
	ring []memoryEntry // from head on, around
	head int           // the oldest, once the ring is full
	last ID
	seq  uint64
}

type memoryEntry struct {
	id    ID
	event []byte
}

// add appends an entry, which make encodes with its number, and drops the oldest where there is no room.
func (l *memoryLifecycle) add(now uint64, event func(seq uint64) []byte) {
	l.seq++
	id := ID{max(now, l.last.Ms), 0}
	if id.Ms == l.last.Ms {
		id.Seq = l.last.Seq + 1
	}
	l.last = id
	entry := memoryEntry{id, event(l.seq)}
	if len(l.ring) < l.max {
		l.ring = append(l.ring, entry)
		return
	}
	l.ring[l.head] = entry
	l.head = (l.head + 1) % len(l.ring)
}

// at is the i'th entry, from the oldest on.
func (l *memoryLifecycle) at(i int) *memoryEntry { return &l.ring[(l.head+i)%len(l.ring)] }

// readLifecycle reads the first entries behind the one whose ID is after, limit at most; "" is the place before all. ErrBadPosition if after
// is no ID.
func (m *Memory) readLifecycle(after string, limit int) ([]LifecycleEntry, error) {
	behind := ID{}
	if after != "" {
		id, err := ParseID(after)
		if err != nil {
			return nil, fmt.Errorf("read lifecycle: %w", err)
		}
		behind = id
	}
	m.order.Lock()
	defer m.order.Unlock()
	l := &m.lifecycle
	from := sort.Search(len(l.ring), func(i int) bool { return l.at(i).id.Compare(behind) > 0 })
	n := min(max(limit, 0), len(l.ring)-from)
	list := make([]LifecycleEntry, 0, n)
	for i := range n {
		e := l.at(from + i)
		list = append(list, LifecycleEntry{ID: e.id.String(), Event: e.event})
	}
	return list, nil
}
