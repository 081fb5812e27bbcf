package bench

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"wshub/bench/fleet"
	"wshub/bench/probe"
)

// slowPublisher takes its time for each batch, and keeps what it got.
type slowPublisher struct {
	takes time.Duration
	fails int // so many times first
	seen  []probe.Event
	at    []time.Time
}

func (p *slowPublisher) publish(_ context.Context, batch []outgoing) error {
	<-time.After(p.takes)
	if p.fails > 0 {
		p.fails--
		return errors.New("away")
	}
	for _, o := range batch {
		e, err := probe.Decode(o.data, "r1")
		if err != nil {
			return err
		}
		p.seen, p.at = append(p.seen, e), append(p.at, time.Now())
	}
	return nil
}

func (p *slowPublisher) Close() error { return nil }

// virtual is a driver on the bubble's clock.
func virtual(p publisher, topology fleet.Topology, clients int) *driver {
	d := newDriver(p, topology, clients, "r1", 128)
	begin := time.Now()
	d.now = func() int64 { return int64(time.Since(begin)) }
	d.pause = time.Sleep
	return d
}

func TestEventsLeaveWhenTheyAreDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &slowPublisher{}
		d := virtual(p, fleet.Topology{Topic: "room", Topics: 3}, 9)
		begin := time.Now()
		if err := d.drive(t.Context(), 10, int64(time.Second), int64(3*time.Second)); err != nil {
			t.Fatal(err)
		}
		if len(p.seen) != 20 {
			t.Fatalf("%d events in 2 s at 10 a second", len(p.seen))
		}
		for i, e := range p.seen {
			due := time.Second + time.Duration(i)*100*time.Millisecond
			if p.at[i].Sub(begin) != due || time.Duration(e.At) != due {
				t.Errorf("event %d left at %s stamped %s, want %s", i, p.at[i].Sub(begin), time.Duration(e.At), due)
			}
			if want := d.topology.Name(i % 3); e.Topic != want || e.Seq != uint64(i/3+1) {
				t.Errorf("event %d is %s %d", i, e.Topic, e.Seq)
			}
		}
		if sent, total := d.sentSoFar(); total != 20 || sent[0] != 7 || sent[1] != 7 || sent[2] != 6 {
			t.Errorf("sent %v, %d", sent, total)
		}
	})
}

// Events that a publisher holds up, taking 1 s for each batch, are sent all the same, with the times at which it
// was due: none is left out, and none is stamped later.
func TestASlowPublisherDelaysAndOmitsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &slowPublisher{takes: time.Second}
		d := virtual(p, fleet.Topology{Topic: "news"}, 1)
		if err := d.drive(t.Context(), 100, 0, int64(3*time.Second)); err != nil {
			t.Fatal(err)
		}
		if len(p.seen) != 300 {
			t.Fatalf("%d events, want 300", len(p.seen))
		}
		for i, e := range p.seen {
			if want := time.Duration(i) * 10 * time.Millisecond; time.Duration(e.At) != want {
				t.Fatalf("event %d is stamped %s, want %s", i, time.Duration(e.At), want)
			}
		}
		if lag := d.lagSoFar(100); lag < 900*time.Millisecond {
			t.Errorf("lag %s: the delay of the publisher is not told", lag)
		}
	})
}

func TestOnlyAPatientDriverTriesAgain(t *testing.T) {
	for _, patient := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			p := &slowPublisher{fails: 3}
			d := virtual(p, fleet.Topology{Topic: "news"}, 1)
			d.patient = patient
			err := d.drive(t.Context(), 10, 0, int64(time.Second))
			if patient && (err != nil || len(p.seen) != 10) || !patient && err == nil {
				t.Errorf("patient %t: %v, %d events", patient, err, len(p.seen))
			}
		})
	}
}

func TestAnInterruptedDriverStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		p := &slowPublisher{}
		if err := virtual(p, fleet.Topology{Topic: "news"}, 1).drive(ctx, 1, 0, int64(time.Hour)); err != nil {
			t.Fatal(err)
		}
		if n := len(p.seen); n < 2 || n > 3 {
			t.Errorf("%d events in 2 s at 1 a second", n)
		}
	})
}
