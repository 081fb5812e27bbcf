package bench

import (
	"context"
	"errors"
	"os"
	"time"

	"wshub/bench/fleet"
)

// idleScenario: connections that only are.
type idleScenario struct {
	Common  `embed:"" json:"common"`
	Steps   []int         `help:"Numbers of connections to weigh at." default:"1000,5000,10000" json:"steps"`
	Rest    time.Duration `help:"Rest at each step before weighing: a server may give memory back later." default:"10s" json:"rest_ns"`
	Watch   time.Duration `help:"How long CPU is watched at the last step: more than one heartbeat." default:"30s" json:"watch_ns"`
	Users   bool          `help:"Each client is a user and has a topic of its own beside the shared one." json:"users,omitempty"`
	Private bool          `help:"Each client follows a topic that no other follows, in place of the shared one." json:"private,omitempty"`
	Events  int           `help:"Events published at the end, one after the other: each connection must get each of them." default:"0" json:"events,omitempty"`

	Publishing `embed:"" json:"publishing"`
}

func (s *idleScenario) common() *Common { return &s.Common }

func (s *idleScenario) validate() error {
	last := 0
	for _, n := range s.Steps {
		if n <= last {
			return usagef("--steps=%v: want growing numbers", s.Steps)
		}
		last = n
	}
	if last == 0 || s.Rest < 0 || s.Watch < 0 {
		return usagef("--steps, --rest and --watch: want at least one step and no negative time")
	}
	switch {
	case s.Events == 0:
		return nil
	case s.Events < 0:
		return usagef("--events=%d: want 0 or more", s.Events)
	case s.Private:
		return usagef("--events and --private: events go to a topic that all connections follow")
	case s.Publish == "ws":
		return usagef("--events and --publish=ws: the connections are idle; use redis or http")
	}
	return s.Publishing.validate(&s.Common, s.Users)
}

func (s *idleScenario) topology() fleet.Topology {
	if s.Private {
		return fleet.Topology{Topic: "idle", Topics: s.Steps[len(s.Steps)-1], Users: s.Users}
	}
	t := s.broadcastTopology()
	t.Users = s.Users
	return t
}

func (s *idleScenario) measure(ctx context.Context, run *Run, p progress) (err error) {
	most := s.Steps[len(s.Steps)-1]
	t, err := openTrial(ctx, &s.Common, s.topology(), most, s.Watch, run, p)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	defer t.finish()
	if s.Events > 0 {
		if err := s.reach(ctx, t.topology); err != nil {
			return err
		}
	}
	run.Idle = &Idle{}
	connected := 0
	for _, n := range s.Steps {
		if err := t.connect(ctx, connected, n, s.Events > 0); err != nil {
			t.weighStep() // it tells something all the same
			return err
		}
		connected = n
		t.steady = true
		if err := t.hold(ctx, "settle", s.Rest); err != nil {
			return err
		}
		if err := t.weighStep(); err != nil {
			return err
		}
	}
	t.doubtSlope(s.Steps)
	if err := t.watchIdle(ctx, s.Watch); err != nil {
		return err
	}
	if s.Watch > 0 && run.Idle.Pings == 0 {
		t.note("no heartbeat came within %s: the idle CPU is without them (--watch)", s.Watch)
	}
	if s.Events == 0 {
		return nil
	}
	return t.call(ctx, &s.Publishing, s.Events)
}

// weighStep weighs the server as it is, and draws the lines through all weighings.
func (t *trial) weighStep() error {
	rss, pss, err := t.servers.weigh()
	if err != nil {
		return err
	}
	idle := t.run.Idle
	idle.Steps = append(idle.Steps, Step{Connections: t.run.Counts.Open, RSS: rss, PSS: pss, Kernel: kernel(), Client: t.ownRSS()})
	var n, rssLine, pssLine, slabLine, clientLine []float64
	for _, s := range idle.Steps {
		n = append(n, float64(s.Connections))
		rssLine = append(rssLine, float64(s.RSS))
		pssLine = append(pssLine, float64(s.PSS))
		slabLine = append(slabLine, float64(s.Kernel.Slab))
		clientLine = append(clientLine, float64(s.Client))
	}
	idle.Client = slope(n, clientLine)
	idle.RSSSlope, idle.PSSSlope, idle.SlabSlope = slope(n, rssLine), slope(n, pssLine), slope(n, slabLine)
	return nil
}

// A slope needs points that lie apart: pages and spans of an allocator come in steps of some hundred connections.
const (
	fewSteps  = 3
	narrowest = 4000 // connections between the first and the last step
)

// doubtSlope notes that the figures per connection have little under them.
func (t *trial) doubtSlope(steps []int) {
	switch span := steps[len(steps)-1] - steps[0]; {
	case len(steps) == 1:
		t.note("one step has no slope: there is no figure per connection (--steps=5000,19000)")
	case span < narrowest:
		t.note("the steps span only %d connections: the figures per connection may be off by much (--steps, %d apart at least)", span, narrowest)
	case len(steps) < fewSteps && t.c.Repeat == 1:
		t.note("%d steps are a line through %d points: the figures per connection tell nothing of their error (--steps, or --repeat=5)", len(steps), len(steps))
	}
}

// ownRSS is the memory of hubbench with its shards.
func (t *trial) ownRSS() int64 {
	var sum int64
	for _, pid := range append([]int{os.Getpid()}, t.shards...) {
		if u, err := use(pid); err == nil {
			sum += u.RSS
		}
	}
	return sum
}

// watchIdle measures what heartbeats cost.
func (t *trial) watchIdle(ctx context.Context, d time.Duration) error {
	before := t.last
	err := t.hold(ctx, "watch CPU", d)
	seconds := t.last.at.Sub(before.at).Seconds()
	if idle := t.run.Idle; seconds > 0 && d > 0 {
		idle.Watched = seconds
		idle.CPU = (t.last.server.CPU - before.server.CPU).Seconds() / seconds
		idle.Pings = float64(t.last.report.Counts.Pings-before.report.Counts.Pings) / seconds
	}
	return err
}

// slope is that of the line of least squares through the points (x, y); 0 for less than two.
func slope(x, y []float64) float64 {
	var sx, sy, sxx, sxy float64
	for i := range x {
		sx += x[i]
		sy += y[i]
		sxx += x[i] * x[i]
		sxy += x[i] * y[i]
	}
	n := float64(len(x))
	if d := n*sxx - sx*sx; d != 0 {
		return (n*sxy - sx*sy) / d
	}
	return 0
}
