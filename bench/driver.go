package bench

import (
	"context"
	"fmt"
	"sync"
	"time"

	"wshub/bench/fleet"
	"wshub/bench/probe"
)

// driver publishes events by a schedule. Events that are due while a batch is on its way go out with the next
// one, stamped with the time at which it was due: a slow server finds its delay in the latencies.
type driver struct {
	publisher publisher
	topology  fleet.Topology
	topics    int
	run       string
	size      int
	patient   bool // try again while the server is away
	now       func() int64
	pause     func(time.Duration)

	mu    sync.Mutex
	sent  []uint64 // by topic
	total uint64
	lag   *fleet.Hist // how late batches were handed to the publisher
}

// batchLimit bounds one batch, so that a backlog does not become one huge write.
const batchLimit = 1024

func newDriver(p publisher, topology fleet.Topology, clients int, run string, size int) *driver {
	topics := topology.Number(clients)
	return &driver{
		publisher: p, topology: topology, topics: topics, run: run, size: size,
		now: probe.Now, pause: pause,
		sent: make([]uint64, topics), lag: fleet.NewHist(),
	}
}

// drive publishes rate events a second from start on: all that are due before end, be it later than that,
// unless ctx ends. A batch that is on its way then is waited for.
func (d *driver) drive(ctx context.Context, rate float64, start, end int64) error {
	pace := fleet.NewPace(start, rate)
	seqs := make([]uint64, d.topics)
	copy(seqs, d.sent)
	var batch []outgoing
	for n := 0; ; {
		wait := min(pace.Next(), end) - d.now()
		if wait > 0 {
			d.pause(time.Duration(min(wait, int64(100*time.Millisecond)))) // and look at ctx now and then
		}
		if ctx.Err() != nil || pace.Next() >= end {
			return nil
		}
		batch = batch[:0]
		now := d.now()
		for len(batch) < batchLimit && pace.Next() < end {
			at, due := pace.Take(now)
			if !due {
				break
			}
			topic := n % d.topics
			n++
			seqs[topic]++
			name := d.topology.Name(topic)
			event := probe.Event{Topic: name, Seq: seqs[topic], At: at}
			one := outgoing{topic: topic, name: name, data: probe.Append(nil, d.run, event, d.size)}
			if d.patient {
				one.key = fmt.Sprintf("%s-%s-%d", d.run, name, seqs[topic])
			}
			batch = append(batch, one)
			if len(batch) == 1 {
				d.late(now - at)
			}
		}
		if len(batch) == 0 {
			continue
		}
		if err := d.hand(ctx, batch); err != nil {
			return err
		}
		d.count(batch, seqs)
	}
}

// hand publishes a batch. A patient driver waits for a server that is away and sends the rest again.
func (d *driver) hand(ctx context.Context, batch []outgoing) error {
	for {
		err := d.publisher.publish(context.WithoutCancel(ctx), batch)
		if err == nil || ctx.Err() != nil || !d.patient || !away(err) {
			return err
		}
		d.pause(20 * time.Millisecond)
	}
}

func (d *driver) late(ns int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lag.Record(ns)
}

func (d *driver) count(batch []outgoing, seqs []uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, o := range batch {
		d.sent[o.topic] = seqs[o.topic]
	}
	d.total += uint64(len(batch))
}

// sentSoFar returns the last sequence number of each topic, and how many events that is.
func (d *driver) sentSoFar() ([]uint64, uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]uint64(nil), d.sent...), d.total
}

// lagSoFar returns at what quantile batches were how late.
func (d *driver) lagSoFar(percent float64) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.lag.At(percent)
}
