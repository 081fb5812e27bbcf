package session

import (
	"fmt"
	"os"
	"os/exec"
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

// alone runs the test in a process of its own, where what other tests left does not leave the heap meanwhile. It is
// true in that process.
func alone(t *testing.T) bool {
	if os.Getenv("WSHUB_ALONE") == t.Name() {
		return true
	}
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	child.Env = append(os.Environ(), "WSHUB_ALONE="+t.Name())
	out, err := child.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Error(err)
	}
	return false
}

// heap is how many bytes are in use. Memory that pools and finalizers hold goes with the second collection.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	return int64(mem.HeapAlloc)
}

// TestMembersCostFewBytes: 100,000 sessions, each of a user of its own, or two or three of each user, and what is left when
// they have gone.
func TestMembersCostFewBytes(t *testing.T) {
	t.Parallel()
	if !alone(t) {
		return
	}
	const crowd = 100_000
	for _, c := range []struct {
		perUser int
		most    float64
	}{{1, 24}, {2, 48}, {3, 128}} {
		sessions := make([]*Session, crowd)
		for i := range sessions {
			sessions[i] = &Session{own: fmt.Sprint("user:", i/c.perUser)}
		}
		m := newMembers()
		empty := heap()
		for _, s := range sessions {
			m.add(s)
		}
		per := float64(heap()-empty) / crowd
		t.Logf("%.1f B per session with %d of each user", per, c.perUser)
		if per > c.most {
			t.Errorf("%.1f B per session with %d of each user, at most %.0f", per, c.perUser, c.most)
		}
		for _, s := range sessions {
			m.remove(s)
		}
		for i := range m.parts {
			if p := &m.parts[i]; p.n != 0 || len(p.slots) > 4 {
				t.Fatalf("part %d: %d slots for %d sessions when all have gone", i, len(p.slots), p.n)
			}
		}
		if len(m.more) > 0 {
			t.Errorf("%d further ones are left", len(m.more))
		}
		runtime.KeepAlive(sessions)
	}
	m := newMembers()
	anonymous := &Session{}
	m.add(anonymous)
	m.remove(anonymous)
	if len(m.of("")) != 0 {
		t.Error("an anonymous session is a member")
	}
}
