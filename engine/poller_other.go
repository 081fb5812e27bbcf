//go:build !linux

package engine

import (
	"errors"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/lesismal/nbio"
)

// adopt takes conn's place.
func adopt(conn *net.TCPConn) (socket, error) {
	nb, err := nbio.NBConn(conn)
	if err != nil {
		_ = conn.Close()
		return socket{}, err
	}
	syscall.CloseOnExec(nb.Hash()) // a child process that held it would keep its events coming after our close
	return socket{nb}, nil
}

// write sends b on a non-blocking socket.
func write(fd int, b []byte) (int, error) {
	for {
		n, err := syscall.Write(fd, b)
		if err != syscall.EINTR {
			return max(n, 0), err
		}
	}
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

// signal makes the near end of a wake-up pair readable.
func signal(far int) { _, _ = write(far, wakeUp) }

// hungUp need not know: nbio does not close here at a FIN.
func hungUp(int) bool { return false }

// unsent is unknown here: 1 is never less than before.
func unsent(int) int32 { return 1 }

// flows is unknown here.
func flows(int, time.Duration) bool { return false }

// stuck is unknown here.
func stuck(int, time.Duration) bool { return false }

// vitals are unknown here.
func vitals(int) (heard, rtt time.Duration) { return -1, -1 }
