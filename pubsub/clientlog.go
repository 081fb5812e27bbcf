package pubsub

import (
	"context"
	"sync/atomic"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
)

// The client library has one logger for the process, which it reads without a lock: it is set before anything runs, and
// what it writes to may change.
func init() { redis.SetLogger(&theClientLog) }

var theClientLog clientLog

// LogClient sends what the Redis client library logs by itself to log, at debug level: all of it shows in this package's own
// errors too. It holds for the process, until the next call; nothing is logged before the first.
func LogClient(log zerolog.Logger) { theClientLog.to.Store(&log) }

type clientLog struct {
	to atomic.Pointer[zerolog.Logger]
}

// Printf implements the client library's logging interface.
func (l *clientLog) Printf(_ context.Context, format string, v ...any) {
	if log := l.to.Load(); log != nil {
		log.Debug().Msgf(format, v...)
	}
}
