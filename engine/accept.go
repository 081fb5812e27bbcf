package engine

import (
	"context"
	"errors"
	"net"
	"syscall"
	"time"
)

// accept takes connections from the listener until it is closed, and adds them to the poller.
func (s *Server) accept() {
	pause := time.Duration(0)
	for {
		s.room.await(s.ending)
		sock, err := s.acceptor.next()
		switch {
		case err == nil:
			err = s.register(sock)
		case s.hasStopped():
			return
		default:
			s.dropped.Add("accept_error")
		}
		if err == nil {
			pause = 0
		} else { // out of descriptors or memory: give the loops time to close something
			s.log.Warn().Err(err).Msg("can't accept connections")
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			select {
			case <-time.After(pause):
			case <-s.ending:
			}
		}
	}
}

// hasStopped reports whether StopAccepting was called.
func (s *Server) hasStopped() bool {
	select {
	case <-s.ending:
		return true
	default:
		return false
	}
}

// register hands sock to its loop. An error is a shortage of something; sock is closed then.
func (s *Server) register(sock socket) error {
	s.accepted.Add(1)
	if !sock.fits() {
		s.dropped.Add("file_limit")
		sock.discard(false)
		return syscall.EMFILE
	}
	l := s.poller.loop(sock)
	s.room.sockets.Add(1) // counted before the loop can have it, and let it go
	l.count.transit.Add(1)
	s.room.living.Add(1)
	l.mu.Lock()
	l.opened = append(l.opened, sock)
	l.mu.Unlock()
	if s.room.over() {
		s.dropOldest()
	}

	err := s.poller.add(sock)
	if err != nil { // closed counts it
		s.dropped.Add("register_error")
	}
	return err
}

// closed is called when sock is closed, on any goroutine.
func (s *Server) closed(sock socket) {
	s.room.leave()
	l := s.poller.loop(sock)
	l.mu.Lock()
	l.closed = append(l.closed, sock)
	first := len(l.closed) == 1
	l.mu.Unlock()
	if first {
		l.Post(l.reap)
	}
}

// listen opens the public address. Connections inherit its socket options. Keepalive is off: the heartbeat does its work.
func listen(ctx context.Context, addr string, sendBuffer int) (*net.TCPListener, error) {
	lc := net.ListenConfig{
		KeepAlive: -1,
		Control: func(_, _ string, rc syscall.RawConn) (err error) {
			ctl := rc.Control(func(fd uintptr) {
				err = errors.Join(
					syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_SNDBUF, sendBuffer),
					syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1),
				)
			})
			return errors.Join(ctl, err)
		},
	}
	ln, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return ln.(*net.TCPListener), nil
}
