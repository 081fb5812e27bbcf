package fleet

import (
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// seal is the TLS of one client: the net.Conn under a tls.Conn. The handshake runs on a goroutine of its own, which the loop
// feeds; from then on the loop alone uses it, and reads of an empty socket end with a temporary error.
type seal struct {
	loop  *loop
	place int32
	fd    int
	turn  uint32
	tls   *tls.Conn

	mu      sync.Mutex
	came    sync.Cond
	in      []byte // what came during the handshake
	shaking bool
	err     error // the loop has given the handshake up
}

var errDry net.Error = dry{}

type dry struct{}

func (dry) Error() string   { return "nothing to read" }
func (dry) Timeout() bool   { return true }
func (dry) Temporary() bool { return true }

// secure begins the handshake of TLS.
func (l *loop) secure(c *client) {
	c.state = securing
	s := &seal{loop: l, place: l.place(c), fd: int(c.fd), turn: c.turn, shaking: true}
	s.came.L = &s.mu
	s.tls = tls.Client(s, l.target.tls)
	l.seals[s.place] = s
	go func() {
		err := s.tls.Handshake()
		l.post(func() { l.secured(c, s, err) })
	}()
}

// secured goes on when the handshake of TLS is over.
func (l *loop) secured(c *client, s *seal, err error) {
	if c.turn != s.turn || c.state != securing {
		return
	}
	if err != nil {
		l.lost(c, causeOf(err))
		return
	}
	s.shaking = false
	l.greet(c)
	if c.turn == s.turn && len(s.in) > 0 {
		l.read(c)
	}
}

// feed hands what came to the handshake.
func (l *loop) feed(c *client) {
	n, errno := rawRead(int(c.fd), l.buf)
	switch {
	case errno == unix.EAGAIN || errno == unix.EINTR:
	case errno != 0:
		l.lost(c, causeOf(errno))
	case n == 0:
		l.lost(c, "closed in the TLS handshake")
	default:
		s := l.seals[l.place(c)]
		s.mu.Lock()
		s.in = append(s.in, l.buf[:n]...)
		s.mu.Unlock()
		s.came.Signal()
	}
}

// unseal reads and decrypts into b. After one that returned something there may be more, which epoll does not report.
func (s *seal) unseal(b []byte) (int, unix.Errno, error) {
	n, err := s.tls.Read(b)
	s.loop.flushSealed(s)
	switch {
	case n > 0:
		return n, 0, nil
	case err == errDry: //nolint:errorlint // it is returned as it is
		return 0, unix.EAGAIN, nil
	}
	return 0, 0, err
}

// flushSealed writes the records that crypto/tls made.
func (l *loop) flushSealed(s *seal) {
	if len(l.records) > 0 {
		l.writeRaw(&l.clients[s.place], l.records)
		l.records = l.records[:0]
	}
}

// unsealed forgets the TLS of a client whose socket is gone.
func (l *loop) unsealed(place int32) {
	if s := l.seals[place]; s != nil {
		delete(l.seals, place)
		s.mu.Lock()
		s.err = errors.New("given up")
		s.mu.Unlock()
		s.came.Signal()
	}
}

// Read is for crypto/tls.
func (s *seal) Read(b []byte) (int, error) {
	if !s.shaking {
		if len(s.in) > 0 {
			n := copy(b, s.in)
			if s.in = s.in[n:]; len(s.in) == 0 {
				s.in = nil
			}
			return n, nil
		}
		n, errno := rawRead(s.fd, b)
		switch {
		case errno == unix.EAGAIN || errno == unix.EINTR:
			return 0, errDry
		case errno != 0:
			return 0, errno
		case n == 0:
			return 0, net.ErrClosed
		}
		return n, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.in) == 0 && s.err == nil {
		s.came.Wait()
	}
	if s.err != nil {
		return 0, s.err
	}
	n := copy(b, s.in)
	s.in = s.in[n:]
	return n, nil
}

// Write is for crypto/tls.
func (s *seal) Write(b []byte) (int, error) {
	if !s.shaking {
		s.loop.records = append(s.loop.records, b...)
		return len(b), nil
	}
	out := append([]byte(nil), b...)
	s.loop.post(func() {
		if c := &s.loop.clients[s.place]; c.turn == s.turn && c.fd >= 0 {
			s.loop.writeRaw(c, out)
		}
	})
	return len(b), nil
}

func (s *seal) Close() error                     { return nil }
func (s *seal) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (s *seal) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (s *seal) SetDeadline(time.Time) error      { return nil }
func (s *seal) SetReadDeadline(time.Time) error  { return nil }
func (s *seal) SetWriteDeadline(time.Time) error { return nil }
