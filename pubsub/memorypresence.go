package pubsub

import (
	"context"
	"fmt"
	"sort"
	"strconv"
)

// memoryPresence is who is in a topic. The holder of Memory.order owns it.
type memoryPresence struct {
	version Version
	// members are in the order in which they came, with a hole, of no session, for each that has gone. at is where in it.
	members []memoryMember
	at      map[string]int // by session
	users   map[string]int // sessions of each user
	// came counts those who ever came.
	came uint64
}

// memoryMember is a member with its number among all who ever came.
type memoryMember struct {
	Member
	number uint64
}

// ChangePresence implements Broker. Changes were handed to the Sink when it returns. It blocks until Run has begun.
func (m *Memory) ChangePresence(ctx context.Context, batch []Change) []error {
	m.awaitRun(ctx)
	errs := make([]error, len(batch))
	m.order.Lock()
	defer m.order.Unlock()
	for i := range batch {
		errs[i] = m.changePresence(&batch[i])
	}
	return errs
}

func (m *Memory) changePresence(c *Change) error {
	if err := m.cfg.Presence.validate(&m.cfg.Lifecycle, c); err != nil {
		return fmt.Errorf("change presence: %w", err)
	}
	if m.sink == nil {
		return fmt.Errorf("change presence: %w: not running", ErrUnavailable)
	}
	p, known := m.present.get(c.Topic)
	if !known {
		if c.Leave {
			return nil
		}
		m.presences++
		p = &memoryPresence{version: Version{Epoch: m.epoch + m.presences}, at: map[string]int{}, users: map[string]int{}}
		m.present.set(c.Topic, p)
	}
	told := p.change(c, m.now())
	if m.cfg.Lifecycle.On {
		m.note(c, told)
	}
	for _, moved := range told {
		moved.Topic = c.Topic
		moved = m.cfg.Presence.tell(moved)
		if loops := m.loops(c.Topic); loops != 0 {
			m.sink.Moved(&moved, loops)
			m.sink.HandOver()
		}
	}
	if len(p.at) == 0 {
		m.present.delete(c.Topic)
	}
	return nil
}

// change makes a change. A session that another instance, or this one, had before tells nobody, unless it is another
// user's now.
func (p *memoryPresence) change(c *Change, now uint64) (told []Moved) {
	i, known := p.at[c.Member.Session]
	if known && laterGeneration(p.members[i].Generation, c.Member.Generation) {
		return nil
	}
	switch {
	case c.Leave && known:
		return []Moved{p.leave(i)}
	case c.Leave:
		return nil
	case known && p.members[i].User == c.Member.User:
		p.members[i].Generation, p.members[i].Info = c.Member.Generation, c.Member.Info
		return nil
	case known:
		told = append(told, p.leave(i))
	}
	return append(told, p.enter(c.Member, now))
}

func (p *memoryPresence) enter(m Member, now uint64) Moved {
	m.Since = int64(now)
	p.came++
	p.at[m.Session] = len(p.members)
	p.members = append(p.members, memoryMember{m, p.came})
	first := false
	if m.User != "" {
		p.users[m.User]++
		first = p.users[m.User] == 1
	}
	return p.moved(Moved{Member: m, First: first})
}

func (p *memoryPresence) leave(i int) Moved {
	m := p.members[i].Member
	p.members[i].Member = Member{}
	delete(p.at, m.Session)
	last := false
	if m.User != "" {
		if p.users[m.User]--; p.users[m.User] == 0 {
			delete(p.users, m.User)
			last = true
		}
	}
	if len(p.members) > 2*len(p.at)+leastShrunk {
		p.closeHoles()
	}
	return p.moved(Moved{Left: true, Member: m, Last: last})
}

func (p *memoryPresence) moved(m Moved) Moved {
	p.version.Number++
	m.Version, m.Clients, m.Users = p.version, len(p.at), len(p.users)
	return m
}

// closeHoles makes all anew, in the same order: Go's maps give no memory back.
func (p *memoryPresence) closeHoles() {
	members, users := make([]memoryMember, 0, len(p.at)), make(map[string]int, len(p.users))
	p.at = make(map[string]int, len(p.at))
	for _, m := range p.members {
		if m.Session != "" {
			p.at[m.Session] = len(members)
			members = append(members, m)
		}
	}
	for user, sessions := range p.users {
		users[user] = sessions
	}
	p.members, p.users = members, users
}

// ReadPresence implements Broker.
func (m *Memory) ReadPresence(_ context.Context, topic, after string, limit int) (Presence, error) {
	if !m.cfg.Presence.has(topic) {
		return Presence{}, fmt.Errorf("read presence: %w: %q", ErrNoPresence, clip(topic))
	}
	number, err := strconv.ParseUint(after, 10, 64)
	if after != "" && err != nil {
		return Presence{}, fmt.Errorf("read presence: %w: %q", ErrBadPage, clip(after))
	}
	m.order.Lock()
	defer m.order.Unlock()
	p, ok := m.present.get(topic)
	if !ok {
		return Presence{}, nil
	}
	read := Presence{Version: p.version, Clients: len(p.at), Users: len(p.users)}
	limit = pageLimit(limit)
	if limit == 0 {
		return read, nil
	}
	from := sort.Search(len(p.members), func(i int) bool { return p.members[i].number > number })
	for _, m := range p.members[from:] {
		switch {
		case m.Session == "":
		case len(read.Members) == limit:
			read.Next = strconv.FormatUint(number, 10)
			return read, nil
		default:
			read.Members, number = append(read.Members, m.Member), m.number
		}
	}
	return read, nil
}

// RepairPresence implements Broker. Nothing is lost here that would need it.
func (m *Memory) RepairPresence(string) {}
