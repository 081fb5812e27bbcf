package session

import (
	"fmt"
	"runtime"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestMembersFindsWhatAMapWould: whoever comes and goes, the sessions of each user are found, each once.
func TestMembersFindsWhatAMapWould(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newMembers()
		want := map[string][]*Session{}
		for range rapid.IntRange(0, 300).Draw(t, "steps") {
			own := fmt.Sprint("user:", rapid.IntRange(0, 40).Draw(t, "user"))
			if list := want[own]; len(list) > 0 && rapid.Bool().Draw(t, "leave") {
				i := rapid.IntRange(0, len(list)-1).Draw(t, "who")
				m.remove(list[i])
				m.remove(list[i]) // the second time is nothing
				want[own] = slices.Delete(list, i, i+1)
			} else {
				s := &Session{own: own}
				m.add(s)
				want[own] = append(list, s)
			}
			got := m.of(own)
			if len(got) != len(want[own]) {
				t.Fatalf("%d sessions of %s, want %d", len(got), own, len(want[own]))
			}
			for _, s := range want[own] {
				if !slices.Contains(got, s) {
					t.Fatal("a session is not found")
				}
			}
		}
		for own, list := range want {
			for _, s := range list {
				m.remove(s)
			}
			if len(m.of(own)) > 0 {
				t.Fatal("a session that left is found")
			}
		}
		if len(m.more) > 0 {
			t.Fatal("sets are left")
		}
	})
}

func heap() uint64 {
	runtime.GC()
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	return mem.HeapAlloc
}

// TestAMemberCostsAtMost24Bytes: 100,000 sessions of different users, and what is left when they have gone.
func TestAMemberCostsAtMost24Bytes(t *testing.T) {
	const crowd = 100_000
	sessions := make([]*Session, crowd)
	for i := range sessions {
		sessions[i] = &Session{own: fmt.Sprint("user:", i)}
	}
	m := newMembers()
	empty := heap()
	for _, s := range sessions {
		m.add(s)
	}
	per := float64(heap()-empty) / crowd
	t.Logf("%.1f B per session of a user of its own", per)
	if per > 24 {
		t.Errorf("%.1f B per session", per)
	}
	for _, s := range sessions {
		m.remove(s)
	}
	if left := int64(heap()) - int64(empty); left > 64<<10 {
		t.Errorf("%d B are left when all have gone", left)
	}
	anonymous := &Session{}
	m.add(anonymous)
	if len(m.of("")) != 0 {
		t.Error("an anonymous session is a member")
	}
	runtime.KeepAlive(sessions)
}
