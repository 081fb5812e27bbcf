package session

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// While its server is away, a pool of go-redis looks for it in a goroutine that sees the pool's Close up to
	// a second later.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}
