package pubsub

import (
	"context"
	"fmt"
	"sort"
)

// This file reads logs from their end: see Limit.Backwards.

// newest is Replay of the last events before a position. Each page of the log is sized by what the last one brought: the
// first is of few events, which may be large.
func (r *Redis) newest(ctx context.Context, topic string, before Position, limit Limit) (Replay, error) {
	fail := func(err error) (Replay, error) {
		return Replay{}, fmt.Errorf("read the end of %q: %w: %s", topic, readError(err), err)
	}
	x := r.heads(ctx, []string{topic})[0]
	if x.err != nil {
		return fail(x.err)
	}
	r.stats.replaysRedis.Add(1)
	answer := Replay{Head: x.head(), Recovered: before.IsZero() || before.Epoch == x.epoch}
	if !answer.Recovered {
		return answer, nil
	}
	end, total, page := "+", 0, 4
	if !before.IsZero() {
		end = "(" + before.ID.String()
	}
	for len(answer.Events) < limit.Events {
		count := min(page, limit.Events-len(answer.Events))
		reply := r.run(ctx, []call{{partition: partition(topic), reads: true, args: []any{
			"xrevrange", r.names.log(topic)[1], end, "-", "count", count,
		}}})[0]
		entries, err := reply.Slice()
		if err != nil {
			return fail(err)
		}
		for _, entry := range entries {
			end = "(" + str(entry, 0)
			ev, ok := r.parseEntry(topic, x.epoch, entry)
			if !ok {
				continue
			}
			if total += ev.bytes(); !limit.admits(len(answer.Events), total) {
				return answer, nil
			}
			answer.Events = append(answer.Events, ev)
			if answer.Head.ID.Compare(ev.Position.ID) < 0 { // it was published since the head was read
				answer.Head = ev.Position
			}
		}
		if len(entries) < count {
			break
		}
		page = 256
		if limit.Bytes > 0 && len(answer.Events) > 0 {
			page = min(page, max((limit.Bytes-total)*len(answer.Events)/max(total, 1), 1))
		}
	}
	return answer, nil
}

// newest is Replay of the last events before a position. The caller has m.order.
func (m *Memory) newest(topic string, before Position, limit Limit, rule HistoryRule) Replay {
	x := excerpt{epoch: m.epoch, now: max(m.now(), m.kept.forgotten+1), life: rule.Age + m.cfg.RecordLife}
	l, ok := m.logs.get(topic)
	if ok && !older(x.now, l.last, x.life) {
		m.trim(l, x.now, rule)
		x.last = l.last
	}
	answer := Replay{Head: x.head(), Recovered: before.IsZero() || before.Epoch == x.epoch}
	if !answer.Recovered || x.last.IsZero() {
		return answer
	}
	end, total := len(l.events), 0
	if !before.IsZero() {
		end = sort.Search(end, func(i int) bool { return l.events[i].Position.ID.Compare(before.ID) >= 0 })
	}
	for end--; end >= 0; end-- {
		if total += l.events[end].bytes(); !limit.admits(len(answer.Events), total) {
			break
		}
		answer.Events = append(answer.Events, l.events[end].Event)
	}
	return answer
}
