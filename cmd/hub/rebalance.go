package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/rs/zerolog"

	"wshub/session"
)

// maxOver bounds how long a rebalance takes, as --drain-window is.
const maxOver = 24 * time.Hour

// rebalancer sends a part of this hub's clients to other hubs, when an operator asks for it.
type rebalancer struct {
	// Fixed at birth.
	hub interface {
		Rebalance(ctx context.Context, percent int, d session.Departure) (*session.Rebalance, error)
	}
	draining  func() bool
	elsewhere *elsewhere
	log       zerolog.Logger

	begun chan *session.Rebalance // to Run
}

// begin chooses the clients; Run sees to the rest.
func (b *rebalancer) begin(ctx context.Context, percent int, over time.Duration) (chosen int, refusal *apiError) {
	if b.draining() {
		return 0, errNoRebalance(session.ErrDraining)
	}
	if err := b.elsewhere.look(ctx); err != nil {
		return 0, brokerError(err)
	}
	if !b.elsewhere.Ready() {
		return 0, &apiError{http.StatusConflict, "no_other_hub", "no other hub of this deployment is ready to take clients; nothing was done"}
	}
	r, err := b.hub.Rebalance(ctx, percent, session.Departure{Window: over, Elsewhere: b.elsewhere.Ready})
	if err != nil {
		return 0, errNoRebalance(err)
	}
	b.log.Info().Int("percent", percent).Int64("over_ms", over.Milliseconds()).Int("clients", r.Chosen).Msg("rebalancing")
	select {
	case b.begun <- r:
	case <-ctx.Done(): // an earlier one is being told of; this one goes on by the last look
	}
	return r.Chosen, nil
}

func errNoRebalance(err error) *apiError {
	switch {
	case errors.Is(err, session.ErrDraining):
		return &apiError{http.StatusConflict, "draining", "this hub drains: all its clients are sent away"}
	case errors.Is(err, session.ErrRebalancing):
		return &apiError{http.StatusConflict, "rebalancing", "a rebalance of this hub is under way: wait for its end"}
	}
	return brokerError(err)
}

// Run looks, while a rebalance is under way, whether other hubs take clients, and logs its end.
func (b *rebalancer) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case r := <-b.begun:
			_ = around(ctx, b.elsewhere.watch, func(ctx context.Context) error {
				if away, err := r.Wait(ctx); err == nil {
					b.log.Info().Int("sent_away", away).Int("clients", r.Chosen).Msg("the rebalance has ended")
				}
				return nil
			})
		}
	}
}

// rebalanceAPI is POST /api/rebalance: {"percent","over"} in, {"clients"} out once they are chosen: how many connections of this
// hub will be sent to others.
type rebalanceAPI struct {
	begin func(ctx context.Context, percent int, over time.Duration) (chosen int, refusal *apiError)
}

func (a rebalanceAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Percent int    `json:"percent"`
		Over    string `json:"over"`
	}
	var out struct {
		Clients int `json:"clients"`
	}
	answerTarget(w, r, &in, &out, `{"percent":20,"over":"60s"}`, func(ctx context.Context) (refusal *apiError) {
		over, err := time.ParseDuration(in.Over)
		switch {
		case in.Percent < 1 || in.Percent > 100:
			return badRequest(session.BadRequest, "percent: want a whole number from 1 to 100")
		case err != nil || over < 0 || over > maxOver:
			return badRequest(session.BadRequest, fmt.Sprintf("over: want a time from 0s to %dh, as in 60s", int(maxOver.Hours())))
		}
		out.Clients, refusal = a.begin(ctx, in.Percent, over)
		return refusal
	})
}
