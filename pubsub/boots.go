package pubsub

import (
	"context"
	_ "embed"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// A member is answered for by a boot: a node from a start of its broker on, or since it was taken for dead. Each boot renews a
// lease by the clock of Redis. A boot whose lease has run out is claimed by another node, which takes its members off (sweep.go).
// A boot that was claimed is never used again: its writes are refused (presence.lua), and its node, if it lives, enters all
// members anew under another one.

//go:embed boots.lua
var bootsSource string

var bootsScript = redis.NewScript(bootsSource)

const (
	// bootEvery is the time between two renewals of a boot's lease.
	bootEvery = 2 * time.Second
	// bootTime is how long a boot lives after a renewal, at least: a node that is killed has been dead for the grace by then.
	bootTime = 10 * time.Second
	// longestPause is the time between two renewals that counts as a break: this node stood still, and perhaps others did.
	longestPause = 3 * bootEvery
	// claimTime is how long a claim holds without renewal: then another node goes on.
	claimTime = 10 * time.Second
	// vigil is how long a node must have renewed its own lease without a break before it claims another's: while Redis is
	// away nobody renews, and all would look dead.
	vigil = 10 * time.Second
)

// presences is a Redis broker's part in presence.
type presences struct {
	// Fixed at birth.
	node  string
	grace time.Duration
	// vigil and stranger are as the constants vigil and strangerTime say.
	vigil, stranger time.Duration
	// turn is how long it takes to look through all partitions, in turn, where nothing happens.
	turn time.Duration

	// writing has room for one token: its owner may change members in the name of this node.
	writing chan struct{}
	// renew wakes keepBoot, look wakes keepMembers, claims has what keepBoot has claimed for keepSwept.
	renew, look chan struct{}
	claims      chan lapsed

	swept, repaired, fences       atomic.Uint64
	unavailable, unknown, refused atomic.Uint64

	mu   sync.Mutex
	name string // of the boot
	held bool   // it has a lease
	// unbroken is since when each renewal succeeded and found the lease; zero if the last did not.
	unbroken time.Time
	renewal  time.Time // the last one that succeeded
	claimed  string    // the boot that is being swept, "" for none
	// due is when each partition is to be looked through.
	due [partitions]time.Time
}

// lapsed is a boot to sweep, and the time of Redis, in milliseconds, when it was claimed.
type lapsed struct {
	boot string
	now  int64
}

func (p *presences) init(cfg *RedisConfig) {
	p.node, p.grace, p.vigil, p.stranger, p.turn = cfg.Node, cfg.Presence.Grace, vigil, strangerTime, partitions*2*time.Second
	p.writing, p.renew, p.look, p.claims = make(chan struct{}, 1), make(chan struct{}, 1), make(chan struct{}, 1), make(chan lapsed, 1)
	p.name = p.node + "/" + randomName()
}

// lock waits for the right to change members.
func (p *presences) lock(ctx context.Context) (unlock func(), err error) {
	select {
	case p.writing <- struct{}{}:
		return func() { <-p.writing }, nil
	case <-ctx.Done():
		return nil, &unsent{ctx.Err()}
	}
}

// boot is the boot that answers for this node's members, "" while it has no lease.
func (p *presences) boot() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.held {
		return ""
	}
	return p.name
}

// fenced gives up boot, which was swept, for another one.
func (p *presences) fenced(boot string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.name != boot {
		return
	}
	p.fences.Add(1)
	p.name, p.held, p.unbroken = p.node+"/"+randomName(), false, time.Time{}
	wake(p.renew)
}

// dueNow has partitions looked through soon.
func (p *presences) dueNow(list ...byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, n := range list {
		p.due[n] = time.Time{}
	}
	wake(p.look)
}

// allPartitions are all there are.
func allPartitions() []byte {
	list := make([]byte, partitions)
	for p := range list {
		list[p] = byte(p)
	}
	return list
}

// snapshot is what presence has done so far.
func (p *presences) snapshot() map[string]uint64 {
	return map[string]uint64{
		"swept": p.swept.Load(), "repaired": p.repaired.Load(), "fenced": p.fences.Load(),
		"unavailable": p.unavailable.Load(), "unknown_outcome": p.unknown.Load(), "refused": p.refused.Load(),
	}
}

// watchful reports whether this node has renewed its lease for so long that it may take others for dead.
func (p *presences) watchful() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.unbroken.IsZero() && time.Since(p.unbroken) >= p.vigil && time.Since(p.renewal) < longestPause
}

// keepBoot renews the lease until ctx ends. Then the members have the grace to be entered by another node.
func (r *Redis) keepBoot(ctx context.Context) error {
	p := &r.presence
	for failures := 0; ; {
		wait := bootEvery
		if err := r.renewBoot(ctx, max(bootTime, p.grace+bootEvery), p.watchful()); err != nil {
			wait = min(r.backoff(failures), bootEvery)
			failures++
			p.broken()
		} else {
			failures = 0
			r.touchMasters(ctx)
		}
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTime)
			defer cancel()
			if p.boot() != "" {
				_ = r.renewBoot(last, p.grace, false)
			}
			return nil
		case <-p.renew:
		case <-time.After(wait):
		}
	}
}

// renewBoot has the boot live on for life and, if it may, claims one that does not.
func (r *Redis) renewBoot(ctx context.Context, life time.Duration, may bool) error {
	ctx, cancel := context.WithTimeout(ctx, ioTimeout)
	defer cancel()
	m, err := r.route(common)
	if err != nil {
		return err
	}
	p := &r.presence
	p.mu.Lock()
	boot, claimed := p.name, p.claimed
	p.mu.Unlock()
	reply, err := bootsScript.Run(ctx, m.prober, []string{r.names.leases()},
		boot, life.Milliseconds(), claimTime.Milliseconds(), may && claimed == "", claimed).Slice()
	switch {
	case isAstray(err):
		r.triggers.pull(onMoved)
	case err != nil && ctx.Err() == nil && m.connected.Load(): // else its connections say what is wrong
		r.trouble.Warn().Err(err).Str("redis", m.addr).Msg("renew the lease for presence")
	}
	if err != nil {
		return err
	}
	now, _ := at(reply, 0).(int64)
	before, _ := strconv.ParseFloat(str(reply, 1), 64)
	if before < 0 {
		p.fenced(boot)
		return nil
	}
	if before < float64(now) {
		r.lifecycle.lapses.Add(1)
	}
	p.renewed(boot, before >= float64(now))
	if other := str(reply, 2); other != "" {
		p.mu.Lock()
		p.claimed = other
		p.mu.Unlock()
		p.claims <- lapsed{other, now} // the one before was done with
	}
	return nil
}

// broken notes that the lease could not be renewed.
func (p *presences) broken() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unbroken = time.Time{}
}

// renewed notes that boot has a lease. Unless it had one before, its members may have been swept, or lost.
func (p *presences) renewed(boot string, before bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.name != boot {
		return
	}
	if !before {
		p.unbroken = time.Time{}
		p.due = [partitions]time.Time{}
		wake(p.look)
	}
	now := time.Now()
	if p.unbroken.IsZero() || now.Sub(p.renewal) >= longestPause {
		p.unbroken = now
	}
	p.renewal, p.held = now, true
}

// doneSweeping notes that the boot that was claimed is done with.
func (p *presences) doneSweeping() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.claimed = ""
}

// touchTime is how long a touch is kept.
const touchTime = time.Hour

// touchMasters leaves a fresh touch of this boot at each master, in the place of the one before. A master that has not got that one has
// lost its data, or is another one.
func (r *Redis) touchMasters(ctx context.Context) {
	boot := r.presence.boot()
	if boot == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, ioTimeout)
	defer cancel()
	touch := randomName()
	var calls []call
	of := map[*master][]byte{}
	var masters []*master
	for n := range r.routes {
		m := r.routes[n].Load()
		if m == nil {
			continue
		}
		if of[m] == nil {
			args := []any{"set", r.names.touch(byte(n), boot), touch, "px", touchTime.Milliseconds(), "get"}
			calls = append(calls, call{partition: byte(n), args: args})
			masters = append(masters, m)
		}
		of[m] = append(of[m], byte(n))
	}
	for i, reply := range r.run(ctx, calls) {
		before, err := reply.Text()
		if err != nil && !errors.Is(err, redis.Nil) {
			continue
		}
		m := masters[i]
		if m.touch == "" || before != m.touch {
			r.presence.dueNow(of[m]...)
		}
		m.touch = touch
	}
}
