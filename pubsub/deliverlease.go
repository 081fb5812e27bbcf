package pubsub

import (
	"context"
	_ "embed"
	"fmt"
	"hash/fnv"
	"strconv"
	"time"
)

// The instance that reads a stream holds a lease of it, which is in Redis beside the position. All instances that read for one
// reader are on a list, each with a lease of its own. Each one computes from that list the streams that it should read. So they
// share the streams evenly without a message, and take over those of a dead instance as soon as its leases end.

//go:embed deliver.lua
var deliverSource string

// readerTimes are the times of leases and looks; tests have shorter ones.
type readerTimes struct {
	// lease is how long an instance has a stream after it has last said so, and is on the list.
	lease time.Duration
	// every is the time between two renewals, of which four in a row may fail. Another instance takes the streams of a dead
	// one over within lease and every.
	every time.Duration
	// margin is how much before the end of its lease an instance takes it for lost: its requests have that long to end.
	margin time.Duration
	// poll is the time between two looks at a stream that had nothing new.
	poll time.Duration
}

var usualReaderTimes = readerTimes{lease: 10 * time.Second, every: 2 * time.Second, margin: time.Second, poll: deliverPoll}

// readerMemory is how long a position is kept that no instance reads on from.
const readerMemory = 30 * 24 * time.Hour

// deliverers is a sorted set of those that read for a reader, by the time until which they live. See lease.lua.
func (n *names) deliverers(reader string) string { return n.tagged(common, "deliverers:"+reader) }

// deliveredTo is a hash of how far a reader has come in the stream of partition p, and who has its lease. See deliver.lua.
func (n *names) deliveredTo(p byte, reader string) string { return n.tagged(p, "delivered:"+reader) }

// lookAfterLeases renews this instance's leases, takes those that it should have, and gives those back that it should not.
func (d *deliverer) lookAfterLeases(ctx context.Context) {
	d.looked = time.Now()
	peers, err := d.announce(ctx)
	switch {
	case err == nil:
		d.peers = peers
	default: // the leases of other servers' streams may well be renewed
		d.complain(ctx, err, "say that this instance reads the lifecycle")
	}
	var kept, given []*reading
	var wanted []byte
	for _, p := range d.streams {
		s, mine := d.reading[p], d.chosen(p) == d.me
		switch {
		case s != nil && !mine && s.cancel == nil:
			given = append(given, s)
		case s != nil:
			s.leaving = !mine
			kept = append(kept, s)
		case mine && !d.handled[p]:
			wanted = append(wanted, p)
		}
	}
	d.keep(ctx, kept)
	d.give(ctx, given)
	d.claim(ctx, wanted)
}

// announce says that this instance reads for the reader, and returns all that do.
func (d *deliverer) announce(ctx context.Context) (peers []string, err error) {
	list := d.r.names.deliverers(d.reader.Name)
	replies := d.r.runBriefly(ctx, []call{
		{kind: announce, partition: common, keys: []string{list}, args: []any{d.me, d.times.lease.Milliseconds(), 0, int(Ready)}},
		{partition: common, args: []any{"zrange", list, "0", maxNodes - 1}},
	})
	if err := replies[0].Err(); err != nil {
		return nil, err
	}
	return replies[1].StringSlice() // the dead are off it
}

// chosen is which of the peers should read the stream of partition p, "" where none is known. When one comes or goes, the streams
// of no other but it change hands (rendezvous hashing).
func (d *deliverer) chosen(p byte) (peer string) {
	var most uint64
	for _, one := range d.peers {
		sum := fnv.New64a()
		fmt.Fprintf(sum, "%s\x00%d\x00%s", d.reader.Name, p, one)
		if n := mix(sum.Sum64()); peer == "" || n > most {
			peer, most = one, n
		}
	}
	return peer
}

// mix spreads the bits of n: FNV's high ones hardly depend on the last bytes. It is the finalizer of MurmurHash3.
func mix(n uint64) uint64 {
	n = (n ^ n>>33) * 0xff51afd7ed558ccd
	n = (n ^ n>>33) * 0xc4ceb9fe1a85ec53
	return n ^ n>>33
}

// store is deliver.lua that keeps or gives a lease, and stores how far the stream has come.
func (d *deliverer) store(s *reading, what string) call {
	return d.call(s.partition, what, s.fence, s.point.position, strconv.FormatUint(s.point.seq, 10), s.point.upto)
}

// call is deliver.lua for the stream of partition p.
func (d *deliverer) call(p byte, what string, fence uint64, more ...any) call {
	args := []any{what, d.me, d.times.lease.Milliseconds(), readerMemory.Milliseconds(), strconv.FormatUint(fence, 10)}
	return call{kind: deliver, partition: p, keys: []string{d.r.names.deliveredTo(p, d.reader.Name)}, args: append(args, more...)}
}

// claim takes the leases of the streams of list that nobody has.
func (d *deliverer) claim(ctx context.Context, list []byte) {
	calls := make([]call, len(list))
	for i, p := range list {
		calls[i] = d.call(p, "take", d.fences[p])
	}
	began := time.Now()
	for i, reply := range d.r.runBriefly(ctx, calls) {
		values, err := reply.Slice()
		if err != nil {
			d.complain(ctx, err, "take over a lifecycle stream")
			continue
		}
		fence := uint64(replyNumber(at(values, 0)))
		if fence == 0 {
			continue
		}
		p := list[i]
		d.setClock(began, values)
		d.fences[p] = fence
		d.reading[p] = &reading{
			partition: p, stream: d.r.names.lifecycle(p), fence: fence, until: began.Add(d.times.lease - d.times.margin),
			point: readPoint{position: str(values, 1), seq: uint64(replyNumber(at(values, 2))), upto: str(values, 3)},
			since: replyNumber(at(values, 4)),
		}
	}
}

// keep renews the leases of list, and stores how far each stream has come. kept says of which that is done.
func (d *deliverer) keep(ctx context.Context, list []*reading) (kept []bool) {
	kept = make([]bool, len(list))
	calls := make([]call, len(list))
	for i, s := range list {
		calls[i] = d.store(s, "keep")
	}
	began := time.Now()
	for i, reply := range d.r.runBriefly(ctx, calls) {
		s := list[i]
		values, err := reply.Slice()
		switch {
		case err != nil:
			d.complain(ctx, err, "store how far a lifecycle stream has been read")
		case uint64(replyNumber(at(values, 0))) != s.fence:
			d.lose(s)
		default:
			d.setClock(began, values)
			s.until, s.since, kept[i] = began.Add(d.times.lease-d.times.margin), replyNumber(at(values, 4)), true
		}
	}
	return kept
}

// give gives leases back, and stores how far each stream has come. Where that fails they run out.
func (d *deliverer) give(ctx context.Context, list []*reading) {
	calls := make([]call, len(list))
	for i, s := range list {
		calls[i] = d.store(s, "give")
		d.lose(s)
	}
	d.r.runBriefly(ctx, calls)
}

// lose ends what is done under a lease that was lost.
func (d *deliverer) lose(s *reading) {
	if s.cancel != nil {
		s.cancel()
	}
	if d.reading[s.partition] == s {
		delete(d.reading, s.partition)
	}
}

// dropLost ends what is done under leases that could not be renewed in time.
func (d *deliverer) dropLost(now time.Time) {
	for _, s := range d.reading {
		if now.After(s.until) {
			d.lose(s)
		}
	}
}

// setClock learns from an answer of deliver.lua how far Redis' clock is ahead.
func (d *deliverer) setClock(began time.Time, values []any) {
	if now := replyNumber(at(values, 5)); now > 0 {
		d.ahead = now - began.UnixMilli()
	}
}
