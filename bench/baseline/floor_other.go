//go:build !linux

package baseline

import (
	"context"
	"errors"
)

// Floor needs Linux.
func Floor(context.Context, Config) error {
	return errors.New("the floor stands on Linux's epoll: run it on Linux")
}
