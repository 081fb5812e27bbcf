package bench

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"wshub/bench/fleet"
	"wshub/bench/probe"
)

// load publishes at a rate for warmup and d, sampling, and waits for what is under way. part is filled
// with whatever was measured, even when it returns an error.
func (t *trial) load(ctx context.Context, l *Load, rate float64, d time.Duration, part *LoadPart) error {
	if l.Publish == "ws" {
		return t.loadBySockets(ctx, l, rate, d, part)
	}
	p, err := l.open(ctx, t.c, t.topology)
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
	if r, ok := p.(*redisPublisher); ok && err == nil && !r.heard {
		err = errUnheard
	} else if err == nil && t.run.Counts.Delivered == 0 {
		t.note("%s", l.silence())
	}
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
	t.progress.span("measure", d)
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
	if delivered > 0 {
		part.Bytes = float64(now.report.Counts.Bytes-before.report.Counts.Bytes) / delivered
		part.ClientCPU = (now.own - before.own).Seconds() / delivered * 1e6
	}
	client := &t.run.Client
	busy, stolen := now.machine.Busy-before.machine.Busy, now.machine.Stolen-before.machine.Stolen
	client.Machine = (busy + stolen).Seconds() / part.Seconds / float64(cores())
	client.Stolen = stolen.Seconds() / part.Seconds / float64(cores())
	client.Other = max(0, (busy-(now.server.CPU-before.server.CPU)-(now.own-before.own)).Seconds()/part.Seconds)
	if client.Other > muchElse*float64(cores()) {
		t.note("others on this machine took over %.0f%% of it, the broker among them: mind that in the latencies", 100*muchElse)
	}
	if client.Stolen > muchStolen {
		t.note("the hypervisor gave %.0f%% of this machine to other guests: the latencies tell more of that than of the server", 100*client.Stolen)
	}
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
	part.Latency, part.Curve = latencyOf(t.latency), curveOf(t.latency)
	t.run.Client.Limit = limitOf(t.run.Client, part)
}

const (
	drainIdle = 2 * time.Second  // without a delivery: nothing more will come
	drainMax  = 10 * time.Second // a backlog longer than that is loss
)

// drain waits until everything sent has arrived, and is answered where answers come at all, or nothing comes any more, and counts the rest
// as lost.
func (t *trial) drain(ctx context.Context, sent []uint64) error {
	t.progress.span("drain", 0)
	defer t.progress.end()
	end, delivered, idleSince := time.Now().Add(drainMax), uint64(0), time.Now()
	for {
		r, err := t.carryOut(ctx, fleet.Order{Op: fleet.Behind, Sent: sent})
		if err != nil {
			return err
		}
		now := time.Now()
		if n := r.report.Counts.Delivered; n != delivered {
			delivered, idleSince = n, now
		}
		// An event that a later one has overtaken counts as lost until it comes.
		complete := r.report.Behind == 0 && r.report.Counts.Lost == 0 && !unanswered(r.report.Counts)
		if complete || now.Sub(idleSince) > drainIdle || now.After(end) {
			break
		}
		if err := t.watch(ctx, pollEvery, nil); err != nil {
			return err
		}
	}
	if _, err := t.carryOut(ctx, fleet.Order{Op: fleet.WriteOff, Sent: sent}); err != nil {
		return err
	}
	return t.sample(ctx)
}

// unanswered reports whether answers to what clients sent are on their way: the last one comes behind its event.
func unanswered(c fleet.Counts) bool {
	answers := c.Acked
	for _, n := range c.Errors {
		answers += n
	}
	return c.Acked > 0 && answers < c.Sent
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
	if err == nil && t.run.Counts.Sent > 0 && t.run.Counts.Delivered == 0 {
		t.note("%s", l.silence())
	}
	if n := t.run.Counts.Unsent; n > 0 {
		t.note("%d events could not be sent: the server did not read, or their client was gone", n)
	}
	t.finishLoad(part)
	return errors.Join(err, hushErr)
}
