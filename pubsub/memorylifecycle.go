package pubsub

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"sort"
)

// note writes down what a change came to: see presence.lua.
func (m *Memory) note(c *Change, told []Moved) {
	for i := range told {
		if isHidden(c.Topic) {
			m.noteSession(c, &told[i])
		} else {
			m.noteTopic(c.Topic, &told[i], len(told) > 1)
		}
	}
}

func (m *Memory) noteSession(c *Change, moved *Moved) {
	e := lifecycleEvent{Session: moved.Member.Session, User: hiddenUser(c.Topic), Hub: m.cfg.Node}
	kinds, edge := [...]string{"session_opened", "user_online"}, moved.Clients == 1
	if moved.Left {
		kinds, edge = [...]string{"session_closed", "user_offline"}, moved.Clients == 0
		e.Cause = cmp.Or(c.Cause, unknownCause)
	}
	m.append(kinds[0], e)
	if edge && e.User != "" {
		m.append(kinds[1], lifecycleEvent{User: e.User})
	}
}

// noteTopic writes down that a session came to a topic or left it; replaced says that it does the other in the same step, as another user's.
func (m *Memory) noteTopic(topic string, moved *Moved, replaced bool) {
	if moved.Clients == 1 && !moved.Left && !replaced {
		m.append("topic_occupied", lifecycleEvent{Topic: topic})
	}
	switch user := (lifecycleEvent{Topic: topic, User: moved.Member.User}); {
	case !moved.First && !moved.Last || !m.cfg.Lifecycle.tellsUsers(topic):
	case moved.First:
		m.append("user_joined", user)
	default:
		m.append("user_left", user)
	}
	if moved.Clients == 0 && !replaced {
		m.append("topic_vacated", lifecycleEvent{Topic: topic})
	}
}

// append appends an entry.
func (m *Memory) append(kind string, e lifecycleEvent) {
	now := m.now()
	if m.lifecycle.seq == 0 {
		m.lifecycle.resets++
		m.lifecycle.add(now, lifecycleEvent{Type: "reset", Epoch: fmt.Sprintf("%016x", m.epoch)})
	}
	e.Type = kind
	m.lifecycle.add(now, e)
}

// lifecycleEvent is LifecycleEntry.Event.
type lifecycleEvent struct {
	Seq     uint64 `json:"seq"`
	Type    string `json:"type"`
	Session string `json:"session,omitempty"`
	User    string `json:"user,omitempty"`
	Hub     string `json:"hub,omitempty"`
	Cause   string `json:"cause,omitempty"`
	Topic   string `json:"topic,omitempty"`
	Epoch   string `json:"epoch,omitempty"`
	Before  string `json:"before,omitempty"`
	Time    uint64 `json:"time"`
}

// memoryLifecycle is Memory's only stream, a ring of its last entries. The holder of Memory.order owns it.
type memoryLifecycle struct {
	max  int
	ring []memoryEntry // from head on, around
	head int           // the oldest, once the ring is full
	last ID
	seq  uint64
	// resets are 0 or 1: nothing is ever lost.
	resets uint64
}

type memoryEntry struct {
	id    ID
	event []byte
}

// add appends an entry, but for its number and time, and drops the oldest where there is no room.
func (l *memoryLifecycle) add(now uint64, e lifecycleEvent) {
	l.seq++
	e.Seq, e.Time = l.seq, now
	event := e.text()
	id := ID{max(now, l.last.Ms), 0}
	if id.Ms == l.last.Ms {
		id.Seq = l.last.Seq + 1
	}
	l.last = id
	entry := memoryEntry{id, event}
	if len(l.ring) < l.max {
		l.ring = append(l.ring, entry)
		return
	}
	l.ring[l.head] = entry
	l.head = (l.head + 1) % len(l.ring)
}

// text is e as JSON. Names stand in it as they are, without \u003c for <, so the longest ones fit in MaxLifecycleEvent.
func (e *lifecycleEvent) text() []byte {
	var text bytes.Buffer
	to := json.NewEncoder(&text)
	to.SetEscapeHTML(false)
	_ = to.Encode(e) // strings and numbers
	return bytes.TrimSuffix(text.Bytes(), []byte("\n"))
}

// at is the i'th entry, from the oldest on.
func (l *memoryLifecycle) at(i int) *memoryEntry { return &l.ring[(l.head+i)%len(l.ring)] }

// LifecycleStreams are none: the only stream has no key.
func (m *Memory) LifecycleStreams() []string { return nil }

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
