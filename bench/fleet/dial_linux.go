package fleet

import (
	"errors"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"wshub/bench/probe"
	"wshub/bench/wire"
)

// dialer is the loop's queue of clients that want a connection.
type dialer struct {
	queue    []int32 // places
	head     int
	pace     Pace
	paced    bool
	limit    int // dials and handshakes at a time
	inflight []int32
	swept    int64 // when timeouts were last swept
}

// timeoutSweep is how often timeouts are swept: fine enough for limits of seconds.
const timeoutSweep = int64(100 * time.Millisecond)

// enqueue lets c dial when its turn comes.
func (l *loop) enqueue(c *client) {
	if c.state != resting {
		return
	}
	c.state = waiting
	l.counts.Pending++
	if l.head > 1024 && l.head*2 > len(l.queue) {
		l.queue = append(l.queue[:0], l.queue[l.head:]...)
		l.head = 0
	}
	l.queue = append(l.queue, l.place(c))
}

func (l *loop) nextDial() int64 {
	switch {
	case l.head == len(l.queue) || len(l.inflight) >= l.limit:
		return farAway
	case l.paced:
		return l.pace.Next()
	}
	return 0
}

func (l *loop) dialDue(now int64) {
	for burst := 0; burst < dialBurst && l.nextDial() <= now; burst++ {
		c := &l.clients[l.queue[l.head]]
		l.head++
		at := probe.Now()
		if l.paced {
			at, _ = l.pace.Take(now)
		}
		c.began = at
		l.inflight = append(l.inflight, l.place(c))
		if err := l.dial(c); err != nil {
			l.lost(c, causeOf(err))
		}
	}
}

func (l *loop) dial(c *client) error {
	c.state = connecting
	addr := l.target.addr
	family := unix.AF_INET
	if !addr.Addr().Is4() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	c.fd = int32(fd)
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	if n := len(l.target.sources); n > 0 {
		// The port is chosen in connect, by the whole address pair: so a source serves many targets.
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
		if err := unix.Bind(fd, sockaddr(l.target.sources[int(c.number)%n], 0)); err != nil {
			return err
		}
	}
	to := sockaddr(addr.Addr(), addr.Port())
	err = unix.Connect(fd, to)
	if err == unix.EINPROGRESS && addr.Addr().IsLoopback() {
		err = unix.Connect(fd, to) // all of TCP's handshake has happened within the first call: this one has its outcome
	}
	if err == unix.EINPROGRESS || err == unix.EALREADY {
		return l.register(c, unix.EPOLL_CTL_ADD, unix.EPOLLOUT)
	}
	if err == nil {
		err = l.register(c, unix.EPOLL_CTL_ADD, unix.EPOLLIN)
	}
	if err == nil {
		l.begin(c)
	}
	return err
}

// connected goes on with a dial whose outcome has come.
func (l *loop) connected(c *client) {
	code, err := unix.GetsockoptInt(int(c.fd), unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && code != 0 {
		err = unix.Errno(code)
	}
	if err == nil {
		err = l.register(c, unix.EPOLL_CTL_MOD, unix.EPOLLIN)
	}
	if err != nil {
		l.lost(c, causeOf(err))
		return
	}
	l.begin(c)
}

// begin goes on where there is a TCP connection.
func (l *loop) begin(c *client) {
	if l.target.tls != nil {
		l.secure(c)
		return
	}
	l.greet(c)
}

func (l *loop) greet(c *client) {
	c.state = greeting
	path := l.target.pathOf(l.cfg.Topology, int(c.number))
	if at := c.at(); at != "" && l.target.request.Stream && strings.Contains(path, "topic=") {
		path += "&since=" + at
	}
	l.frame = l.target.request.Append(l.frame[:0], path, l.key(c))
	l.write(c, l.frame)
}

func (l *loop) key(c *client) string { return wire.Key(uint32(c.number), c.turn) }

// answered reads the handshake's answer, which came at now, and returns its size, 0 when it is not complete.
func (l *loop) answered(c *client, data []byte, now int64) int {
	n, err := l.target.request.Answer(data, l.key(c))
	if err != nil {
		l.lost(c, causeOf(err))
		return 0
	}
	if n == 0 {
		return 0
	}
	c.state = opening
	l.counts.Open++
	l.counts.Opened++
	l.handshake.Record(now - c.began)
	var first []byte
	if first, c.awaited = l.target.first(l.cfg.Topology, int(c.number), c.at()); c.awaited == 0 {
		l.nowReady(c, now)
		return n
	}
	if len(first) > 0 {
		l.send(c, first)
	}
	return n
}

func (l *loop) nowReady(c *client, now int64) {
	c.state, c.tries = ready, 0
	l.counts.Ready++
	l.readyTime.Record(now - c.began)
	l.landed(c)
}

// landed takes c out of those under way.
func (l *loop) landed(c *client) {
	place := l.place(c)
	for i, p := range l.inflight {
		if p == place {
			last := len(l.inflight) - 1
			l.inflight[i] = l.inflight[last]
			l.inflight = l.inflight[:last]
			l.counts.Pending--
			return
		}
	}
}

func (l *loop) nextTimeout() int64 {
	if len(l.inflight) == 0 {
		return farAway
	}
	return l.swept + timeoutSweep
}

func (l *loop) timeoutsDue(now int64) {
	if l.nextTimeout() > now {
		return
	}
	l.swept = now
	late := now - int64(l.cfg.Timeout)
	for i := len(l.inflight) - 1; i >= 0; i-- {
		if i < len(l.inflight) && l.clients[l.inflight[i]].began < late {
			l.lost(&l.clients[l.inflight[i]], "timeout")
		}
	}
}

// causeOf shortens an error to what a table can count.
func causeOf(err error) string {
	var errno unix.Errno
	if errors.As(err, &errno) {
		if errno == unix.EADDRNOTAVAIL {
			return "no free source port: use more --source addresses"
		}
		return errno.Error()
	}
	return err.Error()
}
