package session

import (
	"cmp"
	"context"
	"fmt"
	"hash/maphash"
	"slices"

	"wshub/pubsub"
)

// This file is how topics look to an operator.

// TopicView is what a node knows of a topic.
type TopicView struct {
	Followers int            `json:"followers"`
	Waiting   int            `json:"waiting"`   // sessions that are about to follow
	Protocols map[string]int `json:"protocols"` // followers by protocol
}

// followersPerTurn are looked at in one turn, for their protocol: each is a cache miss of some 0.1 µs.
const followersPerTurn = 4096

// Topic counts the sessions of this node that follow a topic. Who comes and goes meanwhile may be missing, or count twice.
// ErrUnavailable if ctx ends before they are counted.
func (h *Hub) Topic(ctx context.Context, name string) (v TopicView, err error) {
	found, seen := make([]topicCount, len(h.shards)), make(chan struct{}, len(h.shards))
	for i, sh := range h.shards {
		sh.loop.Post(func() { sh.countFollowers(ctx, name, 0, &found[i], func() { seen <- struct{}{} }) })
	}
	for range h.shards {
		select {
		case <-seen:
		case <-ctx.Done():
		}
	}
	if ctx.Err() != nil { // not all were counted, maybe
		return TopicView{}, fmt.Errorf("look at topic: %w: %w", pubsub.ErrUnavailable, ctx.Err())
	}
	v.Protocols = make(map[string]int)
	for _, own := range found {
		v.Waiting += own.waiting
		for i, n := range own.speak {
			if n > 0 {
				v.Followers += n
				v.Protocols[h.protocols[i].Name()] += n
			}
		}
	}
	return v, nil
}

// topicCount is a loop's share of a TopicView.
type topicCount struct {
	waiting int
	speak   [maxProtocols]int
}

// countFollowers counts the followers of a topic from one of them on, some a turn, into count, until ctx ends: then nobody waits.
func (sh *shard) countFollowers(ctx context.Context, name string, from int, count *topicCount, done func()) {
	t := sh.topics.get(name)
	if t == nil || ctx.Err() != nil {
		done()
		return
	}
	to := min(from+followersPerTurn, t.followers.len())
	for i := from; i < to; i++ {
		count.speak[t.followers.at(i).speaks]++
	}
	if to < t.followers.len() {
		sh.loop.Post(func() { sh.countFollowers(ctx, name, to, count, done) })
		return
	}
	if t.ext != nil {
		count.waiting = len(t.ext.waiting)
	}
	done()
}

// TopicCount is how many sessions follow a topic, or are about to.
type TopicCount struct {
	Topic     string `json:"topic"`
	Followers int    `json:"followers"`
}

// CompareTopics orders the one with more followers before, then by name.
func CompareTopics(a, b TopicCount) int {
	return cmp.Or(cmp.Compare(b.Followers, a.Followers), cmp.Compare(a.Topic, b.Topic))
}

// leastTop is how many topics are taken of each loop, however few are asked for: the sessions of one may be on any loop.
// askedAtOnce are counted on a loop in one turn.
const leastTop, askedAtOnce = 400, 1000

// TopTopics returns the topics that match which most sessions of this node follow, or are about to, up to most of them, the
// one with most first; matched counts all that match. Counts are exact. Where there are more than most, one that has few
// sessions on each of many loops may be missing. ErrUnavailable if ctx ends before they are counted.
func (h *Hub) TopTopics(ctx context.Context, match func(topic string) bool, most int) (top []TopicCount, matched int, err error) {
	seed := maphash.MakeSeed()
	found := make([]topList, len(h.shards))
	for i := range found {
		found[i].most = max(most, leastTop)
	}
	err = h.survey(ctx, func(sh *shard, part int) {
		own := &found[sh.loop.Index]
		for _, t := range sh.topics.parts[part].slots {
			if t == nil || t.sessions() == 0 || !match(t.name) {
				continue
			}
			own.matched = append(own.matched, maphash.String(seed, t.name))
			own.add(TopicCount{t.name, t.sessions()})
		}
	})
	if err != nil {
		return nil, 0, err
	}
	var names []string
	var all []uint64
	for _, own := range found {
		all = append(all, own.matched...)
		for _, c := range own.list {
			names = append(names, c.Topic)
		}
	}
	slices.Sort(names)
	top, err = h.CountTopics(ctx, slices.Compact(names))
	if err != nil {
		return nil, 0, err
	}
	slices.SortFunc(top, CompareTopics)
	return top[:min(len(top), most)], different(all), nil
}

// CountTopics counts the sessions of this node that follow each of names, or are about to; those that nobody follows are
// left out. ErrUnavailable if ctx ends before they are counted.
func (h *Hub) CountTopics(ctx context.Context, names []string) (counts []TopicCount, err error) {
	for some := range slices.Chunk(names, askedAtOnce) {
		followers, ok := h.Followers(some)(ctx)
		if !ok {
			return nil, fmt.Errorf("count followers: %w: %w", pubsub.ErrUnavailable, ctx.Err())
		}
		for i, name := range some {
			if followers[i] > 0 {
				counts = append(counts, TopicCount{name, followers[i]})
			}
		}
	}
	return counts, nil
}

// topList keeps those of a loop's topics that have most followers there.
type topList struct {
	most    int
	list    []TopicCount // up to twice as many
	worst   TopicCount   // of those that were kept when the list was last cut
	cut     bool
	matched []uint64 // all, as hashes
}

func (l *topList) add(c TopicCount) {
	if l.cut && CompareTopics(c, l.worst) > 0 {
		return
	}
	if l.list = append(l.list, c); len(l.list) == 2*l.most {
		slices.SortFunc(l.list, CompareTopics)
		l.list = l.list[:l.most]
		l.worst, l.cut = l.list[l.most-1], true
	}
}
