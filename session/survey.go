package session

import (
	"context"
	"fmt"
	"hash/maphash"
	"slices"
	"time"

	"wshub/pubsub"
)

// Surveys of all topics or users of a node run on its loops, one part of their tables a turn.

// surveyParts is the parts of an index and of members.
const surveyParts = indexParts

var _ [indexParts]struct{} = [memberParts]struct{}{} // they have as many

// surveyTurn is how long parts are looked at in one turn: more than a turn costs, and little to who waits for the loop. A
// part of a full node's tables takes as long by itself.
const surveyTurn = 200 * time.Microsecond

// survey calls visit on every loop, once for each part of its tables; one call on a loop ends before the next one there
// begins. It ends early, with pubsub.ErrUnavailable, when ctx does, and then visit may still be called once on each loop.
func (h *Hub) survey(ctx context.Context, visit func(sh *shard, part int)) error {
	return h.inParts(ctx, surveyParts, visit)
}

// inParts is survey for tables of so many parts.
func (h *Hub) inParts(ctx context.Context, parts int, visit func(sh *shard, part int)) error {
	seen := make(chan struct{}, len(h.shards))
	for _, sh := range h.shards {
		var from func(part int)
		from = func(part int) {
			for began := time.Now(); part < parts && ctx.Err() == nil; {
				visit(sh, part)
				if part++; time.Since(began) > surveyTurn {
					sh.loop.Post(func() { from(part) })
					return
				}
			}
			seen <- struct{}{}
		}
		sh.loop.Post(func() { from(0) })
	}
	for range h.shards {
		select {
		case <-seen:
		case <-ctx.Done():
			return fmt.Errorf("survey: %w: %w", pubsub.ErrUnavailable, ctx.Err())
		}
	}
	return ctx.Err()
}

// askLoops calls visit on every loop. await returns the results, in the loops' order; it is not ok if ctx ends before
// all have answered.
func askLoops[T any](h *Hub, visit func(sh *shard) T) (await func(ctx context.Context) (found []T, ok bool)) {
	found, seen := make([]T, len(h.shards)), make(chan struct{}, len(h.shards))
	for i, sh := range h.shards {
		sh.loop.Post(func() {
			found[i] = visit(sh)
			seen <- struct{}{}
		})
	}
	return func(ctx context.Context) ([]T, bool) {
		for range h.shards {
			select {
			case <-seen:
			case <-ctx.Done():
				return nil, false
			}
		}
		return found, true
	}
}

// Followers counts the sessions of this node that follow each of topics, or are about to. It does not wait: await does,
// until ctx ends, and is not ok then.
func (h *Hub) Followers(topics []string) (await func(ctx context.Context) (followers []int, ok bool)) {
	asked := askLoops(h, func(sh *shard) []int {
		counts := make([]int, len(topics))
		for i, name := range topics {
			if t := sh.topics.get(name); t != nil {
				counts[i] = t.sessions()
			}
		}
		return counts
	})
	return func(ctx context.Context) ([]int, bool) {
		found, ok := asked(ctx)
		followers := make([]int, len(topics))
		for _, counts := range found {
			for i, n := range counts {
				followers[i] += n
			}
		}
		return followers, ok
	}
}

// Sessions counts the sessions of this node that target names. ErrBadTarget, or ErrUnavailable if ctx ends before they are
// counted.
func (h *Hub) Sessions(ctx context.Context, target Target) (n int, err error) {
	if err := target.validate(); err != nil {
		return 0, err
	}
	found, ok := askLoops(h, func(sh *shard) int { return len(sh.find(target)) })(ctx)
	if !ok {
		return 0, fmt.Errorf("count sessions: %w: %w", pubsub.ErrUnavailable, ctx.Err())
	}
	for _, one := range found {
		n += one
	}
	return n, nil
}

// Topics returns the topics that sessions of this node follow, or are about to, and how many do; of those that match.
// few is false, and followers nil, if there are more than most. ErrUnavailable if ctx ends before they are counted.
func (h *Hub) Topics(ctx context.Context, match func(topic string) bool, most int) (followers map[string]int, few bool, err error) {
	found := make([]map[string]int, len(h.shards))
	err = h.survey(ctx, func(sh *shard, part int) {
		own := found[sh.loop.Index]
		if own == nil {
			own = make(map[string]int)
			found[sh.loop.Index] = own
		}
		for _, t := range sh.topics.parts[part].slots {
			if len(own) <= most && t != nil && match(t.name) {
				own[t.name] = t.sessions()
			}
		}
	})
	if err != nil {
		return nil, false, err
	}
	followers = make(map[string]int)
	for _, own := range found {
		for topic, n := range own {
			followers[topic] += n
		}
	}
	if len(followers) > most {
		return nil, false, nil
	}
	return followers, true, nil
}

// sessions is how many follow, or are about to.
func (t *topic) sessions() int {
	n := t.followers.len()
	if t.ext != nil {
		n += len(t.ext.waiting)
	}
	return n
}

// Census is how many different users have sessions on this node, and how many different topics sessions of it follow, or
// are about to. ErrUnavailable if ctx ends before they are counted.
func (h *Hub) Census(ctx context.Context) (users, topics int, err error) {
	type names struct{ users, topics []uint64 } // as hashes: a topic may be followed on several loops
	seed := maphash.MakeSeed()
	found := make([]names, len(h.shards))
	err = h.survey(ctx, func(sh *shard, part int) {
		own := &found[sh.loop.Index]
		for _, s := range sh.members.parts[part].slots {
			if s != nil {
				own.users = append(own.users, maphash.String(seed, s.own))
			}
		}
		for _, t := range sh.topics.parts[part].slots {
			if t != nil {
				own.topics = append(own.topics, maphash.String(seed, t.name))
			}
		}
	})
	if err != nil {
		return 0, 0, err
	}
	var all names
	for _, own := range found {
		all.users, all.topics = append(all.users, own.users...), append(all.topics, own.topics...)
	}
	return different(all.users), different(all.topics), nil
}

// different counts the different numbers of list, and changes it.
func different(list []uint64) int {
	slices.Sort(list)
	return len(slices.Compact(list))
}
