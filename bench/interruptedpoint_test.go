package bench

import (
	"context"
	"encoding/json"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"wshub/pubsub/redistest/drills"
)

// lookedAt is a context that ends when it is looked at for the last time of left.
type lookedAt struct {
	context.Context
	left atomic.Int64
	end  context.CancelFunc
}

func (c *lookedAt) Done() <-chan struct{} {
	if c.left.Add(-1) == 0 {
		c.end()
	}
	return c.Context.Done()
}

// TestAnInterruptionAtAnyPointLeavesAReport: what was not measured at all is zero, and no figure that can't be written.
func TestAnInterruptionAtAnyPointLeavesAReport(t *testing.T) {
	t.Parallel()
	drills.InProcess(t)
	const most = 10 // looks: the clients connect at the last
	for _, line := range []string{
		"connect --clients=5",
		"idle --steps=5 --rest=10ms --watch=10ms --events=2",
		"fanout --clients=5 --rate=50 --duration=50ms",
		"storm --clients=4 --rate=50 --duration=500ms --window=50ms",
		"max --clients=5 --from=30 --to=60 --trial=300ms --p99=5s",
	} {
		words := strings.Fields(line)
		t.Run(words[0], func(t *testing.T) {
			t.Parallel()
			args := append([]string{"run", words[0]}, newFaulty(t, faults{}).flagsOf(words[0])...)
			for n := range int64(most) {
				_, parsed, _, err := new(app).parse(append(args, words[1:]...))
				if err != nil {
					t.Fatal(err)
				}
				ctx := &lookedAt{}
				ctx.Context, ctx.end = context.WithCancel(t.Context())
				ctx.left.Store(n + 1)
				run := &Run{ID: newRunID(), Started: time.Now()}
				err = parsed.Target().(scenario).measure(ctx, run, &lines{w: io.Discard})
				ctx.end()
				if _, bad := json.Marshal(run); bad != nil {
					t.Errorf("interrupted at its look %d (%v): %v", n+1, err, bad)
				}
				if err == nil {
					return // it looks less often
				}
			}
		})
	}
}
