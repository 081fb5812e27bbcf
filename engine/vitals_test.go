package engine

import (
	"runtime"
	"testing"
	"time"
	"unsafe"
)

func TestAConnectionsBirthCostsNoMemory(t *testing.T) {
	if size := unsafe.Sizeof(Conn{}); size > 80 {
		t.Errorf("a Conn has %d bytes, want at most 80", size)
	}
}

func TestVitalsSayHowAConnectionIs(t *testing.T) {
	g := newLaggard(t, Config{Heartbeat: time.Hour})
	g.on(func() {
		v := g.conn.Vitals()
		if age := time.Since(v.Since); age < 0 || age > time.Minute+20*time.Second || v.AwaitsPong || v.NextPing <= 0 || v.NextPing > time.Hour+time.Minute || v.Owed != 0 {
			t.Errorf("a new one: %+v", v)
		}
		if runtime.GOOS == "linux" && (v.Heard < 0 || v.Heard > time.Minute || v.RTT <= 0 || v.RTT > time.Second) {
			t.Errorf("the kernel says: %+v", v)
		}
		g.conn.born = minutes(5 * time.Hour)
		g.loop.age = 8 * time.Hour
		g.conn.Owe(5)
		g.conn.pinged = true
		if v := g.conn.Vitals(); time.Since(v.Since).Round(2*time.Minute) != 3*time.Hour || v.Owed != 5 || !v.AwaitsPong {
			t.Errorf("three hours later: %+v", v)
		}
		for _, age := range []time.Duration{5*time.Hour + 59*time.Second, 5*time.Hour + 61*time.Second, 6*time.Hour + 30*time.Second} {
			g.loop.age = age
			if began := time.Until(g.conn.Vitals().Since) + age; began.Round(20*time.Second) != 5*time.Hour {
				t.Errorf("at %s it began at %s", age, began)
			}
		}
		g.conn.Owe(-5)
		seen := 0
		for part := range Parts {
			g.loop.EachOf(part, func(c *Conn) {
				if seen++; c != g.conn {
					t.Error("another one")
				}
			})
		}
		if seen != 1 {
			t.Errorf("seen %d times", seen)
		}
	})
}

func TestWhoHasABacklogIsSeen(t *testing.T) {
	g := newLaggard(t, Config{MaxQueued: 64 << 20})
	look := func() (seen []Backlog, done bool) {
		g.loop.EachBacklog(func(c *Conn, b Backlog) {
			if seen = append(seen, b); c != g.conn {
				t.Error("another one")
			}
		}, func() { done = true })
		return seen, done
	}
	g.on(func() {
		if seen, done := look(); len(seen) != 0 || !done {
			t.Errorf("nothing waits: %v, %v", seen, done)
		}
		g.queue(5 << 20)
		g.conn.Owe(7)
		if seen, done := look(); len(seen) != 1 || seen[0].Queued < 5<<20 || seen[0].Owed != 7 || !done {
			t.Errorf("what waits is seen as %v, %v", seen, done)
		}
		// Of many, the sweep shows them.
		others := make([]*Conn, fewBacklogs)
		for i := range others {
			others[i] = &Conn{loop: g.loop, state: ended}
			g.loop.backlogs[others[i]] = backlog{owed: 1}
		}
		seen, finished := 0, 0
		g.loop.EachBacklog(func(*Conn, Backlog) { seen++ }, func() { finished++ })
		if seen+finished > 0 {
			t.Error("many were looked at in one turn")
		}
		g.loop.spent = 0
		g.loop.cutSlow()
		for _, c := range others {
			delete(g.loop.backlogs, c)
		}
		if seen != 1 || finished != 1 {
			t.Errorf("the sweep showed %d, and ended %d times", seen, finished)
		}
	})
}
