package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"wshub/engine"
	"wshub/pubsub"
)

// crowdOf is a node of one loop, and hub.v1 clients of it that have been welcomed.
func crowdOf(t *testing.T, clients int) (*node, []*client) {
	n := start(t, Config{}, engine.Config{Pollers: 1}, pubsub.NewMemory(pubsub.MemoryConfig{}))
	list := make([]*client, clients)
	for i := range list {
		list[i] = n.v1("")
	}
	return n, list
}

// wantGoodbye reads goodbye and the Close frame behind it.
func (c *client) wantGoodbye(reason string) (after time.Duration) {
	c.t.Helper()
	var h struct {
		Type, Reason string
		AfterMS      *int `json:"after_ms"`
	}
	text := c.read()
	if err := json.Unmarshal([]byte(text), &h); err != nil || h.Type != "goodbye" || h.Reason != reason || h.AfterMS == nil {
		c.t.Fatalf("got %s, want a goodbye for %s", text, reason)
	}
	c.wantClose(1012)
	return time.Duration(*h.AfterMS) * time.Millisecond
}

// always and never are what Departure.Elsewhere says.
func always() bool { return true }
func never() bool  { return false }

func TestManyThatLeaveAtOnceTakeSeveralTurns(t *testing.T) {
	const many = 1000
	n := start(t, Config{}, engine.Config{Pollers: 1}, pubsub.NewMemory(pubsub.MemoryConfig{}))
	for range many {
		n.dial("", protocolV1)
	}
	sh := n.hub.shards[0]
	left := make(chan int)
	sh.loop.Post(func() {
		d := &departure{sh: sh, cause: Drained, begun: time.Now()}
		sh.loop.Each(func(c *engine.Conn) { d.queue = append(d.queue, c) })
		left <- d.step()
	})
	if first := <-left; first == 0 || first == many {
		t.Errorf("%d of %d left in the first turn", first, many)
	}
	if err := n.hub.Drain(t.Context(), Departure{}); err != nil {
		t.Fatal(err)
	}
	if open := n.hub.Stats().Sessions["v1"]; open != 0 {
		t.Errorf("%d are left", open)
	}
}

func TestManySessionsOfAUserAreClosedInSeveralTurns(t *testing.T) {
	const many = 1000
	n := start(t, Config{}, engine.Config{Pollers: 1}, pubsub.NewMemory(pubsub.MemoryConfig{}))
	for range many {
		n.dial("?user=42", protocolV1)
	}
	sh := n.hub.shards[0]
	left := make(chan int)
	sh.loop.Post(func() {
		sh.obey(control{Disconnect: &Target{User: "42"}})
		left <- len(sh.members.of(userPrefix + "42"))
	})
	if open := <-left; open == 0 || open == many {
		t.Errorf("%d of %d are left behind the first turn", open, many)
	}
	n.eventually("all are closed", func() bool { return n.hub.Stats().Sessions["v1"] == 0 })
}

func TestADrainIsPacedOverItsWindow(t *testing.T) {
	t.Parallel()
	const window = time.Second
	n, clients := crowdOf(t, 2)
	begin := time.Now()
	if err := n.hub.Drain(t.Context(), Departure{Window: window}); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took < 400*time.Millisecond { // the second one is due after half of the window
		t.Errorf("two clients left within %v", took)
	}
	for _, c := range clients {
		if after := c.wantGoodbye("drain"); after >= window {
			t.Errorf("told to come back after %v", after)
		}
	}
}

func TestWhoCanGoElsewhereComesBackAtOnce(t *testing.T) {
	t.Parallel()
	n, clients := crowdOf(t, 20)
	if err := n.hub.Drain(t.Context(), Departure{Window: 50 * time.Millisecond, Elsewhere: always}); err != nil {
		t.Fatal(err)
	}
	different := map[time.Duration]bool{}
	for _, c := range clients {
		after := c.wantGoodbye("drain")
		different[after] = true
		if after < time.Second || after >= 2*time.Second {
			t.Errorf("told to come back after %v", after)
		}
	}
	if len(different) < 5 {
		t.Errorf("only %d different times", len(different))
	}
}

func TestElsewhereIsThatOfTheMoment(t *testing.T) {
	t.Parallel()
	n, clients := crowdOf(t, 2)
	var asked atomic.Int32
	first := func() bool { return asked.Add(1) == 1 }
	if err := n.hub.Drain(t.Context(), Departure{Window: 200 * time.Millisecond, Elsewhere: first}); err != nil {
		t.Fatal(err)
	}
	soon := 0
	for _, c := range clients {
		if after := c.wantGoodbye("drain"); after >= time.Second {
			soon++
		}
	}
	if soon != 1 {
		t.Errorf("%d clients were told to come back at once", soon)
	}
}

func TestARebalanceSendsAShareAway(t *testing.T) {
	t.Parallel()
	n, _ := crowdOf(t, 50)
	for _, c := range []struct{ percent, chosen, left int }{{20, 10, 40}, {50, 20, 20}, {1, -1, 19}, {100, -1, 0}} {
		r, err := n.hub.Rebalance(t.Context(), c.percent, Departure{Window: 300 * time.Millisecond, Elsewhere: always})
		if err != nil {
			t.Fatal(err)
		}
		away, err := r.Wait(t.Context())
		if err != nil || away != r.Chosen || c.chosen >= 0 && away != c.chosen {
			t.Errorf("%d %%: %d of %d were sent away, %v", c.percent, away, r.Chosen, err)
		}
		left := fmt.Sprint(c.left, " are left")
		n.eventually(left, func() bool { return int(n.hub.Stats().open()) == c.left || c.percent == 1 })
	}
	if n.server.Stats().Closed["rebalance"] != 50 {
		t.Errorf("closed: %v", n.server.Stats().Closed)
	}
	if err := n.hub.Ready(); err != nil {
		t.Errorf("not ready: %v", err)
	}
	n.v1("") // comes in
}

func TestARebalancedClientIsToldWhyAndWhenToComeBack(t *testing.T) {
	t.Parallel()
	n, clients := crowdOf(t, 1)
	plain := n.plain("", 1)
	if _, err := n.hub.Rebalance(t.Context(), 100, Departure{Elsewhere: always}); err != nil {
		t.Fatal(err)
	}
	if after := clients[0].wantGoodbye("rebalance"); after < time.Second || after >= 2*time.Second {
		t.Errorf("told to come back after %v", after)
	}
	plain.wantClose(1012)
}

func TestOneRebalanceAtATimeAndNoneDuringADrain(t *testing.T) {
	t.Parallel()
	n, clients := crowdOf(t, 4)
	begin := func(d Departure) (*Rebalance, error) { return n.hub.Rebalance(t.Context(), 100, d) }
	first, err := begin(Departure{Window: time.Hour, Elsewhere: always})
	if err != nil || first.Chosen != 4 {
		t.Fatal(first, err)
	}
	if _, err := begin(Departure{Elsewhere: always}); !errors.Is(err, ErrRebalancing) {
		t.Errorf("a second one: %v", err)
	}
	if err := n.hub.Drain(t.Context(), Departure{}); err != nil {
		t.Fatal(err)
	}
	if away, err := first.Wait(t.Context()); away != 1 || err != nil {
		t.Errorf("%d were sent away before the drain, %v", away, err)
	}
	if _, err := begin(Departure{Elsewhere: always}); !errors.Is(err, ErrDraining) {
		t.Errorf("during a drain: %v", err)
	}
	reasons := map[string]int{}
	for _, c := range clients {
		var h struct{ Reason string }
		if err := json.Unmarshal([]byte(c.read()), &h); err != nil {
			t.Error(err)
		}
		reasons[h.Reason]++
		c.wantClose(1012)
	}
	if reasons["rebalance"] != 1 || reasons["drain"] != 3 {
		t.Errorf("%v", reasons)
	}
}

func TestARebalanceEndsWhenNobodyElseTakesClients(t *testing.T) {
	t.Parallel()
	n, _ := crowdOf(t, 3)
	r, err := n.hub.Rebalance(t.Context(), 100, Departure{Window: time.Hour, Elsewhere: never})
	if err != nil {
		t.Fatal(err)
	}
	if away, err := r.Wait(t.Context()); away != 0 || err != nil {
		t.Errorf("%d were sent away, %v", away, err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if r, err = n.hub.Rebalance(cancelled, 100, Departure{Elsewhere: always}); err != nil && !errors.Is(err, pubsub.ErrUnavailable) {
		t.Errorf("a caller that is gone: %v, %v", r, err)
	}
	n.eventually("another one may begin", func() bool {
		_, err := n.hub.Rebalance(t.Context(), 1, Departure{Elsewhere: always})
		return err == nil
	})
}
