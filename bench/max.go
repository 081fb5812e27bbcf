package bench

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"wshub/bench/fleet"
)

// keepUp is the share of the offered rate that a server which keeps up delivers.
const keepUp = 0.95

// maxScenario searches the highest rate that the server keeps up with.
type maxScenario struct {
	Common     `embed:"" json:"common"`
	Publishing `embed:"" json:"publishing"`
	Shape      string        `help:"Shape of the load: fanout (one topic), rooms (10 followers a topic) or unicast." enum:"fanout,rooms,unicast" default:"fanout" json:"shape"`
	Clients    int           `help:"Clients." default:"1000" json:"clients"`
	P99        time.Duration `help:"Bound of the 99th percentile: a rate above it does not count." name:"p99" default:"62ms" json:"p99_ns"`
	Start      float64       `help:"First rate, events a second; doubled until it is too much." name:"from" default:"50" json:"from"`
	Most       float64       `help:"Rate at which to stop. 0: none." name:"to" default:"0" json:"to"`
	Least      float64       `help:"Rate below which to give up, where not even the first one was kept up with." default:"0.1" json:"least"`
	Precision  float64       `help:"How near to the limit to go, as a share of the rate. 1: the rates are only doubled." default:"0.05" json:"precision"`
	Tries      int           `help:"Trials that a rate may fail before it is too much: one may have met a busy machine." default:"2" json:"tries"`
	Trial      time.Duration `help:"How long each rate is measured." default:"4s" json:"trial_ns"`
	Warmup     time.Duration `help:"Published before that, checked but not timed." default:"1s" json:"warmup_ns"`
}

func (s *maxScenario) common() *Common { return &s.Common }

func (s *maxScenario) validate() error {
	switch {
	case s.Tries < 1:
		return usagef("--tries=%d: want at least 1", s.Tries)
	case s.P99 <= 0 || s.Trial <= 0 || s.Warmup < 0:
		return usagef("--p99, --trial and --warmup: want more than 0")
	case s.Least <= 0 || s.Least > s.Start:
		return usagef("--least=%g: want more than 0, and no more than --from", s.Least)
	case s.Start <= 0 || s.Most != 0 && s.Most < s.Start:
		return usagef("--from and --to: want 0 < from <= to")
	case s.Precision < 0.005 || s.Precision > 1:
		return usagef("--precision=%g: want 0.005 to 1", s.Precision)
	}
	return errors.Join(validateClients(s.Clients), s.Publishing.validate(&s.Common, s.Shape == "unicast"))
}

func (s *maxScenario) topology() fleet.Topology {
	switch s.Shape {
	case "rooms":
		return fleet.Topology{Topic: "room", Topics: max(1, s.Clients/10)}
	case "unicast":
		return fleet.Topology{Users: true}
	}
	return s.broadcastTopology()
}

func (s *maxScenario) measure(ctx context.Context, run *Run, p progress) error {
	begin := time.Now()
	defer func() { run.Seconds = time.Since(begin).Seconds() }()
	run.Max = &Maximum{Bound: ms(s.P99)}
	search := newSearch(s.Start, s.Least, s.Most, s.Precision)
	for failed := 0; ; {
		rate, ok := search.next()
		if !ok {
			run.Notes = append(run.Notes, search.bounds(s, run.Max.Trials)...)
			return nil
		}
		trial, err := s.try(ctx, rate, len(run.Max.Trials), run, p)
		if err != nil {
			return err
		}
		run.Max.Trials = append(run.Max.Trials, trial)
		p.line(fmt.Sprintf("%s/s: %s deliveries/s, p99 %s ms: %s", si(rate), si(trial.Load.Delivered), short(trial.Load.Latency.P99), trial.verdict()))
		if failed++; !trial.Kept && failed < s.Tries {
			continue
		}
		failed = 0
		if search.record(trial.Kept); trial.Kept && (run.Max.Best == nil || rate > run.Max.Best.Rate) {
			run.Max.Best = &trial
			run.Load = &trial.Load
		}
	}
}

// try measures one rate with clients of its own, so that the backlog of one that was too much burdens no
// other.
func (s *maxScenario) try(ctx context.Context, rate float64, nth int, run *Run, p progress) (Trial, error) {
	trial := Trial{Rate: rate}
	one := &Run{ID: fmt.Sprintf("%st%d", run.ID, nth), Started: time.Now()}
	load := &Load{Publishing: s.Publishing, Rate: rate, Duration: s.Trial, Warmup: s.Warmup}
	err := measureLoad(ctx, &s.Common, load, s.topology(), s.Clients, one, p)
	mergeTrial(run, one)
	if one.Load == nil || ctx.Err() != nil {
		return trial, err
	}
	if errors.Is(err, errUnheard) {
		return trial, err
	}
	trial.Load, trial.Limit = *one.Load, one.Client.Limit
	trial.Why = s.whyNot(one, err)
	if trial.Kept = trial.Why == ""; trial.Kept {
		run.Client = one.Client
	}
	return trial, nil
}

// whyNot says why a rate was too much; it is empty where it was not.
func (s *maxScenario) whyNot(one *Run, err error) string {
	bound := float64(s.P99) / float64(time.Millisecond)
	switch l := one.Load; {
	case err != nil:
		first, _, _ := strings.Cut(err.Error(), "\n")
		return mask(first)
	case one.Counts.Closed > 0:
		return fmt.Sprintf("%d connections closed: %s", one.Counts.Closed, reasons(one.Counts))
	case one.Counts.Lost > 0:
		return fmt.Sprintf("%d deliveries lost", one.Counts.Lost)
	case !l.kept():
		return fmt.Sprintf("%.0f%% of the rate delivered", 100*l.Delivered/l.Wanted)
	case l.Latency.P99 > bound:
		return fmt.Sprintf("p99 over %s ms", short(bound))
	}
	return ""
}

// verdict says how a trial went.
func (t Trial) verdict() string {
	if t.Kept {
		return "kept up"
	}
	return t.Why
}

// kept reports whether the offered rate was kept up with. Two events are given for the edges of the
// measured time, which matter where they are few.
func (l *LoadPart) kept() bool {
	edges := 2.0
	if l.Offered > 0 {
		edges *= l.Wanted / l.Offered
	}
	return l.Delivered*l.Seconds+edges >= keepUp*l.Wanted*l.Seconds
}

// mergeTrial adds one trial's findings to the whole run. A server that closes connections or loses events under too
// much load has shown its limit; anything else is a fault at any rate.
func mergeTrial(run, one *Run) {
	for _, pair := range [][2]*uint64{
		{&run.Counts.Repeated, &one.Counts.Repeated}, {&run.Counts.Reordered, &one.Counts.Reordered},
		{&run.Counts.Foreign, &one.Counts.Foreign}, {&run.Counts.Corrupt, &one.Counts.Corrupt},
		{&run.Counts.Delivered, &one.Counts.Delivered},
	} {
		*pair[0] += *pair[1]
	}
	run.Counts.Examples = append(run.Counts.Examples, one.Counts.Examples...)
	run.Connect = one.Connect
	if run.Server.PIDs == nil {
		run.Server = one.Server
	}
	run.Server.RSSPeak = max(run.Server.RSSPeak, one.Server.RSSPeak)
	run.Server.RSSAfter, run.Server.PSSAfter = one.Server.RSSAfter, one.Server.PSSAfter
	offset := one.Started.Sub(run.Started).Seconds()
	for _, p := range one.Series {
		p.T += offset
		run.Series = append(run.Series, p)
	}
	for _, n := range one.Notes {
		if !slices.Contains(run.Notes, n) {
			run.Notes = append(run.Notes, n)
		}
	}
}

// search doubles a rate until one is too much, and then halves the distance between the highest that was
// not and the lowest that was, by ratio.
type search struct {
	rate, least, most, precision float64
	good, bad                    float64 // 0: none yet
}

func newSearch(from, least, most, precision float64) *search {
	return &search{rate: from, least: least, most: most, precision: precision}
}

// next returns the rate to try; false when the search is over.
func (s *search) next() (float64, bool) {
	switch {
	case s.good > 0 && s.bad > 0:
		return s.rate, s.bad/s.good > 1+s.precision
	case s.good > 0 && s.most > 0 && s.good >= s.most:
		return 0, false
	}
	return s.rate, s.rate >= s.least
}

// bounds says where something else than the server ended the search.
func (s *search) bounds(of *maxScenario, trials []Trial) (notes []string) {
	if s.good > 0 && s.bad == 0 {
		notes = append(notes, fmt.Sprintf("--to=%g ended the search: the server may keep up with more", s.most))
	}
	if s.good == 0 {
		notes = append(notes, fmt.Sprintf("not even %s events/s were kept up with: the search goes no lower", short(s.bad)))
	}
	for _, t := range trials {
		if !t.Kept && t.Limit != "" && t.Rate == s.bad {
			notes = append(notes, fmt.Sprintf("the search ended at %s/s, where %s: the server may do more", si(t.Rate), t.Limit))
			break
		}
	}
	if tries := len(trials); s.good > 0 && of.Trial < time.Second {
		notes = append(notes, fmt.Sprintf("each of the %d trials took only %s: a stall longer than that is not seen (--trial)", tries, of.Trial))
	}
	return notes
}

// record notes whether the rate that next returned was kept up with.
func (s *search) record(kept bool) {
	if kept {
		s.good = s.rate
	} else {
		s.bad = s.rate
	}
	switch {
	case s.good > 0 && s.bad > 0:
		s.rate = math.Sqrt(s.good * s.bad)
	case s.good > 0:
		s.rate *= 2
		if s.most > 0 {
			s.rate = min(s.rate, s.most)
		}
	default:
		s.rate /= 2
	}
}
