//go:build !linux

package engine

import "net"

// acceptor takes connections from a listener.
type acceptor struct{ listener *net.TCPListener }

func newAcceptor(listener *net.TCPListener) (*acceptor, error) { return &acceptor{listener}, nil }

func (a *acceptor) close() { _ = a.listener.Close() }

// next waits for a connection. An error is a shortage of something, or the end, after close.
func (a *acceptor) next() (socket, error) {
	conn, err := a.listener.AcceptTCP()
	if err != nil {
		return socket{}, err
	}
	return adopt(conn)
}
