package engine

import (
	"errors"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// acceptor takes connections from a listener as bare descriptors. By way of a net.Conn each would be registered with
// Go's own poller and taken out again, duplicated for the poller, closed and asked for its addresses: eight system calls
// and 176 bytes that stay, and nobody here wants any of it.
type acceptor struct {
	listener   *os.File
	raw        syscall.RawConn
	onReadable func(fd uintptr) bool
	fd         int
	err        error
}

// newAcceptor takes listener's place.
func newAcceptor(listener *net.TCPListener) (*acceptor, error) {
	if err := canAdopt(); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	file, err := listener.File() // another descriptor; a net.Listener's own may not be read from
	if err = errors.Join(err, listener.Close()); err != nil {
		return nil, err
	}
	raw, err := file.SyscallConn()
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	a := &acceptor{listener: file, raw: raw}
	a.onReadable = a.accept
	return a, nil
}

func (a *acceptor) close() { _ = a.listener.Close() }

// next waits for a connection. An error is a shortage of something, or the end, after close.
func (a *acceptor) next() (socket, error) {
	if err := a.raw.Read(a.onReadable); err != nil {
		return socket{}, err
	}
	if a.err != nil {
		return socket{}, a.err
	}
	return adopt(a.fd), nil
}

// accept is false if there is none to be taken.
func (a *acceptor) accept(listener uintptr) bool {
	for {
		fd, _, errno := syscall.RawSyscall6(unix.SYS_ACCEPT4, listener, 0, 0, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
		switch errno {
		case 0:
			a.fd, a.err = int(fd), nil
			return true
		case unix.EINTR, unix.ECONNABORTED:
		case unix.EAGAIN:
			return false
		default:
			a.err = os.NewSyscallError("accept4", errno)
			return true
		}
	}
}
