package pubsub

import (
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestMessagesGatherWhileTheyComeFast counts the reads of a feed to which a message comes every so often, in virtual time.
func TestMessagesGatherWhileTheyComeFast(t *testing.T) {
	const one = "*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$1\r\n1\r\n"
	for _, c := range []struct {
		name        string
		pause       time.Duration
		every       time.Duration
		together    int
		least, most int // reads of 1,000 messages
	}{
		{"fast", time.Millisecond, 50 * time.Microsecond, 1, 50, 400},
		{"slow", time.Millisecond, time.Millisecond, 1, 1000, 1000},
		{"in heaps", time.Millisecond, 20 * time.Millisecond, 100, 10, 10},
		{"never", 0, 50 * time.Microsecond, 1, 1000, 1000},
	} {
		synctest.Test(t, func(t *testing.T) {
			ours := newBuffer()
			flow := &inflow{Conn: ours, gather: gathering{pause: c.pause}}
			f := newFeed(flow, flow, 10)
			var sending sync.WaitGroup
			defer sending.Wait()
			sending.Go(func() {
				for n := 0; n < 1000; n += c.together {
					ours.put(strings.Repeat(one, c.together))
					time.Sleep(c.every)
				}
			})
			for range 1000 {
				if _, err := f.hear(); err != nil {
					t.Fatal(err)
				}
			}
			if ours.reads < c.least || ours.reads > c.most {
				t.Errorf("%s: %d reads, want %d to %d", c.name, ours.reads, c.least, c.most)
			}
		})
	}
}

// TestGatheringEndsWithTheRush lets 100 ms of quiet pass behind a rush.
func TestGatheringEndsWithTheRush(t *testing.T) {
	g, now := gathering{pause: time.Millisecond}, time.Now()
	for range 1000 {
		g.heard++
		now = now.Add(100 * time.Microsecond)
		g.wait(now)
	}
	if !g.on {
		t.Fatal("10,000 messages a second do not gather")
	}
	now = now.Add(100 * time.Millisecond)
	if g.heard++; g.wait(now) != 0 {
		t.Error("the first message behind a pause waits")
	}
}
