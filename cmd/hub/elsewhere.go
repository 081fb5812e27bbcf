package main

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
)

const (
	// elsewhereEvery is how often a hub that sends clients away looks whether another one takes them.
	elsewhereEvery = time.Second
	// elsewhereTime bounds one look.
	elsewhereTime = time.Second
)

// elsewhere knows whether another hub of the deployment takes clients, as of the last look.
type elsewhere struct {
	// Fixed at birth.
	others func(context.Context) (ready []string, err error)
	log    zerolog.Logger

	ready atomic.Bool
}

// Ready tells whether another hub takes clients. It never blocks.
func (e *elsewhere) Ready() bool { return e.ready.Load() }

// look asks for the other hubs. That they can't be known counts as if there were none.
func (e *elsewhere) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, elsewhereTime)
	defer cancel()
	others, err := e.others(ctx)
	e.ready.Store(err == nil && len(others) > 0)
	return err
}

// watch looks every second until ctx ends.
func (e *elsewhere) watch(ctx context.Context) error {
	tick := time.NewTicker(elsewhereEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := e.look(ctx); err != nil && ctx.Err() == nil {
			e.log.Warn().Err(err).Msg("it is not known whether other hubs take clients")
		}
	}
}
