package session

import "hash/maphash"

// members finds a loop's sessions by their user, whatever they follow. It belongs to the loop. Anonymous
// sessions are not in it.
//
// It is an open hash table of sessions, which know their user; most users have one session on a loop. The second
// and further ones of a user stand in a set beside the table.
type members struct {
	seed  maphash.Seed
	parts [memberParts]memberPart // each grows by itself, so that no session pays for a million others
	more  map[string]map[*Session]struct{}
}

const memberParts = 256

// memberPart is a hash table with linear probing: a power of two slots, at most three quarters in use. Of each
// user one session is in it.
type memberPart struct {
	slots []*Session
	n     int
}

func newMembers() *members {
	return &members{seed: maphash.MakeSeed(), more: make(map[string]map[*Session]struct{})}
}

func (m *members) place(own string) (part *memberPart, start uint64) {
	h := maphash.String(m.seed, own)
	return &m.parts[h%memberParts], h / memberParts
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
		set := m.more[s.own]
		if set == nil {
			set = make(map[*Session]struct{}, 1)
			m.more[s.own] = set
		}
		set[s] = struct{}{}
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
	set := m.more[s.own]
	if p.slots[at] != s {
		delete(set, s)
	} else if len(set) > 0 { // another one takes its slot
		for other := range set {
			p.slots[at] = other
			delete(set, other)
			break
		}
	} else {
		m.clear(p, uint64(at))
	}
	if set != nil && len(set) == 0 {
		delete(m.more, s.own)
	}
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

// of returns the sessions of the user whose topic is own. They may be closed while the list is walked.
func (m *members) of(own string) []*Session {
	p, start := m.place(own)
	at := p.find(own, start)
	if own == "" || at < 0 {
		return nil
	}
	list := []*Session{p.slots[at]}
	for s := range m.more[own] {
		list = append(list, s)
	}
	return list
}
