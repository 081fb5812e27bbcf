package pubsub

import (
	"context"
	"time"
)

// This file is what time does to the table of follows.

// deadline is when channel is due again, by the table's clock.
type deadline struct {
	at      int64
	channel string
}

// remind puts d behind the others in list and lets keepTime know if it is the first.
func (t *follows) remind(list *[]deadline, d deadline) {
	if *list = append(*list, d); len(*list) == 1 {
		wake(t.alarm)
	}
}

// keepTime ends lingering, answers Follows that waited too long, and gives the chains of topics that were left
// to forget, until ctx ends.
func (t *follows) keepTime(ctx context.Context, forget func([]*chain)) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.alarm:
		case <-timer.C:
		}
		if gone := t.takeGone(); len(gone) > 0 {
			forget(gone)
		}
		late, next := t.expire(t.clock())
		for _, done := range late {
			done(ErrUnavailable)
		}
		if next > 0 {
			timer.Reset(time.Duration(next - t.clock()))
		}
	}
}

func (t *follows) takeGone() []*chain {
	t.mu.Lock()
	defer t.mu.Unlock()
	gone := t.gone
	t.gone = nil
	return gone
}

// expire takes what is due at now, in parts: late are the Follows to answer, next is when to come again, or 0.
func (t *follows) expire(now int64) (late []func(error), next int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for n := 0; n < followBatch && len(t.patiences) > 0 && t.patiences[0].at <= now; n++ {
		late = append(late, t.overdue(t.patiences[0].channel, now)...)
		t.patiences = t.patiences[1:]
	}
	if len(t.patiences) == 0 {
		t.patiences = nil
	}
	for n := 0; n < followBatch && len(t.lingers) > 0 && t.lingers[0].at <= now; n++ {
		t.forget(t.lingers[0])
		t.lingers = t.lingers[1:]
	}
	if len(t.lingers) == 0 {
		t.lingers = nil
	}
	for _, list := range [...][]deadline{t.patiences, t.lingers} {
		if len(list) > 0 && (next == 0 || list[0].at < next) {
			next = list[0].at
		}
	}
	return late, next
}

// overdue takes the Follows of channel that waited until now.
func (t *follows) overdue(channel string, now int64) (late []func(error)) {
	list, _ := t.waiting.get(channel)
	for len(list) > 0 && list[0].until <= now {
		late = append(late, list[0].done)
		list = list[1:]
	}
	if len(list) > 0 {
		t.waiting.set(channel, list)
	} else {
		t.waiting.delete(channel)
	}
	if f, _, ok := t.get(channel); ok && len(late) > 0 {
		f.torn = f.torn || f.chain == nil || !f.known
		t.topics.set(channel, f)
	}
	return late
}

// forget ends the lingering that d tells of, if nobody came back to the topic since.
func (t *follows) forget(d deadline) {
	f, p, ok := t.get(d.channel)
	if !ok || f.left != d.at {
		return
	}
	f.left = 0
	if !p.live() {
		t.drop(d.channel, &f)
		return
	}
	enqueue(d.channel, &f, p)
	t.topics.set(d.channel, f)
}
