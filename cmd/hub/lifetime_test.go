package main

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
)

// record is a list that several goroutines add to.
type record struct {
	mu     sync.Mutex
	events []string
}

func (r *record) add(event string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, event)
}

// until is a runner that notes its end.
func (r *record) until(name string) runner {
	return func(ctx context.Context) error {
		<-ctx.Done()
		r.add(name)
		return nil
	}
}

func TestWhatIsNestedEndsFromTheInside(t *testing.T) {
	for _, end := range []string{"by itself", "told to"} {
		var r record
		ctx, cancel := context.WithCancel(t.Context())
		inner := func(ctx context.Context) error {
			if end == "told to" {
				cancel()
				<-ctx.Done()
			}
			r.add("inner")
			return nil
		}
		if err := nest(ctx, r.until("outer"), r.until("middle"), inner); err != nil {
			t.Error(err)
		}
		if want := []string{"inner", "middle", "outer"}; !slices.Equal(r.events, want) {
			t.Errorf("%s: ended in the order %q, want %q", end, r.events, want)
		}
		cancel()
	}
}

func TestWhatFailsEndsWhatIsInsideAndAround(t *testing.T) {
	broken := errors.New("broken")
	var r record
	fails := func(context.Context) error { return broken }
	if err := nest(t.Context(), r.until("outer"), fails, r.until("inner")); !errors.Is(err, broken) {
		t.Errorf("the error is %v", err)
	}
	if want := []string{"inner", "outer"}; !slices.Equal(r.events, want) {
		t.Errorf("ended in the order %q, want %q", r.events, want)
	}
}
