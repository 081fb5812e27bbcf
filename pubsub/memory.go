package pubsub

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
)

// MemoryConfig is how a Memory broker is set up. Zero fields get the default.
type MemoryConfig struct {
	// MaxMessage bounds an event's data, in bytes. Default DefaultMaxMessage.
	MaxMessage int
}

// Memory is the Broker of a hub that runs alone: events stay in the process.
type Memory struct {
	// Fixed at birth.
	cfg   MemoryConfig
	stats stats
	// running is true while Run is.
	running atomic.Bool

	// order is held across Sink calls, which makes them one at a time, in order of publishing.
	order sync.Mutex
	sink  Sink // nil unless running

	mu     sync.Mutex
	topics map[string]Loops
}

var _ Broker = (*Memory)(nil)

// NewMemory makes a broker. It delivers while Run does.
func NewMemory(cfg MemoryConfig) *Memory {
	setDefault(&cfg.MaxMessage, DefaultMaxMessage)
	return &Memory{cfg: cfg, topics: map[string]Loops{}}
}

// Run implements Broker.
func (m *Memory) Run(ctx context.Context, sink Sink) error {
	m.setSink(sink)
	<-ctx.Done()
	m.setSink(nil)
	return nil
}

func (m *Memory) setSink(sink Sink) {
	m.order.Lock()
	defer m.order.Unlock()
	m.sink = sink
	m.running.Store(sink != nil)
}

// Follow implements Broker. It calls done before it returns, never with an error.
func (m *Memory) Follow(topic string, loop int, done func(error)) {
	m.mu.Lock()
	m.topics[topic] = m.topics[topic].With(loop)
	m.mu.Unlock()
	done(nil)
}

// Unfollow implements Broker.
func (m *Memory) Unfollow(topic string, loop int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if left := m.topics[topic].Without(loop); left != 0 {
		m.topics[topic] = left
	} else {
		delete(m.topics, topic)
	}
}

func (m *Memory) loops(topic string) Loops {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.topics[topic]
}

// Publish implements Broker. The events were delivered when it returns. It blocks as long as the Sink does.
func (m *Memory) Publish(_ context.Context, batch []Publication) []Result {
	results := make([]Result, len(batch))
	m.order.Lock()
	defer m.order.Unlock()
	for i := range batch {
		results[i].Err = m.publish(&batch[i])
	}
	return results
}

func (m *Memory) publish(p *Publication) error {
	if err := checkPublication(p, m.cfg.MaxMessage); err != nil {
		return err
	}
	if m.sink == nil {
		m.stats.unavailable.Add(1)
		return fmt.Errorf("publish: %w: not running", ErrUnavailable)
	}
	if loops := m.loops(p.Topic); loops != 0 {
		m.stats.delivered.Add(1)
		m.sink.Deliver(&Event{Topic: p.Topic, Data: p.Data}, loops)
	}
	return nil
}

// Replay implements Broker: there is no history.
func (m *Memory) Replay(context.Context, string, Position, int) (Replay, error) {
	return Replay{}, nil
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
	m.mu.Lock()
	defer m.mu.Unlock()
	s.Followed = len(m.topics)
	return s
}
