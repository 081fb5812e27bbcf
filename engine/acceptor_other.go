//go:build !linux

package engine

import (
	"net"
	"syscall"

	"github.com/lesismal/nbio"
)

// acceptor takes connections from a listener.
type acceptor struct{ listener *net.TCPListener }

func newAcceptor(listener *net.TCPListener) (*acceptor, error) { return &acceptor{listener}, nil }

func (a *acceptor) close() { _ = a.listener.Close() }

// next waits for a connection. An error is a shortage of something, or the end, after close.
func (a *acceptor) next() (*nbio.Conn, error) {
	conn, err := a.listener.AcceptTCP()
	if err != nil {
		return nil, err
	}
	nb, err := nbio.NBConn(conn)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	syscall.CloseOnExec(nb.Hash()) // a child process that held it would keep its events coming after our close
	return nb, nil
}
