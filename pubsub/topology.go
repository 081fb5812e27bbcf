package pubsub

import (
	"context"
	"slices"
	"sync/atomic"
)

// layout says who serves what: addresses of masters, "" where nobody does.
type layout struct {
	partitions [partitions]string
	format     string // who serves the key of the format
}

// masters are the addresses in l, each once, sorted.
func (l *layout) masters() []string {
	list := slices.Sorted(slices.Values(l.partitions[:]))
	list = slices.Compact(list)
	return slices.DeleteFunc(list, func(addr string) bool { return addr == "" })
}

// topology finds who serves what: a single server, the master that sentinels name, or the masters of a cluster.
type topology interface {
	// watch discovers the layout when it begins, from time to time, and at each trigger, and reports it, changed
	// or not. It returns when ctx has ended.
	watch(ctx context.Context, triggers *triggers, report func(layout, trigger)) error
	// inspect discovers the layout once, for Check, and reports faults that may keep others from finding the masters.
	// It gives its connections back.
	inspect(ctx context.Context) (layout, Report)
}

// trigger is the reason for a discovery of the layout.
type trigger uint8

// The triggers.
const (
	atStart     trigger = iota
	inTime              // a while has passed
	onDialError         // a master can't be reached
	onMoved             // a server says that another one serves a slot
	onUnheard           // a server ended subscriptions, because it serves their slot no more
	onReplica           // a server is no master any more
	onSwitch            // a sentinel says that there is another master
	numTriggers
)

var triggerNames = [numTriggers]string{"start", "periodic", "dial_error", "moved", "sunsubscribe", "replica", "switch_master"}

// triggers makes a topology discover the layout. Any goroutine may pull.
type triggers struct {
	work chan struct{}
	last atomic.Uint32
}

func newTriggers() triggers { return triggers{work: make(chan struct{}, 1)} }

func (t *triggers) pull(why trigger) {
	t.last.Store(uint32(why))
	wake(t.work)
}

// why is what was pulled last.
func (t *triggers) why() trigger { return trigger(t.last.Load()) }

// single is the topology of one server: it never changes.
type single struct{ addr string }

func (s single) layout() (l layout) {
	for p := range l.partitions {
		l.partitions[p] = s.addr
	}
	l.format = s.addr
	return l
}

// watch implements topology.
func (s single) watch(ctx context.Context, _ *triggers, report func(layout, trigger)) error {
	report(s.layout(), atStart)
	<-ctx.Done()
	return nil
}
