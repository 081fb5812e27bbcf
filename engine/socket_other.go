//go:build !linux

package engine

import (
	"syscall"
	"time"
)

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
