package engine_test

import (
	"context"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"wshub/engine"
)

func TestPostKeepsOrderAndLosesNothing(t *testing.T) {
	const posters, jobs = 8, 2000
	s, err := engine.New(engine.Config{Addr: "127.0.0.1:0", Pollers: 2}, echo{})
	if err != nil {
		t.Fatal(err)
	}
	var ran [2]atomic.Int64
	var posted [2]atomic.Int64
	var all sync.WaitGroup
	half := make(chan struct{})
	for p := range posters {
		all.Go(func() { // before Run, while it runs, and when it has ended
			l := s.Loops()[p%2]
			next := 0
			for i := range jobs {
				if i == jobs/2 {
					<-half
				}
				if l.Post(func() {
					if i != next {
						t.Errorf("job %d ran when %d was next", i, next)
					}
					next++
					ran[l.Index].Add(1)
				}) {
					posted[l.Index].Add(1)
				}
			}
		})
	}
	ctx, end := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	eventually(t, "some jobs ran", func() bool { return ran[0].Load() > 100 && ran[1].Load() > 100 })
	close(half)
	end()
	if err := within(t, "the end of Run", ended); err != nil {
		t.Fatal(err)
	}
	all.Wait()
	for i := range ran {
		if r, p := ran[i].Load(), posted[i].Load(); r != p || r < posters/2*jobs/2 {
			t.Errorf("loop %d took %d jobs and ran %d", i, p, r)
		}
		if s.Loops()[i].Post(func() {}) {
			t.Error("a job was taken after the end")
		}
	}
}

func TestTimersFireOnceAndStop(t *testing.T) {
	t.Parallel()
	s := serve(t, engine.Config{Pollers: 1}, echo{})
	l := s.Loops()[0]
	fired := make(chan string, 10)
	on(t, l, func() {
		var second, third *engine.Timer
		l.After(300*time.Millisecond, func() {
			fired <- "first"
			l.Stop(third)
		})
		second = l.After(100*time.Millisecond, func() {
			fired <- "second"
			l.Stop(second) // fired already: harmless
			l.After(time.Millisecond, func() { fired <- "nested" })
		})
		third = l.After(500*time.Millisecond, func() { fired <- "third" })
		stopped := l.After(200*time.Millisecond, func() { fired <- "stopped" })
		l.Stop(stopped)
		l.Stop(stopped)
		l.Stop(nil)
		l.After(700*time.Millisecond, func() { fired <- "last" })
	})
	var got []string
	for len(got) == 0 || got[len(got)-1] != "last" {
		got = append(got, within(t, "a timer", fired))
	}
	seen := make(map[string]int)
	for _, name := range got {
		seen[name]++
	}
	if len(got) != 4 || seen["first"]+seen["second"]+seen["nested"] != 3 || got[0] != "second" {
		t.Errorf("fired: %v", got)
	}
}

func TestFarTimersDoNotFireAtOnce(t *testing.T) {
	t.Parallel()
	const year = 365 * 24 * time.Hour
	s := serve(t, engine.Config{Pollers: 1}, echo{})
	l := s.Loops()[0]
	soon := make(chan struct{})
	on(t, l, func() {
		for _, d := range []time.Duration{7 * year, 10 * year, 100 * year, math.MaxInt64} {
			l.After(d, func() { t.Errorf("a timer of %d years fired", d/year) })
		}
		l.After(500*time.Millisecond, func() { close(soon) })
	})
	within(t, "the near timer", soon)
}

// A mistake of a Peer, a Handler or a job costs its connection, and nobody else's.
func TestPanicsEndOneConnection(t *testing.T) {
	closed := make(chan *engine.Cause, 10)
	s := serve(t, engine.Config{Pollers: 1}, handler(func(h *engine.Handshake) {
		if h.URL.RawQuery == "handshake" {
			panic("in the handshake")
		}
		p := &peer{
			message: func(op engine.Opcode, payload []byte) {
				switch string(payload) {
				case "message":
					panic("in a message")
				case "written":
					h.Conn().AfterWritten(func() { panic("when written") })
				case "close":
					h.Conn().Close(engine.ByPeer)
				default:
					h.Conn().Write(engine.AppendFrame(nil, op, payload))
				}
			},
			closed: func(cause *engine.Cause) {
				closed <- cause
				panic("when closed")
			},
		}
		if h.URL.RawQuery == "later" {
			h.Conn().Loop().After(1, func() { h.Accept("", p, nil) })
		} else {
			h.Accept("", p, nil)
		}
	}))
	healthy := rawDial(t, s, "")
	want := uint64(0)
	assertAlive := func(what string, panics uint64) {
		t.Helper()
		want += panics
		healthy.write(t, masked(engine.OpText, what))
		healthy.wantFrame(t, engine.OpText, what)
		if st := s.Stats(); st.Panics != want || st.Open != 1 {
			t.Fatalf("%s: %d panics, want %d; %d open", what, st.Panics, want, st.Open)
		}
	}
	for _, say := range []string{"message", "written"} {
		c := rawDial(t, s, "")
		c.write(t, masked(engine.OpText, say))
		c.wantFrame(t, engine.OpClose, "\x03\xf3internal error")
		if cause := within(t, "Closed", closed); cause != engine.Panicked {
			t.Errorf("%s: closed for %s", say, cause.Name)
		}
		assertAlive(say+" done", 2) // the second in Closed
	}

	c := rawTCP(t, s, 0)
	c.write(t, append([]byte(request("?later")), masked(engine.OpText, "message")...))
	within(t, "Closed", closed)
	assertAlive("behind the head done", 2)

	c = rawDial(t, s, "")
	c.write(t, masked(engine.OpText, "close"))
	c.wantFrame(t, engine.OpClose, "\x03\xe8")
	within(t, "Closed", closed)
	assertAlive("close done", 1)

	c = rawDial(t, s, "")
	_ = c.SetLinger(0)
	_ = c.Close()
	within(t, "Closed", closed)
	assertAlive("gone done", 1)

	if err := rawTCP(t, s, 0).upgrade("?handshake"); err == nil || err.Error() != "answer 500 Internal Server Error" {
		t.Errorf("a panic in the handshake: %v", err)
	}
	assertAlive("handshake done", 1)

	s.Loops()[0].Post(func() { panic("in a job") })
	on(t, s.Loops()[0], func() {}) // it has run
	assertAlive("job done", 1)
}

func TestConnectionsAddNoGoroutine(t *testing.T) {
	const n = 2000
	s := serve(t, engine.Config{Pollers: 2}, echo{})
	first := rawDial(t, s, "")
	before := runtime.NumGoroutine()
	var all []*rawClient
	for range n {
		c, err := rawOpen(s.Addr().String(), 0)
		if err == nil {
			err = c.upgrade("")
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	if now := runtime.NumGoroutine(); s.Stats().Open != n+1 || now > before {
		t.Errorf("%d goroutines with %d connections, %d with one", now, s.Stats().Open, before)
	}
	for i, c := range all {
		if i%2 == 0 {
			_ = c.SetLinger(0)
		}
		_ = c.Close()
	}
	eventually(t, "all are gone", func() bool { return s.Stats().Sockets == 1 })
	eventually(t, "no goroutine is left", func() bool { return runtime.NumGoroutine() <= before })
	_ = first.Close()
}
