package session

import (
	"flag"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// patience is how long a test waits for an event that must come.
const patience = 20 * time.Second

func TestMain(m *testing.M) {
	flag.Parse()
	_ = flag.Set("test.parallel", "6") // those that are parallel mostly wait
	// While its server is away, a pool of go-redis looks for it in a goroutine that sees the pool's Close up to
	// a second later.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}
