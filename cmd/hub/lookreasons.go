package main

import (
	"context"
	"encoding/json"
	"slices"

	"wshub/session/reasons"
)

// shownReasons bounds the reasons of one answer, of all hubs.
const shownReasons = 1000

// reasonCounts is room for the counts beside a hub's reasons, in bytes: they are by some 60 names.
const reasonCounts = 32 << 10

// reasonHere is a reason and where it was.
type reasonHere struct {
	Node string `json:"node"`
	reasons.Reason
}

// reasonsQuestion leaves those of one user, or of one kind.
type reasonsQuestion struct {
	User  string
	Kind  reasons.Kind
	limit int
}

// reasonsAnswer is one hub's.
type reasonsAnswer struct {
	Reasons []reasons.Reason
	Counts  causesShown
}

func (l *looks) addReasons(list func() []reasons.Reason, s *sampler) {
	handle(l, "reasons", func(_ context.Context, q reasonsQuestion) (reasonsAnswer, error) {
		all := slices.DeleteFunc(list(), func(r reasons.Reason) bool {
			return q.User != "" && r.User != q.User || q.Kind != "" && r.Kind != q.Kind
		})
		return reasonsAnswer{fitReasons(all), s.causes()}, nil
	})
	get(l, "/api/reasons", func(q *query) reasonsQuestion {
		kinds := []string{string(reasons.Handshake), string(reasons.Token), string(reasons.Topic), string(reasons.Cut), string(reasons.Drop)}
		return reasonsQuestion{q.text("user", ""), reasons.Kind(q.oneOf("kind", kinds...)), q.number("limit", 200, 0, shownReasons)}
	}, l.reasons)
}

// fitReasons leaves out the oldest, which come last, until list is short enough to be sent: what clients sent may become six
// times as long as JSON.
func fitReasons(list []reasons.Reason) []reasons.Reason {
	size := 0
	for i, r := range list {
		text, err := json.Marshal(r)
		if size += len(text) + 1; err != nil || size > lookBytes-reasonCounts {
			return list[:i]
		}
	}
	return list
}

func (l *looks) reasons(ctx context.Context, nodes []string, q reasonsQuestion) (any, error) {
	replies, of, err := askAll[reasonsAnswer](ctx, l, nodes, "reasons", q)
	if err != nil {
		return nil, err
	}
	all := struct {
		Reasons []reasonHere  `json:"reasons"`
		Nodes   []causesShown `json:"nodes"`
		unheard
	}{[]reasonHere{}, []causesShown{}, of}
	for _, r := range replies {
		for _, reason := range r.answer.Reasons {
			all.Reasons = append(all.Reasons, reasonHere{r.node, reason})
		}
		r.answer.Counts.Node = r.node
		all.Nodes = append(all.Nodes, r.answer.Counts)
	}
	slices.SortStableFunc(all.Reasons, func(a, b reasonHere) int { return b.Time.Compare(a.Time) })
	all.Reasons = all.Reasons[:min(len(all.Reasons), q.limit)]
	return all, nil
}
