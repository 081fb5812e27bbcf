package pubsub

import (
	"context"
	"fmt"
	"time"
)

// lifecycleStream is the name of m's only lifecycle stream: another instance's is another one, for whoever takes entries of several.
func (m *Memory) lifecycleStream() string { return "memory:" + m.cfg.Node }

// Deliver hands the entries of the lifecycle stream to reader until ctx ends. See Redis.Deliver. Positions end with Deliver: a reader
// begins with the oldest entry that is kept.
func (m *Memory) Deliver(ctx context.Context, reader *LifecycleReader) error {
	if !ValidReader(reader.Name) || reader.Handle == nil {
		return fmt.Errorf("%w: %q", ErrBadReader, clip(reader.Name))
	}
	reader.streams.Store(1)
	defer reader.streams.Store(0)
	defer reader.oldest.Store(0)
	fence := m.now() // of another process it is later
	point := readPoint{}
	tick := time.NewTicker(deliverPoll)
	defer tick.Stop()
	for {
		entries, err := m.readLifecycle(point.position, batchEntries)
		if err != nil {
			return fmt.Errorf("deliver: %w", err)
		}
		b, next, oldest, _ := point.batch(m.lifecycleStream(), entries)
		if len(b.Entries) > 0 {
			b.Fence, b.Since = fence, time.UnixMilli(int64(m.now()))
			reader.oldest.Store(oldest)
			if !reader.handAll(ctx, b) {
				return nil
			}
			reader.oldest.Store(0)
		}
		if point = next; len(entries) > 0 {
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// handAll hands b out until Handle is done with it, which is false if ctx ends before.
func (l *LifecycleReader) handAll(ctx context.Context, b *LifecycleBatch) (done bool) {
	for {
		again := l.Handle(ctx, b)
		if again <= 0 {
			return true
		}
		b.Tries++
		select {
		case <-ctx.Done():
			return false
		case <-time.After(again):
		}
	}
}
