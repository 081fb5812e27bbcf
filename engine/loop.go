package engine

import (
	"math"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// Loop is one event loop. It owns its connections and everything that hangs on them.
//
// Methods marked "on the loop" may only be called from there: from a Peer's or Handler's methods, or from
// a func given to Post or After. The others may be called from anywhere.
type Loop struct {
	// Index is the loop's number, 0 to Config.Pollers-1.
	Index int

	srv    *Server
	wakeFD int // the far end of the pair that wakes the poller

	// Guarded by mu.
	mu     sync.Mutex
	inbox  []func()
	opened []socket // watched by the poller, not yet seen by the loop
	closed []socket // by the poller
	ended  bool

	// Shared, atomic.
	woken    atomic.Bool   // a signal is on its way
	lastTurn atomic.Int64  // age, ns
	next     atomic.Uint32 // the tick at which the loop must turn for its timers; written by the loop
	count    counters

	// Owned by the loop.
	jobs       []func()      // the inbox's other half: the two are swapped when all of these have run
	ran        int           // of jobs
	leaving    []socket      // closed by the poller, not yet let go of
	spent      time.Duration // work done in this turn; see turnWork
	deflating  time.Duration // of it, for compressing
	deflater   deflater
	inflater   *inflater // nil until used
	buf        []byte    // what was just read
	out        []byte    // the bytes being written; reused
	heads      headParser
	layers     map[*Conn]*tlsLayer // nil: the server speaks no TLS
	tls        tlsBuffers
	handshakes tlsHandshakes
	conns      wheel[*Conn]
	transits   transits
	timers     wheel[*Timer]
	pongs      pongs
	chatter    map[*Conn]int32   // control frames and fragments since the last sweep
	partials   map[*Conn]holding // mid-message, or with a rest
	rests      map[*Conn]*rest   // of what was read; see maxInput
	resting    restQueue
	backlogs   map[*Conn]backlog
	emptied    map[*Conn][]func() // to be called when nothing is queued any more
	relief     bool               // a job to relieve is posted, or at work
	judging    bool               // the sweep over backlogs is at work
	judged     int                // how many it found the last time
	curious    []*backlogLook     // they wait for the next sweep
	broke      string             // see Conn.Broke
	random     *rand.Rand
	age        time.Duration // of the clock, at the poller's last call
	now        uint32        // age in ticks
	yielded    time.Duration // age when the scheduler last had a look
}

func newLoop(s *Server, index int) *Loop {
	l := &Loop{
		Index:    index,
		srv:      s,
		wakeFD:   -1,
		buf:      make([]byte, s.cfg.ReadBuffer),
		chatter:  make(map[*Conn]int32),
		partials: make(map[*Conn]holding),
		rests:    make(map[*Conn]*rest),
		backlogs: make(map[*Conn]backlog),
		emptied:  make(map[*Conn][]func()),
		random:   rand.New(rand.NewPCG(rand.Uint64(), uint64(index))),
		heads:    headParser{http: s.cfg.HTTPPaths, calls: s.cfg.Calls},
	}
	if s.cfg.TLS != nil {
		l.layers = make(map[*Conn]*tlsLayer)
		l.tls = newTLSBuffers(s.cfg.ReadBuffer)
	}
	l.woken.Store(true) // by connectWakeUps
	l.sweep()
	return l
}

// Post runs f on the loop, after everything posted before it, and returns true. It never blocks. At the
// server's end it returns false, and f never runs. A job of many writes should look at Spent between them, and Post
// the rest, so that reads are served in between.
func (l *Loop) Post(f func()) bool {
	l.mu.Lock()
	if l.ended {
		l.mu.Unlock()
		return false
	}
	l.inbox = append(l.inbox, f)
	l.mu.Unlock()
	l.wake() // not under the lock, which the poller takes as soon as it is awake
	return true
}

// Timer is a pending call of After.
type Timer struct {
	links[*Timer]
	f func()
}

// After runs f on the loop in d, whatever d is, to within 100 ms. On the loop.
func (l *Loop) After(d time.Duration, f func()) *Timer {
	t := &Timer{f: f}
	l.arm(t, l.age+min(d, math.MaxInt64-l.age))
	return t
}

// arm has t fire at an age of the clock. A deadline beyond what the wheel can tell from the past is armed again on
// the way; the func that does it costs those timers alone.
func (l *Loop) arm(t *Timer, at time.Duration) {
	d := at - l.age
	if d > farthest {
		f := t.f
		t.f = func() {
			t.f = f
			l.arm(t, at)
		}
		d = farthest
	}
	l.timers.set(t, l.due(ticks(d)))
}

// Stop forgets t. Stopping a nil, a fired or a stopped timer is harmless. On the loop.
func (l *Loop) Stop(t *Timer) {
	if t != nil {
		l.timers.remove(t)
	}
}

// Each calls f for every open connection. f may close it. On the loop.
func (l *Loop) Each(f func(*Conn)) {
	l.conns.each(func(c *Conn) {
		if c.state == open {
			f(c)
		}
	})
}

// Open is the number of open connections. From anywhere.
func (l *Loop) Open() int { return int(l.count.open.Load()) }

// end closes all connections, runs what was posted so far, and refuses what comes after. On another
// goroutine.
func (l *Loop) end() {
	done := make(chan struct{})
	l.Post(func() {
		l.conns.each(func(c *Conn) { c.Close(Shutdown); c.cut() })
		l.mu.Lock()
		defer l.mu.Unlock()
		l.inbox = append(l.inbox, func() { close(done) })
		l.ended = true
		l.wake()
	})
	<-done
	// The right to wake the poller is never given back: from here on nobody writes to wakeFD.
	for !l.woken.CompareAndSwap(false, true) {
		time.Sleep(time.Millisecond) // whoever has it will write, and the turn that follows gives it back
	}
}

// wake makes the poller call turn soon. At most one signal is ever outstanding.
func (l *Loop) wake() {
	if l.woken.CompareAndSwap(false, true) {
		signal(l.wakeFD)
	}
}

// turn does what waits for the loop, for as long as turnWork allows. The rest is done in the next turn, which comes
// behind a poll: what was posted keeps its order. Timers go first, because the jobs of a busy loop have no end; they
// leave half of the turn to them. Rests of input go last, and have half a turn of their own where jobs take all of it.
func (l *Loop) turn() {
	l.woken.Store(false) // before the swap: what is posted after it wakes us again
	l.lastTurn.Store(int64(l.age))
	l.spent, l.deflating = 0, 0

	l.mu.Lock()
	rest := l.ran < len(l.jobs)
	if !rest {
		l.jobs, l.inbox, l.ran = l.inbox, l.jobs[:0], 0
	}
	l.admit()
	l.mu.Unlock()

	l.runTimers()
	for l.ran < len(l.jobs) && !l.Spent() {
		f := l.jobs[l.ran]
		l.jobs[l.ran] = nil
		l.ran++
		l.spend(jobCost)
		l.guard(nil, f)
	}
	l.workOffRests()
	if rest || l.ran < len(l.jobs) || !l.resting.empty() {
		l.wake() // the inbox was left for later, or some of it
	}
}

// runTimers runs the timers that are due.
func (l *Loop) runTimers() {
	if !reached(l.now, l.next.Load()) {
		return
	}
	l.conns.advance(l.now)
	l.timers.advance(l.now)
	for l.spent < turnWork/2 {
		c, due := l.conns.pop()
		if due {
			l.spend(jobCost)
			l.guard(c, c.due)
		}
		t, fires := l.timers.pop()
		if fires {
			l.spend(jobCost)
			l.guard(nil, t.f)
		}
		if !due && !fires {
			break
		}
	}
	if l.conns.slots[firingSlot] != nil || l.timers.slots[firingSlot] != nil {
		l.wake()
		return
	}
	next, other := l.conns.next(), l.timers.next()
	if !reached(other, next) {
		next = other
	}
	l.next.Store(next)
}

// reap lets go of connections that the poller has closed.
func (l *Loop) reap() {
	for !l.Spent() {
		if len(l.leaving) == 0 {
			l.mu.Lock()
			l.leaving, l.closed = l.closed, l.leaving
			l.mu.Unlock()
		}
		n := len(l.leaving)
		if n == 0 {
			return
		}
		sock := l.leaving[n-1]
		l.leaving[n-1] = socket{}
		l.leaving = l.leaving[:n-1]
		l.spend(goneCost)
		if c := sock.conn(); c != nil {
			l.guard(nil, c.gone)
		}
	}
	l.Post(l.reap)
}

// guard runs f; a panic ends c, if there is one, and is counted, and the loop goes on.
func (l *Loop) guard(c *Conn, f func()) {
	defer func() {
		if r := recover(); r != nil {
			l.recovered(c, r)
		}
	}()
	f()
}

func (l *Loop) recovered(c *Conn, r any) {
	l.count.panics.Add(1)
	l.srv.log.Error().Interface("panic", r).Bytes("stack", debug.Stack()).Int("loop", l.Index).
		Msg("a panic on a loop; the connection it served is closed")
	switch {
	case c == nil:
	case c.state == deciding:
		c.refuse(&Refusal{Status: 500, Reason: "internal error"})
	case c.state == open:
		c.Close(Panicked)
	default:
		c.cut()
	}
}

// admit makes the state of new connections; mu is held. Their first bytes may come before the turn that
// would do it, so both do.
func (l *Loop) admit() {
	for _, s := range l.opened {
		c := l.newConn(s)
		l.transits.push(c)
		l.conns.set(c, l.due(ticks(l.srv.cfg.HandshakeTimeout)))
	}
	clear(l.opened)
	l.opened = l.opened[:0]
}

// conn returns the state of sock, which is watched.
func (l *Loop) conn(sock socket) *Conn {
	if sock.conn() == nil {
		l.mu.Lock()
		l.admit()
		l.mu.Unlock()
	}
	return sock.conn()
}

// sweepTime is the time between two sweeps over connections that hold something of the loop's.
const sweepTime = time.Second

func (l *Loop) sweep() {
	l.timers.set(&Timer{f: l.sweep}, l.due(l.onBeat(ticks(sweepTime))))
	if len(l.chatter) > 0 {
		l.chatter = make(map[*Conn]int32) // a map that was cleared keeps the memory of its largest time
	}
	l.expirePartials()
	l.cutSlow()
	if a := l.srv.addresses; a != nil {
		a.sweep(l.Index, l.srv.cfg.Pollers, l.age)
	}
}

// expirePartials ends those whose message takes too long. (Handshakes have their own deadline.)
func (l *Loop) expirePartials() {
	var late []*Conn
	limit := ticks(l.srv.cfg.MessageTimeout)
	isLate := func(c *Conn, p holding) bool {
		return c.state == open && l.now-p.since > limit && (l.rests[c] == nil || c.in.midMessage())
	}
	for c, p := range l.partials {
		if isLate(c, p) {
			late = append(late, c)
		}
	}
	inTurns(l, late, func(c *Conn) {
		if p, ok := l.partials[c]; ok && isLate(c, p) {
			c.Close(MessageTimeout)
		}
	}, func() {})
}

// heartbeat is the time to a ping, in ticks: d, or with spread a random time between half of d and d, because
// what began together should not stay together. Long ones end on a beat.
func (l *Loop) heartbeat(d time.Duration, spread bool) uint32 {
	n := ticks(d)
	if spread {
		n -= l.random.Uint32N(n/2 + 1)
	}
	if n < 10*beatTicks {
		return n
	}
	return l.onBeat(n - beatTicks + 1)
}
