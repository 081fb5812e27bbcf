//go:build !linux

package fleet

import (
	"context"
	"errors"
)

// ErrNeedsLinux is what every Local answers here.
var ErrNeedsLinux = errors.New("hubbench holds its connections with Linux's epoll: run the load on Linux (reports can be read anywhere)")

type state uint8

// Local is a fleet in this process; not on this system.
type Local struct{}

// NewLocal returns ErrNeedsLinux.
func NewLocal(Config) (*Local, error) { return nil, ErrNeedsLinux }

// Do returns ErrNeedsLinux.
func (*Local) Do(context.Context, Order) (Report, error) { return Report{}, ErrNeedsLinux }

// Close has nothing to do.
func (*Local) Close() error { return nil }
