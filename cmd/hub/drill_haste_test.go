package main

import (
	"sync"

	"github.com/gobwas/ws"
)

// stage is how far a client has come back.
type stage int

const (
	underway stage = iota // between the others
	waiting               // it has asked for its topics, and hears nothing yet
	answered              // an answer has come, and nothing behind it
	amid                  // some events behind the answer have come, but perhaps not all that it missed
)

func (s stage) String() string {
	return [...]string{"under way", "before the answer", "behind the answer", "amid the missed events"}[s]
}

// amidEvents is how many events behind the answer are amid.
const amidEvents = 3

// broke is the code of a connection that its client broke in haste.
const broke = ws.StatusCode(0)

// haste is where a hasty client breaks off, one connection after the other, before it stays.
var haste = [...]stage{waiting, answered, amid, answered}

// progress counts what h was on the present connection, and returns the stage that the client has come to.
func (f *follower) progress(h *heard) stage {
	switch h.Type {
	case "subscribed", "resumed":
		if f.answers++; f.answers == 1 {
			return answered
		}
	case "event":
		if f.answers == 0 {
			return underway
		}
		if f.events++; f.events == amidEvents {
			return amid
		}
	}
	return underway
}

// stays is called when the client has come to a stage. It waits if there is a trap, and returns false if the
// client breaks off.
func (f *follower) stays(s stage) bool {
	f.mu.Lock()
	t := f.trap
	if t != nil && t.stage == s {
		f.trap = nil
	} else {
		t = nil
	}
	breaks := f.hasty && f.came > 1 && f.broken < len(haste) && haste[f.broken] == s && !f.d.calm
	f.mu.Unlock()
	if t != nil {
		t.stop()
	}
	return !breaks
}

// trap stops clients that have come to a stage, until it is let go. They read nothing any more.
type trap struct {
	stage   stage
	stopped sync.WaitGroup // of those who are to be stopped
	open    chan struct{}
	once    sync.Once
}

// setTrap stops each of the clients when it comes to a stage next.
func (d *drill) setTrap(s stage, clients []*follower) *trap {
	t := &trap{stage: s, open: make(chan struct{})}
	t.stopped.Add(len(clients))
	for _, f := range clients {
		f.mu.Lock()
		f.trap = t
		f.mu.Unlock()
	}
	d.traps = append(d.traps, t)
	return t
}

func (t *trap) stop() {
	t.stopped.Done()
	<-t.open
}

// full returns when all have been stopped.
func (d *drill) full(t *trap) {
	d.t.Helper()
	full := make(chan struct{})
	go func() { t.stopped.Wait(); close(full) }()
	d.until(t.stage.String(), drillPatience, func() bool {
		select {
		case <-full:
			return true
		default:
			return false
		}
	})
}

func (t *trap) let() { t.once.Do(func() { close(t.open) }) }
