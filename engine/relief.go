package engine

import (
	"cmp"
	"slices"
)

// share is a loop's part of what all may hold.
func (l *Loop) share(total int64) int64 { return total / int64(len(l.srv.loops)) }

// askRelief has relieve run, once. As a job: the caller may stand in the middle of writing to one of
// those that it cuts.
func (l *Loop) askRelief() {
	if !l.relief {
		l.relief = true
		l.Post(l.relieve)
	}
}

// relieve cuts the largest holders of what there is too much of, until a quarter is free. A backlog counts the more, the
// longer nothing has left of it: in a burst those who read have as much as those who do not.
func (l *Loop) relieve() {
	var list []doomed
	if held, limit := l.count.partial.Load(), l.share(l.srv.cfg.MaxPartial); held > limit {
		weigh := func(_ *Conn, h holding) (size, score int64) { return int64(h.held), int64(h.held) }
		list = largest(list, l.partials, weigh, held-limit*3/4, PartialLimit)
	}
	if held, limit := l.count.backlog.Load(), l.share(l.srv.cfg.MaxBacklog); held > limit {
		list = largest(list, l.backlogs, l.weighBacklog, held-limit*3/4, BacklogLimit)
	}
	inTurns(l, list, func(d doomed) { d.Close(d.cause) }, func() { l.relief = false })
}

func (l *Loop) weighBacklog(c *Conn, b backlog) (size, score int64) {
	size = c.waiting(b)
	still := int64(l.now - b.moved + 1)
	return size, size * still * still
}

// doomed is a connection that relief has chosen.
type doomed struct {
	*Conn
	cause       *Cause
	size, score int64
}

// largest appends to list the holders of the highest score, who together hold excess bytes.
func largest[V any](list []doomed, holders map[*Conn]V, weigh func(*Conn, V) (size, score int64), excess int64, cause *Cause) []doomed {
	all := make([]doomed, 0, len(holders))
	for c, v := range holders {
		if size, score := weigh(c, v); c.state > open {
			excess -= size // on its way out already
		} else {
			all = append(all, doomed{c, cause, size, score})
		}
	}
	slices.SortFunc(all, func(a, b doomed) int { return cmp.Compare(b.score, a.score) })
	for _, d := range all {
		if excess <= 0 {
			break
		}
		excess -= d.size
		list = append(list, d)
	}
	return list
}

// inTurns calls f for each of list, over as many turns as it takes, and then done.
func inTurns[T any](l *Loop, list []T, f func(T), done func()) {
	for i, v := range list {
		if l.Spent() {
			l.Post(func() { inTurns(l, list[i:], f, done) })
			return
		}
		l.spend(jobCost)
		f(v)
	}
	done()
}
