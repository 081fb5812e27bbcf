package bench

import (
	"context"
	"errors"
	"fmt"
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
	run.doubtDrift()
	return err
}

// A drift is of hours. Before that a server still fills its caches and pools.
const (
	shortSoak = 30 * time.Minute
	fewPoints = 40 // ten in a quarter
)

// doubtDrift notes that the drift has little under it.
func (r *Run) doubtDrift() {
	with := len(timed(r.Series))
	switch seconds := r.Seconds; {
	case with < 4:
		r.Notes = append(r.Notes, fmt.Sprintf("%d points with events are too few for a drift: there is none (--duration, --interval)", with))
	case with < fewPoints || seconds < shortSoak.Seconds():
		r.Notes = append(r.Notes, fmt.Sprintf("the drift per hour is drawn out of %.0f s and %d points: a warm-up looks the same (--duration=1h)", seconds, with))
	}
}

// timed are the points in which events were timed.
func timed(series []Point) []Point {
	return slices.DeleteFunc(slices.Clone(series), func(p Point) bool { return p.Latency.Count == 0 })
}

// driftOf compares the first and the last quarter of the time in which events came.
func driftOf(series []Point) Drift {
	series = timed(series)
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
