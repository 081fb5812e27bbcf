package pubsub

import (
	"testing"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"wshub/pubsub/redistest"
	"wshub/pubsub/redistest/drills"
)

func TestMain(m *testing.M) {
	drills.Parallel(24, 6) // they mostly wait
	drills.Checks(10, 25)
	LogClient(zerolog.Nop())
	// While its server is away, a pool of go-redis looks for it in a goroutine that sees the pool's Close up to
	// a second later.
	goleak.VerifyTestMain(redistest.Sharing(m), goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}
