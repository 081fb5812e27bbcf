package main

import (
	"maps"
	"sync"
	"time"

	"github.com/gobwas/ws"
)

// replacedCode closes a connection whose session another one has.
const replacedCode ws.StatusCode = 4009

// twins are two clients that come back with one token, as a page that is open twice does.
type twins struct{ first, second *follower }

// oneTokenTwice: of two resumes with one token the later one stays, and misses nothing; the other one is told why it
// is closed. So it is on one hub and on two.
func oneTokenTwice(d *drill) {
	d.startHubs(2, d.redis.URL())
	var olds []*follower
	for i := range d.scale.topics / 2 {
		f := newFollower(d, i, i, []int{i, i + 1, i + 2})
		f.manner = manner{way: resumes}
		olds = append(olds, d.add(f))
	}
	d.await("followed", (*follower).follows)
	for _, one := range []struct {
		name   string
		second int  // the second one's hub, the first one's being 0
		stays  bool // the old connection does, until it is replaced
		behind bool // the second one asks when the first one has its answer
	}{
		{"at once on one hub", 0, false, false},
		{"at once on two hubs", 1, false, false},
		{"one behind the other on one hub", 0, true, true},
		{"one behind the other on two hubs", 1, true, true},
	} {
		d.publish()
		d.pass(200 * time.Millisecond)
		pairs := d.meet(olds, one.second, one.stays, one.behind)
		d.until("one of two is replaced", drillPatience, func() bool {
			for _, p := range pairs {
				if p.first.wasReplaced() == p.second.wasReplaced() {
					return false
				}
			}
			return true
		})
		d.until("the old connections are replaced", drillPatience, func() bool {
			for _, f := range olds {
				if !f.wasReplaced() {
					return false
				}
			}
			return true
		})
		d.pass(300 * time.Millisecond) // longer than nodes take to tell each other
		clear(olds)
		for i, p := range pairs {
			switch {
			case p.first.wasReplaced() && p.second.wasReplaced():
				d.t.Fatalf("%s: of pair %d nobody stays", one.name, i)
			case one.behind && p.second.wasReplaced():
				d.t.Errorf("%s: of pair %d the earlier one stays", one.name, i)
			}
			olds[i] = p.second
			if p.second.wasReplaced() {
				olds[i] = p.first
			}
		}
		d.await("followed", (*follower).follows)
		for _, f := range olds { // with the token of its last answer
			f.cut()
		}
		d.costsNothing(d.endRound("one token twice, " + one.name))
	}
}

// meet lets two twins of each client come back. All wait for each other before they ask.
func (d *drill) meet(olds []*follower, second int, stays, behind bool) (pairs []twins) {
	d.t.Helper()
	if !stays {
		for _, f := range olds {
			f.retire()
		}
		d.until("away", drillPatience, func() bool {
			for _, f := range olds {
				if f.connectedNow() {
					return false
				}
			}
			return true
		})
	}
	var all sync.WaitGroup
	all.Add(2 * len(olds))
	for _, f := range olds {
		p := twins{f.twin(0), f.twin(second)}
		p.first.hold = func() { all.Done(); all.Wait() }
		p.second.hold = func() {
			all.Done()
			all.Wait()
			poll := time.NewTicker(time.Millisecond)
			defer poll.Stop()
			for behind && !p.first.wasAnswered() {
				<-poll.C
			}
		}
		pairs = append(pairs, p)
	}
	for _, p := range pairs {
		d.add(p.first)
		d.add(p.second)
	}
	return pairs
}

// twin is a client that has what f has, and begins at a hub.
func (f *follower) twin(hub int) *follower {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rivals = true
	t := newFollower(f.d, f.number, hub, nil)
	t.manner, t.token, t.came, t.rivals = f.manner, f.token, f.came, true
	for _, p := range f.places {
		place := *p
		place.live, place.passed = false, maps.Clone(p.passed)
		t.places = append(t.places, &place)
	}
	return t
}

// retire ends a client whose session others take.
func (f *follower) retire() {
	f.end()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.replaced = true
}

func (f *follower) wasReplaced() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.replaced
}

// wasAnswered reports whether the client's resume on this connection was, or will not be any more.
func (f *follower) wasAnswered() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.answers > 0 || f.ended || f.conn == nil
}
