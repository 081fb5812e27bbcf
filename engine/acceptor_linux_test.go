package engine

import (
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestAcceptedConnectionsAreAsNbioWantsThemAndBare(t *testing.T) {
	const sendBuffer = 40 << 10 // the kernel makes it double
	ln, err := listen(t.Context(), "127.0.0.1:0", sendBuffer)
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	a, err := newAcceptor(ln)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	sock, err := a.next()
	if err != nil {
		t.Fatal(err)
	}
	nb := sock.nb
	fd := nb.Hash()
	get := func(level, option int) int {
		n, err := unix.GetsockoptInt(fd, level, option)
		if err != nil {
			t.Error(err)
		}
		return n
	}
	status, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil || status&unix.O_NONBLOCK == 0 {
		t.Errorf("not non-blocking: %x, %v", status, err)
	}
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("a child process would have it: %x, %v", flags, err)
	}
	if get(unix.IPPROTO_TCP, unix.TCP_NODELAY) == 0 || get(unix.SOL_SOCKET, unix.SO_SNDBUF) != 2*sendBuffer {
		t.Error("the listener's options are not inherited")
	}
	if !nb.IsTCP() || nb.LocalAddr() != nil || nb.RemoteAddr() != nil {
		t.Errorf("TCP %v, with addresses %v and %v", nb.IsTCP(), nb.LocalAddr(), nb.RemoteAddr())
	}
	if _, err := conn.Write([]byte("hi")); err != nil {
		t.Fatal(err)
	}
	if err := nb.Close(); err != nil {
		t.Error(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := conn.Read(make([]byte, 1)); err == nil || err.(net.Error).Timeout() {
		t.Errorf("it is still open: %v", err)
	}

	ended := make(chan error)
	go func() { _, err := a.next(); ended <- err }()
	a.close()
	if err := <-ended; err == nil {
		t.Error("a closed acceptor accepts")
	}
}
