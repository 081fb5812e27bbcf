package engine

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"github.com/lesismal/nbio"
)

// connectWakeUps gives each loop a socket pair, the near end registered with the loop's poller: a byte
// written to the far end makes the poller call Loop.turn. nbio has no call for that. It chooses a poller by
// descriptor number, so pairs are made until each loop has one.
func (s *Server) connectWakeUps() error {
	var spare []*nbio.Conn // kept open until the end, so that their numbers are not given out again
	defer func() {
		for _, nb := range spare {
			_ = nb.Close()
		}
	}()
	for missing := len(s.loops); missing > 0; {
		if len(spare) > 16*MaxPollers {
			return errors.New("descriptor numbers do not spread over the pollers")
		}
		near, far, err := wakeUpPair()
		if err != nil {
			return fmt.Errorf("make a wake-up pair: %w", err)
		}
		l := s.loops[near.Hash()%len(s.loops)]
		if l.wakeFD >= 0 {
			_ = syscall.Close(far)
			spare = append(spare, near)
			continue
		}
		l.wakeFD = far
		missing--
		near.SetSession(l)
		if _, err := s.nb.AddConn(near); err != nil {
			return fmt.Errorf("register a wake-up pair: %w", err)
		}
		_, _ = syscall.Write(far, []byte{1}) // for what was posted so far: Loop.woken is true from birth
	}
	return nil
}

// wakeUpPair makes a connected pair of non-blocking Unix sockets.
func wakeUpPair() (near *nbio.Conn, far int, err error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		return nil, -1, err
	}
	for _, fd := range fds {
		syscall.CloseOnExec(fd)
		err = errors.Join(err, syscall.SetNonblock(fd, true))
	}
	file := os.NewFile(uintptr(fds[0]), "wake-up")
	conn, ferr := net.FileConn(file) // a copy of the descriptor, as is NBConn's
	err = errors.Join(err, ferr, file.Close())
	if err == nil {
		near, err = nbio.NBConn(conn)
	}
	if err != nil {
		_ = syscall.Close(fds[1])
		return nil, -1, err
	}
	return near, fds[1], nil
}
