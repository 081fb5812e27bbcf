package session

import (
	"errors"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"wshub/engine"
	"wshub/pubsub"
)

// unheard is a client for benchmarks: what comes for it waits in its socket until the benchmark takes it.
// No goroutine reads and no poller is told, so all that is measured is the hub's.
type unheard struct {
	t  testing.TB
	fd int
}

// unheard connects a client that speaks protocol.
func (n *node) unheard(protocol string) unheard {
	n.t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = syscall.Close(fd) })
	addr := netip.MustParseAddrPort(n.server.Addr().String())
	if err := syscall.Connect(fd, &syscall.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}); err != nil {
		n.t.Fatal(err)
	}
	head := "GET /notification HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: " + protocol + "\r\n\r\n"
	answer := make([]byte, 1024)
	_, err = syscall.Write(fd, []byte(head))
	if err == nil {
		_, err = syscall.Read(fd, answer)
	}
	if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 101 ") {
		n.t.Fatalf("%.40q, %v", answer, err)
	}
	if err := syscall.SetNonblock(fd, true); err != nil {
		n.t.Fatal(err)
	}
	return unheard{n.t, fd}
}

// drain throws away what has come, and returns how many bytes it was.
func (u unheard) drain() (bytes int) {
	for buf := make([]byte, 64<<10); ; {
		switch got, err := syscall.Read(u.fd, buf); {
		case errors.Is(err, syscall.EAGAIN):
			return bytes
		case err != nil || got == 0:
			u.t.Error("the hub has closed a connection: ", err)
			return bytes
		default:
			bytes += got
		}
	}
}

// oneLoop is a node whose loop runs what the test or benchmark gives it.
func oneLoop(tb testing.TB) *node {
	return start(tb, Config{MessageRate: -1}, engine.Config{Pollers: 1}, pubsub.NewMemory(pubsub.MemoryConfig{}))
}

// onLoop runs f on the first loop and returns when it has run.
func (n *node) onLoop(f func()) {
	n.t.Helper()
	done := make(chan struct{})
	n.server.Loops()[0].Post(func() { defer close(done); f() })
	<-done
}
