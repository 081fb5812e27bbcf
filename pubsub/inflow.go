package pubsub

import (
	"bufio"
	"net"
	"time"
)

// inflow is a feed's socket, below TLS if there is any: a record of TLS is as small as its sender likes, so only here it
// is known that nothing more has come. One goroutine may read it.
type inflow struct {
	net.Conn
	drained func() // called before a read that may wait for the server; nil until all is set up
	gather  gathering
	// between is true while a message is awaited of which nothing has come. The rest of a message does not gather.
	between bool
	// full is true if the last read had no room for all that had come. The rest has gathered already.
	full bool
}

// Read implements net.Conn. All that came before has been heard by then.
func (f *inflow) Read(b []byte) (int, error) {
	if f.drained != nil {
		f.drained()
	}
	if f.gather.pause > 0 && f.between && !f.full {
		if wait := f.gather.wait(time.Now()); wait > 0 {
			time.Sleep(wait)
		}
	}
	n, err := f.Conn.Read(b)
	f.between, f.full = false, n == len(b)
	return n, err
}

// under is the socket as the feed, or where it is secured, TLS reads it.
func (f *inflow) under(secured bool) func(net.Conn) net.Conn {
	return func(socket net.Conn) net.Conn {
		f.Conn = socket
		if secured {
			return newBufferedConn(f)
		}
		return f
	}
}

// bufferedConn is a connection whose reads, of a few bytes each, share those of another one.
type bufferedConn struct {
	net.Conn
	in *bufio.Reader
}

func newBufferedConn(conn net.Conn) bufferedConn {
	return bufferedConn{conn, bufio.NewReaderSize(conn, feedBuffer)}
}

// Read implements net.Conn.
func (c bufferedConn) Read(b []byte) (int, error) { return c.in.Read(b) }
