package pubsub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// deliverPoll is the time between two looks at a stream that had nothing new.
	deliverPoll = 250 * time.Millisecond
	// maxHandles bounds the batches of one reader that are handled at a time in this instance.
	maxHandles = 8
	// readsPerHandle is how many streams are read at a time for each batch that can be handled: most have nothing new.
	readsPerHandle = 4
	// failedRead is the wait before a stream is read again whose server failed.
	failedRead = time.Second
)

// ErrBadReader: a LifecycleReader has no name that fits, or no Handle.
var ErrBadReader = errors.New("bad reader of the lifecycle")

// deliverer is one Deliver. Its goroutine owns all of it; handles report through done.
type deliverer struct {
	r      *Redis
	reader *LifecycleReader
	times  readerTimes
	// me names this Deliver among all that read for the same reader.
	me      string
	streams []byte // the partitions that have one
	done    chan outcome

	reading map[byte]*reading
	handled map[byte]bool   // a handle is under way for the stream, of reading or of a lease that was lost
	fences  map[byte]uint64 // the last one that is known
	peers   []string        // all that read for the same reader
	looked  time.Time       // when the leases were last looked after
	ahead   int64           // Redis' clock less this machine's, milliseconds
}

// reading is a stream that this instance has the lease of.
type reading struct {
	partition byte
	stream    string
	fence     uint64
	until     time.Time // from then on the lease may be another's
	point     readPoint
	since     int64     // of the batch under way, Unix milliseconds of Redis' clock
	first     time.Time // since, by this machine's clock when the batch was first handed out here
	tries     int
	due       time.Time
	oldest    int64              // time of the oldest entry that is under way, by this machine's clock, else 0
	cancel    context.CancelFunc // of the handle that is under way, else nil
	leaving   bool               // another instance should read it
}

// outcome is the end of a handle.
type outcome struct {
	of    *reading
	next  readPoint
	again time.Duration
}

// Deliver hands the entries of the lifecycle streams to reader until ctx ends, and returns when all handles have. It is to be
// called while Run runs. A server that is away does not end it. The error is an ErrBadReader.
func (r *Redis) Deliver(ctx context.Context, reader *LifecycleReader) error {
	if !ValidReader(reader.Name) || reader.Handle == nil {
		return fmt.Errorf("%w: %q", ErrBadReader, clip(reader.Name))
	}
	d := r.newDeliverer(reader)
	defer d.end(ctx)
	tick := time.NewTicker(d.times.poll)
	defer tick.Stop()
	for {
		if d.dropLost(time.Now()); time.Since(d.looked) >= d.times.every {
			d.lookAfterLeases(ctx)
		}
		ready := tick.C
		if d.handOut(ctx) {
			ready = atOnce
		}
		d.tell()
		select {
		case <-ctx.Done():
			return nil
		case o := <-d.done:
			d.finish(ctx, o)
		case <-ready:
		}
	}
}

// atOnce is always ready to be received from.
var atOnce = func() <-chan time.Time {
	c := make(chan time.Time)
	close(c)
	return c
}()

func (r *Redis) newDeliverer(reader *LifecycleReader) *deliverer {
	d := &deliverer{
		r: r, reader: reader, times: r.readerTimes, me: r.cfg.Node + "/" + randomName(), done: make(chan outcome, maxHandles),
		reading: map[byte]*reading{}, handled: map[byte]bool{}, fences: map[byte]uint64{},
	}
	d.streams = []byte{common}
	if r.names.sharded {
		d.streams = allPartitions()
	}
	return d
}

// handOut reads some streams that are due, and has their next batches handled. more says that others are due.
func (d *deliverer) handOut(ctx context.Context) (more bool) {
	free := maxHandles - len(d.handled)
	list := d.due(time.Now())
	if free == 0 || len(list) == 0 {
		return false
	}
	if most := readsPerHandle * free; len(list) > most {
		list, more = list[:most], true
	}
	var begun []*reading
	var batches []*LifecycleBatch
	var nexts []readPoint
	for i, entries := range d.read(ctx, list) {
		s := list[i]
		if entries == nil {
			continue
		}
		b, next, oldest, bad := s.point.batch(s.stream, entries)
		d.r.drops(BadEntry, uint64(bad), s.stream)
		switch {
		case len(b.Entries) == 0 && bad > 0:
			s.point = next
		case len(b.Entries) == 0 && s.point.upto != "": // trimmed meanwhile
			s.point.upto, s.oldest = "", 0
		case len(b.Entries) == 0:
			s.due, s.tries = time.Now().Add(d.times.poll), 0
		case len(begun) < free:
			s.oldest = oldest - d.ahead
			s.point.upto = next.position
			begun, batches, nexts = append(begun, s), append(batches, b), append(nexts, next)
		default:
			more = true
		}
	}
	// The fence is looked at before each try: who stood still for long finds out here.
	for i, kept := range d.keep(ctx, begun) {
		if kept {
			d.handle(ctx, begun[i], batches[i], nexts[i])
		} else {
			begun[i].due = time.Now().Add(failedRead)
		}
	}
	return more && len(d.handled) < maxHandles
}

// due are the streams to read now, the one that has waited longest first.
func (d *deliverer) due(now time.Time) (list []*reading) {
	for _, s := range d.reading {
		if s.cancel == nil && !s.leaving && !s.due.After(now) {
			list = append(list, s)
		}
	}
	slices.SortFunc(list, func(a, b *reading) int { return a.due.Compare(b.due) })
	return list
}

// read reads the next entries of each stream of list: nil where that fails.
func (d *deliverer) read(ctx context.Context, list []*reading) [][]LifecycleEntry {
	calls := make([]call, len(list))
	for i, s := range list {
		from := "-"
		if s.point.position != "" {
			from = "(" + s.point.position
		}
		calls[i] = call{partition: s.partition, reads: true, args: []any{"xrange", s.stream, from, cmp.Or(s.point.upto, "+"), "count", batchEntries}}
	}
	all := make([][]LifecycleEntry, len(list))
	for i, reply := range d.r.runBriefly(ctx, calls) {
		entries, err := reply.Slice()
		if err != nil {
			list[i].due = time.Now().Add(failedRead)
			d.complain(ctx, err, "read a lifecycle stream")
			continue
		}
		all[i] = lifecycleEntries(entries)
	}
	return all
}

// lifecycleEntries reads entries as XRANGE answers them. One without an event comes with an empty one.
func lifecycleEntries(reply []any) []LifecycleEntry {
	entries := make([]LifecycleEntry, 0, len(reply))
	for _, one := range reply {
		fields, _ := at(one, 1).([]any)
		e := LifecycleEntry{ID: str(one, 0)}
		for i := 0; i+1 < len(fields); i += 2 {
			if str(fields, i) == lifecycleField {
				e.Event = []byte(str(fields, i+1))
			}
		}
		entries = append(entries, e)
	}
	return entries
}

// handle has b handled by a goroutine of its own.
func (d *deliverer) handle(ctx context.Context, s *reading, b *LifecycleBatch, next readPoint) {
	if s.tries == 0 { // reckoned once: should a clock be set meanwhile the batch is not older by that
		now := time.Now()
		age := now.UnixMilli() + d.ahead - s.since
		s.first = now.Add(-time.Duration(min(max(age, 0), readerMemory.Milliseconds())) * time.Millisecond)
	}
	b.Fence, b.Tries, b.Since = s.fence, s.tries, s.first
	ctx, s.cancel = context.WithCancel(ctx)
	d.handled[s.partition] = true
	go func() { d.done <- outcome{s, next, d.reader.Handle(ctx, b)} }()
}

// finish takes the outcomes of handles that are there, and stores how far they have come.
func (d *deliverer) finish(ctx context.Context, o outcome) {
	moved := d.take(nil, o)
	for {
		select {
		case o = <-d.done:
			moved = d.take(moved, o)
			continue
		default:
		}
		d.keep(ctx, moved) // where it fails, the next keep or give stores it
		return
	}
}

// take takes the outcome of a handle. moved gets the stream if it has come further.
func (d *deliverer) take(moved []*reading, o outcome) []*reading {
	s := o.of
	s.cancel()
	s.cancel = nil
	delete(d.handled, s.partition)
	switch {
	case d.reading[s.partition] != s: // the lease was lost meanwhile
	case o.again > 0:
		s.tries++
		s.due = time.Now().Add(o.again)
	default:
		s.point, s.tries, s.oldest, s.due = o.next, 0, 0, time.Time{}
		return append(moved, s)
	}
	return moved
}

// end waits for the handles, which ctx has ended, and gives the leases back.
func (d *deliverer) end(ended context.Context) {
	for len(d.handled) > 0 {
		d.take(nil, <-d.done)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ended), leaveTime)
	defer cancel()
	d.give(ctx, slices.Collect(maps.Values(d.reading)))
	_ = d.r.command(ctx, common, "zrem", d.r.names.deliverers(d.reader.Name), d.me).Err()
	d.reader.streams.Store(0)
	d.reader.oldest.Store(0)
}

// tell has the reader know how many streams it reads here, and how late it is.
func (d *deliverer) tell() {
	var oldest int64
	for _, s := range d.reading {
		if s.oldest != 0 && (oldest == 0 || s.oldest < oldest) {
			oldest = s.oldest
		}
	}
	d.reader.streams.Store(int64(len(d.reading)))
	d.reader.oldest.Store(oldest)
}

// complain logs, in samples, an error that the connections' own lines do not explain.
func (d *deliverer) complain(ctx context.Context, err error, act string) {
	if isAstray(err) || ctx.Err() != nil {
		return
	}
	if isPermission(err) || redis.HasErrorPrefix(err, "WRONGTYPE") {
		d.r.trouble.Warn().Func(Because(err)).Str("reader", d.reader.Name).Msg(act)
	}
}

// replyNumber is a reply's number, which is an integer or a text.
func replyNumber(v any) int64 {
	switch v := v.(type) {
	case int64:
		return v
	case string:
		n, _ := strconv.ParseInt(v, 10, 64)
		return n
	}
	return 0
}
