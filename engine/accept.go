package engine

import (
	"context"
	"errors"
	"net"
	"syscall"
	"time"

	"github.com/lesismal/nbio"
)

// accept takes connections from the listener until it is closed, and registers them with nbio.
func (s *Server) accept() {
	pause := time.Duration(0)
	for {
		s.room.await(s.ending)
		nb, err := s.acceptor.next()
		switch {
		case err == nil:
			err = s.register(nb)
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

// register hands nb to its loop. An error is a shortage of something; nb is closed then.
func (s *Server) register(nb *nbio.Conn) error {
	s.accepted.Add(1)
	if nb.Hash() >= nbio.MaxOpenFiles { // nbio's table has no place for it
		s.dropped.Add("file_limit")
		_ = nb.Close()
		return syscall.EMFILE
	}
	l := s.loops[nb.Hash()%len(s.loops)]
	l.mu.Lock()
	l.opened = append(l.opened, nb)
	l.mu.Unlock()
	s.room.sockets.Add(1)
	l.count.transit.Add(1)
	s.room.living.Add(1)
	if s.room.over() {
		s.dropOldest()
	}

	s.lockSettled()
	_, err := s.nb.AddConn(nb)
	s.registering.Unlock()
	if err != nil { // nbio has closed it, and onClose counts it
		s.dropped.Add("register_error")
	}
	return err
}

// lockSettled takes s.registering at a time when no poller is in a batch of events that could name a
// descriptor closed meanwhile.
func (s *Server) lockSettled() {
	s.registering.Lock()
	for len(s.stale) > 0 {
		loops := s.stale
		s.stale = nil
		s.registering.Unlock()
		for _, l := range loops {
			l.settle()
		}
		s.registering.Lock()
	}
}

// settle waits until the batch of events that the poller is in now is over. A turn may be part of that
// batch, the turn after it is not.
func (l *Loop) settle() {
	for range 2 {
		done := make(chan struct{})
		if !l.Post(func() { close(done) }) {
			return
		}
		<-done
	}
}

// onClose runs on a goroutine of nbio's.
func (s *Server) onClose(nb *nbio.Conn, _ error) {
	if !nb.IsTCP() {
		return
	}
	s.room.leave()
	l := s.loops[nb.Hash()%len(s.loops)]
	l.mu.Lock()
	l.closed = append(l.closed, nb)
	first := len(l.closed) == 1
	l.mu.Unlock()
	if first {
		l.Post(l.reap)
	}
}

// listen opens the public address. Connections inherit what is set here. Keepalive is off: the heartbeat does its work.
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
