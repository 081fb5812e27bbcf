package pubsub

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestTheRingOfTheLifecycleKeepsTheLastEntries(t *testing.T) {
	t.Parallel()
	m := NewMemory(MemoryConfig{Lifecycle: LifecycleConfig{On: true, MaxEntries: 3}})
	for i := range 7 {
		m.lifecycle.add(uint64(1000+i/2), lifecycleEvent{Type: "x"})
	}
	read := func(after string, limit int) (text string) {
		list, err := m.readLifecycle(after, limit)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			var event lifecycleEvent
			if err := json.Unmarshal(e.Event, &event); err != nil {
				t.Fatal(err)
			}
			text += fmt.Sprintf("%s=%d ", e.ID, event.Seq)
		}
		return text
	}
	for _, c := range []struct {
		after string
		limit int
		want  string
	}{
		{"", 10, "1002-0=5 1002-1=6 1003-0=7 "},
		{"1002-0", 1, "1002-1=6 "},
		{"1002-1", 10, "1003-0=7 "},
		{"1003-0", 10, ""},
		{"999-0", 0, ""},
	} {
		if got := read(c.after, c.limit); got != c.want {
			t.Errorf("after %q, limit %d: %q, want %q", c.after, c.limit, got, c.want)
		}
	}
	if _, err := m.readLifecycle("x", 1); !errors.Is(err, ErrBadPosition) {
		t.Error(err)
	}
}

func TestTheLongestNamesFitInAnEntry(t *testing.T) {
	t.Parallel()
	for _, letter := range []string{"<", `"`, "/", "\u2028"} {
		long := func(n int) string { return strings.Repeat(letter, n/len(letter)) }
		m := NewMemory(MemoryConfig{Node: long(MaxTopic), Lifecycle: LifecycleConfig{On: true}})
		start(t, m)
		user := long(MaxTopic - len(userPrefix))
		c := Change{Topic: UserSessions(user), Member: Member{Session: "s_1", User: user}}
		leave := Change{Topic: c.Topic, Member: c.Member, Leave: true, Cause: "slow_consumer"}
		eventually(t, "the session is told", func() bool { return m.ChangePresence(t.Context(), []Change{c, leave})[0] == nil })
		list, err := m.readLifecycle("", batchEntries)
		if err != nil {
			t.Fatal(err)
		}
		b, _, _, bad := readPoint{}.batch(m.lifecycleStream(), list)
		if bad > 0 || len(b.Entries) != len(list) || len(list) != 5 {
			t.Errorf("%s: %d of %d entries are bad, %d fit", letter, bad, len(list), len(b.Entries))
		}
	}
}
