package pubsub

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
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

// moving is the topology of a master whose place another one takes. Nobody is told.
type moving struct{ addr atomic.Pointer[string] }

func (m *moving) watch(ctx context.Context, t *triggers, report func(layout, trigger)) error {
	return keepDiscovering(ctx, t, func(why trigger) bool {
		if why != inTime {
			report(single{*m.addr.Load()}.layout(), why)
		}
		return true
	})
}

// TestACrowdThatIsAheadIsNotHeldUp has many hand in made-up positions while a discovery takes forever: a few wait for it, and none
// waits for one that has just ended.
func TestACrowdThatIsAheadIsNotHeldUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := triggers{work: make(chan struct{}, 1)}
		var all sync.WaitGroup
		crowd := func() (longest time.Duration, most int) {
			var mu sync.Mutex
			for range 1000 {
				all.Go(func() {
					begin := time.Now()
					ctx, cancel := context.WithTimeout(t.Context(), askTimeout)
					defer cancel()
					tr.await(ctx, onAhead)
					mu.Lock()
					defer mu.Unlock()
					if took := time.Since(begin); took > 0 {
						longest, most = max(longest, took), most+1
					}
				})
			}
			all.Wait()
			return longest, most
		}
		if took, waited := crowd(); took != askTimeout || waited != maxWaiting {
			t.Errorf("%d wait for a discovery that does not end, %s", waited, took)
		}
		tr.begin()(true)
		if _, waited := crowd(); waited > 0 {
			t.Errorf("%d wait behind a discovery", waited)
		}
		time.Sleep(discoverPause)
		if _, waited := crowd(); waited != maxWaiting {
			t.Errorf("%d wait later", waited)
		}
		tr.begin()(false)
		time.Sleep(discoverPause)
		if _, waited := crowd(); waited > 0 {
			t.Errorf("%d wait for what nobody knows", waited)
		}
	})
}

func (m *moving) inspect(context.Context) (layout, Report) {
	return single{*m.addr.Load()}.layout(), nil
}

// TestAPositionAheadOfTheLogHasTheMasterLookedFor: a client comes from a node that has followed to the new master to
// one that has not. To tell it of a loss, and to give it what it has once more, would be wrong.
func TestAPositionAheadOfTheLogHasTheMasterLookedFor(t *testing.T) {
	old, next := redistest.Start(t), redistest.Start(t)
	at := &moving{}
	at.addr.Store(new(old.Addr()))
	r := newRedis(t, RedisConfig{URL: old.URL(), History: keepAll})
	r.topology = at
	start(t, r)
	ready(t, r)
	mustFollow(t, r, "h:a", 0)
	mustPublish(t, r, "h:a", "1")

	next.Follow(old)
	next.Promote()
	other, _ := running(t, RedisConfig{URL: next.URL(), History: keepAll})
	two := mustPublish(t, other, "h:a", "2")
	at.addr.Store(new(next.Addr()))
	eventually(t, "the discovery at the start is none of just now", func() bool {
		r.triggers.mu.Lock()
		defer r.triggers.mu.Unlock()
		return time.Since(r.triggers.ended) >= discoverPause
	})
	wantReplay(t, "from the new master", replay(t, r, "h:a", two, 10), two, true, 0, -1)

	// Where nobody else has come to serve the topic, the log has lost it.
	lost := Position{two.Epoch, ID{two.ID.Ms, two.ID.Seq + 1}}
	if got := replay(t, r, "h:a", lost, 10); got.Recovered || got.Head != two {
		t.Errorf("got %+v", got)
	}
}

// stuck is the topology of a server that, once asked again, never says who it is.
type stuck struct{ single }

func (s stuck) watch(ctx context.Context, t *triggers, report func(layout, trigger)) error {
	return keepDiscovering(ctx, t, func(why trigger) bool {
		if why != atStart {
			<-ctx.Done()
		}
		report(s.layout(), why)
		return true
	})
}

func (s stuck) inspect(context.Context) (layout, Report) { return s.layout(), nil }

// TestWhoIsAheadKeepsNobodyFromReading: a client's position is made up, and the discovery that it waits for takes forever. Another
// one reads the same topic, whose events are not in memory.
func TestWhoIsAheadKeepsNobodyFromReading(t *testing.T) {
	server := redistest.Start(t)
	r := newRedis(t, RedisConfig{URL: server.URL(), History: keepAll, RecentBytes: 1})
	r.topology = stuck{single{server.Addr()}}
	start(t, r)
	ready(t, r)
	mustFollow(t, r, "h:a", 0)
	last := mustPublish(t, r, "h:a", "1")
	eventually(t, "the discovery at the start is none of just now", func() bool {
		r.triggers.mu.Lock()
		defer r.triggers.mu.Unlock()
		return time.Since(r.triggers.ended) >= discoverPause
	})
	waits, done := make(chan struct{}), make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer close(done)
		_, _ = r.Replay(OnWait(ctx, func() { close(waits) }), "h:a", Position{last.Epoch, ID{last.ID.Ms + 1, 1}}, Limit{Events: 10})
	}()
	<-waits
	if end, other := r.readings.begin("h:a"); other != nil {
		t.Error("others wait for the one who is ahead")
	} else {
		end()
	}
	cancel()
	<-done
}
