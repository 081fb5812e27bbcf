package main

import (
	"context"
	"slices"

	"wshub/session"
)

// busyHere is a busy client and where it is.
type busyHere struct {
	Node string `json:"node"`
	session.BusyView
}

// shownBusy bounds each list of one answer, of all hubs.
const shownBusy = 20

func (l *looks) addBusy() {
	handle(l, "busy", func(ctx context.Context, _ struct{}) (session.Busiest, error) { return l.hub.Busiest(ctx) })
	get(l, "/api/busy", func(*query) struct{} { return struct{}{} }, func(ctx context.Context, nodes []string, q struct{}) (any, error) {
		replies, of, err := askAll[session.Busiest](ctx, l, nodes, "busy", q)
		if err != nil {
			return nil, err
		}
		all := struct {
			Senders []busyHere `json:"senders"`
			Comers  []busyHere `json:"comers"`
			unheard
		}{unheard: of}
		all.Senders = mostBusy(replies, func(b session.Busiest) []session.BusyView { return b.Senders })
		all.Comers = mostBusy(replies, func(b session.Busiest) []session.BusyView { return b.Comers })
		return all, nil
	})
}

// mostBusy joins one list of all hubs.
func mostBusy(replies []said[session.Busiest], list func(session.Busiest) []session.BusyView) []busyHere {
	all := []busyHere{}
	for _, r := range replies {
		for _, v := range list(r.answer) {
			all = append(all, busyHere{r.node, v})
		}
	}
	slices.SortStableFunc(all, func(a, b busyHere) int { return session.CompareBusy(a.BusyView, b.BusyView) })
	return all[:min(len(all), shownBusy)]
}
