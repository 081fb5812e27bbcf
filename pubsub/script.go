package pubsub

import (
	"context"
	_ "embed"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

//go:embed partition.lua
var partitionSource string

//go:embed publish.lua
var publishSource string

//go:embed read.lua
var readSource string

//go:embed remove.lua
var removeSource string

//go:embed once.lua
var onceSource string

//go:embed presence.lua
var presenceSource string

//go:embed lifecycle.lua
var lifecycleSource string

//go:embed touch.lua
var touchSource string

//go:embed sweep.lua
var sweepSource string

//go:embed page.lua
var pageSource string

// kind is what a call does.
type kind uint8

const (
	plain kind = iota // no script: the command that args are
	once              // from here on a script
	changePresence
	readPresence
	fenceBoot
	announce
	deliver
	publish // from here on a script that holds the server's name
	read
	remove
	changeNoted    // changePresence where there is a lifecycle
	touchLifecycle // see compare
	numKinds
)

// call is one command, or one run of a script, in a partition.
type call struct {
	kind      kind
	partition byte
	topic     string // whose order has to be kept; "" where there is none
	keys      []string
	args      []any
	// stores is true if replicas should have what it wrote, reads if it changes nothing.
	stores, reads bool
}

// scripts are the scripts as they are for one server: those that read and write logs hold its name, see
// serverName. A script of that name is only ever sent in full on a connection to that server. So a server
// that runs one by its hash is the one that it was made for, however connections go astray at a failover.
type scripts struct {
	server string
	list   [numKinds]*redis.Script
}

// noLifecycle stands in place of lifecycle.lua.
const noLifecycle = "local append, unsettled, member, written, resets, stream, ending\n"

func newScripts(server string, sharded bool) *scripts {
	filled := strings.NewReplacer("%SERVER%", server, "%PUBLISH%", (&names{sharded: sharded}).publishCommand())
	script := func(source string) *redis.Script { return redis.NewScript(filled.Replace(source)) }
	return &scripts{server, [numKinds]*redis.Script{
		once: script(onceSource), publish: script(partitionSource + publishSource), read: script(partitionSource + readSource),
		remove: script(partitionSource + removeSource),

		changePresence: script(noLifecycle + presenceSource), changeNoted: script(lifecycleSource + presenceSource),
		touchLifecycle: script(lifecycleSource + touchSource), readPresence: script(pageSource),
		fenceBoot: script(sweepSource), announce: script(leaseSource), deliver: script(deliverSource),
	}}
}

// unsent marks an error of a command that was surely not executed.
type unsent struct{ error }

func (e *unsent) Unwrap() error { return e.error }

// errSilent: a master has not been heard of for so long that nothing is asked of it.
var errSilent = errors.New("redis is silent")

// errNobody: a partition has no master, for all that is known.
var errNobody = errors.New("no redis serves this partition")

// Waits before a call that was sent astray is sent again: a map of the cluster is read in a millisecond, a slot
// of few keys moves in some.
const (
	firstAstray = 2 * time.Millisecond
	lastAstray  = 100 * time.Millisecond
)

// run runs calls, those of one partition in order, in one pipeline for each master. Those that a server surely did
// not execute because another one serves their slot, or is about to, are sent again until ctx ends, but never
// behind a later one of the same topic.
func (r *Redis) run(ctx context.Context, calls []call) []*redis.Cmd {
	replies := make([]*redis.Cmd, len(calls))
	todo := make([]int, len(calls))
	for i := range todo {
		todo[i] = i
	}
	r.runOnce(ctx, calls, todo, replies)
	for wait := firstAstray; ; wait = min(2*wait, lastAstray) {
		if todo = failed(calls, todo, replies, isAstray); len(todo) == 0 {
			return replies
		}
		r.triggers.pull(onMoved)
		select {
		case <-ctx.Done():
			return replies
		case <-time.After(wait):
		}
		if ctx.Err() != nil {
			return replies
		}
		r.runOnce(ctx, calls, todo, replies)
	}
}

// failed are those of todo whose error is one that why knows, unless a later one of their topic was executed.
func failed(calls []call, todo []int, replies []*redis.Cmd, why func(error) bool) (again []int) {
	if !slices.ContainsFunc(todo, func(i int) bool { return why(replies[i].Err()) }) {
		return nil
	}
	executed := map[string]bool{}
	for _, i := range slices.Backward(todo) {
		switch err, topic := replies[i].Err(), calls[i].topic; {
		case why(err):
			if topic == "" || !executed[topic] {
				again = append(again, i)
			}
		case !isAstray(err) && !isUnknown(err):
			executed[topic] = true
		}
	}
	slices.Reverse(again)
	return again
}

// errOvertaken: what was read is not to be believed, because another server has come to serve its partition meanwhile.
var errOvertaken = errors.New("another redis serves this partition since it was read")

// isAstray reports whether a cluster's server did not execute a command because of its slot, or what it read counts for
// nothing.
func isAstray(err error) bool {
	return errors.Is(err, errOvertaken) || redis.HasErrorPrefix(err, "MOVED ") || redis.HasErrorPrefix(err, "ASK ") || redis.IsTryAgainError(err)
}

// isUnknown reports whether a server did not execute a script because it does not know it. One that others send meanwhile
// it may know a moment later, behind it in the same pipeline.
func isUnknown(err error) bool { return redis.HasErrorPrefix(err, "NOSCRIPT ") }

// runOnce runs those of calls once, each by the master of its partition.
func (r *Redis) runOnce(ctx context.Context, calls []call, those []int, replies []*redis.Cmd) {
	groups := map[*master][]int{}
	for _, i := range those {
		m, err := r.route(calls[i].partition)
		if err != nil {
			replies[i] = redis.NewCmd(ctx)
			replies[i].SetErr(err)
			r.triggers.pull(onMoved)
			continue
		}
		groups[m] = append(groups[m], i)
	}
	var running sync.WaitGroup
	for m, group := range groups {
		if len(groups) == 1 {
			r.runAt(ctx, m, calls, group, replies)
		} else {
			running.Go(func() { r.runAt(ctx, m, calls, group, replies) })
		}
	}
	running.Wait()
}

// runAt runs those of calls at m. A master that stood still answers when it goes on: what it read may be of a past
// that the others have not.
func (r *Redis) runAt(ctx context.Context, m *master, calls []call, those []int, replies []*redis.Cmd) {
	r.runThere(ctx, m, calls, those, replies)
	for _, i := range those {
		if calls[i].reads && r.routes[calls[i].partition].Load() != m && replies[i].Err() == nil {
			replies[i].SetErr(errOvertaken)
		}
	}
}

// runThere runs those of calls in order, in one pipeline to m. A script that the server does not know, because it started
// anew, is another one, or was told to forget, is sent again with the source.
func (r *Redis) runThere(ctx context.Context, m *master, calls []call, those []int, replies []*redis.Cmd) {
	var why error
	switch {
	case m.replica.Load(): // whoever publishes there is heard by nobody else, and whoever reads may be told of the past
		why = errReplica
	case m.silent.Load():
		why = errSilent
	}
	if why != nil {
		for _, i := range those {
			replies[i] = redis.NewCmd(ctx)
			replies[i].SetErr(&unsent{why})
		}
		return
	}
	known := m.scripts.Load()
	var first, unknown []int
	for _, i := range those {
		if known == nil && calls[i].kind >= publish {
			unknown = append(unknown, i)
		} else {
			first = append(first, i)
		}
	}
	if known == nil {
		known = r.nameless
	}
	if len(first) > 0 {
		unknown = append(unknown, r.send(ctx, m.pub.Pipeline(), known, calls, first, false, replies)...)
	}
	if len(unknown) == 0 {
		return
	}
	slices.Sort(unknown)
	conn := m.pub.Conn()
	defer conn.Close()
	fresh, err := r.identify(ctx, m, conn)
	if err != nil {
		for _, i := range unknown {
			replies[i] = redis.NewCmd(ctx)
			replies[i].SetErr(&unsent{err})
		}
		return
	}
	r.send(ctx, conn.Pipeline(), fresh, calls, unknown, true, replies)
}

// send runs those of calls in one pipeline, with the source of scripts if whole. unknown are those that the
// server does not know.
func (r *Redis) send(ctx context.Context, pipe redis.Pipeliner, known *scripts, calls []call, those []int, whole bool, replies []*redis.Cmd) (unknown []int) {
	stores := false
	for _, i := range those {
		stores = stores || calls[i].stores
		switch c := &calls[i]; {
		case c.kind == plain:
			replies[i] = pipe.Do(ctx, c.args...)
		case whole:
			replies[i] = known.list[c.kind].Eval(ctx, pipe, c.keys, c.args...)
		default:
			replies[i] = known.list[c.kind].EvalSha(ctx, pipe, c.keys, c.args...)
		}
	}
	var waited *redis.Cmd
	if stores && r.cfg.Wait > 0 {
		waited = pipe.Do(ctx, "wait", r.cfg.Wait, waitTime.Milliseconds())
	}
	began := time.Now()
	if err := exec(ctx, pipe); err != nil {
		for _, i := range those {
			replies[i].SetErr(err)
		}
		return nil
	}
	if r.cfg.OnRoundTrip != nil {
		r.cfg.OnRoundTrip(time.Since(began))
	}
	for _, i := range those {
		if waited != nil && calls[i].stores && replies[i].Err() == nil {
			replies[i].SetErr(r.heldBack(waited))
		}
	}
	return failed(calls, those, replies, isUnknown)
}

// waitTime is how long replicas have to confirm what was stored.
const waitTime = time.Second

// errFewReplicas: an event was stored, and too few replicas said in time that they have it.
var errFewReplicas = errors.New("too few replicas have the event")

// heldBack takes the answer to WAIT.
func (r *Redis) heldBack(waited *redis.Cmd) error {
	switch n, err := waited.Int(); {
	case err != nil:
		return &stored{err}
	case n < r.cfg.Wait:
		return &stored{errFewReplicas}
	}
	return nil
}

// stored marks an error behind which an event was stored.
type stored struct{ error }

func (e *stored) Unwrap() error { return e.error }

// exec runs pipe. It is nil when each command tells its own fate. They do not when the server turned
// a new connection away, at AUTH say: go-redis leaves the commands looking as if they had succeeded.
func exec(ctx context.Context, pipe redis.Pipeliner) error {
	commands, err := pipe.Exec(ctx)
	for _, command := range commands {
		if command.Err() != nil {
			return nil
		}
	}
	return err
}
