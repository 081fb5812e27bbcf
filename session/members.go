package session

import (
	"hash/maphash"
	"iter"
	"slices"

	"wshub/pubsub"
)

// members finds a loop's sessions by their user, whatever they follow. It belongs to the loop. Anonymous
// sessions are not in it.
//
// It is an open hash table of sessions, which know their user; most users have one session on a loop. The second
// and further ones of a user stand beside the table.
type members struct {
	seed  maphash.Seed
	parts [memberParts]memberPart // each grows by itself, so that no session pays for a million others
	more  map[string]further
}

// further are the sessions of a user besides the one in the table: one, or many.
type further struct {
	one  *Session
	many map[*Session]struct{} // nil with one
}

// memberParts are the broker's partitions, of which all members can be listed.
const memberParts = 256

// memberPart is a hash table with linear probing: a power of two slots, at most three quarters in use. Of each
// user one session is in it.
type memberPart struct {
	slots []*Session
	n     int
}

func newMembers() *members {
	return &members{seed: maphash.MakeSeed(), more: make(map[string]further)}
}

func (m *members) place(own string) (part *memberPart, start uint64) {
	return &m.parts[pubsub.Partition(own)], maphash.String(m.seed, own)
}

// find returns the slot of the user whose topic is own, or -1.
func (p *memberPart) find(own string, start uint64) int {
	for i := range uint64(len(p.slots)) {
		at := (start + i) & uint64(len(p.slots)-1)
		switch s := p.slots[at]; {
		case s == nil:
			return -1
		case s.own == own:
			return int(at)
		}
	}
	return -1
}

// add puts s in, if it has a user. It must not be in.
func (m *members) add(s *Session) {
	if s.own == "" {
		return
	}
	p, start := m.place(s.own)
	if p.find(s.own, start) >= 0 {
		f := m.more[s.own]
		f.add(s)
		m.more[s.own] = f
		return
	}
	if 4*(p.n+1) > 3*len(p.slots) {
		m.resize(p, max(2*len(p.slots), 4))
	}
	p.put(s, start)
	p.n++
}

func (p *memberPart) put(s *Session, at uint64) {
	mask := uint64(len(p.slots) - 1)
	for p.slots[at&mask] != nil {
		at++
	}
	p.slots[at&mask] = s
}

// remove takes s out, if it is in.
func (m *members) remove(s *Session) {
	if s.own == "" {
		return
	}
	p, start := m.place(s.own)
	at := p.find(s.own, start)
	if at < 0 {
		return
	}
	f, more := m.more[s.own]
	switch {
	case p.slots[at] != s:
		f.remove(s)
	case more: // another one takes its slot
		p.slots[at] = f.any()
		f.remove(p.slots[at])
	default:
		m.clear(p, uint64(at))
		return
	}
	if f.any() == nil {
		delete(m.more, s.own)
	} else {
		m.more[s.own] = f
	}
}

// add puts s in. It must not be in.
func (f *further) add(s *Session) {
	switch {
	case f.many != nil:
		f.many[s] = struct{}{}
	case f.one != nil:
		f.one, f.many = nil, map[*Session]struct{}{f.one: {}, s: {}}
	default:
		f.one = s
	}
}

// remove takes s out, if it is in.
func (f *further) remove(s *Session) {
	if f.one == s {
		f.one = nil
		return
	}
	if delete(f.many, s); len(f.many) == 1 {
		f.one, f.many = f.any(), nil
	}
}

// any is one of the sessions, nil if there are none.
func (f *further) any() *Session {
	for s := range f.many {
		return s
	}
	return f.one
}

// clear empties a slot of p.
func (m *members) clear(p *memberPart, at uint64) {
	mask := uint64(len(p.slots) - 1)
	p.slots[at] = nil
	p.n--
	// The entries behind the hole, up to the next one, may have been put off by the one that left.
	for at = (at + 1) & mask; p.slots[at] != nil; at = (at + 1) & mask {
		s := p.slots[at]
		p.slots[at] = nil
		_, home := m.place(s.own)
		p.put(s, home)
	}
	if len(p.slots) > 4 && 8*p.n < len(p.slots) {
		m.resize(p, len(p.slots)/2)
	}
}

func (m *members) resize(p *memberPart, size int) {
	old := p.slots
	p.slots = make([]*Session, size)
	for _, s := range old {
		if s != nil {
			_, home := m.place(s.own)
			p.put(s, home)
		}
	}
}

// some returns up to n of the sessions of the user whose topic is own.
func (m *members) some(own string, n int) (list []*Session) {
	for s := range m.all(own) {
		if list = append(list, s); len(list) == n {
			break
		}
	}
	return list
}

// all calls yield for the sessions of the user whose topic is own, which must not be closed meanwhile.
func (m *members) all(own string) iter.Seq[*Session] {
	return func(yield func(*Session) bool) {
		p, start := m.place(own)
		at := p.find(own, start)
		if own == "" || at < 0 || !yield(p.slots[at]) {
			return
		}
		f := m.more[own]
		if f.one != nil && !yield(f.one) {
			return
		}
		for s := range f.many {
			if !yield(s) {
				return
			}
		}
	}
}

// part calls yield for the sessions of users whose topics are in a partition, which must not be closed meanwhile.
func (m *members) part(partition int) iter.Seq[*Session] {
	return func(yield func(*Session) bool) {
		for _, s := range m.parts[partition].slots {
			if s == nil {
				continue
			}
			for one := range m.all(s.own) {
				if !yield(one) {
					return
				}
			}
		}
	}
}

// of returns the sessions of the user whose topic is own. They may be closed while the list is walked.
func (m *members) of(own string) []*Session { return slices.Collect(m.all(own)) }
