package pubsub

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"wshub/pubsub/redistest"
)

// lister is what Memory and Redis are besides a Broker.
type lister interface {
	SetState(NodeState)
	Nodes(context.Context) ([]Node, error)
}

func nodeListed(t *testing.T, b Broker, _ recorder) {
	l := b.(lister)
	name := ""
	if r, ok := b.(*Redis); ok {
		name = r.cfg.Node
	}
	wantState := func(want NodeState) {
		t.Helper()
		eventually(t, "listed as "+want.String(), func() bool { return stateOf(t, l, name) == want.String() })
	}
	wantState(NotReady)
	begin := time.Now()
	for range 2 {
		for _, state := range []NodeState{Ready, Draining, NotReady} {
			l.SetState(state)
			wantState(state)
		}
	}
	if took := time.Since(begin); took > 3*leaseEvery { // six renewals in their turn take longer
		t.Errorf("six changes took %v", took)
	}
}

// stateOf is the state of a node that lives, "" if there is none of that name.
func stateOf(t testing.TB, l lister, name string) string {
	t.Helper()
	nodes, err := l.Nodes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		if n.Name == name {
			return n.State.String()
		}
	}
	return ""
}

func TestNodesAreThoseThatLiveByTheClockOfRedis(t *testing.T) {
	t.Parallel()
	for kind, begin := range homes {
		t.Run(kind, func(t *testing.T) {
			ofOneServer(t, kind)
			t.Parallel()
			h := begin(t)
			first, _ := running(t, RedisConfig{URL: h.url, Node: "first"})
			eventually(t, "the first is listed", func() bool { return stateOf(t, first, "first") != "" })

			second := newRedis(t, RedisConfig{URL: h.url, Node: "second"})
			second.SetState(Ready)
			ctx, end := context.WithCancel(t.Context())
			ended := make(chan error)
			go func() { ended <- second.Run(ctx, newRecorder()) }()
			eventually(t, "the second is listed", func() bool { return stateOf(t, first, "second") == "ready" })

			server := h.server(t, first, topicIn(common))
			now := time.Now().UnixMilli()
			list := first.names.nodes()
			server.CLI("zadd", list,
				fmt.Sprint(now-1), "dead", fmt.Sprint(now+9_000), "old version", fmt.Sprint(now+9_000, ".25"), "draining",
				fmt.Sprint(now+9_000, ".75"), "unknown state", fmt.Sprint(now+9_000), "bad\nname")
			nodes, err := first.Nodes(t.Context())
			if got, want := fmt.Sprint(nodes), "[{draining draining} {first not ready} {old version not ready} {second ready}]"; got != want || err != nil {
				t.Errorf("got %s, %v", got, err)
			}
			if n := first.Stats().Drops["bad_control"]; n != 2 {
				t.Errorf("%d entries were dropped", n)
			}

			end()
			if err := <-ended; err != nil {
				t.Error(err)
			}
			if state := stateOf(t, first, "second"); state != "" {
				t.Errorf("it has ended, and is listed as %s", state)
			}
		})
	}
}

func TestParseLease(t *testing.T) {
	for score, want := range map[string]string{
		"1700000000000": "1700000000000 not ready true", "1700000000000.125": "1700000000000 ready true", "1700000000000.25": "1700000000000 draining true",
		"1700000000000.375": "0 not ready false", "-5": "0 not ready false", "1125899906842624": "0 not ready false", "inf": "0 not ready false",
		"-inf": "0 not ready false", "nan": "0 not ready false", "": "0 not ready false", "soon": "0 not ready false",
	} {
		until, state, ok := parseLease(score)
		if got := fmt.Sprint(until, " ", state, " ", ok); got != want {
			t.Errorf("%q: %s, want %s", score, got, want)
		}
	}
}

// topicIn is a topic in partition p.
func topicIn(p byte) string {
	for i := 0; ; i++ {
		if topic := fmt.Sprint("c:", i); partition(topic) == p {
			return topic
		}
	}
}

func TestALostLeaseIsWrittenAgain(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	r, _ := running(t, RedisConfig{URL: server.URL(), Node: "a"})
	r.SetState(Ready)
	for range 2 {
		eventually(t, "listed", func() bool { return stateOf(t, r, "a") == "ready" })
		server.CLI("flushall")
		r.SetState(Draining)
		eventually(t, "listed again", func() bool { return stateOf(t, r, "a") == "draining" })
		r.SetState(Ready)
	}
}

func TestALeaseThatIsLongerThanAnyIsForgotten(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	r, _ := running(t, RedisConfig{URL: server.URL(), Node: "a"})
	eventually(t, "listed", func() bool { return stateOf(t, r, "a") != "" })
	hourAhead := fmt.Sprint(time.Now().Add(time.Hour).UnixMilli(), ".125")
	server.CLI("zadd", r.names.nodes(), hourAhead, "a", hourAhead, "gone", "inf", "for ever")
	r.SetState(Ready)
	eventually(t, "only those that live are left", func() bool {
		return server.CLI("zcard", r.names.nodes()) == "1" && stateOf(t, r, "a") == "ready"
	})
}

func TestNodesThatCanNotBeListedAreAnError(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	r, _ := running(t, RedisConfig{URL: server.URL()})
	server.CLI("set", "x", "y")
	server.CLI("del", r.names.nodes())
	server.CLI("rename", "x", r.names.nodes()) // no sorted set
	if _, err := r.Nodes(t.Context()); !errors.Is(err, ErrRefused) {
		t.Errorf("got %v", err)
	}
	server.Kill()
	if _, err := r.Nodes(t.Context()); !errors.Is(err, ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	if _, err := NewMemory(MemoryConfig{}).Nodes(t.Context()); !errors.Is(err, ErrUnavailable) {
		t.Errorf("of a memory that does not run: %v", err)
	}
}
