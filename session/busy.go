package session

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"wshub/pubsub"
)

// This file is how those who send most, or come most often, look to an operator. A loop keeps the last visits of each kind, in
// a ring: a flood is in it for the most part, whatever else there is.

const (
	// keptVisits are kept of each kind by one loop: 16 KiB for both.
	keptVisits = 256
	// visitTime is how old a visit may be that counts.
	visitTime = time.Minute
	// viewedBusy bounds each list of an answer.
	viewedBusy = 20
)

// visits are the last ones of one kind. Owned by the loop.
type visits struct {
	ring [keptVisits]visit
	next uint64 // how many there have been
}

// visit is a message of a client, or its coming.
type visit struct {
	own string // topic of the user, "" if anonymous
	id  uint64
	at  uint32 // by the hub's clock, which turns over
}

// add adds one, now by the hub's clock.
func (v *visits) add(s *Session, now uint32) {
	v.ring[v.next%keptVisits] = visit{s.own, s.id, now}
	v.next++
}

// Busiest is who sent messages, or came, within the last minute, the most frequent first.
type Busiest struct {
	Senders []BusyView `json:"senders"`
	Comers  []BusyView `json:"comers"` // more than once
}

// BusyView is a user, or for Senders an anonymous session. All anonymous sessions together are one of the Comers.
type BusyView struct {
	User      string  `json:"user,omitempty"`
	Session   string  `json:"session"`    // the last one
	PerSecond float64 `json:"per_second"` // by the last 256 of each loop
}

// Busiest shows up to 20 senders and comers of this node. ErrUnavailable if ctx ends before.
func (h *Hub) Busiest(ctx context.Context) (Busiest, error) {
	type rings struct{ messages, opens visits }
	copies := make(chan rings, len(h.shards))
	for _, sh := range h.shards {
		sh.loop.Post(func() { copies <- rings{sh.received, sh.opens} })
	}
	senders, comers := make(map[visit]*busy), make(map[visit]*busy)
	for range h.shards {
		select {
		case r := <-copies:
			now := h.clock()
			r.messages.count(now, senders, func(v visit) visit {
				if v.own == "" {
					return visit{id: v.id}
				}
				return visit{own: v.own}
			})
			r.opens.count(now, comers, func(v visit) visit { return visit{own: v.own} })
		case <-ctx.Done():
			return Busiest{}, fmt.Errorf("look for busy clients: %w: %w", pubsub.ErrUnavailable, ctx.Err())
		}
	}
	return Busiest{busiest(senders, 1), busiest(comers, 2)}, nil
}

// busy is what is known of one sender or comer.
type busy struct {
	visits int
	rate   float64
	last   visit
}

func (v visit) age(now uint32) time.Duration { return time.Duration(now-v.at) * time.Millisecond }

// count adds the visits within the last minute to those of whom, which has a member for each key.
func (v *visits) count(now uint32, whom map[visit]*busy, key func(visit) visit) {
	kept := v.ring[:min(v.next, keptVisits)]
	over := visitTime
	if v.next > keptVisits { // older ones are unknown
		over = min(over, max(v.ring[v.next%keptVisits].age(now), time.Second))
	}
	for _, one := range kept {
		if one.age(now) > visitTime {
			continue
		}
		b := whom[key(one)]
		if b == nil {
			b = &busy{}
			whom[key(one)] = b
		}
		b.visits++
		b.rate += 1 / over.Seconds()
		if b.visits == 1 || one.age(now) <= b.last.age(now) {
			b.last = one
		}
	}
}

func busiest(whom map[visit]*busy, least int) []BusyView {
	views := []BusyView{}
	for _, b := range whom {
		if b.visits >= least {
			s := Session{own: b.last.own, id: b.last.id}
			views = append(views, BusyView{s.user(), s.name(), b.rate})
		}
	}
	slices.SortFunc(views, CompareBusy)
	return views[:min(len(views), viewedBusy)]
}

// CompareBusy orders the more frequent one before.
func CompareBusy(a, b BusyView) int {
	return cmp.Or(cmp.Compare(b.PerSecond, a.PerSecond), cmp.Compare(a.User, b.User), cmp.Compare(a.Session, b.Session))
}
