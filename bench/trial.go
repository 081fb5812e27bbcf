package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"wshub/bench/fleet"
	"wshub/bench/probe"
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

// reading is what one look at everything saw.
type reading struct {
	at      time.Time
	report  fleet.Report
	server  processUse
	own     time.Duration
	machine time.Duration
	sent    uint64
}

// pollEvery is how often counts are looked at while something is awaited.
const pollEvery = 50 * time.Millisecond

// openTrial starts the clients' loops, and finds the server's processes. long is how long the run will
// take, about: it sets how far apart points are.
func openTrial(ctx context.Context, c *Common, topology fleet.Topology, clients int, long time.Duration, run *Run, p progress) (*trial, error) {
	t := &trial{
		c: c, clients: clients, topology: topology, id: run.ID, run: run, progress: p,
		began: time.Now(), interval: c.Interval,
		latency: fleet.NewHist(), handshake: fleet.NewHist(), usable: fleet.NewHist(),
	}
	if t.interval == 0 {
		const points = 600 // more than a chart can show
		t.interval = max(time.Second, (long / points).Round(time.Second))
	}
	if need := uint64(clients/c.Shards + 64); need > openFiles() {
		return nil, fmt.Errorf("%d clients need %d open files per process and %d are allowed: raise the limit (ulimit -Hn) or use --shards=%d",
			clients, need, openFiles(), uint64(clients)/(openFiles()-min(openFiles()-1, 128))+1)
	}
	cfg, err := c.fleet(topology, t.id, clients)
	if err != nil {
		return nil, err
	}
	addr, err := cfg.Resolve()
	if err != nil {
		return nil, err
	}
	if c.Server != "" {
		if t.server, err = startServer(ctx, c.Server, addr); err != nil {
			return nil, err
		}
	}
	if err := t.openFleet(cfg); err != nil {
		return nil, errors.Join(err, t.close())
	}
	if err := t.findServers(ctx, cfg); err != nil {
		return nil, errors.Join(err, t.close())
	}
	t.last, err = t.look(ctx, fleet.Order{Op: fleet.Sample})
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
		errs = append(errs, t.server.stop())
	}
	return errors.Join(errs...)
}

func (t *trial) note(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(t.run.Notes, text) {
		t.run.Notes = append(t.run.Notes, text)
	}
}

// look carries out o and reads everything else.
func (t *trial) look(ctx context.Context, o fleet.Order) (reading, error) {
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
	if r.server, err = t.servers.use(); err != nil && t.server == nil && t.steady {
		return r, fmt.Errorf("%w: the server died", err)
	}
	t.run.Server.RSSPeak = max(t.run.Server.RSSPeak, r.server.RSS)
	return r, nil
}

// sample takes the histograms and adds a point to the series.
func (t *trial) sample(ctx context.Context) error {
	r, err := t.look(ctx, fleet.Order{Op: fleet.Sample})
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
	p.OtherCPU = max(0, cores(r.machine, was.machine)-p.ServerCPU-p.ClientCPU)
	t.run.Series = append(t.run.Series, p)
	return nil
}

// watch samples until done reports true, or until d has passed (0: no limit) or ctx ends. done may be
// nil; it is asked after each look at the counts.
func (t *trial) watch(ctx context.Context, d time.Duration, done func(fleet.Counts) bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	until := time.Now().Add(d)
	for next := t.last.at.Add(t.interval); ; {
		if done != nil {
			r, err := t.look(ctx, fleet.Order{Op: fleet.Count})
			if err != nil {
				return err
			}
			if done(r.report.Counts) {
				return t.sample(ctx)
			}
		}
		if t.steady && t.run.Counts.Open == 0 {
			return errors.Join(t.sample(ctx), errors.New("the server closed every connection"))
		}
		if d > 0 && !time.Now().Before(until) {
			return t.sample(ctx)
		}
		select {
		case <-ctx.Done():
			return errors.Join(errInterrupted, t.sample(context.WithoutCancel(ctx)))
		case <-poll.C:
		}
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
	line := fmt.Sprintf("%d open", p.Open)
	if p.Delivered > 0 {
		line += fmt.Sprintf(", %s/s delivered, p50 %s p99 %s ms", si(p.Delivered), short(p.Latency.P50), short(p.Latency.P99))
	}
	if len(t.servers.pids) > 0 {
		line += fmt.Sprintf(", server %s, %.0f%% of a core", size(float64(p.RSS)), 100*p.ServerCPU)
	}
	return line
}

// connect brings clients from to to-1 in. first says that they receive each topic from its beginning.
func (t *trial) connect(ctx context.Context, from, to int, first bool) error {
	t.progress.phase("connect", to-from)
	defer t.progress.end()
	before, begin := t.last, time.Now()
	already := before.report.Counts.Ready
	failedBefore := before.report.Counts.Failed
	order := fleet.Order{
		Op: fleet.Connect, From: from, To: to, Rate: t.c.ConnectRate, Inflight: t.c.Connecting,
		At: probe.Now(), First: first,
	}
	if _, err := t.fleet.Do(ctx, order); err != nil {
		return err
	}
	err := t.watch(ctx, 0, func(c fleet.Counts) bool {
		t.progress.set(int(c.Ready - already))
		return c.Pending == 0
	})
	took := time.Since(begin)
	ready := int(t.run.Counts.Ready - already)
	if t.run.Connect == nil {
		t.run.Connect = &Connects{}
	}
	in := t.run.Connect
	in.Asked += to - from
	in.Ready += ready
	in.Seconds += took.Seconds()
	in.Rate = float64(in.Ready) / in.Seconds
	in.Handshake, in.Usable = latencyOf(t.handshake), latencyOf(t.usable)
	if ready > 0 {
		cpu := (t.last.server.CPU - before.server.CPU).Seconds() * 1e6 / float64(ready)
		in.ServerCPU += (cpu - in.ServerCPU) * float64(ready) / float64(in.Ready)
	}
	if failed := t.run.Counts.Failed - failedBefore; err == nil && ready < to-from {
		return fmt.Errorf("%d of %d clients could connect; %d failed: %s", ready, to-from, failed, reasons(t.run.Counts))
	}
	return err
}

// reasons lists why connections failed or were closed, most frequent first.
func reasons(c fleet.Counts) string {
	var all []string
	for _, group := range []map[string]uint64{c.Failures, c.Closes, c.Errors} {
		for why, n := range group {
			all = append(all, fmt.Sprintf("%d × %s", n, why))
		}
	}
	slices.Sort(all)
	text := ""
	for _, one := range all {
		if text != "" {
			text += ", "
		}
		text += one
	}
	return text
}

// hold lets the clients be for d.
func (t *trial) hold(ctx context.Context, what string, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	t.progress.phase(what, 0)
	defer t.progress.end()
	return t.watch(ctx, d, nil)
}

// load publishes at a rate for warmup and d, sampling, and waits for what is under way. part is filled
// with whatever was measured, even when it returns an error.
func (t *trial) load(ctx context.Context, l *Load, rate float64, d time.Duration, part *LoadPart) error {
	if l.Publish == "ws" {
		return t.loadBySockets(ctx, l, rate, d, part)
	}
	p, err := l.open(ctx, t.topology)
	if err != nil {
		return err
	}
	driver := newDriver(p, t.topology, t.clients, t.id, l.Size)
	t.sentBy = func() uint64 { _, n := driver.sentSoFar(); return n }
	err = t.drive(ctx, driver, l.Warmup, rate, d, part, nil)
	t.sentBy = nil
	sent, _ := driver.sentSoFar()
	if err == nil {
		err = t.drain(ctx, sent)
	}
	t.finishLoad(part)
	return errors.Join(err, p.Close())
}

// drive lets the driver publish while meanwhile, or a wait of d, goes on.
func (t *trial) drive(ctx context.Context, driver *driver, warmup time.Duration, rate float64, d time.Duration, part *LoadPart, meanwhile func(context.Context) error) error {
	start := probe.Now()
	from := start + int64(warmup)
	end := from + int64(d)
	group, gctx := errgroup.WithContext(ctx)
	dctx, stop := context.WithCancel(gctx)
	defer stop()
	done := make(chan struct{})
	group.Go(func() error {
		defer close(done)
		return driver.drive(dctx, rate, start, end)
	})
	err := t.measure(gctx, warmup, rate, d, from, part, meanwhile)
	if err == nil { // what is due but not sent is late, not left out
		err = t.await(gctx, done)
	}
	stop()
	part.Lag = ms(driver.lagSoFar(99))
	if failed := group.Wait(); failed != nil {
		return failed // it is why the measuring ended
	}
	return err
}

// await waits for a driver that has fallen behind, within reason.
func (t *trial) await(ctx context.Context, done <-chan struct{}) error {
	return t.watch(ctx, drainMax, func(fleet.Counts) bool {
		select {
		case <-done:
			return true
		default:
			return false
		}
	})
}

// measure samples while something publishes: warmup first, which is not timed, then d.
func (t *trial) measure(ctx context.Context, warmup time.Duration, rate float64, d time.Duration, from int64, part *LoadPart, meanwhile func(context.Context) error) error {
	if _, err := t.fleet.Do(ctx, fleet.Order{Op: fleet.Measure, At: from}); err != nil {
		return err
	}
	if err := t.hold(ctx, "warm up", warmup); err != nil {
		return err
	}
	t.latency = fleet.NewHist()
	part.Offered = rate
	part.Wanted = rate * t.meanFollowers()
	before := t.last
	t.progress.phase("measure", int(d.Seconds()))
	defer t.progress.end()
	if meanwhile == nil {
		meanwhile = func(ctx context.Context) error { return t.watch(ctx, d, nil) }
	}
	err := meanwhile(ctx)
	t.fillLoad(part, before)
	return err
}

func (t *trial) meanFollowers() float64 {
	return float64(t.clients) / float64(t.topology.Number(t.clients))
}

// fillLoad computes what happened since before.
func (t *trial) fillLoad(part *LoadPart, before reading) {
	now := t.last
	part.Seconds = now.at.Sub(before.at).Seconds()
	if part.Seconds <= 0 {
		return
	}
	delivered := float64(now.report.Counts.Delivered - before.report.Counts.Delivered)
	part.Sent = float64(now.sent-before.sent) / part.Seconds
	part.Delivered = delivered / part.Seconds
	if cpu := now.server.CPU - before.server.CPU; cpu > 0 && delivered > 0 { // it falls with a restart
		part.ServerCPU = cpu.Seconds() / delivered * 1e6
	}
	client := &t.run.Client
	client.Machine = (now.machine - before.machine).Seconds() / part.Seconds / float64(cores())
	client.Busy = busiest(now.report.Use, before.report.Use)
}

// busiest returns the share of time that the busiest loop was busy between two reports.
func busiest(now, before []fleet.Use) float64 {
	var share float64
	for i := range min(len(now), len(before)) {
		if wall := now[i].Wall - before[i].Wall; wall > 0 {
			share = max(share, float64(now[i].Busy-before[i].Busy)/float64(wall))
		}
	}
	return share
}

// finishLoad adds what only the end tells.
func (t *trial) finishLoad(part *LoadPart) {
	part.Latency = latencyOf(t.latency)
	t.run.Client.Limit = limitOf(t.run.Client, part)
}

const (
	drainIdle = 2 * time.Second  // without a delivery: nothing more will come
	drainMax  = 10 * time.Second // a backlog longer than that is loss
)

// drain waits until everything sent has arrived, or nothing comes any more, and counts the rest as lost.
func (t *trial) drain(ctx context.Context, sent []uint64) error {
	t.progress.phase("drain", 0)
	defer t.progress.end()
	end, delivered, idleSince := time.Now().Add(drainMax), uint64(0), time.Now()
	for {
		r, err := t.look(ctx, fleet.Order{Op: fleet.Behind, Sent: sent})
		if err != nil {
			return err
		}
		now := time.Now()
		if n := r.report.Counts.Delivered; n != delivered {
			delivered, idleSince = n, now
		}
		if r.report.Behind == 0 || now.Sub(idleSince) > drainIdle || now.After(end) {
			break
		}
		if err := t.watch(ctx, pollEvery, nil); err != nil {
			return err
		}
	}
	if _, err := t.look(ctx, fleet.Order{Op: fleet.Settle, Sent: sent}); err != nil {
		return err
	}
	return t.sample(ctx)
}

// loadBySockets is load by the clients' own connections.
func (t *trial) loadBySockets(ctx context.Context, l *Load, rate float64, d time.Duration, part *LoadPart) error {
	start := probe.Now()
	order := fleet.Order{Op: fleet.Send, Rate: rate, Size: l.Size, At: start}
	if _, err := t.fleet.Do(ctx, order); err != nil {
		return err
	}
	err := t.measure(ctx, l.Warmup, rate, d, start+int64(l.Warmup), part, nil)
	// Even an interrupted run wants to know what was sent.
	r, hushErr := t.fleet.Do(context.WithoutCancel(ctx), fleet.Order{Op: fleet.Hush})
	if err == nil && hushErr == nil {
		err = t.drain(ctx, r.Sent)
	}
	if n := t.run.Counts.Unsent; n > 0 {
		t.note("%d events could not be sent: the server did not read, or their client was gone", n)
	}
	t.finishLoad(part)
	return errors.Join(err, hushErr)
}

// finish fills in what every run tells at its end.
func (t *trial) finish() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := t.sample(ctx); err != nil {
		t.note("the last look failed: %v", err)
	}
	s := &t.run.Server
	s.RSSAfter = t.last.server.RSS
	_, s.PSSAfter, _ = t.servers.weigh() // 0 where it cannot be read
	s.CPU = t.last.server.CPU.Seconds()
	s.Kernel = kernel()
	t.run.Client.CPU = t.last.own.Seconds()
	t.run.Seconds = time.Since(t.began).Seconds()
}
