package pubsub

import (
	"encoding/json"
	"errors"
	"fmt"
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
