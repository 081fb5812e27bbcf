package pubsub

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"time"
)

type dialer func(ctx context.Context, network, addr string) (net.Conn, error)

// dialWith dials servers, over TLS unless cfg is nil. A server must have a certificate for the host that was dialed.
func dialWith(cfg *tls.Config) dialer {
	return dialThrough(cfg, func(conn net.Conn) net.Conn { return conn })
}

// dialThrough is dialWith for connections that read and write, with TLS or without, what under makes of their socket.
func dialThrough(cfg *tls.Config, under func(net.Conn) net.Conn) dialer {
	plain := &net.Dialer{Timeout: ioTimeout, KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: 30 * time.Second, Interval: 5 * time.Second, Count: 3, // a dead peer is noticed in 45 s
	}}
	if cfg == nil {
		return func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := plain.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return failingConn{under(conn)}, nil
		}
	}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, ioTimeout)
		defer cancel()
		conn, err := plain.DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		of := cfg.Clone()
		of.ServerName, _, _ = net.SplitHostPort(addr)
		secured := tls.Client(under(conn), of)
		if err := secured.HandshakeContext(ctx); err != nil {
			_ = conn.Close()
			return nil, fmt.Errorf("TLS handshake: %w", err)
		}
		return failingConn{tlsConn{secured}}, nil
	}
}

// failingConn closes itself when it can't be read: nothing that uses it can go on then, and go-redis forgets to close
// a connection on which its own HELLO is not answered.
type failingConn struct{ net.Conn }

func (c failingConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil {
		_ = c.Conn.Close()
	}
	return n, err
}

// SyscallConn implements syscall.Conn.
func (c failingConn) SyscallConn() (syscall.RawConn, error) {
	return c.Conn.(syscall.Conn).SyscallConn()
}

// tlsConn lets go-redis see that the server closed the connection while it was idle: before each use it peeks into the
// socket of a connection that is a syscall.Conn, and drops one with an end or anything else to read. Session tickets
// would be that, too, but greet has read them: they come before the first answer. In RESP3 go-redis would read
// what it sees, and wait for ever for more than a TLS alert.
type tlsConn struct{ *tls.Conn }

// SyscallConn implements syscall.Conn. Bytes read from it are encrypted.
func (c tlsConn) SyscallConn() (syscall.RawConn, error) {
	return c.NetConn().(syscall.Conn).SyscallConn()
}

// answered makes of dial a dialer whose connections the server has answered on. A server that has too many
// accepts a connection and closes it, and what was written on it meanwhile would look as if it might have been
// executed. Its errors say that nothing was.
func answered(dial dialer) dialer {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, &unsent{err}
		}
		if err := greet(ctx, conn); err != nil {
			_ = conn.Close()
			return nil, &unsent{fmt.Errorf("redis did not take the connection: %w", err)}
		}
		return conn, nil
	}
}

// greet sends a PING and reads the answer, byte by byte: what follows belongs to others.
func greet(ctx context.Context, conn net.Conn) error {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	_ = conn.SetDeadline(time.Now().Add(ioTimeout))
	// Where this fails, the server may have said why: that it has too many clients, or misses a certificate.
	_, failed := conn.Write([]byte("*1\r\n$4\r\nPING\r\n"))
	var line []byte
	for b := make([]byte, 1); b[0] != '\n'; line = append(line, b...) {
		if len(line) > 512 {
			return errors.New("it does not speak as redis does")
		}
		if _, err := conn.Read(b); err != nil {
			return err
		}
	}
	// Another fault, a missing password say, shows again when it matters.
	for _, refusal := range []string{"-ERR max number of clients", "-DENIED"} {
		if strings.HasPrefix(string(line), refusal) {
			return errors.New(strings.TrimSpace(string(line[1:])))
		}
	}
	if !stop() {
		return ctx.Err()
	}
	if failed != nil {
		return failed
	}
	return conn.SetDeadline(time.Time{})
}
