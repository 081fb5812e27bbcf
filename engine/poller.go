package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/lesismal/nbio"
	"github.com/rs/zerolog"
)

// poller waits for events of sockets, and hands them to their loops. It is nbio's core; only this file and those of its
// name, for one system or another, know that.
//
// nbio has one goroutine, with one epoll, per loop: it is the loop's, and a descriptor belongs to the loop of its number.
// Three habits of nbio's shape this file:
//
//   - It closes a descriptor at once when a write fails, in the middle of its batch of events. A new connection may get
//     the number, and be hit by an event of the batch that was the old one's. So we write to the descriptor ourselves,
//     and only shut it down: nbio closes on the hang-up, in the event for that very descriptor. It queues bytes
//     that we can't write; should it fail at that, no new connection is registered until the batch is over.
//   - It has no call that wakes it, so each loop has a pair of descriptors: it watches one, and we write to the other.
//   - It wants net.Conns, which cost two more registrations and 176 bytes each; adopt makes its connections of bare
//     descriptors.
type poller struct {
	engine *nbio.Engine
	loops  []*Loop
	closed func(socket)

	// registering is held while a descriptor is registered with nbio, and while nbio may close one in the middle of
	// a batch. Guarded by it:
	registering sync.Mutex
	stale       []*Loop // loops in whose current batch nbio has closed a descriptor
}

// newPoller makes a poller for loops. On the loops it calls turn, readable and written; closed on some other goroutine,
// when a descriptor that was added is closed.
func newPoller(loops []*Loop, log zerolog.Logger, closed func(socket)) *poller {
	nbioLog.use(log)
	p := &poller{loops: loops, closed: closed}
	p.engine = nbio.NewEngine(nbio.Config{
		Name:               "wshub",
		NPoller:            len(loops),
		EpollMod:           nbio.EPOLLLT,
		MaxWriteBufferSize: 0,  // no bound: ours come first, and close in the right place
		ReadBufferSize:     16, // the loops bring their own
	})
	p.engine.OnRead(p.onRead)
	p.engine.OnWrittenSize(onWrittenSize)
	p.engine.OnClose(p.onClose)
	return p
}

// start begins to poll. Jobs that were posted to the loops before run first.
func (p *poller) start() error {
	if err := p.engine.Start(); err != nil {
		return fmt.Errorf("start the pollers: %w", err)
	}
	if err := p.connectWakeUps(); err != nil {
		p.engine.Stop()
		return fmt.Errorf("connect the loops: %w", err)
	}
	for _, l := range p.loops {
		l.waitForBatch() // nbio can't be stopped before its pollers have begun
	}
	return nil
}

// stop closes all descriptors, and returns when the pollers' goroutines have. The loops have ended before.
func (p *poller) stop() {
	p.engine.Stop()
	for _, l := range p.loops {
		_ = syscall.Close(l.wakeFD)
	}
}

// loop is the loop that s belongs to.
func (p *poller) loop(s socket) *Loop { return p.loops[s.fd()%len(p.loops)] }

// add makes the poller watch s. After an error s is closed, and reported as such.
func (p *poller) add(s socket) error {
	p.lockBetweenBatches()
	defer p.registering.Unlock()
	_, err := p.engine.AddConn(s.nb)
	return err
}

// lockBetweenBatches locks p.registering while no poller is in a batch of events that could name a descriptor closed
// meanwhile.
func (p *poller) lockBetweenBatches() {
	p.registering.Lock()
	for len(p.stale) > 0 {
		loops := p.stale
		p.stale = nil
		p.registering.Unlock()
		for _, l := range loops {
			l.waitForBatch()
		}
		p.registering.Lock()
	}
}

// waitForBatch waits until the poller's present batch of events is over. The next turn may be part of that batch; the
// turn after it is not.
func (l *Loop) waitForBatch() {
	for range 2 {
		done := make(chan struct{})
		if !l.Post(func() { close(done) }) {
			return
		}
		<-done
	}
}

// onRead runs on the poller's goroutine, which is the loop's.
func (p *poller) onRead(nb *nbio.Conn) {
	if l, ok := nb.Session().(*Loop); ok {
		var b [8]byte
		_, _ = nb.Read(b[:])
		l.readClock()
		l.turn()
		l.yield()
		return
	}
	s := socket{nb}
	l := p.loop(s)
	l.readClock()
	if c := l.conn(s); c != nil {
		c.readable()
	}
	if l.Spent() {
		l.wake() // for a turn, which begins the account anew
	}
	l.yield()
}

// onWrittenSize is called on the loop, under nbio's lock for the connection: it must not be written to.
func onWrittenSize(nb *nbio.Conn, _ []byte, n int) {
	if c := (socket{nb}).conn(); c != nil {
		c.written(n)
	}
}

// onClose runs on a goroutine of nbio's.
func (p *poller) onClose(nb *nbio.Conn, _ error) {
	if nb.IsTCP() { // and no wake-up pair
		p.closed(socket{nb})
	}
}

// wakeUp is what is written to the far end of a wake-up pair: an eventfd takes a number in 8 bytes.
var wakeUp = binary.NativeEndian.AppendUint64(nil, 1)

// connectWakeUps gives each loop a wake-up pair, the near end registered with the loop's poller: a signal at
// the far end makes the poller call Loop.turn. nbio chooses a poller by
// descriptor number, so pairs are made until each loop has one.
func (p *poller) connectWakeUps() error {
	var spare []*nbio.Conn // kept open until the end, so that their numbers are not given out again
	defer func() {
		for _, nb := range spare {
			_ = nb.Close()
		}
	}()
	for missing := len(p.loops); missing > 0; {
		if len(spare) > 16*MaxPollers {
			return errors.New("descriptor numbers do not spread over the pollers")
		}
		near, far, err := wakeUpPair()
		if err != nil {
			return fmt.Errorf("make a wake-up pair: %w", err)
		}
		l := p.loop(socket{near})
		if l.wakeFD >= 0 {
			_ = syscall.Close(far)
			spare = append(spare, near)
			continue
		}
		l.wakeFD = far
		missing--
		near.SetSession(l)
		if _, err := p.engine.AddConn(near); err != nil {
			return fmt.Errorf("register a wake-up pair: %w", err)
		}
		// For what was posted so far: Loop.woken is true from birth. By this call the race detector sees that wakeFD came first.
		_, _ = syscall.Write(far, wakeUp)
	}
	return nil
}

// socket is a client's socket, as the poller holds it. All but fd and fits is to be called on its loop, or before it
// is added.
type socket struct{ nb *nbio.Conn }

// fd is the descriptor. It may be another socket's as soon as open is false.
func (s socket) fd() int { return s.nb.Hash() }

// maxFiles is one more than the largest descriptor that nbio's table has a place for.
func maxFiles() int { return nbio.MaxOpenFiles }

// fits reports whether s can be added.
func (s socket) fits() bool { return s.fd() < maxFiles() }

// open reports whether the descriptor is still s's: only the loop's goroutine closes it.
func (s socket) open() bool {
	_, err := s.nb.Write(nil)
	return err == nil
}

// attach makes c, a *Conn or an *addressed, the owner of s.
func (s socket) attach(c any) { s.nb.SetSession(c) }

// conn is the owner of s, nil if there is none yet.
func (s socket) conn() *Conn {
	switch c := s.nb.Session().(type) {
	case *Conn:
		return c
	case *addressed:
		return &c.Conn
	}
	return nil
}

// addressed is the owner of s, nil if that keeps no address.
func (s socket) addressed() *addressed {
	a, _ := s.nb.Session().(*addressed)
	return a
}

// touch reads what write will read of s; see Conn.Touch.
func (s socket) touch() int { return s.nb.Hash() + int(s.nb.Type()) }

func (s socket) read(b []byte) (int, error) { return s.nb.Read(b) }

// write sends b if s is open and nothing is queued, as far as the kernel takes it.
func (s socket) write(b []byte) (int, error) { return write(s.fd(), b) }

// queue hands b, which it copies, to the poller, to be written when the socket takes more. first says that nothing is
// queued yet. l is the loop of s. After an error s is closed.
func (p *poller) queue(l *Loop, s socket, b []byte, first bool) error {
	if !first {
		_, _ = s.nb.Write(b) // nbio only appends
		return nil
	}
	// nbio tries the socket once more before it queues. Should that fail, it closes the descriptor in
	// mid-batch: no new connection may be registered under its number before the batch is over.
	p.registering.Lock()
	defer p.registering.Unlock()
	_, err := s.nb.Write(b)
	if err != nil {
		p.stale = append(p.stale, l)
	}
	return err
}

// peer is the address of the other end, the zero one if it is not known any more.
func (s socket) peer() netip.AddrPort {
	if !s.open() {
		return netip.AddrPort{}
	}
	at, _ := syscall.Getpeername(s.fd())
	switch at := at.(type) {
	case *syscall.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(at.Addr), uint16(at.Port))
	case *syscall.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(at.Addr).Unmap(), uint16(at.Port))
	}
	return netip.AddrPort{}
}

// shut sends a FIN behind what the kernel holds.
func (s socket) shut() {
	if s.open() {
		_ = syscall.Shutdown(s.fd(), syscall.SHUT_WR)
	}
}

// reset ends the connection at once: what the kernel holds is thrown away. The poller closes the descriptor on the
// hang-up that follows.
func (s socket) reset() {
	if s.open() {
		_ = syscall.SetsockoptLinger(s.fd(), syscall.SOL_SOCKET, syscall.SO_LINGER, &syscall.Linger{Onoff: 1})
		_ = syscall.Shutdown(s.fd(), syscall.SHUT_RDWR)
	}
}

// discard closes s, which was never added, with a RST if asked to.
func (s socket) discard(rst bool) {
	if rst {
		_ = s.nb.SetLinger(1, 0)
	}
	_ = s.nb.Close()
}

// unread reports whether the kernel holds input.
func (s socket) unread() bool {
	if !s.open() {
		return false
	}
	var b [1]byte
	n, _, err := syscall.Recvfrom(s.fd(), b[:], syscall.MSG_PEEK)
	return err == nil && n > 0
}

// hungUp reports whether the peer's FIN has come, be it behind bytes that are not read yet. The poller closes s then,
// as soon as readable returns.
func (s socket) hungUp() bool { return hungUp(s.fd()) }

// unsent is how many bytes the kernel holds that the peer's has not acknowledged.
func (s socket) unsent() int32 { return unsent(s.fd()) }

// flows reports whether, within the time d, data went to the peer and an acknowledgement came back, and there is more to
// go.
func (s socket) flows(d time.Duration) bool { return s.open() && flows(s.fd(), d) }

// stuck reports whether bytes wait for the peer's acknowledgement, and none of them got on within the time d. It is false
// where that is unknown.
func (s socket) stuck(d time.Duration) bool { return s.open() && stuck(s.fd(), d) }
