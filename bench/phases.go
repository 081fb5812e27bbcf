package bench

import (
	"context"
	"fmt"
	"slices"
	"time"

	"wshub/bench/fleet"
	"wshub/bench/probe"
)

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
	var took time.Duration
	err := t.watch(ctx, 0, func(c fleet.Counts) bool {
		t.progress.set(int(c.Ready - already))
		if took = time.Since(begin); c.Pending > 0 {
			return false
		}
		t.newServers() // some servers listen first, and start their workers then
		return true
	})
	ready := int(t.run.Counts.Ready - already)
	if t.run.Connect == nil {
		t.run.Connect = &Connects{}
	}
	in := t.run.Connect
	in.Asked += to - from
	in.Ready += ready
	in.Seconds += took.Seconds()
	if in.Seconds > 0 { // else it was interrupted at once
		in.Rate = float64(in.Ready) / in.Seconds
	}
	in.Handshake, in.Usable = latencyOf(t.handshake), latencyOf(t.usable)
	if ready > 0 {
		cpu := (t.last.server.CPU - before.server.CPU).Seconds() * 1e6 / float64(ready)
		in.ServerCPU += (cpu - in.ServerCPU) * float64(ready) / float64(in.Ready)
	}
	if failed := t.run.Counts.Failed - failedBefore; err == nil && ready < to-from {
		err := fmt.Errorf("%d of %d clients could connect; %d failed: %s", ready, to-from, failed, reasons(t.run.Counts))
		return hinted(err, hintsFor(t.run.Counts)...)
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
	t.progress.span(what, d)
	defer t.progress.end()
	return t.watch(ctx, d, nil)
}
