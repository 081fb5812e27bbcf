package bench

import (
	"context"
	"errors"
	"slices"
	"time"
)

// soakScenario: a load for long.
type soakScenario struct {
	Common  `embed:"" json:"common"`
	Load    `kong:"embed,set='rate=20',set='duration=1h'" json:"load"`
	Clients int `help:"Followers of one topic." default:"1000" json:"clients"`
}

func (s *soakScenario) common() *Common { return &s.Common }

func (s *soakScenario) validate() error {
	return errors.Join(validateClients(s.Clients), s.Load.validate(&s.Common, false))
}

func (s *soakScenario) measure(ctx context.Context, run *Run, p progress) error {
	err := measureLoad(ctx, &s.Common, &s.Load, s.broadcastTopology(), s.Clients, run, p)
	drift := driftOf(run.Series)
	run.Drift = &drift
	return err
}

// driftOf compares the first and the last quarter of the time in which events came.
func driftOf(series []Point) Drift {
	series = slices.DeleteFunc(slices.Clone(series), func(p Point) bool { return p.Latency.Count == 0 })
	quarter := len(series) / 4
	if quarter == 0 {
		return Drift{}
	}
	rss := func(p Point) float64 { return float64(p.RSS) }
	p99 := func(p Point) float64 { return p.Latency.P99 }
	hours := func(p Point) float64 { return p.T / time.Hour.Seconds() }
	first, last := series[:quarter], series[len(series)-quarter:]
	return Drift{
		RSSFirst: int64(medianOf(first, rss)), RSSLast: int64(medianOf(last, rss)),
		P99First: medianOf(first, p99), P99Last: medianOf(last, p99),
		RSSHour: slope(column(series, hours), column(series, rss)),
	}
}
