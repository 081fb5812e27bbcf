package pubsub

import (
	"testing"
	"time"

	"wshub/pubsub/redistest"
)

// TestWhatAnOvertakenMasterReadsIsNotBelieved: a master stands still with a request to read, another one takes its
// place, and the old one goes on.
func TestWhatAnOvertakenMasterReadsIsNotBelieved(t *testing.T) {
	old, next := redistest.Start(t), redistest.Start(t)
	r, _ := running(t, RedisConfig{URL: old.URL(), History: keepAll})
	published := func(text string) Position {
		t.Helper()
		res := r.Publish(t.Context(), []Publication{{Topic: "h:a", Data: []byte(text)}})[0]
		if res.Err != nil {
			t.Fatal(res.Err)
		}
		return res.Position
	}
	published(`"lost"`)
	type answer struct {
		Replay
		err error
	}
	answers := make(chan answer)
	old.Freeze()
	go func() {
		got, err := r.Replay(t.Context(), "h:a", Start, Limit{Events: 10})
		answers <- answer{got, err}
	}()
	eventually(t, "the reading waits", func() bool { return r.Stats().ReplaysFromRedis == 1 })
	r.arrange(single{next.Addr()}.layout())
	kept := published(`"kept"`)
	old.Thaw()
	select {
	case a := <-answers:
		if a.err != nil || len(a.Events) != 1 || a.Events[0].Position != kept {
			t.Errorf("%v, %v; want the event at %v", a.Replay, a.err, kept)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("no answer")
	}
}
