package engine

import (
	"time"

	"github.com/lesismal/nbio/logging"
	"github.com/rs/zerolog"
)

// nbLog brings nbio's own words into our log, at most ten in ten seconds: a peer can cause some of them.
type nbLog struct{ log zerolog.Logger }

// quietNbio replaces nbio's logger, which is one for the process and writes to standard output. log names no part
// yet.
func quietNbio(log zerolog.Logger) {
	logging.SetLogger(nbLog{log.With().Str("part", "nbio").Logger().
		Sample(&zerolog.BurstSampler{Burst: 10, Period: 10 * time.Second})})
}

func (n nbLog) Debug(format string, v ...any) { n.log.Trace().Msgf(format, v...) }
func (n nbLog) Info(format string, v ...any)  { n.log.Debug().Msgf(format, v...) }
func (n nbLog) Warn(format string, v ...any)  { n.log.Warn().Msgf(format, v...) }
func (n nbLog) Error(format string, v ...any) { n.log.Error().Msgf(format, v...) }
