//go:build !linux

package engine

import (
	"net"
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
