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

// rebalanceOrder is what a hub is asked to do, rebalanced what it says to that.
type rebalanceOrder struct {
	Percent int
	Over    time.Duration
}

type rebalanced struct {
	Chosen  int
	Status  int // of a refusal, 0 if there is none
	Code    session.Code
	Message string
}

// refusal is that of the hub that was asked.
func (r rebalanced) refusal() *apiError {
	if r.Status == 0 {
		return nil
	}
	e := new(apiError)
	e.status, e.code, e.message = r.Status, r.Code, r.Message
	return e
}

func (o rebalanceOrder) refusal() *apiError {
	switch {
	case o.Percent < 1 || o.Percent > 100:
		return badRequest(session.BadRequest, "percent: want a whole number from 1 to 100")
	case o.Over < 0 || o.Over > maxOver:
		return badRequest(session.BadRequest, fmt.Sprintf("over: want a time from 0s to %dh, as in 60s", int(maxOver.Hours())))
	}
	return nil
}

// addRebalance has another hub's control port order a rebalance of this one.
func (l *looks) addRebalance(begin func(ctx context.Context, percent int, over time.Duration) (chosen int, refusal *apiError)) {
	handle(l, "rebalance", func(ctx context.Context, o rebalanceOrder) (done rebalanced, err error) {
		refusal := o.refusal()
		if refusal == nil {
			done.Chosen, refusal = begin(ctx, o.Percent, o.Over)
		}
		if refusal != nil {
			done.Status, done.Code, done.Message = refusal.status, refusal.code, refusal.message
		}
		return done, nil
	})
}

// rebalance orders one of a hub.
func (l *looks) rebalance(ctx context.Context, node string, o rebalanceOrder) (chosen int, refusal *apiError) {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	replies, of, err := askAll[rebalanced](ctx, l, []string{node}, "rebalance", o)
	switch {
	case err != nil:
		return 0, lookRefusal(err)
	case len(of.Failed) > 0:
		return 0, &apiError{http.StatusServiceUnavailable, session.Unavailable, "that hub says: " + of.Failed[0].Error}
	case len(replies) == 0:
		return 0, &apiError{http.StatusServiceUnavailable, session.Unavailable, "no answer from a hub by that name; if it lives it may do it yet"}
	}
	return replies[0].answer.Chosen, replies[0].answer.refusal()
}

// rebalanceAPI is POST /api/rebalance: {"percent","over"} in, and "node" if another hub than this one is meant. {"clients"} out once they
// are chosen: how many connections of the hub will be sent to others.
type rebalanceAPI struct {
	begin func(ctx context.Context, percent int, over time.Duration) (chosen int, refusal *apiError)
	looks *looks // nil where no other hub can be asked
}

func (a rebalanceAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Percent int    `json:"percent"`
		Over    string `json:"over"`
		Node    string `json:"node"`
	}
	var out struct {
		Clients int `json:"clients"`
	}
	answerTarget(w, r, &in, &out, `{"percent":20,"over":"60s"}`, func(ctx context.Context) (refusal *apiError) {
		over, err := time.ParseDuration(in.Over)
		if err != nil {
			over = -1
		}
		order := rebalanceOrder{in.Percent, over}
		if refusal = order.refusal(); refusal != nil {
			return refusal
		}
		if in.Node != "" && a.looks != nil && in.Node != a.looks.node {
			out.Clients, refusal = a.looks.rebalance(ctx, in.Node, order)
			return refusal
		}
		out.Clients, refusal = a.begin(ctx, in.Percent, over)
		return refusal
	})
}
