package main

import (
	"context"
	"errors"
	"os"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"wshub/session"
)

// drainExtra is how long, after the window, the last clients may take to leave.
const drainExtra = 5 * time.Second

// drainTime is how long a drain may take.
func (c *config) drainTime() time.Duration { return c.DrainGrace + c.DrainWindow + drainExtra }

// errCut is why the hub ended when a second signal came.
var errCut = errors.New("a second signal came: the clients that were left were cut")

// errDraining is why a draining hub is not ready.
var errDraining = errors.New("draining: going to stop")

// drainer waits for a signal and then empties the hub.
type drainer struct {
	// Fixed at birth.
	hub interface {
		Drain(ctx context.Context, d session.Departure) error
	}
	announce      func() // called when Draining has become true
	elsewhere     *elsewhere
	stopAccepting func()
	awaitClosing  func(context.Context)
	grace, window time.Duration
	signals       signals
	log           zerolog.Logger
	begun         chan struct{} // closed when a drain begins; may be nil

	draining atomic.Bool
}

// Draining reports whether the hub was told to stop.
func (d *drainer) Draining() bool { return d.draining.Load() }

// ready is nil if hub is and no signal has come.
func (d *drainer) ready(hub func() error) error {
	if d.Draining() {
		return errDraining
	}
	return hub()
}

// Run returns when a signal has come and the clients are gone, at a second signal, or when ctx ends.
func (d *drainer) Run(ctx context.Context) error {
	var first os.Signal
	select {
	case sig := <-d.signals.come:
		first = sig
		d.draining.Store(true) // before the log says so
		if d.begun != nil {
			close(d.begun)
		}
		d.log.Info().Stringer("signal", sig).Int64("grace_ms", d.grace.Milliseconds()).Int64("window_ms", d.window.Milliseconds()).
			Msg("draining; a second signal ends at once")
		d.announce()
	case <-ctx.Done():
		return nil
	}
	come := time.Now()
	return around(ctx, func(ctx context.Context) error { return d.awaitSecond(ctx, first, come) }, d.leave)
}

// echoTime is how long the first signal may come once more and still be the same wish: those who signal a
// process and its group, as timeout(1) does, send it twice.
const echoTime = 100 * time.Millisecond

// awaitSecond returns errCut at a second signal. From then on a third one kills the process.
func (d *drainer) awaitSecond(ctx context.Context, first os.Signal, come time.Time) error {
	for {
		select {
		case sig := <-d.signals.come:
			if sig == first && time.Since(come) < echoTime {
				continue
			}
			d.signals.release()
			return errCut
		case <-ctx.Done():
			return nil
		}
	}
}

// leave lets the load balancer notice, closes the door and sends the clients away.
func (d *drainer) leave(ctx context.Context) error {
	grace := time.NewTimer(d.grace)
	defer grace.Stop()
	select {
	case <-grace.C:
	case <-ctx.Done():
		return nil
	}
	d.stopAccepting()
	limited, cancel := context.WithTimeout(ctx, d.window+drainExtra)
	defer cancel()
	if err := d.elsewhere.look(limited); err != nil {
		d.log.Warn().Err(err).Msg("it is not known whether other hubs take clients")
	}
	return around(limited, d.elsewhere.watch, func(context.Context) error {
		if err := d.hub.Drain(limited, session.Departure{Window: d.window, Elsewhere: d.elsewhere.Ready}); err != nil && ctx.Err() == nil {
			d.log.Warn().Err(err).Msg("not all clients left in time; the rest is cut")
		}
		d.awaitClosing(limited) // who was sent away last may not have read it yet
		return nil
	})
}
