package engine

import (
	"sync/atomic"
	"time"

	"github.com/lesismal/nbio/logging"
	"github.com/rs/zerolog"
)

// nbio has one logger for the process, which writes to standard output unless another is set, and reads it without a lock:
// ours is set before anything runs, and what it writes to may change.
func init() { logging.SetLogger(&nbioLog) }

var nbioLog nbLog

// nbLog brings nbio's own words into the log of the server that was made last, at most ten in ten seconds: a peer can cause
// some of them.
type nbLog struct {
	to atomic.Pointer[zerolog.Logger]
}

// use makes log, which names no part yet, the one that nbio's words go to.
func (n *nbLog) use(log zerolog.Logger) {
	log = log.With().Str("part", "nbio").Logger().Sample(&zerolog.BurstSampler{Burst: 10, Period: 10 * time.Second})
	n.to.Store(&log)
}

func (n *nbLog) write(level zerolog.Level, format string, v []any) {
	if log := n.to.Load(); log != nil {
		log.WithLevel(level).Msgf(format, v...)
	}
}

func (n *nbLog) Debug(format string, v ...any) { n.write(zerolog.TraceLevel, format, v) }
func (n *nbLog) Info(format string, v ...any)  { n.write(zerolog.DebugLevel, format, v) }
func (n *nbLog) Warn(format string, v ...any)  { n.write(zerolog.WarnLevel, format, v) }
func (n *nbLog) Error(format string, v ...any) { n.write(zerolog.ErrorLevel, format, v) }
