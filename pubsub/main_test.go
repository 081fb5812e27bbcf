package pubsub

import (
	"testing"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	LogClient(zerolog.Nop())
	goleak.VerifyTestMain(m)
}
