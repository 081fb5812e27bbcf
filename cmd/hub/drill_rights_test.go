package main

import (
	"fmt"
	"math/rand/v2"
	"time"

	"wshub/session/token"
)

// rightsRounds is how often rights become less and more again.
const rightsRounds = 6

// rightsChange while subscriptions are pending, because Redis stands still, and in the write that began them: no
// topic is followed without a right to it, every request is answered once, and what was missed is there when the right
// is back. Some clients leave topics in the same way.
func rightsChange(d *drill) {
	d.args = append(d.args, "--jwt-secret="+secret, "--api-key="+apiKey)
	d.token = d.mint(secret, token.Grant{Subject: "reader", Publish: []string{"drill:*"}})
	d.startHubs(2, d.redis.URL())
	d.follow()
	var changing []*follower
	for i := range d.scale.topics / 2 {
		f := newFollower(d, len(d.clients), i, []int{i, i + 1, i + 2, i + 3})
		f.manner = manner{way: []way{resumes, subscribes}[i%2]}
		f.jwt = d.mint(secret, token.Grant{Subject: fmt.Sprint("changing", i)})
		changing = append(changing, d.add(f))
	}
	d.await("followed", (*follower).follows)
	d.publish()
	each := func(do func(i int, f *follower)) {
		for i, f := range changing {
			f.mu.Lock()
			do(i, f)
			f.mu.Unlock()
		}
	}
	for round := range rightsRounds {
		stands := round%2 == 0
		each(func(i int, f *follower) { f.leave(f.places[rand.IntN(4)]) })
		d.allAnswered()
		if stands {
			d.redis.Freeze()
		}
		each(func(i int, f *follower) {
			switch (round + i) % 3 {
			case 0: // less than it asks for in the same write
				f.together(func() {
					f.subscribeMissing()
					f.auth(f.some())
				})
			case 1: // what it asks for is left in the same write
				f.together(func() {
					for _, p := range f.subscribeMissing() {
						f.leave(p)
					}
				})
			case 2: // both when it comes back
				less, p := f.some(), f.places[rand.IntN(4)]
				f.also = func() {
					f.auth(less)
					f.leave(p)
				}
				_ = f.conn.Close()
			}
		})
		d.pass(150 * time.Millisecond)
		d.redis.Thaw()
		d.allAnswered()
		d.pass(150 * time.Millisecond) // nothing of what is denied may come

		if stands {
			d.redis.Freeze()
		}
		each(func(i int, f *follower) {
			f.together(func() {
				for _, p := range f.places {
					if f.denied[d.topics[p.topic].name] {
						f.subscribe(p) // forbidden
					}
				}
				f.auth(map[string]bool{})
				f.subscribeMissing()
			})
		})
		d.pass(100 * time.Millisecond)
		d.redis.Thaw()
		d.await("followed again", (*follower).follows)
	}
	d.costsNothing(d.endRound("rights change"))
}

// allAnswered returns when no request waits, and all clients have connections.
func (d *drill) allAnswered() {
	d.t.Helper()
	d.await("connected", (*follower).connectedNow)
	d.until("all requests are answered", drillPatience, func() bool { return len(d.unanswered()) == 0 })
}

// some are some of the client's topics, at least one and not all.
func (f *follower) some() map[string]bool {
	denied := map[string]bool{}
	for _, i := range rand.Perm(len(f.places))[:1+rand.IntN(len(f.places)-1)] {
		denied[f.d.topics[f.places[i].topic].name] = true
	}
	return denied
}

// auth hands in a token for the client's topics but the denied ones.
func (f *follower) auth(denied map[string]bool) {
	claims := token.Grant{Subject: fmt.Sprint("changing", f.places[0].topic), Subscribe: []string{"nothing"}}
	for _, p := range f.places {
		if name := f.d.topics[p.topic].name; !denied[name] {
			claims.Subscribe = append(claims.Subscribe, name)
		}
	}
	f.ask(map[string]any{"type": "auth", "token": f.d.mint(secret, claims)}, func(h *heard, text []byte) {
		switch {
		case h == nil:
		case h.Type != "ok":
			f.d.oddity("client %d hands in a token and hears %s", f.number, text)
		default:
			f.denied = denied
			for _, p := range f.places {
				p.live = p.live && !denied[f.d.topics[p.topic].name]
			}
		}
	})
}

// subscribeMissing asks for what is not followed.
func (f *follower) subscribeMissing() (asked []*place) {
	for _, p := range f.places {
		if !p.live {
			f.subscribe(p)
			asked = append(asked, p)
		}
	}
	return asked
}
