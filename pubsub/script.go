package pubsub

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// scriptCall is one run of a script.
type scriptCall struct {
	script *redis.Script
	keys   []string
	args   []any
}

// run runs calls in order, in one pipeline. The server forgets scripts when it restarts or is told to:
// what it did not know is sent again with the source. A nil script is a PUBLISH of args.
func (r *Redis) run(ctx context.Context, calls []scriptCall) []*redis.Cmd {
	replies := make([]*redis.Cmd, len(calls))
	unknown := make([]int, len(calls))
	for i := range calls {
		unknown[i] = i
	}
	for _, load := range []bool{false, true} {
		pipe := r.pub.Pipeline()
		for _, i := range unknown {
			replies[i] = calls[i].queue(ctx, pipe, load)
		}
		if err := exec(ctx, pipe); err != nil {
			for _, i := range unknown {
				replies[i].SetErr(err)
			}
		}
		again := unknown[:0]
		for _, i := range unknown {
			if redis.HasErrorPrefix(replies[i].Err(), "NOSCRIPT") {
				again = append(again, i)
			}
		}
		if unknown = again; len(unknown) == 0 {
			break
		}
	}
	return replies
}

func (c *scriptCall) queue(ctx context.Context, pipe redis.Pipeliner, load bool) *redis.Cmd {
	switch {
	case c.script == nil:
		return pipe.Do(ctx, append([]any{"publish"}, c.args...)...)
	case load:
		return c.script.Eval(ctx, pipe, c.keys, c.args...)
	default:
		return c.script.EvalSha(ctx, pipe, c.keys, c.args...)
	}
}
