package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/rs/zerolog"
)

// signals are what others want of the process.
type signals struct {
	come    <-chan os.Signal // wishes to stop, in order
	release func()           // after it a further wish kills the process
	reload  <-chan os.Signal // wishes to read keys and secrets again; a closed terminal sends one, too
	idle    <-chan os.Signal // would kill the process by default, and are no wish to stop
}

// notify begins to receive signals; stop ends it. From then on a log whose reader is gone, or that may not grow any
// more, gives an error, where by default it kills the process.
func notify() (s signals, stop func()) {
	come, reload, idle := make(chan os.Signal, 2), make(chan os.Signal, 1), make(chan os.Signal, 1)
	signal.Ignore(syscall.SIGPIPE, syscall.SIGXFSZ)
	signal.Notify(come, os.Interrupt, syscall.SIGTERM)
	signal.Notify(reload, syscall.SIGHUP)
	signal.Notify(idle, syscall.SIGUSR1, syscall.SIGUSR2) // "open your log again"
	release := func() { signal.Stop(come) }
	return signals{come, release, reload, idle}, func() {
		release()
		signal.Stop(reload)
		signal.Stop(idle)
	}
}

// ignore logs the signals that the hub lives on after.
func (s signals) ignore(log zerolog.Logger) runner {
	log = sampled(log)
	return func(ctx context.Context) error {
		for {
			select {
			case sig := <-s.idle:
				log.Warn().Stringer("signal", sig).Msg("this signal changes nothing: SIGHUP reads keys and secrets again, and SIGTERM drains the hub")
			case <-ctx.Done():
				return nil
			}
		}
	}
}
