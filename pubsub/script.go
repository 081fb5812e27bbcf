package pubsub

import (
	"context"
	_ "embed"
	"slices"
	"strings"

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

// kind is what a scriptCall does.
type kind uint8

const (
	plain kind = iota // no script: a PUBLISH of args
	once
	publish
	read
	remove
	numKinds
)

// scriptCall is one run of a script.
type scriptCall struct {
	kind kind
	keys []string
	args []any
}

// scripts are the scripts as they are for one server: those that read and write logs hold its name, see
// serverName. A script of that name is only ever sent in full on a connection to that server. So a server
// that runs one by its hash is the one that it was made for, however connections go astray at a failover.
type scripts struct {
	server string
	list   [numKinds]*redis.Script
}

// nameless are the scripts without the name of a server: they have none, or it forbids INFO.
var nameless = newScripts("")

func newScripts(server string) *scripts {
	head := strings.Replace(partitionSource, "%SERVER%", server, 1)
	return &scripts{server, [numKinds]*redis.Script{
		once: redis.NewScript(onceSource), publish: redis.NewScript(head + publishSource), read: redis.NewScript(head + readSource),
		remove: redis.NewScript(head + removeSource),
	}}
}

// unsent marks an error of a command that was surely not executed.
type unsent struct{ error }

func (e *unsent) Unwrap() error { return e.error }

// run runs calls in order, in one pipeline. What the server does not know, because it started anew, is another
// one, or was told to forget, is sent again with the source.
func (r *Redis) run(ctx context.Context, calls []scriptCall) []*redis.Cmd {
	replies := make([]*redis.Cmd, len(calls))
	known := r.scripts.Load()
	var first, unknown []int
	for i := range calls {
		if known == nil && calls[i].kind >= publish {
			unknown = append(unknown, i)
		} else {
			first = append(first, i)
		}
	}
	if known == nil {
		known = nameless
	}
	if len(first) > 0 {
		unknown = append(unknown, r.send(ctx, r.pub.Pipeline(), known, calls, first, false, replies)...)
	}
	if len(unknown) == 0 {
		return replies
	}
	slices.Sort(unknown)
	conn := r.pub.Conn()
	defer conn.Close()
	fresh, err := r.identify(ctx, conn)
	if err != nil {
		for _, i := range unknown {
			replies[i] = redis.NewCmd(ctx)
			replies[i].SetErr(&unsent{err})
		}
		return replies
	}
	r.send(ctx, conn.Pipeline(), fresh, calls, unknown, true, replies)
	return replies
}

// send runs those of calls in one pipeline, with the source of scripts if whole. unknown are those that the
// server does not know.
func (r *Redis) send(ctx context.Context, pipe redis.Pipeliner, known *scripts, calls []scriptCall, those []int, whole bool, replies []*redis.Cmd) (unknown []int) {
	for _, i := range those {
		switch c := &calls[i]; {
		case c.kind == plain:
			replies[i] = pipe.Do(ctx, append([]any{"publish"}, c.args...)...)
		case whole:
			replies[i] = known.list[c.kind].Eval(ctx, pipe, c.keys, c.args...)
		default:
			replies[i] = known.list[c.kind].EvalSha(ctx, pipe, c.keys, c.args...)
		}
	}
	if err := exec(ctx, pipe); err != nil {
		for _, i := range those {
			replies[i].SetErr(err)
		}
	}
	for _, i := range those {
		if redis.HasErrorPrefix(replies[i].Err(), "NOSCRIPT") {
			unknown = append(unknown, i)
		}
	}
	return unknown
}

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
