package pubsub

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// Each node holds a lease: its place on the list of nodes, which is in Redis, until a time of the server's clock. All
// that is told of a node without its own word for it (that it lives, that it takes clients) rests on the lease.

//go:embed lease.lua
var leaseSource string

var leaseScript = redis.NewScript(leaseSource)

const (
	// leaseTime is how long a node counts as living after it has last said so.
	leaseTime = 10 * time.Second
	// leaseEvery is the time between two renewals: three may fail before a node counts as dead.
	leaseEvery = 3 * time.Second
	// deadTime is how long the dead stay on the list: see notifyAll.
	deadTime = 10 * time.Minute
	// leaveTime bounds how long the end of a broker waits for Redis to take its node off the list, or its boot.
	leaveTime = time.Second
	// maxNodes bounds the nodes that Nodes returns. Those whose lease ends last come first.
	maxNodes = 10_000
)

// NodeState is what a node says of itself.
type NodeState uint8

// The states. Their numbers are in Redis.
const (
	NotReady NodeState = iota // it lives, and should get no new clients; also one that has not said more
	Ready                     // it takes clients
	Draining                  // it sends its clients away, and is about to end
	numStates
)

var stateNames = [numStates]string{"not ready", "ready", "draining"}

// String is the state's name in answers and logs.
func (s NodeState) String() string { return stateNames[s] }

// MarshalText writes the state's name.
func (s NodeState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Node is an instance that lives: its lease has not run out.
type Node struct {
	Name  string
	State NodeState
}

// lease is this node's own.
type lease struct {
	state atomic.Uint32 // a NodeState
	// changed wakes keepLease: state is another one than Redis was told.
	changed chan struct{}
}

// SetState says what this node tells others of itself, NotReady until then. A change is written at once. It does
// not block.
func (r *Redis) SetState(state NodeState) {
	if NodeState(r.lease.state.Swap(uint32(state))) != state {
		wake(r.lease.changed)
	}
}

// keepLease renews the lease until ctx ends, and then takes this node off the list.
func (r *Redis) keepLease(ctx context.Context) error {
	failures, held := 0, false
	for {
		wait := leaseEvery
		if err := r.renewLease(ctx); err == nil {
			failures, held = 0, true
		} else {
			wait = min(r.backoff(failures), leaseEvery)
			failures++
		}
		select {
		case <-ctx.Done():
			if held {
				r.giveLeaseBack(ctx)
			}
			return nil
		case <-r.lease.changed:
		case <-time.After(wait):
		}
	}
}

// renewLease says that this node lives, and in which state. In a cluster one that was not on the list may not have been
// told what all were told.
func (r *Redis) renewLease(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, ioTimeout)
	defer cancel()
	m, err := r.route(common)
	if err != nil {
		return err
	}
	state := r.lease.state.Load()
	fresh, err := leaseScript.Run(ctx, m.prober, []string{r.names.nodes()}, r.cfg.Node, leaseTime.Milliseconds(), deadTime.Milliseconds(), state).Int()
	switch {
	case isAstray(err):
		r.triggers.pull(onMoved)
	case err != nil && ctx.Err() == nil && m.connected.Load(): // else its connections say what is wrong
		r.trouble.Warn().Func(Because(err)).Str("redis", m.addr).Msg("say that this node lives")
	case err == nil && fresh == 1 && r.names.sharded:
		r.list.setUnread("the list was not read since this node is known to others")
		wake(r.list.work)
	}
	return err
}

// giveLeaseBack takes this node off the list. If that fails the lease runs out.
func (r *Redis) giveLeaseBack(ended context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ended), leaveTime)
	defer cancel()
	if m, err := r.route(common); err == nil {
		_ = m.prober.ZRem(ctx, r.names.nodes(), r.cfg.Node).Err()
	}
}

// Nodes are the instances that live, this one too, by name: those that have renewed their lease within 10 s by the clock of
// Redis, 10,000 at most. ErrUnavailable or ErrRefused if the list can't be read.
func (r *Redis) Nodes(ctx context.Context) ([]Node, error) {
	ctx, cancel := context.WithTimeout(ctx, ioTimeout)
	defer cancel()
	replies := r.run(ctx, []call{
		{partition: common, args: []any{"time"}},
		{partition: common, args: []any{"zrange", r.names.nodes(), "0", maxNodes - 1, "rev", "withscores"}},
	})
	if err := errors.Join(replies[0].Err(), replies[1].Err()); err != nil {
		kind := ErrUnavailable
		if classify(err) == ErrRefused {
			kind = ErrRefused
		}
		return nil, fmt.Errorf("list the nodes: %w: %s", kind, err)
	}
	clock, _ := replies[0].Slice()
	seconds, _ := strconv.ParseInt(str(clock, 0), 10, 64)
	micros, _ := strconv.ParseInt(str(clock, 1), 10, 64)
	entries, _ := replies[1].Slice() // name, score, name, score …
	var nodes []Node
	for i := 0; i+1 < len(entries); i += 2 {
		name := str(entries, i)
		until, state, ok := parseLease(str(entries, i+1))
		switch {
		case !ok || !ValidTopic(name):
			r.drop(BadControl, r.names.nodes())
		case until > seconds*1000+micros/1000:
			nodes = append(nodes, Node{name, state})
		}
	}
	slices.SortFunc(nodes, func(a, b Node) int { return strings.Compare(a.Name, b.Name) })
	return nodes, nil
}

// parseLease reads a node's score: the millisecond until which it lives and, behind the point, its state in eighths, which a
// float64 holds exactly. So both are written by one command, and need no key or right more than the list does.
func parseLease(score string) (until int64, state NodeState, ok bool) {
	f, err := strconv.ParseFloat(score, 64)
	whole, part := math.Modf(f)
	if err != nil || !(whole >= 0 && whole < 1<<50) || part*8 >= float64(numStates) {
		return 0, 0, false
	}
	return int64(whole), NodeState(part * 8), true
}

// SetState says what this node tells of itself. See Redis.SetState.
func (m *Memory) SetState(state NodeState) { m.state.Store(uint32(state)) }

// Nodes is this instance, while Run does. See Redis.Nodes.
func (m *Memory) Nodes(context.Context) ([]Node, error) {
	if err := m.Ready(); err != nil {
		return nil, fmt.Errorf("list the nodes: %w", err)
	}
	return []Node{{m.cfg.Node, NodeState(m.state.Load())}}, nil
}
