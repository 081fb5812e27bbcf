package pubsub

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/redis/go-redis/v9"
)

// refusal is why the server stores nothing now, or does not let us do something else that is needed, for all that is
// known. Any goroutine may use it.
type refusal struct{ why atomic.Pointer[string] }

// cantWrite reports whether err says that the server takes no writes, whoever asks: it is out of memory, a replica,
// can't save, or has too few replicas.
func cantWrite(err error) bool {
	var answer redis.Error
	if !errors.As(err, &answer) {
		return false
	}
	text := strings.TrimPrefix(answer.Error(), "ERR ")
	for _, prefix := range []string{"OOM ", "READONLY ", "MISCONF ", "NOREPLICAS "} {
		if strings.HasPrefix(text, prefix) {
			return true
		}
	}
	return false
}

// published takes the error of a publication.
func (f *refusal) published(err error) {
	if cantWrite(err) {
		f.set(err)
	}
}

// tried takes the result of probe.lua. keeps reports whether anything is stored for topics: else being out of memory
// harms no publication without a key.
func (f *refusal) tried(err error, keeps bool) {
	switch {
	case err == nil:
		f.why.Store(nil)
	case keeps && cantWrite(err), redis.IsReadOnlyError(err), isPermission(err):
		f.set(err)
	}
}

func (f *refusal) set(err error) {
	text := err.Error()
	f.why.Store(&text)
}

// err is nil while the server at addr takes writes, for all that is known.
func (f *refusal) err(addr string) error {
	if why := f.why.Load(); why != nil {
		return fmt.Errorf("%w by redis %s: %s", ErrRefused, addr, *why)
	}
	return nil
}
