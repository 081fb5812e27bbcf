package pubsub

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

type dialer func(ctx context.Context, network, addr string) (net.Conn, error)

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
	if _, err := conn.Write([]byte("*1\r\n$4\r\nPING\r\n")); err != nil {
		return err
	}
	var line []byte
	for b := make([]byte, 1); b[0] != '\n'; line = append(line, b...) {
		if len(line) > 512 {
			return errors.New("it does not speak as redis does")
		}
		if _, err := conn.Read(b); err != nil {
			return err
		}
	}
	// What else is wrong, a missing password say, shows again when it matters.
	for _, refusal := range []string{"-ERR max number of clients", "-DENIED"} {
		if strings.HasPrefix(string(line), refusal) {
			return errors.New(strings.TrimSpace(string(line[1:])))
		}
	}
	if !stop() {
		return ctx.Err()
	}
	return conn.SetDeadline(time.Time{})
}
