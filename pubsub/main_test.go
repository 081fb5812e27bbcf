package pubsub

import (
	"flag"
	"testing"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	flag.Parse()
	_ = flag.Set("test.parallel", "6") // those that are parallel mostly wait
	LogClient(zerolog.Nop())
	// While its server is away, a pool of go-redis looks for it in a goroutine that sees the pool's Close up to
	// a second later.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}
