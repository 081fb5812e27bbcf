package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"wshub/bench/fleet"
)

// trial is a run under way: a fleet, the server's processes, and the clock that takes points of both. A
// scenario calls its methods one after the other, from one goroutine.
type trial struct {
	c        *Common
	clients  int
	topology fleet.Topology
	id       string
	fleet    fleet.Fleet
	shards   []int // their process IDs
	servers  servers
	server   *serverProcess // nil where we did not start it
	progress progress
	run      *Run

	began     time.Time
	interval  time.Duration
	latency   *fleet.Hist // since reset
	handshake *fleet.Hist
	usable    *fleet.Hist
	last      reading
	sentBy    func() uint64 // by a driver; nil while none is at work
	steady    bool          // clients are to stay: when all are gone, the run is over
}

// reading is one reading of all that is measured.
type reading struct {
	at      time.Time
	report  fleet.Report
	server  processUse
	own     time.Duration
	machine machineUse
	sent    uint64
}

// pollEvery is how often counts are read while something is awaited.
const pollEvery = 50 * time.Millisecond

// openTrial starts the clients' loops, and finds the server's processes. long is how long the run will
// take, about, 0 for a few seconds: it sets how far apart points are.
func openTrial(ctx context.Context, c *Common, topology fleet.Topology, clients int, long time.Duration, run *Run, p progress) (_ *trial, err error) {
	t := &trial{
		c: c, clients: clients, topology: topology, id: run.ID, run: run, progress: p,
		began: time.Now(), interval: c.Interval,
		latency: fleet.NewHist(), handshake: fleet.NewHist(), usable: fleet.NewHist(),
	}
	defer func() {
		if err != nil { // whatever it is, an interruption too: no server stays behind
			err = errors.Join(err, t.close())
		}
	}()
	if t.interval == 0 {
		const points = 600 // more than a chart can show
		if t.interval = 100 * time.Millisecond; long > 0 {
			t.interval = max(time.Second, (long / points).Round(time.Second))
		}
	}
	if need := uint64(clients/c.Shards + 64); need > openFiles() {
		return nil, fmt.Errorf("%d clients need %d open files per process and %d are allowed: raise the limit (ulimit -Hn) or use --shards=%d",
			clients, need, openFiles(), uint64(clients)/(openFiles()-min(openFiles()-1, 128))+1)
	}
	cfg, err := c.fleet(topology, t.id, clients)
	if err != nil {
		return nil, err
	}
	t.topology = cfg.Topology
	addr, err := cfg.Resolve()
	if err != nil {
		return nil, err
	}
	if c.Server != "" {
		p.span("start the server", 0)
		defer p.end()
		if t.server, err = startServer(ctx, string(c.Server), addr); err != nil {
			return nil, err
		}
	}
	if err := t.openFleet(cfg); err != nil {
		return nil, err
	}
	if err := t.findServers(ctx, cfg); err != nil {
		return nil, err
	}
	t.last, err = t.carryOut(ctx, fleet.Order{Op: fleet.Sample})
	run.Server.RSSBefore = t.last.server.RSS
	return t, err
}

func (t *trial) openFleet(cfg fleet.Config) (err error) {
	if t.c.Shards == 1 {
		t.fleet, err = fleet.NewLocal(cfg)
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	shards, err := fleet.NewShards(cfg, t.c.Shards, self, "shard")
	if err != nil {
		return err
	}
	t.fleet, t.shards = shards, shards.PIDs()
	return nil
}

func (t *trial) findServers(ctx context.Context, cfg fleet.Config) error {
	addr, err := cfg.Resolve()
	if err != nil {
		return err
	}
	if err := reach(ctx, addr); err != nil {
		return err
	}
	t.servers.pids = t.c.ServerPID
	if t.server != nil || len(t.servers.pids) == 0 && addr.Addr().IsLoopback() {
		t.servers.at = addr
		t.servers.pids = listeners(addr)
	}
	t.run.Server.PIDs = t.servers.pids
	if len(t.servers.pids) == 0 {
		t.note("the server's processes are not known: its memory and CPU are not measured (--server-pid)")
	}
	return nil
}

// newServers notices that a restarted server has other processes.
func (t *trial) newServers() {
	if t.server != nil {
		t.servers.pids = listeners(t.server.addr)
		t.run.Server.PIDs = t.servers.pids
	}
}

func (t *trial) close() error {
	var errs []error
	if t.fleet != nil {
		errs = append(errs, t.fleet.Close())
	}
	if t.server != nil {
		t.progress.span("stop the server", 0)
		defer t.progress.end()
		errs = append(errs, t.server.stop())
	}
	return errors.Join(errs...)
}

func (t *trial) note(format string, args ...any) {
	if text := mask(fmt.Sprintf(format, args...)); !slices.Contains(t.run.Notes, text) {
		t.run.Notes = append(t.run.Notes, text)
	}
}

// carryOut has the clients carry out o, and reads everything else.
func (t *trial) carryOut(ctx context.Context, o fleet.Order) (reading, error) {
	report, err := t.fleet.Do(ctx, o)
	if err != nil {
		return t.last, err
	}
	r := reading{at: time.Now(), report: report, own: ownCPU(), machine: machine(), sent: report.Counts.Sent}
	for _, pid := range t.shards {
		if u, err := use(pid); err == nil {
			r.own += u.CPU
		}
	}
	if t.sentBy != nil {
		r.sent = t.sentBy()
	}
	t.run.Counts = report.Counts
	r.server, err = t.servers.use()
	if err != nil && t.server == nil && t.steady {
		if r.server, err = t.servers.useAgain(err); err != nil {
			return r, fmt.Errorf("%w: the server died", err)
		}
	}
	t.run.Server.RSSPeak = max(t.run.Server.RSSPeak, r.server.RSS)
	return r, nil
}

// sample takes the histograms and adds a point to the series.
func (t *trial) sample(ctx context.Context) error {
	r, err := t.carryOut(ctx, fleet.Order{Op: fleet.Sample})
	if err != nil {
		return err
	}
	t.latency.Merge(r.report.Latency)
	t.handshake.Merge(r.report.Handshake)
	t.usable.Merge(r.report.Ready)
	was := t.last
	t.last = r
	seconds := r.at.Sub(was.at).Seconds()
	if seconds < t.interval.Seconds()/4 {
		return nil // too short for rates
	}
	rate := func(now, before uint64) float64 { return float64(now-min(before, now)) / seconds }
	cores := func(now, before time.Duration) float64 { return max(0, (now-before).Seconds()/seconds) }
	p := Point{
		T: r.at.Sub(t.began).Seconds(), Open: r.report.Counts.Open,
		Opened:    rate(r.report.Counts.Opened, was.report.Counts.Opened),
		Sent:      rate(r.sent, was.sent),
		Delivered: rate(r.report.Counts.Delivered, was.report.Counts.Delivered),
		Latency:   latencyOf(r.report.Latency),
		RSS:       r.server.RSS, Buffers: kernel().Buffers,
		ServerCPU: cores(r.server.CPU, was.server.CPU), ClientCPU: cores(r.own, was.own),
	}
	p.OtherCPU = max(0, cores(r.machine.Busy, was.machine.Busy)-p.ServerCPU-p.ClientCPU)
	t.run.Series = append(t.run.Series, p)
	return nil
}

// watch samples until done reports true, or until d has passed (0: no limit) or ctx ends. done may be
// nil; it is asked after each reading of the counts.
func (t *trial) watch(ctx context.Context, d time.Duration, done func(fleet.Counts) bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	until := time.Now().Add(d)
	for next := t.last.at.Add(t.interval); ; {
		if done != nil {
			r, err := t.carryOut(ctx, fleet.Order{Op: fleet.Count})
			if err != nil {
				return err
			}
			if done(r.report.Counts) {
				return t.sample(ctx)
			}
		}
		if t.steady && t.run.Counts.Open == 0 {
			err := fmt.Errorf("the server closed every connection: %s", reasons(t.run.Counts))
			return errors.Join(t.sample(ctx), hinted(err, hintsFor(t.run.Counts)...))
		}
		if d > 0 && !time.Now().Before(until) {
			return t.sample(ctx)
		}
		select {
		case <-ctx.Done():
			return errors.Join(errInterrupted, t.sample(context.WithoutCancel(ctx)))
		case <-poll.C:
		}
		t.progress.tick()
		if now := time.Now(); !now.Before(next) {
			if err := t.sample(ctx); err != nil {
				return err
			}
			t.progress.line(t.liveLine())
			next = now.Add(t.interval)
		}
	}
}

func (t *trial) liveLine() string {
	if len(t.run.Series) == 0 {
		return ""
	}
	p := t.run.Series[len(t.run.Series)-1]
	line := fmt.Sprintf("%d open", p.Open) // short: a bar has 80 columns
	if p.Delivered > 0 {
		line += fmt.Sprintf(", %s/s, p99 %s ms", si(p.Delivered), short(p.Latency.P99))
	}
	if len(t.servers.pids) > 0 {
		line += fmt.Sprintf(", %s", size(float64(p.RSS)))
	}
	return line
}

// finish fills in what every run tells at its end.
func (t *trial) finish() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := t.sample(ctx); err != nil {
		t.note("the last reading failed: %v", err)
	}
	s := &t.run.Server
	s.PIDs = t.servers.pids
	s.RSSAfter = t.last.server.RSS
	_, s.PSSAfter, _ = t.servers.weigh() // 0 where it cannot be read
	s.CPU = t.last.server.CPU.Seconds()
	s.Kernel = kernel()
	t.run.Client.CPU = t.last.own.Seconds()
	t.run.Seconds = time.Since(t.began).Seconds()
}
