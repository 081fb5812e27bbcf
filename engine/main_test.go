package engine_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"wshub/pubsub/redistest/drills"
)

func TestMain(m *testing.M) {
	if play := roles[os.Getenv(roleVariable)]; play != nil {
		play()
		return
	}
	drills.Parallel(24, 8) // those that are parallel mostly wait
	goleak.VerifyTestMain(m)
}
