package main

import (
	"io"
	"os"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/rs/zerolog"
)

// newLogger writes lines of at least c's level to w, without c's secrets. console reports whether they are
// for a person to read.
func newLogger(c *config, w io.Writer) (log zerolog.Logger, console bool) {
	terminal := isTerminal(w)
	console = c.LogFormat == "console" || c.LogFormat == "auto" && terminal
	w = c.clean.writer(w)
	if console {
		w = zerolog.ConsoleWriter{Out: w, NoColor: !terminal, TimeFormat: time.TimeOnly}
	}
	level, _ := zerolog.ParseLevel(c.LogLevel) // the flag's enum lets in only what it knows
	return zerolog.New(w).Level(level).With().Timestamp().Logger(), console
}

func isTerminal(w io.Writer) bool {
	if q, ok := w.(*logQueue); ok {
		w = q.to
	}
	f, ok := w.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}

// sampled lets through few of the lines that somebody else can cause.
func sampled(log zerolog.Logger) zerolog.Logger {
	return log.Sample(&zerolog.BurstSampler{Burst: 10, Period: 10 * time.Second})
}
