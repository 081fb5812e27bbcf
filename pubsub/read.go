package pubsub

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// errBadLog: the keys of a log hold what this package did not write.
var errBadLog = errors.New("not a hub's log")

// heads reads where the logs of topics end, without their events.
func (r *Redis) heads(ctx context.Context, topics []string) []excerpt {
	ctx, cancel := context.WithTimeout(ctx, ioTimeout)
	defer cancel()
	heads := make([]excerpt, len(topics))
	groups := map[*master][]int{}
	for i, topic := range topics {
		if m, err := r.route(partition(topic)); err != nil {
			heads[i].err = err
		} else {
			groups[m] = append(groups[m], i)
		}
	}
	for m, group := range groups {
		r.headsAt(ctx, m, topics, group, heads)
	}
	return heads
}

// headsAt reads those of topics that m has. The clock is read first: what is published after a record was found
// missing has a later ID.
func (r *Redis) headsAt(ctx context.Context, m *master, topics []string, those []int, heads []excerpt) {
	pipe := m.pub.Pipeline()
	clock := pipe.Time(ctx)
	records := make([]*redis.SliceCmd, len(those))
	for n, i := range those {
		keys := r.names.log(topics[i])
		records[n] = pipe.MGet(ctx, keys[0], keys[2])
	}
	if err := exec(ctx, pipe); err != nil {
		clock.SetErr(err)
	}
	if clock.Err() == nil {
		m.clock.set(clock.Val())
	}
	for n, i := range those {
		err := cmp.Or(clock.Err(), records[n].Err())
		if err == nil && r.routes[partition(topics[i])].Load() != m {
			err = errOvertaken
		}
		if err != nil {
			if isAstray(err) {
				r.triggers.pull(onMoved)
			}
			heads[i].err = fmt.Errorf("read heads: %w", err)
			continue
		}
		partition, record := str(records[n].Val(), 0), str(records[n].Val(), 1)
		if partition == "" {
			heads[i] = r.excerpts(ctx, topics[i:i+1], []Position{Start}, Limit{}, false)[0] // makes it
		} else {
			heads[i] = r.parseHead(topics[i], partition, record, uint64(clock.Val().UnixMilli()))
		}
	}
}

// lastID is behind all others. Redis refuses to look behind it.
var lastID = ID{math.MaxUint64, math.MaxUint64}

// excerpts reads the first page of each topic's log behind its since, in one pipeline for each master. Where the log is of another
// epoch than its since, with strict no events are read, else those from since's millisecond on.
func (r *Redis) excerpts(ctx context.Context, topics []string, since []Position, limit Limit, strict bool) []excerpt {
	ctx, cancel := context.WithTimeout(ctx, ioTimeout)
	defer cancel()
	calls := make([]call, len(topics))
	for i, topic := range topics {
		events := limit.Events
		if since[i].ID == lastID {
			events = 0
		}
		epoch, only := "", "0"
		if !since[i].IsZero() {
			epoch = storedEpoch(since[i].Epoch)
		}
		if strict {
			only = "1"
		}
		calls[i] = call{kind: read, reads: true, partition: partition(topic), keys: r.names.log(topic), args: []any{
			since[i].ID.String(), events, limit.Bytes, freshEpoch(), epoch, only,
		}}
	}
	replies := r.run(ctx, calls)
	list := make([]excerpt, len(topics))
	for i, topic := range topics {
		if err := replies[i].Err(); err != nil {
			list[i].err = fmt.Errorf("read the log of %q: %w", topic, err)
		} else {
			list[i] = r.parseExcerpt(topic, replies[i].Val())
		}
	}
	return list
}

// parseExcerpt reads read.lua's reply: epoch, record, TIME, entries, newest, last read, foreign entries.
func (r *Redis) parseExcerpt(topic string, reply any) excerpt {
	seconds, _ := strconv.ParseUint(str(at(reply, 2), 0), 10, 64)
	micros, _ := strconv.ParseUint(str(at(reply, 2), 1), 10, 64)
	x := r.parseHead(topic, str(reply, 0), str(reply, 1), seconds*1000+micros/1000)
	if x.err != nil {
		return x
	}
	entries, _ := at(reply, 3).([]any)
	for _, entry := range entries {
		if ev, ok := r.parseEntry(topic, x.epoch, entry); ok {
			x.events = append(x.events, ev)
		}
	}
	x.newest, _ = ParseID(str(reply, 4))
	x.read, _ = ParseID(str(reply, 5))
	if foreign, _ := at(reply, 6).(int64); foreign > 0 {
		r.drops(BadEntry, uint64(foreign), topic)
	}
	return x
}

// parseHead reads what is stored of where a log ends.
func (r *Redis) parseHead(topic, partition, record string, now uint64) excerpt {
	life := r.life(topic)
	// The topic had no event for as long as its record lives, so an earlier place is as true.
	x := excerpt{now: now, back: uint64(min(trustedLead, life/2).Milliseconds()), life: life}
	var ok bool
	if x.epoch, ok = parsePartition(partition); !ok {
		return excerpt{err: fmt.Errorf("%w: epoch of %q", errBadLog, topic)}
	}
	if x.last, x.number, ok = parseRecord(record); !ok {
		return excerpt{err: fmt.Errorf("%w: record of %q", errBadLog, topic)}
	}
	return x
}

// parseRecord reads a record as publish.lua wrote it: the topic's last ID and that event's number. "" stands for
// none.
func parseRecord(record string) (last ID, number uint64, ok bool) {
	if len(record) != 32 {
		return ID{}, 0, record == ""
	}
	field := func(i int) uint64 { return binary.BigEndian.Uint64([]byte(record[8*i : 8*i+8])) }
	return ID{field(0), field(1)}, field(2), true
}

// life is how long the record of topic is kept behind its last event.
func (r *Redis) life(topic string) time.Duration {
	rule, _ := r.cfg.History.For(topic)
	return rule.Age + r.cfg.RecordLife
}

// parseEntry reads a stream's entry: its ID, then fields b and d as publish.lua wrote them. Others are
// dropped, which shows as a link that does not fit.
func (r *Redis) parseEntry(topic string, epoch uint64, entry any) (*Event, bool) {
	fields := at(entry, 1)
	id, err := ParseID(str(entry, 0))
	prior, number, ok := parseRecord(str(fields, 1))
	attributes, data, good := parseBody([]byte(str(fields, 3)))
	if err != nil || !ok || !good {
		r.drop(BadEntry, topic)
		return nil, false
	}
	if why, ok := fault(data, r.cfg.MaxMessage); !ok {
		r.drop(why, topic)
		return nil, false
	}
	return &Event{
		Topic: topic, Position: Position{epoch, id}, Before: prior, Number: number + 1, Data: data, Attributes: attributes,
	}, true
}

// at is element i of a reply that should be a list, or nil.
func at(reply any, i int) any {
	if list, ok := reply.([]any); ok && i < len(list) {
		return list[i]
	}
	return nil
}

// str is element i of a reply that should be a list of strings, or "".
func str(reply any, i int) string {
	s, _ := at(reply, i).(string)
	return s
}
