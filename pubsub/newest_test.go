package pubsub

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"wshub/pubsub/redistest"
)

// backwards: the last events before a position, or of all, newest first, as many as the limit lets in.
func backwards(t *testing.T, b Broker, _ recorder) {
	ctx := context.Background()
	publish := func(topic, data string) Position {
		t.Helper()
		r := b.Publish(ctx, []Publication{{Topic: topic, Data: []byte(data)}})
		if r[0].Err != nil {
			t.Fatal(r[0].Err)
		}
		return r[0].Position
	}
	newest := func(topic string, before Position, limit Limit) Replay {
		t.Helper()
		limit.Backwards = true
		r, err := b.Replay(ctx, topic, before, limit)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if r := newest("h:many:none", Position{}, Limit{Events: 3}); len(r.Events) > 0 || !r.Recovered || r.Head.Epoch == 0 {
		t.Errorf("of an empty log: %+v", r)
	}
	var at []Position
	for i := range 40 {
		at = append(at, publish("h:many:x", fmt.Sprint(i)))
	}
	for _, test := range []struct {
		before Position
		limit  int
		want   []string
	}{
		{Position{}, 0, nil},
		{Position{}, 2, []string{"39", "38"}},
		{at[39], 2, []string{"38", "37"}},
		{at[2], 9, []string{"1", "0"}},
		{at[0], 9, nil},
		{Position{at[0].Epoch, lastID}, 1, []string{"39"}},
	} {
		r := newest("h:many:x", test.before, Limit{Events: test.limit})
		if !slices.Equal(texts(r), test.want) || !r.Recovered || r.Head != at[39] || r.Missed != 0 {
			t.Errorf("%d before %v: %v, %+v", test.limit, test.before, texts(r), r)
		}
	}
	all := newest("h:many:x", Position{}, Limit{Events: 1000})
	if len(all.Events) != 40 || all.Events[39].Position != at[0] || string(all.Events[39].Data) != "0" {
		t.Errorf("all of them: %v", texts(all))
	}
	if r := newest("h:many:x", Position{at[3].Epoch + 1, at[3].ID}, Limit{Events: 1}); r.Recovered || len(r.Events) > 0 {
		t.Errorf("of another log: %+v", r)
	}
	large := `"` + strings.Repeat("x", 1000) + `"`
	for range 20 {
		publish("h:many:large", large)
	}
	if r := newest("h:many:large", Position{}, Limit{Events: 100, Bytes: 5500}); len(r.Events) != 5 {
		t.Errorf("%d events of 1,002 bytes in 5,500", len(r.Events))
	}
	if r := newest("h:many:large", Position{}, Limit{Events: 100, Bytes: 10}); len(r.Events) != 1 {
		t.Errorf("%d events of 1,002 bytes in 10", len(r.Events))
	}
}

// betweenReads is a redis.Hook that calls f once, before the first command of that name.
type betweenReads struct {
	name string
	f    func()
}

func (b *betweenReads) DialHook(next redis.DialHook) redis.DialHook { return next }

func (b *betweenReads) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		b.see(cmd)
		return next(ctx, cmd)
	}
}

func (b *betweenReads) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		for _, cmd := range cmds {
			b.see(cmd)
		}
		return next(ctx, cmds)
	}
}

func (b *betweenReads) see(cmd redis.Cmder) {
	if f := b.f; f != nil && cmd.Name() == b.name {
		b.f = nil
		f()
	}
}

// A reader of the last event that follows behind the head does not get that event again.
func TestTheHeadIsNoOlderThanTheLastEvent(t *testing.T) {
	server := redistest.Start(t)
	r, _ := running(t, RedisConfig{URL: server.URL(), History: keepAll})
	mustPublish(t, r, "h:a", "1")
	r.only().pub.AddHook(&betweenReads{name: "xrevrange", f: func() { mustPublish(t, r, "h:a", "2") }})
	got, err := r.Replay(t.Context(), "h:a", Position{}, Limit{Events: 1, Backwards: true})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(texts(got), []string{"2"}) || got.Head != got.Events[0].Position {
		t.Errorf("the log ends with %v at %v, and its head is %v", texts(got), got.Events[0].Position, got.Head)
	}
}
