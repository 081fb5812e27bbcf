package fleet

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"wshub/bench/probe"
	"wshub/bench/wire"
)

type state uint8

const (
	resting    state = iota // no socket
	waiting                 // for its turn to dial
	connecting              // TCP
	securing                // TLS
	greeting                // request sent, answer awaited
	opening                 // handshake done, subscriptions not confirmed
	ready
	leaving // our close frame is out
)

const (
	readSize  = 256 << 10 // of one read; a server that joins frames fills it
	batchSize = 256       // epoll events taken at a time
	dialBurst = 64        // dials between two polls: about 3 ms
	sendBurst = 256
	farAway   = math.MaxInt64
)

// loop owns an epoll instance and its share of the clients. Everything in it belongs to the goroutine in
// run, but for the inbox.
type loop struct {
	// Fixed at birth.
	cfg    Config
	target target
	index  int // among the loops of all shards together, as is step
	step   int

	ep, wake, timer int

	// Owned by run.
	*judge
	opcode  wire.Opcode // of messages
	clients []client
	rand    *rand.Rand
	buf     []byte
	frame   []byte // scratch for what is sent
	inflate inflater
	parts   map[int32][]byte // by place: the begin of a frame, or of the handshake's answer
	spare   [][]byte         // buffers of parts, for reuse
	out     map[int32][]byte // by place: what the socket has not taken
	halves  map[int32]*half  // by place: fragmented messages under way
	seals   map[int32]*seal  // by place: TLS
	records []byte           // scratch for what is sent over TLS
	comeBack
	dialer
	sender
	churner
	handshake, readyTime *Hist
	armed                int64 // when timer goes off
	idle                 time.Duration
	born                 time.Time

	inboxMu sync.Mutex
	inbox   []func()
	woken   bool
	done    bool
}

func newLoop(cfg Config, t target, index, step int) (*loop, error) {
	l := &loop{
		cfg: cfg, target: t, index: index, step: step,
		judge: newJudge(cfg.Run, t.protocol, cfg.Topology), opcode: t.protocol.Opcode(),
		rand:  rand.New(rand.NewPCG(uint64(index)+1, 0)),
		buf:   make([]byte, readSize),
		parts: map[int32][]byte{}, out: map[int32][]byte{}, halves: map[int32]*half{}, seals: map[int32]*seal{},
		handshake: NewHist(), readyTime: NewHist(),
		armed: farAway, born: time.Now(),
	}
	l.goodbyes = map[int32]time.Duration{}
	if cfg.Clients > index {
		l.clients = make([]client, (cfg.Clients-index+step-1)/step)
	}
	for i := range l.clients {
		l.clients[i] = client{fd: -1, number: int32(index + i*step)}
	}
	var err1, err2, err3 error
	l.ep, err1 = unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	l.wake, err2 = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	l.timer, err3 = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	err := errors.Join(err1, err2, err3)
	for _, fd := range []int{l.wake, l.timer} {
		if err == nil {
			err = unix.EpollCtl(l.ep, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: -int32(fd)})
		}
	}
	if err != nil {
		return nil, fmt.Errorf("event loop: %w", err)
	}
	return l, nil
}

// post runs f on the loop, soon.
func (l *loop) post(f func()) {
	l.inboxMu.Lock()
	l.inbox = append(l.inbox, f)
	wake := !l.woken
	l.woken = true
	l.inboxMu.Unlock()
	if wake {
		_, _ = unix.Write(l.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // fails only when it is awake already
	}
}

// run turns the loop until a posted function sets done.
func (l *loop) run() error {
	defer l.release()
	events := make([]unix.EpollEvent, batchSize)
	for !l.done {
		n, err := l.wait(events)
		if err != nil {
			return fmt.Errorf("epoll: %w", err)
		}
		for _, e := range events[:n] {
			l.handle(e)
		}
		l.takeInbox()
		l.due(probe.Now())
	}
	return nil
}

// wait polls, and only when nothing is there lets the kernel put the thread to sleep.
func (l *loop) wait(events []unix.EpollEvent) (int, error) {
	n, err := unix.EpollWait(l.ep, events, 0)
	if n > 0 || err != nil && err != unix.EINTR {
		return n, err
	}
	next := l.nextDue()
	if next <= probe.Now() {
		return 0, nil
	}
	if next != l.armed {
		l.arm(next)
	}
	slept := time.Now()
	n, err = unix.EpollWait(l.ep, events, -1)
	l.idle += time.Since(slept)
	if err == unix.EINTR {
		return 0, nil
	}
	return n, err
}

func (l *loop) arm(at int64) {
	var spec unix.ItimerSpec
	if at != farAway {
		spec.Value = unix.NsecToTimespec(max(at, 1))
	}
	if unix.TimerfdSettime(l.timer, unix.TFD_TIMER_ABSTIME, &spec, nil) == nil {
		l.armed = at
	}
}

func (l *loop) handle(e unix.EpollEvent) {
	if e.Fd < 0 {
		var eight [8]byte
		_, _ = unix.Read(int(-e.Fd), eight[:])
		if int(-e.Fd) == l.timer {
			l.armed = farAway
		}
		return
	}
	c := &l.clients[e.Fd]
	if c.fd < 0 || uint32(e.Pad) != c.turn {
		return // for a socket that is closed by now
	}
	if c.state == connecting {
		l.connected(c)
		return
	}
	if e.Events&unix.EPOLLOUT != 0 {
		l.flush(c)
	}
	if c.fd >= 0 && e.Events&^unix.EPOLLOUT != 0 {
		l.read(c)
	}
}

func (l *loop) takeInbox() {
	l.inboxMu.Lock()
	jobs := l.inbox
	l.inbox, l.woken = nil, false
	l.inboxMu.Unlock()
	for _, job := range jobs {
		job()
	}
}

// nextDue returns when the loop must turn even if nothing arrives.
func (l *loop) nextDue() int64 {
	return min(l.nextDial(), l.nextSend(), l.nextChurn(), l.nextReturn(), l.nextTimeout())
}

func (l *loop) due(now int64) {
	l.dialDue(now)
	l.sendDue(now)
	l.churnDue(now)
	l.returnDue(now)
	l.timeoutsDue(now)
}

func (l *loop) place(c *client) int32 { return (c.number - int32(l.index)) / int32(l.step) }

// each calls f for the loop's clients with numbers from from to to-1.
func (l *loop) each(from, to int, f func(*client)) {
	for i := range l.clients {
		if n := int(l.clients[i].number); n >= from && n < to {
			f(&l.clients[i])
		}
	}
}

func (l *loop) register(c *client, op int, events uint32) error {
	return unix.EpollCtl(l.ep, op, int(c.fd), &unix.EpollEvent{Events: events, Fd: l.place(c), Pad: int32(c.turn)})
}

// release closes everything, with a reset so that no port rests afterwards.
func (l *loop) release() {
	for i := range l.clients {
		if fd := int(l.clients[i].fd); fd >= 0 {
			reset(fd)
		}
	}
	for place := range l.seals {
		l.unsealed(place)
	}
	for _, fd := range []int{l.ep, l.wake, l.timer} {
		_ = unix.Close(fd)
	}
}

func reset(fd int) {
	_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	_ = unix.Close(fd)
}

// rawRead reads without telling the scheduler, since a non-blocking read does not block: it saves a fifth
// of the cost of a short one.
func rawRead(fd int, b []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	return int(n), errno
}
