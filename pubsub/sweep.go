package pubsub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// entryBatch is how many members of a partition are taken off at a time.
	entryBatch = 256
	// changeBatch is how many changes this node makes in one pipeline by itself.
	changeBatch = 512
	// fenceTime is how long a boot is fenced: no write is under way for as long.
	fenceTime = 24 * time.Hour
)

// errNoProgress: members are there, and none of them could be taken off.
var errNoProgress = errors.New("members can't be taken off")

// keepSwept sweeps the boots that keepBoot claims, until ctx ends.
func (r *Redis) keepSwept(ctx context.Context) error {
	p := &r.presence
	for {
		select {
		case <-ctx.Done():
			return nil
		case c := <-p.claims:
			err := r.sweep(ctx, c, allPartitions())
			if err == nil {
				err = r.command(ctx, common, "zrem", r.names.leases(), c.boot).Err()
			}
			if err != nil && ctx.Err() == nil {
				r.trouble.Warn().Err(err).Str("boot", c.boot).Msg("members of a node that is gone can't be taken off yet")
			}
			p.doneSweeping() // unless all is done it is claimed again when the claim has run out
			if err == nil {
				wake(p.renew) // there may be more
			}
		}
	}
}

// sweep takes all members of a boot off that are in partitions of list. First it is fenced there, so that none can come
// later. Members that another boot answers for by now stay. An error of one partition does not keep the others.
func (r *Redis) sweep(ctx context.Context, c lapsed, list []byte) (failed error) {
	for len(list) > 0 {
		found, rest, err := r.fence(ctx, c, list)
		if err != nil {
			failed = err
		}
		var changes []Change
		var strange []call // entries of nobody
		for _, e := range found {
			if change, ok := parseEntry(e.entry); ok && partition(change.Topic) == e.partition {
				change.Cause = hubLost
				changes = append(changes, change)
			} else {
				strange = append(strange, call{partition: e.partition, args: []any{"hdel", r.names.entries(e.partition, c.boot), e.entry}})
			}
		}
		if err := r.takeOff(ctx, c.boot, changes, strange); err != nil {
			return err
		}
		list = rest
	}
	return failed
}

// entry is a member that a boot answers for, as it stands in Redis.
type entry struct {
	partition byte
	entry     string
}

// fence fences a boot in partitions, and returns some of its entries; rest are the partitions that have some. In those
// that have none it is forgotten.
func (r *Redis) fence(ctx context.Context, c lapsed, list []byte) (found []entry, rest []byte, failed error) {
	calls := make([]call, len(list))
	for i, p := range list {
		calls[i] = call{
			kind: fenceBoot, partition: p, keys: []string{r.names.fence(p), r.names.boots(p), r.names.entries(p, c.boot)},
			args: []any{c.boot, c.now, c.now - fenceTime.Milliseconds(), entryBatch},
		}
	}
	for i, reply := range r.runBriefly(ctx, calls) {
		entries, err := reply.StringSlice()
		if err != nil {
			failed = err
		}
		if len(entries) > 0 {
			rest = append(rest, list[i])
		}
		for _, text := range entries {
			found = append(found, entry{list[i], text})
		}
	}
	return found, rest, failed
}

// takeOff makes changes, all of them leaves, in the name of boot, and removes entries that are strange.
func (r *Redis) takeOff(ctx context.Context, boot string, changes []Change, strange []call) error {
	progress, last := false, error(nil)
	for _, reply := range r.runBriefly(ctx, strange) {
		last = cmp.Or(last, reply.Err())
		progress = progress || reply.Err() == nil
	}
	for batch := range slices.Chunk(changes, changeBatch) {
		for _, reply := range r.changeAs(ctx, boot, batch) {
			if reply.err == nil {
				progress = true
				r.presence.swept.Add(uint64(reply.n))
			} else {
				last = reply.err
			}
		}
	}
	if !progress && last != nil {
		return fmt.Errorf("%w: %w", errNoProgress, last)
	}
	return nil
}

// runBriefly is run, for 2 s at most.
func (r *Redis) runBriefly(ctx context.Context, calls []call) []*redis.Cmd {
	ctx, cancel := context.WithTimeout(ctx, ioTimeout)
	defer cancel()
	return r.run(ctx, calls)
}
