package engine

import (
	"syscall"
	"unsafe"
)

// write sends b on a socket without blocking. The scheduler is not told of the call, since it never sleeps and lasts
// some 10 µs: told of it, the runtime's monitor would take the processor away from a loop in the middle of a
// fan-out, and a tenth of the hub's time went into that. send(2) does the work of write(2) with less ado, and
// MSG_DONTWAIT keeps the promise not to sleep whatever the descriptor's flags are.
func write(fd int, b []byte) (int, error) {
	for {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_SENDTO, uintptr(fd),
			uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), syscall.MSG_NOSIGNAL|syscall.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			return int(n), nil
		case syscall.EINTR:
		default:
			return 0, errno
		}
	}
}
