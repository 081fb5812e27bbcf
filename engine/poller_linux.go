package engine

import (
	"errors"
	"reflect"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/lesismal/nbio"
)

// Where an nbio.Conn has its descriptor and its type. There is no call that sets them.
var (
	fdField, fdKnown     = field[int]("fd")
	typeField, typeKnown = field[nbio.ConnType]("typ")
)

func field[T any](name string) (offset uintptr, ok bool) {
	f, ok := reflect.TypeFor[nbio.Conn]().FieldByName(name)
	return f.Offset, ok && f.Type == reflect.TypeFor[T]()
}

// canAdopt is nil if adopt works with this version of nbio.
func canAdopt() error {
	if !fdKnown || !typeKnown {
		return errors.New("this version of nbio has a connection's descriptor elsewhere")
	}
	return nil
}

// adopt makes what nbio.NBConn would make of the connection fd, but for its addresses.
func adopt(fd int) socket { return socket{adoptAs(fd, nbio.ConnTypeTCP)} }

func adoptAs(fd int, typ nbio.ConnType) *nbio.Conn {
	nb := new(nbio.Conn)
	*(*int)(unsafe.Add(unsafe.Pointer(nb), fdField)) = fd
	*(*nbio.ConnType)(unsafe.Add(unsafe.Pointer(nb), typeField)) = typ
	return nb
}

// wakeUpPair is one eventfd(2) twice: it takes no buffer of the kernel, so it costs less than a pair of sockets, and it
// adds up what was not read yet. To nbio it is a Unix socket.
func wakeUpPair() (near *nbio.Conn, far int, err error) {
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return nil, -1, err
	}
	far, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		_ = unix.Close(fd)
		return nil, -1, err
	}
	return adoptAs(fd, nbio.ConnTypeUnix), far, nil
}

// signal makes the near end of a wake-up pair readable. The scheduler is not told, as in write.
func signal(far int) {
	_, _, _ = syscall.RawSyscall(syscall.SYS_WRITE, uintptr(far), uintptr(unsafe.Pointer(unsafe.SliceData(wakeUp))), uintptr(len(wakeUp)))
}

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

// hungUp reports whether the peer's FIN has come, be it behind bytes that are not read yet.
func hungUp(fd int) bool {
	p := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	n, err := unix.Poll(p[:], 0)
	return err == nil && n > 0
}

// unsent is how many bytes the kernel holds that the peer's has not acknowledged.
func unsent(fd int) int32 {
	n, err := unix.IoctlGetUint32(fd, unix.TIOCOUTQ) // by tcp(7) SIOCOUTQ, which is the same
	if err != nil {
		return 0
	}
	return int32(n)
}

// flows reports whether, within the time d, data went to the peer and an acknowledgement came back, and there is more to
// go. A peer that is gone acknowledges nothing; to one that reads nothing only empty probes are sent.
func flows(fd int, d time.Duration) bool {
	if unsent(fd) == 0 {
		return false
	}
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	recent := uint32(d.Milliseconds())
	return err == nil && info.Last_data_sent < recent && info.Last_ack_recv < recent
}

// stuck reports whether fd has unacknowledged bytes, of which none got on within the time d.
func stuck(fd int, d time.Duration) bool { return unsent(fd) > 0 && !flows(fd, d) }

// vitals is how long ago fd got bytes, and its round trip; below 0 where that is unknown.
func vitals(fd int) (heard, rtt time.Duration) {
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return -1, -1
	}
	return time.Duration(info.Last_data_recv) * time.Millisecond, time.Duration(info.Rtt) * time.Microsecond
}
