package main

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"testing"

	"wshub/pubsub"
	"wshub/pubsub/redistest"
)

// nobody follows anything.
type nobody struct{}

func (nobody) Deliver(*pubsub.Event, pubsub.Loops)   {}
func (nobody) Gap(string, pubsub.Loops, pubsub.Loss) {}
func (nobody) Moved(*pubsub.Moved, pubsub.Loops)     {}
func (nobody) HandOver()                             {}

// listen runs a broker at url until the test ends.
func listen(t *testing.T, url string) *pubsub.Redis {
	t.Helper()
	broker, err := pubsub.NewRedis(pubsub.RedisConfig{URL: url, Node: "listener"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = broker.Run(ctx, nobody{})
	}()
	t.Cleanup(func() { end(); <-ended })
	return broker
}

func TestOtherHubsKnowThatAHubIsReadyDrainsAndHasEnded(t *testing.T) {
	t.Parallel()
	url := redistest.Start(t).URL()
	listener := listen(t, url)
	h := startInside(t, "--redis-url="+url, "--node=a", "--drain-window=1h")
	wantNodes := func(want string) {
		t.Helper()
		eventually(t, func() error {
			nodes, err := listener.Nodes(t.Context())
			if got := fmt.Sprint(nodes); got != want || err != nil {
				return fmt.Errorf("listed are %s, %v", got, err)
			}
			return nil
		})
	}
	wantNodes("[{a ready} {listener not ready}]")
	for range 20 { // of which a few stay
		dial(t, "v1", h.public, "hub.v1.json").want(`{"type":"welcome"`)
	}
	h.stop <- syscall.SIGTERM
	wantNodes("[{a draining} {listener not ready}]")
	h.cut()
	wantNodes("[{listener not ready}]")
}

func TestTheStandingIsThatOfTheMoment(t *testing.T) {
	var told []pubsub.NodeState
	draining, ready := false, errors.New("not yet")
	s := &standing{
		draining: func() bool { return draining },
		ready:    func() error { return ready },
		tell:     func(state pubsub.NodeState) { told = append(told, state) },
	}
	s.look()
	ready = nil
	s.look()
	draining = true
	s.look()
	if got := fmt.Sprint(told); got != "[not ready ready draining]" {
		t.Errorf("told %s", got)
	}
}
