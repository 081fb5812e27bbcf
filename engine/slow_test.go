package engine_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"wshub/engine"
	"wshub/pubsub/redistest/drills"
)

// reads reads n frames of the client's, all of them messages.
func (c *rawClient) reads(n int) error {
	for n > 0 {
		switch op, _, err := c.frame(); {
		case err == nil && op == engine.OpBinary:
			n--
		case err != nil || op != engine.OpPing: // a slow run has heartbeats
			return fmt.Errorf("got frame %x, %v", op, err)
		}
	}
	return nil
}

func TestAFrameOverMaxQueuedArrives(t *testing.T) {
	const size = 1 << 20
	r := newRoster()
	s := serve(t, engine.Config{Pollers: 1, MaxQueued: 256 << 10}, r)
	c := rawDial(t, s, "?c")
	on(t, s.Loops()[0], func() {
		for range 4 {
			r.conn("c").Write(engine.AppendFrame(nil, engine.OpBinary, make([]byte, size)))
		}
	})
	if err := c.reads(4); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the account is even", func() bool { return s.Stats().Backlog == 0 })
}

// A loop that is late hands its followers all that piled up at once. Those who read have had it before the next burst;
// those who do not are cut, because more than MaxQueued stands still or because there is too much in all.
func TestWhoReadsFlatOutIsNeverCutForALateLoop(t *testing.T) {
	t.Parallel()
	const good, stalled, burst, size = 4, 40, 16, 60_000
	for _, maxBacklog := range drills.Sample[int64](t, 1, 64<<20, 1<<30) {
		t.Run(fmt.Sprintf("%d MiB for all", maxBacklog>>20), func(t *testing.T) {
			r := newRoster()
			s := serve(t, engine.Config{Pollers: 2, MaxBacklog: maxBacklog}, r)
			var readers []*rawClient
			for i := range good {
				readers = append(readers, rawDial(t, s, fmt.Sprint("?good", i)))
			}
			for i := range stalled {
				slowDial(t, s, fmt.Sprint("?stalled", i))
			}
			bursts := 0
			round := func(times int) {
				bursts++
				pieceByPiece := engine.AppendFrame(nil, engine.OpBinary, make([]byte, size))
				var all sync.WaitGroup
				for i, c := range readers { // all the time, also while the loops are busy
					all.Go(func() {
						if err := c.reads(times); err != nil {
							t.Errorf("burst %d, reader %d: %v", bursts, i, err)
						}
					})
				}
				for _, l := range s.Loops() {
					on(t, l, func() {
						for range times {
							l.Each(func(c *engine.Conn) { c.Write(pieceByPiece) })
						}
					})
				}
				all.Wait()
			}
			for range 4 {
				round(burst)
			}
			eventually(t, "those who do not read are cut", func() bool {
				if t.Failed() {
					t.FailNow()
				}
				round(1)
				return s.Stats().Open == good
			})
			for range stalled {
				if who := within(t, "Closed", r.closed); !strings.HasPrefix(who, "stalled") ||
					!strings.HasSuffix(who, " slow_consumer") && !strings.HasSuffix(who, " backlog_limit") {
					t.Errorf("closed: %s", who)
				}
			}
			eventually(t, "the account is even", func() bool { return s.Stats().Backlog == 0 })
		})
	}
}

// A byte now and then is no progress: the kernel has room for it long since.
func TestReadingByteByByteIsNotReading(t *testing.T) {
	t.Parallel()
	r := newRoster()
	s := serve(t, engine.Config{Pollers: 1, SendBuffer: 8 << 10, MaxQueued: 64 << 10}, r)
	c := slowDial(t, s, "?c")
	on(t, s.Loops()[0], func() {
		r.conn("c").Write(engine.AppendFrame(nil, engine.OpBinary, make([]byte, 100<<10)))
	})
	next := time.NewTicker(100 * time.Millisecond)
	defer next.Stop()
	for n := 0; ; n++ {
		select {
		case who := <-r.closed:
			if who != "c slow_consumer" {
				t.Errorf("closed: %s", who)
			}
			return
		case <-next.C:
			if _, err := c.in.ReadByte(); err != nil || n == 100 {
				t.Fatalf("after %d bytes: %v", n, err)
			}
		}
	}
}
