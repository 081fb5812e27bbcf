package engine_test

import (
	"flag"
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if play := roles[os.Getenv(roleVariable)]; play != nil {
		play()
		return
	}
	flag.Parse()
	_ = flag.Set("test.parallel", "8") // those that are parallel mostly wait
	goleak.VerifyTestMain(m)
}
