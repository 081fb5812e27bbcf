package engine

import (
	"io"
	"net"
	"runtime"
	"slices"
	"testing"
	"time"
)

// laggard is a connection whose client takes nothing by itself.
type laggard struct {
	t      *testing.T
	loop   *Loop
	conn   *Conn
	client *net.TCPConn
	gone   chan *Cause
}

func newLaggard(t *testing.T, cfg Config) *laggard {
	gone := make(chan *Cause, 1)
	came := make(chan *Conn, 1)
	cfg.SendBuffer = 16 << 10
	s := running(t, cfg, &echoing{gone: gone, decide: func(h *Handshake, p Peer) {
		h.Accept("", p, nil)
		came <- h.Conn()
	}})
	client := opened(t, s)
	c := <-came
	return &laggard{t, c.loop, c, client, gone}
}

// on runs f on the loop.
func (g *laggard) on(f func()) {
	g.t.Helper()
	done := make(chan struct{})
	g.loop.Post(func() { defer close(done); f() })
	<-done
}

// pass has d pass on the loop, and the sweeps with it, while nothing else happens there.
func (g *laggard) pass(d time.Duration) {
	for range ticks(d) {
		if g.loop.now++; g.loop.now%beatTicks == 0 {
			g.loop.spent = 0
			g.loop.cutSlow()
		}
	}
}

// queue has n bytes, and no less, wait with the poller, behind all that the client's kernel takes. What it has yet to take of ours would be
// progress.
func (g *laggard) queue(n int) {
	for int(g.conn.queued) < n {
		g.conn.Write(AppendFrame(nil, OpBinary, make([]byte, 10<<10)))
		for g.conn.queued == 0 && inFlight(g.conn.socket) {
			runtime.Gosched()
		}
	}
}

func (g *laggard) wantOpen(want bool) {
	g.t.Helper()
	if is := g.conn.state == open; is != want {
		g.t.Errorf("open is %v, want %v", is, want)
	}
}

func TestABacklogThatStandsStillForHalfAMinuteIsCut(t *testing.T) {
	g := newLaggard(t, Config{MaxQueued: 1 << 20})
	g.on(func() {
		g.queue(1)
		g.pass(hopeless - time.Second)
		g.wantOpen(true)
		g.conn.receive(clientFrame(finPong, "")) // is no progress
		g.pass(3 * time.Second)
		g.wantOpen(false)
	})
	if cause := <-g.gone; cause != SlowConsumer {
		t.Errorf("closed: %s", cause.Name)
	}
}

func TestMoreThanMaxQueuedMayNotStandStill(t *testing.T) {
	g := newLaggard(t, Config{MaxQueued: 32 << 10})
	g.on(func() {
		g.queue(40 << 10)
		g.pass(stallTime)
		g.wantOpen(true)
		g.pass(3 * stallTime)
		g.wantOpen(false)
	})
}

// While the loop does something else nothing leaves, but the peer's kernel has taken all that ours had.
func TestNobodyIsSlowWhileTheLoopIs(t *testing.T) {
	g := newLaggard(t, Config{MaxQueued: 32 << 10})
	began := make(chan int)
	go func() { _, _ = io.CopyN(io.Discard, g.client, int64(<-began)) }()
	g.on(func() {
		g.queue(40 << 10)
		began <- 1 << 20
		for g.conn.socket.unsent() > 0 {
			runtime.Gosched()
		}
		g.pass(catchUpTime - time.Second)
		g.wantOpen(true)
	})
}

func TestWhoDoesNotCatchUpIsCut(t *testing.T) {
	const limit = 64 << 10
	for _, test := range []struct {
		name           string
		waits, perTime int // bytes that wait at first, and fewer every second
		stays          bool
	}{
		{"less than may wait, for ever", limit, 0, true},
		{"too much, and not less", 2 * limit, 0, false},
		{"too much, and ever more", 2 * limit, -1000, false},
		{"too much, and hardly less", 10 * limit, limit / 11, false},
		{"too much, but less every time", 10 * limit, limit / 9, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := newLaggard(t, Config{MaxQueued: limit})
			g.on(func() {
				g.conn.Owe(test.waits)
				for range 2 * catchUpTime / time.Second {
					g.pass(time.Second)
					g.conn.Owe(-test.perTime)
				}
				g.wantOpen(test.stays)
			})
		})
	}
}

func TestAPauseBeginsTheCatchingUpAnew(t *testing.T) {
	const limit = 64 << 10
	g := newLaggard(t, Config{MaxQueued: limit})
	g.on(func() {
		g.conn.Owe(limit)
		for range 5 {
			g.conn.Owe(1)
			g.pass(catchUpTime - 2*time.Second)
			g.conn.Owe(-1)
		}
		g.wantOpen(true)
	})
}

// Owed bytes count as queued ones do, wherever bytes are counted, until the connection ends.
func TestOwedBytesAreOnTheAccount(t *testing.T) {
	g := newLaggard(t, Config{MaxBacklog: 2 << 20})
	s := g.loop.srv
	other := opened(t, s)
	backlog := func(want int64) {
		t.Helper()
		if got := s.Stats().Backlog; got != want {
			t.Errorf("backlog %d, want %d", got, want)
		}
	}
	g.on(func() {
		g.conn.Owe(1000)
		g.conn.Owe(500)
		backlog(1500)
		g.conn.Owe(-1000)
		backlog(500)
		if g.conn.Queued() != 0 {
			t.Errorf("%d are queued", g.conn.Queued())
		}
		g.conn.Owe(-1000) // more than is owed
		backlog(0)
		g.conn.Owe(1 << 20)
		g.conn.Owe(1)
	})
	if cause := <-g.gone; cause != BacklogLimit {
		t.Errorf("closed: %s", cause.Name)
	}
	g.on(func() {
		backlog(0)
		g.conn.Owe(1000) // too late
		backlog(0)
	})
	expectOpen(t, other)
}

// Of those who hold the same, relief takes those to whom nothing has left for longest.
func TestReliefTakesWhoStandsStill(t *testing.T) {
	g := newLaggard(t, Config{MaxBacklog: 16 << 20})
	l := g.loop
	var standing, moving []*Conn
	g.on(func() {
		for i := range 20 {
			c := &Conn{loop: l, state: open, queued: 1 << 20}
			l.backlogs[c] = backlog{moved: l.now - 3}
			l.count.backlog.Add(1 << 20)
			if i%2 == 0 {
				c.queued *= 4
				l.count.backlog.Add(3 << 20)
				l.backlogs[c] = backlog{moved: l.now}
				moving = append(moving, c)
			} else {
				standing = append(standing, c)
			}
		}
		var taken []*Conn
		for _, d := range largest(nil, l.backlogs, l.weighBacklog, 5<<20, BacklogLimit) {
			taken = append(taken, d.Conn)
			if slices.Contains(moving, d.Conn) {
				t.Error("one that moves was taken")
			}
		}
		if len(taken) != 5 {
			t.Errorf("%d were taken for 5 MiB", len(taken))
		}
		for _, c := range append(standing, moving...) {
			delete(l.backlogs, c)
			l.count.backlog.Add(-int64(c.queued))
		}
	})
}
