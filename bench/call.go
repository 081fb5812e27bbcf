package bench

import (
	"context"
	"errors"
	"time"

	"wshub/bench/fleet"
	"wshub/bench/probe"
)

// callPatience is how long no delivery may come before the rest counts as lost. A million deliveries take minutes on a
// slow machine, but they come without such a pause.
const callPatience = 10 * time.Second

// call publishes events to the one topic that all connections follow, the next one when each has the one before. It
// sees so that idle connections are alive. An event that a connection does not get counts as lost.
func (t *trial) call(ctx context.Context, l *Publishing, events int) error {
	p, err := l.open(ctx, t.c, t.topology)
	if err != nil {
		return err
	}
	driver := newDriver(p, t.topology, t.clients, t.id, l.Size)
	for range events {
		if err = t.callOnce(ctx, driver); err != nil {
			break
		}
	}
	if r, ok := p.(*redisPublisher); ok && err == nil && !r.heard {
		err = errUnheard
	}
	return errors.Join(err, p.Close())
}

func (t *trial) callOnce(ctx context.Context, driver *driver) error {
	t.progress.phase("call all", t.clients)
	defer t.progress.end()
	begin, due := time.Now(), probe.Now()
	if err := driver.drive(ctx, 1, due, due+1); err != nil { // one event
		return err
	}
	before, last, since := t.last.report.Counts.Delivered, uint64(0), begin
	err := t.watch(ctx, 0, func(c fleet.Counts) bool {
		if c.Delivered != last {
			last, since = c.Delivered, time.Now()
		}
		t.progress.set(int(c.Delivered - before))
		return c.Delivered >= before+uint64(t.clients) || time.Since(since) > callPatience
	})
	if err != nil {
		return err
	}
	idle := t.run.Idle
	idle.Events++
	idle.Reached = max(idle.Reached, since.Sub(begin).Seconds())
	sent, _ := driver.sentSoFar()
	if _, err := t.carryOut(ctx, fleet.Order{Op: fleet.WriteOff, Sent: sent}); err != nil {
		return err
	}
	return t.sample(ctx)
}
