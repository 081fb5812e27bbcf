package main

import (
	"context"

	"golang.org/x/sync/errgroup"
)

// runner is a long-lived thing: it returns when ctx ends and its goroutines have.
type runner func(ctx context.Context) error

// around runs outer for as long as inner runs: outer's context ends when inner has returned. If outer
// ends first, inner's does. The error is the first one's.
func around(ctx context.Context, outer, inner runner) error {
	outerCtx, endOuter := context.WithCancel(context.WithoutCancel(ctx))
	innerCtx, endInner := context.WithCancel(ctx)
	var g errgroup.Group
	g.Go(func() error {
		defer endInner()
		return outer(outerCtx)
	})
	g.Go(func() error {
		defer endOuter()
		return inner(innerCtx)
	})
	return g.Wait()
}

// nest runs each runner around the next: the last one ends first.
func nest(ctx context.Context, runners ...runner) error {
	if len(runners) == 1 {
		return runners[0](ctx)
	}
	return around(ctx, runners[0], func(ctx context.Context) error { return nest(ctx, runners[1:]...) })
}
