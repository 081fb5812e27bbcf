package pubsub

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"
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
	onAhead             // a follower has what a master's log has not
	numTriggers
)

var triggerNames = [numTriggers]string{"start", "periodic", "dial_error", "moved", "sunsubscribe", "replica", "switch_master", "ahead"}

// triggers makes a topology discover the layout. Any goroutine may pull.
type triggers struct {
	work chan struct{}
	last atomic.Uint32

	mu sync.Mutex
	// next is closed when the discovery has ended that begins next, nil if nobody waits for it.
	next chan struct{}
	// blind is true since a discovery failed: then nobody waits for one.
	blind bool
	// ended is when the last one ended.
	ended time.Time
	// waiting are those who wait for one.
	waiting int
}

// maxWaiting bounds those who wait for a discovery. Each is a goroutine.
const maxWaiting = 64

func (t *triggers) pull(why trigger) {
	t.last.Store(uint32(why))
	wake(t.work)
}

// await pulls, and waits for a discovery that begins from now on, until ctx ends. It does not where the last one has just
// ended or has found nothing out, or enough others wait. It says by Waits that it is going to.
func (t *triggers) await(ctx context.Context, why trigger) {
	t.mu.Lock()
	if t.blind || time.Since(t.ended) < discoverPause || t.waiting >= maxWaiting {
		t.mu.Unlock()
		return
	}
	if t.next == nil {
		t.next = make(chan struct{})
	}
	ended := t.next
	t.waiting++
	t.mu.Unlock()
	t.pull(why)
	Waits(ctx)
	select {
	case <-ctx.Done():
	case <-ended:
	}
	t.mu.Lock()
	t.waiting--
	t.mu.Unlock()
}

// begin says that a discovery begins now. end says that it has ended, and whether anything was found out.
func (t *triggers) begin() (end func(found bool)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	waited := t.next
	t.next = nil
	return func(found bool) {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.blind, t.ended = !found, time.Now()
		if waited != nil {
			close(waited)
		}
	}
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
