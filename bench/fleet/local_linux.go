package fleet

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"
)

// Local is a fleet in this process.
type Local struct {
	loops []*loop
	group errgroup.Group
}

// NewLocal starts the loops. Close ends them.
func NewLocal(cfg Config) (*Local, error) {
	if cfg.Shards == 0 {
		cfg.Shards = 1
	}
	t, err := cfg.target()
	if err != nil {
		return nil, err
	}
	f := &Local{}
	step := cfg.Shards * cfg.Loops
	for i := range cfg.Loops {
		l, err := newLoop(cfg, t, cfg.Shard+i*cfg.Shards, step)
		if err != nil {
			_ = f.Close() // the first error is the one to tell
			return nil, err
		}
		f.loops = append(f.loops, l)
		f.group.Go(l.run)
	}
	return f, nil
}

// Do carries out o on every loop.
func (f *Local) Do(ctx context.Context, o Order) (Report, error) {
	answers := make(chan Report, len(f.loops))
	for _, l := range f.loops {
		l.post(func() { answers <- l.do(o, len(f.loops)) })
	}
	var sum Report
	for range f.loops {
		select {
		case r := <-answers:
			sum.add(r)
		case <-ctx.Done():
			return sum, context.Cause(ctx)
		}
	}
	return sum, nil
}

// Close ends the loops and returns what made one of them fail.
func (f *Local) Close() error {
	for _, l := range f.loops {
		l.post(func() { l.done = true })
	}
	return f.group.Wait()
}

// do carries out o for the clients of this loop, one of loops in this process.
func (l *loop) do(o Order, loops int) Report {
	var r Report
	shares := float64(l.step)
	switch o.Op {
	case Connect:
		l.paced, l.limit = o.Rate > 0, max(1, o.Inflight/loops)
		if l.paced {
			l.pace = NewPace(o.At, o.Rate/shares)
		}
		l.each(o.From, o.To, func(c *client) {
			if o.First && c.next == 0 {
				c.next = 1
			}
			l.enqueue(c)
		})
	case Cut:
		l.each(o.From, o.To, l.cut)
	case Return:
		l.returning, l.window = true, o.Window
	case Churn:
		l.startChurning(o)
	case Send:
		l.startSending(o)
	case Hush:
		l.sending = false
		r.Sent = append(r.Sent, l.seqs...)
	case Measure:
		l.from = o.At
	case Sample:
		r.Latency, r.Handshake, r.Ready = take(&l.latency), take(&l.handshake), take(&l.readyTime)
	case Count: // every report has counts
	case Behind:
		l.each(0, l.cfg.Clients, func(c *client) {
			if c.state == ready && l.behind(c, o.Sent) {
				r.Behind++
			}
		})
	case WriteOff:
		l.each(0, l.cfg.Clients, func(c *client) {
			if c.state == ready {
				l.writeOff(c, o.Sent)
			}
		})
	}
	r.Counts.add(l.counts)
	wall := time.Since(l.born)
	r.Use = []Use{{Busy: wall - l.idle, Wall: wall}}
	return r
}

// take returns what h holds and empties it.
func take(h **Hist) *Hist {
	if (*h).Count() == 0 {
		return nil
	}
	full := *h
	*h = NewHist()
	return full
}
