package pubsub

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync/atomic"
)

// LifecycleConfig says whether the broker writes down who comes and goes: sessions that open and close, users that come online and go
// offline, topics with a presence that are occupied and vacated. All instances must have the same.
type LifecycleConfig struct {
	// On: each of these is an entry of a stream. Default: none is.
	On bool
	// MaxEntries is about how many entries a stream keeps; older ones are gone. Default DefaultLifecycleMax.
	MaxEntries int
	// Users reports whether the lifecycle also tells who is in a topic that has a presence: the first and the last session of each user
	// there. It must not block. Default: of no topic.
	Users func(topic string) bool
	// Readers: Deliver is called. The user needs more rights for that, which Check tries.
	Readers bool
}

// DefaultLifecycleMax entries are some 20 MB.
const DefaultLifecycleMax = 100_000

func (c *LifecycleConfig) setDefaults() { setDefault(&c.MaxEntries, DefaultLifecycleMax) }

// tellsUsers reports whether who is in topic is told.
func (c *LifecycleConfig) tellsUsers(topic string) bool {
	return c.Users != nil && !isHidden(topic) && c.Users(topic)
}

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
	// lapses counts the renewals that found this node's lease run out: it may have been swept.
	lapses atomic.Uint64

	// Guarded by the lock of presences, by partition: what is known of its stream, and what its members were told to.
	epochs [partitions]epochs
	told   [partitions]lastTold
}

// lastTold is the epoch of a stream that members were told to, and the lapses until then. anew: those too that the server knew before, so
// a server that lacks the end of that epoch may have the members and lack their entries.
type lastTold struct {
	epoch  string
	lapses uint64
	anew   bool
}

// epochs are the first one of a stream that this node saw, and the last two. broken is the last one that did not follow the one that
// this node saw before.
type epochs struct{ first, now, before, broken string }

// count takes the number that presence.lua answers: 1 if somebody came or went, which is returned, 2 for each entry and 16 for each reset.
func (l *lifecycle) count(n int) (changed int) {
	l.entries.Add(uint64(n >> 1 & 7))
	l.resets.Add(uint64(n >> 4))
	return n & 1
}

// touchStream has the stream of partition p, if it is of this partition, say whether it begins anew. The caller holds the lock.
func (r *Redis) touchStream(ctx context.Context, p byte) error {
	if !r.cfg.Lifecycle.On || r.names.lifecyclePart(p) != p {
		return nil
	}
	l := &r.lifecycle
	reply, err := r.runBriefly(ctx, []call{{
		kind: touchLifecycle, partition: p, keys: []string{r.names.lifecycle(p), r.names.lifecycleEnd(p)},
		args: []any{r.cfg.Lifecycle.MaxEntries, l.latest.Load(), freshEpoch()},
	}})[0].Slice()
	if err == nil && len(reply) != 4 {
		err = errBadLog
	}
	if err != nil {
		return fmt.Errorf("touch the stream of the lifecycle: %w", err)
	}
	ms, _ := reply[0].(int64)
	n, _ := reply[1].(int64)
	l.count(int(n))
	if latest := uint64(max(ms, 0)); latest > l.latest.Load() { // written nowhere else
		l.latest.Store(latest)
	}
	l.seen(p, str(reply, 2), str(reply, 3))
	if of := r.sharing(p); len(of) > 1 && slices.ContainsFunc(of, func(q byte) bool { return l.told[q].epoch != l.epochs[p].now }) {
		r.presence.dueNow(of...)
	}
	return nil
}

// sharing are the partitions that have their entries in the stream of partition p.
func (r *Redis) sharing(p byte) []byte {
	if r.names.sharded {
		return []byte{p}
	}
	return allPartitions()
}

// seen takes the epoch of the stream of partition p and the one before. If another one was seen last, what follows it is nothing that follows
// from what was told.
func (l *lifecycle) seen(p byte, now, before string) {
	e := &l.epochs[p]
	if e.now != "" && e.now != now && e.now != before {
		e.broken = now
	}
	e.first, e.now, e.before = cmp.Or(e.first, now), now, before
}

// mayHaveLost reports whether the server may have lost members in partition p, or their entries, since they were told: their stream has begun
// another epoch, or none can begin since the server does not say which one it is. The caller holds the lock.
func (r *Redis) mayHaveLost(p byte) bool {
	e := &r.lifecycle.epochs[r.names.lifecyclePart(p)]
	if cmp.Or(r.lifecycle.told[p].epoch, e.first) != e.now {
		return true
	}
	m, err := r.route(p)
	if err != nil {
		return true
	}
	known := m.scripts.Load()
	return known == nil || known.server == ""
}

// untold reports whether members in partition p have to be told to the lifecycle anew, those too that the server knows. An epoch that
// follows the one that they were told to has only lost what the server has lost of the members, too; unless they were told anew in that
// one, or it has lost that this node was swept. The caller holds the lock.
func (r *Redis) untold(p byte) bool {
	l := &r.lifecycle
	e, told := &l.epochs[r.names.lifecyclePart(p)], l.told[p]
	return told.epoch != "" && told.epoch != e.now && (told.epoch != e.before || told.anew || e.broken == e.now || told.lapses != l.lapses.Load())
}

// toldAll notes that they were told, perhaps anew, lapses being those before it. The caller holds the lock.
func (r *Redis) toldAll(p byte, lapses uint64, anew bool) {
	now, told := r.lifecycle.epochs[r.names.lifecyclePart(p)].now, &r.lifecycle.told[p]
	*told = lastTold{now, lapses, anew || told.anew && told.epoch == now}
}

// LifecycleStats counts entries, and the resets among them.
type LifecycleStats struct{ Entries, Resets uint64 }

func (l *lifecycle) snapshot() LifecycleStats {
	return LifecycleStats{l.entries.Load(), l.resets.Load()}
}
