package main

import (
	"context"
	"sync"
	"time"

	"wshub/pubsub"
)

// standingEvery is how often a hub looks whether it is still ready, to tell the others.
const standingEvery = 250 * time.Millisecond

// standing tells the other hubs of the deployment whether this one takes clients.
type standing struct {
	// Fixed at birth.
	draining func() bool
	ready    func() error
	tell     func(pubsub.NodeState)

	mu sync.Mutex // held across look: an older look must not be told last
}

// look tells how the hub is now.
func (s *standing) look() {
	s.mu.Lock()
	defer s.mu.Unlock()
	state := pubsub.NotReady
	switch {
	case s.draining():
		state = pubsub.Draining
	case s.ready() == nil:
		state = pubsub.Ready
	}
	s.tell(state)
}

// Run looks until ctx ends.
func (s *standing) Run(ctx context.Context) error {
	tick := time.NewTicker(standingEvery)
	defer tick.Stop()
	for {
		s.look()
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
