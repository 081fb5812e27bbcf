package main

import (
	"container/list"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"syscall"
)

// leastCallers and mostCallers bound the connections to the control port: a sixteenth of the open files, as these, the
// engine's overflow and the pool for Redis share what the engine leaves to others.
const leastCallers, mostCallers = 16, 128

func maxCallers() int {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		return leastCallers
	}
	return int(min(max(files.Cur/16, leastCallers), mostCallers))
}

// callers is the control port's listener. At most so many connections are open that the files of the public port stay
// its own: for one more, the one goes that was quiet for longest. A connection is quiet while none of its requests is being
// answered: before the head of one is whole, too. If none is quiet, the new one is closed.
type callers struct {
	net.Listener
	most int

	mu      sync.Mutex
	open    int
	quiet   list.List // of *caller, the longest quiet first
	dropped map[string]uint64
}

func newCallers(ln net.Listener, most int) *callers {
	return &callers{Listener: ln, most: most, dropped: make(map[string]uint64)}
}

// caller is one connection to the control port.
type caller struct {
	net.Conn
	of *callers

	// Guarded by of.mu.
	gone  bool
	place *list.Element // in of.quiet; nil: a request of it is being answered
}

// Accept implements net.Listener.
func (l *callers) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c, leaves := l.admit(conn)
		if leaves != nil {
			_ = leaves.Close()
		}
		if c != nil {
			return c, nil
		}
	}
}

// admit returns conn as a caller, or nil, and whoever has to leave.
func (l *callers) admit(conn net.Conn) (*caller, net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var leaves net.Conn
	if l.open >= l.most {
		oldest := l.quiet.Front()
		if oldest == nil {
			l.dropped["busy"]++
			return nil, conn
		}
		l.dropped["idle"]++
		l.forget(oldest.Value.(*caller))
		leaves = oldest.Value.(*caller).Conn
	}
	c := &caller{Conn: conn, of: l}
	l.open++
	c.place = l.quiet.PushBack(c)
	return c, leaves
}

// forget counts c as gone. Under mu.
func (l *callers) forget(c *caller) {
	if c.gone {
		return
	}
	c.gone = true
	l.open--
	l.answering(c)
}

// answering takes c out of the quiet ones. Under mu.
func (l *callers) answering(c *caller) {
	if c.place != nil {
		l.quiet.Remove(c.place)
		c.place = nil
	}
}

// Close implements net.Conn.
func (c *caller) Close() error {
	c.of.mu.Lock()
	c.of.forget(c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}

// callerKey is the key of the caller in a request's context.
type callerKey struct{}

// connContext is for http.Server.ConnContext.
func (l *callers) connContext(ctx context.Context, conn net.Conn) context.Context {
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	return context.WithValue(ctx, callerKey{}, conn)
}

// count marks the connections whose requests next answers.
func (l *callers) count(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := r.Context().Value(callerKey{}).(*caller)
		l.mu.Lock()
		l.answering(c)
		l.mu.Unlock()
		defer func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			if !c.gone {
				c.place = l.quiet.PushBack(c)
			}
		}()
		next.ServeHTTP(w, r)
	})
}

// boundWrites bounds how much the kernel holds of what is on its way to the caller of r, to about so many bytes: it takes some MB by
// itself before a write waits.
func boundWrites(r *http.Request, bytes int) {
	if c, ok := r.Context().Value(callerKey{}).(*caller); ok {
		if conn, ok := c.Conn.(*net.TCPConn); ok {
			_ = conn.SetWriteBuffer(bytes)
		}
	}
}

// Dropped counts the connections that were closed for lack of room: "idle" ones, and new ones while all were "busy".
func (l *callers) Dropped() map[string]uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return map[string]uint64{"idle": l.dropped["idle"], "busy": l.dropped["busy"]}
}
