package pubsub

import (
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"
)

// LifecycleConfig says whether the broker writes down who comes and goes: sessions that open and close, users that come online and go
// offline, topics with a presence that are occupied and vacated. All instances must have the same.
type LifecycleConfig struct {
	// On: each of these is an entry of a stream. Default: none is.
	On bool
	// MaxEntries is about how many entries a stream keeps; older ones are gone. Default DefaultLifecycleMax.
	MaxEntries int
}

// DefaultLifecycleMax entries are some 20 MB.
const DefaultLifecycleMax = 100_000

func (c *LifecycleConfig) setDefaults() { setDefault(&c.MaxEntries, DefaultLifecycleMax) }

// LifecycleEntry is one entry of a stream.
type LifecycleEntry struct {
	// ID is the stream's, in Redis' notation.
	ID string
	// Event is one JSON object of MaxLifecycleEvent bytes at most: see README.md. It is shared: nobody changes it.
	Event json.RawMessage
}

// MaxLifecycleEvent bounds LifecycleEntry.Event, in bytes.
const MaxLifecycleEvent = 2 << 10

// LifecycleStreams are the keys of the streams, one, or 256 in a Cluster; none without a lifecycle.
func (r *Redis) LifecycleStreams() []string {
	if !r.cfg.Lifecycle.On {
		return nil
	}
	if !r.names.sharded {
		return []string{r.names.lifecycle(common)}
	}
	list := make([]string, partitions)
	for p := range list {
		list[p] = r.names.lifecycle(byte(p))
	}
	return list
}

// Causes of a session_closed that no hub knows better.
const (
	// hubLost: the session's hub has ended, in order or not, and the session was not resumed within the grace.
	hubLost = "hub_lost"
	// unknownCause: the hub could not say so when the session ended, and found later that it had not.
	unknownCause = "unknown"
)

// againWords are what presence.lua gets for each again.
var againWords = [...]string{0: "", untold: "1", untoldTopic: "2"}

// lifecycle is a Redis broker's part in the lifecycle.
type lifecycle struct {
	// latest is the latest time in an ID, in milliseconds, that a touch has answered.
	latest          atomic.Uint64
	entries, resets atomic.Uint64
}

// count takes the number that presence.lua answers: 1 if somebody came or went, which is returned, 2 for each entry and 16 for each reset.
func (l *lifecycle) count(n int) (changed int) {
	l.entries.Add(uint64(n >> 1 & 7))
	l.resets.Add(uint64(n >> 4))
	return n & 1
}

// touchStream has the stream of partition p, if it is of this partition, say whether it begins anew.
func (r *Redis) touchStream(ctx context.Context, p byte) error {
	if !r.cfg.Lifecycle.On || r.names.lifecyclePart(p) != p {
		return nil
	}
	l := &r.lifecycle
	list, err := r.runBriefly(ctx, []call{{
		kind: touchLifecycle, partition: p, keys: []string{r.names.lifecycle(p), r.names.lifecycleEnd(p)},
		args: []any{r.cfg.Lifecycle.MaxEntries, l.latest.Load()},
	}})[0].Int64Slice()
	if err != nil {
		return fmt.Errorf("touch the stream of the lifecycle: %w", err)
	}
	if len(list) == 2 {
		l.count(int(list[1]))
		for ms := uint64(max(list[0], 0)); ; {
			if before := l.latest.Load(); before >= ms || l.latest.CompareAndSwap(before, ms) {
				break
			}
		}
	}
	return nil
}

// snapshot is what was written so far.
func (l *lifecycle) snapshot() map[string]uint64 {
	return map[string]uint64{"entries": l.entries.Load(), "resets": l.resets.Load()}
}
