package bench

import (
	"context"
	"errors"

	"wshub/bench/fleet"
	"wshub/bench/probe"
)

// churnScenario: half of the clients come and go, the other half must not notice.
type churnScenario struct {
	Common  `embed:"" json:"common"`
	Load    `kong:"embed,set='rate=20',set='duration=20s'" json:"load"`
	Clients int     `help:"Clients; the second half of them stays." default:"2000" json:"clients"`
	Churn   float64 `help:"Clients a second that leave and come back." default:"200" json:"churn"`
}

func (s *churnScenario) common() *Common { return &s.Common }

func (s *churnScenario) validate() error {
	if s.Clients < 2 || s.Churn <= 0 {
		return usagef("--clients and --churn: want at least 2, and more than 0")
	}
	if s.Publish == "ws" {
		return usagef("--publish=ws: the client that publishes would be one of those that leave; use redis or http")
	}
	return s.Load.validate(&s.Common, false)
}

func (s *churnScenario) measure(ctx context.Context, run *Run, p progress) (err error) {
	t, err := openTrial(ctx, &s.Common, s.broadcastTopology(), s.Clients, s.Warmup+s.Duration, run, p)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	defer t.finish()
	if err := t.connect(ctx, 0, s.Clients, true); err != nil {
		return err
	}
	t.steady = true
	if err := t.hold(ctx, "settle", s.Settle); err != nil {
		return err
	}
	t.handshake = fleet.NewHist()
	failed := t.run.Counts.Failed
	for _, o := range []fleet.Order{
		{Op: fleet.Return},
		{Op: fleet.Churn, From: 0, To: s.Clients / 2, Rate: s.Churn, At: probe.Now()},
	} {
		if _, err := t.fleet.Do(ctx, o); err != nil {
			return err
		}
	}
	run.Load = &LoadPart{}
	err = t.load(ctx, &s.Load, s.Rate, s.Duration, run.Load)
	run.Churn = &Churned{
		Rate: s.Churn, Handshake: latencyOf(t.handshake), Failed: t.run.Counts.Failed - failed,
		RSSGrowth: driftOf(run.Series).RSSLast - driftOf(run.Series).RSSFirst,
	}
	if points := len(timed(run.Series)); points < fewPoints {
		t.note("the RSS growth is drawn out of %d points: it may be the warm-up of the server (--duration)", points)
	}
	return err
}
