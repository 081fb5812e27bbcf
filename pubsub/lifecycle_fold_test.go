package pubsub

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// lifeFold is a consumer of one stream: it knows who is there, and by which entry. It is the rule of README.md.
type lifeFold struct {
	epoch                   string
	seq                     uint64
	sessions, users, topics map[string]uint64
	members                 map[string]uint64 // topic and user
	told                    []string
}

func newLifeFold() *lifeFold {
	return &lifeFold{sessions: map[string]uint64{}, users: map[string]uint64{}, topics: map[string]uint64{}, members: map[string]uint64{}}
}

// take folds an entry. The error says that entries are missing before it.
func (f *lifeFold) take(e lifecycleEvent) (err error) {
	if e.Type != "reset" && e.Seq != f.seq+1 {
		err = fmt.Errorf("entry %d behind %d", e.Seq, f.seq)
	}
	f.seq = e.Seq
	switch e.Type {
	case "reset":
		for _, known := range []map[string]uint64{f.sessions, f.users, f.topics, f.members} {
			maps.DeleteFunc(known, func(_ string, seq uint64) bool { return f.epoch != e.Before || seq >= e.Seq })
		}
		f.epoch = e.Epoch
	case "session_opened":
		learn(f.sessions, e.Session, e.Seq)
	case "session_closed":
		delete(f.sessions, e.Session)
	case "user_online":
		learn(f.users, e.User, e.Seq)
	case "user_offline":
		delete(f.users, e.User)
	case "topic_occupied":
		learn(f.topics, e.Topic, e.Seq)
	case "topic_vacated":
		delete(f.topics, e.Topic)
	case "user_joined":
		learn(f.members, e.Topic+"/"+e.User, e.Seq)
	case "user_left":
		delete(f.members, e.Topic+"/"+e.User)
	default:
		err = fmt.Errorf("entry of type %q", e.Type)
	}
	return err
}

// learn notes that name is there, by the first entry that said so.
func learn(known map[string]uint64, name string, seq uint64) {
	if _, ok := known[name]; !ok {
		known[name] = seq
	}
}

// String is who is there.
func (f *lifeFold) String() string {
	list := func(known map[string]uint64) string { return strings.Join(slices.Sorted(maps.Keys(known)), " ") }
	text := fmt.Sprintf("sessions %s; users %s; topics %s", list(f.sessions), list(f.users), list(f.topics))
	if len(f.members) > 0 {
		text += "; members " + list(f.members)
	}
	return text
}

// lifeReader reads the stream of a partition as it grows, as XREAD does.
type lifeReader struct {
	*lifeFold
	r    *Redis
	p    byte
	last string
}

func newLifeReader(r *Redis, p byte) *lifeReader { return &lifeReader{newLifeFold(), r, p, "0-0"} }

// read folds what is new.
func (l *lifeReader) read(t testing.TB) error {
	for _, entry := range streamAfter(t, l.r, l.p, "("+l.last) {
		l.last = entry.ID
		l.told = append(l.told, entry.ID+" "+string(entry.Event))
		if err := l.take(parseLifecycle(t, entry)); err != nil {
			return err
		}
	}
	return nil
}
