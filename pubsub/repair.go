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
	// strangerTime is how long a boot must be unknown before its members are taken off: its lease may be lost just now, and is
	// renewed meanwhile.
	strangerTime = vigil + 5*time.Second
	// lookTime bounds the comparison of one partition.
	lookTime = 30 * time.Second
	// scanCount is how many entries are read at a time, maxEntries how many there may be in a partition.
	scanCount, maxEntries = 1000, 1 << 22
	// maxBoots bounds the boots of a partition, and all, that are looked at.
	maxBoots = 10_000
)

// errFenced: this node's boot was swept.
var errFenced = errors.New("this node was taken for dead")

// keepMembers looks through partitions until ctx ends: all in turn, and at once those that may have lost members, or kept some
// that are gone.
func (r *Redis) keepMembers(ctx context.Context) error {
	p := &r.presence
	strangers := map[string]time.Time{} // boots that no lease is known of, since when
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for failures := 0; ; {
		wait := time.Duration(0)
		if list := p.takeDue(time.Now()); len(list) > 0 && p.boot() != "" {
			failed, err := r.lookThrough(ctx, list, strangers)
			p.postpone(failed, time.Second)
			if failures++; err == nil {
				failures = 0
			} else if ctx.Err() == nil {
				wait = r.backoff(failures)
				r.trouble.Warn().Err(err).Int("partitions", len(failed)).Msg("presence can't be compared yet")
			}
		} else {
			p.postpone(list, time.Second)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		select {
		case <-ctx.Done():
			return nil
		case <-p.look:
		case <-tick.C:
		}
	}
}

// takeDue are the partitions that are to be looked through now. Each has its next turn.
func (p *presences) takeDue(now time.Time) (list []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for n := range p.due {
		if !p.due[n].After(now) {
			list = append(list, byte(n))
			p.due[n] = now.Add(p.turn * time.Duration(partitions+n) / partitions) // not all at once
		}
	}
	return list
}

// postpone has partitions looked through again after a while, unless they are due before.
func (p *presences) postpone(list []byte, wait time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, n := range list {
		if next := time.Now().Add(wait); next.Before(p.due[n]) {
			p.due[n] = next
		}
	}
}

// lookThrough compares partitions. failed are those that it has to be tried with again.
func (r *Redis) lookThrough(ctx context.Context, list []byte, strangers map[string]time.Time) (failed []byte, err error) {
	for _, p := range list {
		if e := r.compare(ctx, p); e != nil {
			failed, err = append(failed, p), e
		}
		if errors.Is(err, errFenced) || ctx.Err() != nil {
			return list, err
		}
	}
	unknown, e := r.sweepStrangers(ctx, list, strangers)
	if e != nil {
		return list, e
	}
	r.presence.postpone(unknown, r.presence.stranger/3)
	return failed, err
}

// compare holds this node's members in partition p against its entries there, and enters or takes off those that differ.
func (r *Redis) compare(ctx context.Context, p byte) error {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	unlock, err := r.presence.lock(ctx) // changes that are made meanwhile would look like differences
	if err != nil {
		return err
	}
	defer unlock()
	boot := r.presence.boot()
	if boot == "" {
		return errNoBoot
	}
	if err := r.touchStream(ctx, p); err != nil {
		return err
	}
	entries, err := r.entries(ctx, p, boot)
	if errors.Is(err, errFenced) {
		r.presence.fenced(boot)
	}
	if err != nil || r.cfg.Presence.Members == nil {
		return err
	}
	var changes []Change
	here := map[string]uint32{} // the generations of those that were listed
	lapses := r.lifecycle.lapses.Load()
	all, lost := r.untold(p), r.cfg.Lifecycle.On && r.mayHaveLost(p)
	told := map[string]bool{} // topics that somebody enters
	err = r.cfg.Presence.Members(ctx, p, func(topic string, m Member) {
		c, entry := Change{Topic: topic, Member: m}, entryOf(topic, m.Session)
		stored, known := parseGeneration(entries[entry])
		if known && later(stored, m.Generation) {
			return // an earlier connection; unless that generation is here too, it has left
		}
		if g, listed := here[entry]; listed && !later(m.Generation, g) {
			return // a second time, as one who went away meanwhile
		}
		here[entry] = m.Generation
		delete(entries, entry)
		if same := known && stored == m.Generation; (!same || all) && partition(topic) == p && r.cfg.Presence.validate(&r.cfg.Lifecycle, &c) == nil {
			switch {
			case !lost: // its own change waits for the lock, or has failed, and would tell no more than is new
			case told[topic]:
				c.again = untold
			default:
				told[topic], c.again = true, untoldTopic
			}
			changes = append(changes, c)
		}
	})
	if err != nil {
		return fmt.Errorf("this node's members: %w", err)
	}
	var strange []call
	for entry := range entries {
		if c, ok := parseEntry(entry); ok && partition(c.Topic) == p {
			changes = append(changes, c)
		} else {
			strange = append(strange, call{partition: p, args: []any{"hdel", r.names.entries(p, boot), entry}})
		}
	}
	if err := r.mend(ctx, boot, changes, strange); err != nil {
		return err
	}
	r.toldAll(p, lapses, all)
	return nil
}

// parseGeneration reads the generation of an entry.
func parseGeneration(text string) (g uint32, ok bool) {
	n, err := strconv.ParseUint(text, 10, 32)
	return uint32(n), err == nil
}

// later reports whether generation a is later than b: they count on from 0 behind 2^32-1, as presence.lua says.
func later(a, b uint32) bool { return a != 0 && (b == 0 || int32(a-b) > 0) }

// mend makes changes in the name of boot, and removes strange entries.
func (r *Redis) mend(ctx context.Context, boot string, changes []Change, strange []call) (err error) {
	for _, reply := range r.runBriefly(ctx, strange) {
		err = cmp.Or(err, reply.Err())
	}
	for batch := range slices.Chunk(changes, changeBatch) {
		for _, reply := range r.changeAs(ctx, boot, batch) {
			switch e := reply.err; {
			case isFenced(e):
				r.presence.fenced(boot)
				return errFenced
			case e != nil:
				err = e
			default:
				r.presence.repaired.Add(1)
			}
		}
		if err != nil {
			return err
		}
	}
	return err
}

// entries are boot's in partition p, with their generations. It is an errFenced if the boot was swept there.
func (r *Redis) entries(ctx context.Context, p byte, boot string) (map[string]string, error) {
	entries, cursor := map[string]string{}, "0"
	for {
		replies := r.runBriefly(ctx, []call{
			{partition: p, args: []any{"zscore", r.names.fence(p), boot}, reads: true},
			{partition: p, args: []any{"hscan", r.names.entries(p, boot), cursor, "count", scanCount}, reads: true},
		})
		if err := replies[0].Err(); err == nil {
			return nil, errFenced
		} else if !errors.Is(err, redis.Nil) {
			return nil, err
		}
		reply, err := replies[1].Slice()
		if err != nil {
			return nil, err
		}
		list, _ := at(reply, 1).([]any)
		for i := 0; i+1 < len(list); i += 2 {
			entries[str(list, i)] = str(list, i+1)
		}
		if cursor = str(reply, 0); cursor == "0" || cursor == "" {
			return entries, nil
		}
		if len(entries) > maxEntries {
			return nil, fmt.Errorf("more than %d entries", maxEntries)
		}
	}
}

// sweepStrangers takes the members off, in partitions of list, of boots that no lease is known of: those that come back with a
// replica, or that were there when the leases were lost. unknown are partitions with some that may yet turn out to live.
func (r *Redis) sweepStrangers(ctx context.Context, list []byte, strangers map[string]time.Time) (unknown []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	calls := make([]call, len(list))
	for i, p := range list {
		calls[i] = call{partition: p, args: []any{"srandmember", r.names.boots(p), maxBoots}, reads: true}
	}
	replies := r.runBriefly(ctx, calls)
	// Read behind them: whoever enters members has a lease before.
	leases, err := r.command(ctx, common, "zrange", r.names.leases(), "0", maxBoots).StringSlice()
	if err != nil {
		return nil, err
	}
	living := make(map[string]bool, len(leases))
	for _, boot := range leases {
		living[boot] = true
		delete(strangers, boot)
	}
	now := time.Now()
	maps.DeleteFunc(strangers, func(_ string, since time.Time) bool { return now.Sub(since) > time.Hour })
	for i, p := range list {
		boots, e := replies[i].StringSlice()
		if e != nil {
			err = e
		}
		for _, boot := range boots {
			since, known := strangers[boot]
			switch {
			case living[boot] || len(leases) >= maxBoots:
			case !known && len(strangers) < maxBoots:
				strangers[boot] = now
				unknown = append(unknown, p)
			case now.Sub(since) < r.presence.stranger || !r.presence.watchful():
				unknown = append(unknown, p)
			default:
				if e := r.sweepStranger(ctx, boot, p); e != nil {
					err = e
				}
			}
		}
	}
	return unknown, err
}

// sweepStranger sweeps a boot that no lease is known of in partition p.
func (r *Redis) sweepStranger(ctx context.Context, boot string, p byte) error {
	m, err := r.route(p)
	if err != nil {
		return err
	}
	now, known := m.clock.time()
	if !known {
		return errNobody
	}
	return r.sweep(ctx, lapsed{boot, now}, []byte{p})
}
