package pubsub

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// MemoryConfig is how a Memory broker is set up. Zero fields get the default.
type MemoryConfig struct {
	// Node names this instance, for Notify and Nodes.
	Node string
	// MaxMessage bounds an event's data, in bytes. Default DefaultMaxMessage.
	MaxMessage int
	// History says which events this process keeps in memory. Default: none.
	History History
	// HistoryBytes bounds the kept events of all topics together, in bytes, and a quarter of it besides the
	// results of publications that had a key. The oldest goes first. Default 256 MiB.
	HistoryBytes int
	// RecordLife is how long a topic's last position is remembered after its events are gone.
	// Default DefaultRecordLife.
	RecordLife time.Duration
	// Presence says which topics have one. Default: none.
	Presence PresenceConfig
	// Lifecycle says whether a stream is kept in memory. Default: none.
	Lifecycle LifecycleConfig
	// OnControl gets the messages that Notify sends here. It must not block. Default: it is dropped.
	OnControl func(message []byte)
	// OnRevoked gets each revocation given to Revoke. It must not block. Default: it is dropped.
	OnRevoked func([]Revocation)
}

// Memory is the Broker of a hub that runs alone: events, history and all end with the process.
type Memory struct {
	// Fixed at birth.
	cfg   MemoryConfig
	epoch uint64
	born  time.Time
	// resumeKey is what ResumeKey answers.
	resumeKey []byte
	stats     stats
	// running is true while Run is, and begun is closed when it begins.
	running atomic.Bool
	begun   chan struct{}
	begin   sync.Once
	state   atomic.Uint32 // a NodeState

	// order is held across Sink calls, which makes them one at a time, in order of publishing.
	// It owns the kept events, and is locked before mu.
	order sync.Mutex
	sink  Sink // nil unless running
	logs  table[string, *memoryLog]
	kept  memoryKept
	once  onceTable
	// present are the topics that somebody is in; presences counts those that ever were.
	present   table[string, *memoryPresence]
	presences uint64
	lifecycle memoryLifecycle

	mu     sync.Mutex
	topics table[string, Loops]
}

var _ Broker = (*Memory)(nil)

// NewMemory makes a broker. It delivers while Run does.
func NewMemory(cfg MemoryConfig) *Memory {
	setDefault(&cfg.MaxMessage, DefaultMaxMessage)
	setDefault(&cfg.RecordLife, DefaultRecordLife)
	setDefault(&cfg.HistoryBytes, DefaultHistoryBytes)
	cfg.Presence.setDefaults()
	cfg.Lifecycle.setDefaults()
	return &Memory{
		cfg:   cfg,
		epoch: max(rand.Uint64(), 1),
		born:  time.Now(),
		begun: make(chan struct{}),
		kept:  memoryKept{limit: cfg.HistoryBytes},

		lifecycle: memoryLifecycle{max: cfg.Lifecycle.MaxEntries},

		once: onceTable{limit: max(1, cfg.HistoryBytes/4/onceSize)},

		resumeKey: newResumeKey(),
	}
}

// sweepEvery is how often Run drops events that are too old. It goes through all logs.
const sweepEvery = time.Minute

// Run implements Broker.
func (m *Memory) Run(ctx context.Context, sink Sink) error {
	m.setSink(sink)
	defer m.setSink(nil)
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			m.sweep()
		}
	}
}

func (m *Memory) setSink(sink Sink) {
	m.order.Lock()
	defer m.order.Unlock()
	m.sink = sink
	m.running.Store(sink != nil)
	if sink != nil {
		m.begin.Do(func() { close(m.begun) })
	}
}

// awaitRun waits until Run has begun: a hub that has just started refuses nobody for that.
func (m *Memory) awaitRun(ctx context.Context) {
	select {
	case <-m.begun:
	case <-ctx.Done():
	}
}

// now is the time in Unix milliseconds. It never steps back.
func (m *Memory) now() uint64 {
	return uint64(m.born.Add(time.Since(m.born)).UnixMilli())
}

// Follow implements Broker. It calls done before it returns, never with an error.
func (m *Memory) Follow(topic string, loop int, done func(error)) {
	m.mu.Lock()
	loops, _ := m.topics.get(topic)
	m.topics.set(topic, loops.With(loop))
	m.mu.Unlock()
	done(nil)
}

// Unfollow implements Broker.
func (m *Memory) Unfollow(topic string, loop int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	loops, _ := m.topics.get(topic)
	if left := loops.Without(loop); left != 0 {
		m.topics.set(topic, left)
	} else {
		m.topics.delete(topic)
	}
}

func (m *Memory) loops(topic string) Loops {
	m.mu.Lock()
	defer m.mu.Unlock()
	loops, _ := m.topics.get(topic)
	return loops
}

// Publish implements Broker. The events were delivered when it returns. It blocks until Run has begun, and as long as the Sink does.
func (m *Memory) Publish(ctx context.Context, batch []Publication) []Result {
	m.awaitRun(ctx)
	results := make([]Result, len(batch))
	m.order.Lock()
	defer m.order.Unlock()
	for i := range batch {
		results[i] = m.publish(&batch[i])
	}
	return results
}

func (m *Memory) publish(p *Publication) Result {
	if err := validatePublication(p, m.cfg.MaxMessage); err != nil {
		return Result{Err: err}
	}
	if m.sink == nil {
		m.stats.unavailable.Add(1)
		return Result{Err: fmt.Errorf("publish: %w: not running", ErrUnavailable)}
	}
	now := m.now()
	if at, known := m.once.position(p, now); known {
		return Result{Position: at}
	}
	ev := &Event{Topic: p.Topic, Data: p.Data}
	if !p.Attributes.empty() {
		ev.Attributes = p.Attributes
	}
	if rule, keeps := m.cfg.History.For(p.Topic); keeps && !p.Unkept {
		m.add(m.log(p.Topic), ev, now, rule)
	}
	m.stats.drops[KeysFull].Add(m.once.remember(p, now, ev.Position))
	if loops := m.loops(p.Topic); loops != 0 {
		m.stats.delivered.Add(1)
		m.sink.Deliver(ev, loops)
		m.sink.HandOver()
	}
	return Result{Position: ev.Position}
}

// Ready is nil while Run does.
func (m *Memory) Ready() error {
	if !m.running.Load() {
		return fmt.Errorf("%w: not running", ErrUnavailable)
	}
	return nil
}

// Stats is what happened so far.
func (m *Memory) Stats() Snapshot {
	s := m.stats.snapshot()
	m.order.Lock()
	s.HistoryBytes = uint64(m.kept.bytes + m.once.order.len()*onceSize)
	s.Lifecycle = LifecycleStats{m.lifecycle.seq, m.lifecycle.resets}
	m.order.Unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	s.Followed = m.topics.len()
	return s
}
