package pubsub

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

func TestMemoryForgetsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory(MemoryConfig{History: History{{Prefix: "h:", Count: 10, Age: time.Minute}}, RecordLife: time.Hour})
		start(t, m)
		synctest.Wait()
		at := mustPublish(t, m, "h:a", "1")
		first := m.Publish(t.Context(), []Publication{{Topic: "h:a", Data: []byte("2"), Key: "k"}})[0]

		time.Sleep(time.Minute)
		synctest.Wait()
		if r := replay(t, m, "h:a", at, 10); len(r.Events) > 0 || r.Recovered || r.Head != first.Position {
			t.Errorf("after an event's age: %+v", r)
		}
		if again := m.Publish(t.Context(), []Publication{{Topic: "h:a", Data: []byte("2"), Key: "k"}})[0]; again != first {
			t.Errorf("a key was forgotten after a minute")
		}
		time.Sleep(IdempotencyTime)
		synctest.Wait()
		if m.once.positions.len() > 0 {
			t.Error("a key is kept longer than its time")
		}
		if r := replay(t, m, "h:a", first.Position, 10); !r.Recovered {
			t.Errorf("within the record's life: %+v", r)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if r := replay(t, m, "h:a", first.Position, 10); r.Recovered || r.Head.ID.Seq != 0 {
			t.Errorf("after the record's life: %+v", r)
		}
		if m.logs.len() > 0 {
			t.Error("a log is kept longer than its record")
		}
	})
}

func TestMemoryNeedsToRun(t *testing.T) {
	m := NewMemory(MemoryConfig{})
	if err := m.Ready(); !errors.Is(err, ErrUnavailable) {
		t.Errorf("Ready says %v", err)
	}
	gone, leave := context.WithCancel(t.Context())
	leave()
	r := m.Publish(gone, []Publication{{Topic: "news", Data: []byte("1")}})[0]
	if !errors.Is(r.Err, ErrUnavailable) || m.Stats().PublishErrors["unavailable"] != 1 {
		t.Errorf("Publish says %v", r.Err)
	}
	if errs := m.ChangePresence(gone, []Change{enter("p:1", "s_1", "x")}); !errors.Is(errs[0], ErrNoPresence) {
		t.Errorf("ChangePresence says %v", errs[0])
	}
}

// A change or publication that comes before Run has begun waits for it, and is made; one that comes when it has ended is refused.
func TestMemoryServesWhoComesBeforeItRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory(MemoryConfig{Presence: PresenceConfig{Match: func(string) bool { return true }}})
		early := make(chan error, 2)
		go func() { early <- m.Publish(t.Context(), []Publication{{Topic: "news", Data: []byte("1")}})[0].Err }()
		go func() { early <- m.ChangePresence(t.Context(), []Change{enter("p:1", "s_1", "x")})[0] }()
		synctest.Wait()
		if len(early) > 0 {
			t.Errorf("one is answered before it runs: %v", <-early)
		}
		ctx, end := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- m.Run(ctx, ignore{}) }()
		for range 2 {
			if err := <-early; err != nil {
				t.Error(err)
			}
		}
		end()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if r := m.Publish(t.Context(), []Publication{{Topic: "news", Data: []byte("1")}})[0]; !errors.Is(r.Err, ErrUnavailable) {
			t.Errorf("behind its end: %v", r.Err)
		}
	})
}

// TestMemoryKeepsNoMoreThanItMay publishes as one does who wants it to burst: long events to ever new topics,
// many to one, short ones to very many topics; and holds it to the books.
func TestMemoryKeepsNoMoreThanItMay(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		const limit = 64 << 10
		m := NewMemory(MemoryConfig{History: History{{Prefix: "h:few", Count: 3}, {Count: 1000}}, HistoryBytes: limit})
		m.setSink(ignore{})
		var all []*Event // in order of publishing
		rt.Repeat(map[string]func(*rapid.T){
			"publish": func(rt *rapid.T) {
				topic := rapid.SampledFrom([]string{"h:few:", "h:many:", "h:"}).Draw(rt, "kind")
				topic += fmt.Sprint(rapid.IntRange(0, map[string]int{"h:few:": 3, "h:many:": 20, "h:": 2000}[topic]).Draw(rt, "topic"))
				data := make([]byte, rapid.SampledFrom([]int{1, 100, 10_000, limit}).Draw(rt, "size"))
				for i := range rapid.IntRange(1, 50).Draw(rt, "times") {
					ev := &Event{Topic: fmt.Sprint(topic, i%7), Data: data}
					rule, _ := m.cfg.History.For(ev.Topic)
					m.add(m.log(ev.Topic), ev, m.now(), rule)
					all = append(all, ev)
				}
			},
			"": func(rt *rapid.T) {
				bytes, records, bare, kept := 0, 0, 0, map[*Event]bool{}
				for topic, l := range m.logs.all {
					if l.topic != topic {
						rt.Fatalf("%s is %s", topic, l.topic)
					}
					records += l.size()
					if len(l.events) == 0 {
						bare++
					}
					for i, e := range l.events {
						bytes += e.size()
						kept[e.Event] = true
						if want := l.number - uint64(len(l.events)-1-i); e.Number != want || e.log != l {
							rt.Fatalf("event %d has number %d, want %d", i, e.Number, want)
						}
					}
				}
				k := &m.kept
				if bytes+records != k.bytes || records != k.records || len(kept) != k.events || k.bytes > limit {
					rt.Fatalf("%d bytes and %d of records, in the books %d, %d; the limit is %d", bytes, records, k.bytes, k.records, limit)
				}
				listed := 0
				for e := k.oldest; e != nil; e = e.newer {
					if listed++; !kept[e.Event] || (e.newer == nil) != (e == k.newest) {
						rt.Fatalf("%s is listed, but not kept, or the last one is not the newest", e.Position)
					}
				}
				for l := k.oldestBare; l != nil; l = l.newer {
					if bare--; len(l.events) > 0 || (l.newer == nil) != (l == k.newestBare) {
						rt.Fatalf("%s is not bare, or the last one is not the newest", l.topic)
					}
				}
				if listed != len(kept) || bare != 0 {
					rt.Fatalf("%d events are listed of %d; %d bare logs are not", listed, len(kept), bare)
				}
				// The newest of all are there, less what the rules of their topics let go.
				young := true
				for _, ev := range slices.Backward(all) {
					if !kept[ev] && !strings.HasPrefix(ev.Topic, "h:few") {
						young = false
					}
					if kept[ev] && !young {
						rt.Fatalf("%s is kept, a younger one is not", ev.Position)
					}
				}
			},
		})
	})
}

func TestMemoryTellsWhatItForgotForLackOfRoom(t *testing.T) {
	m := NewMemory(MemoryConfig{History: keepAll, HistoryBytes: 16 << 10})
	start(t, m)
	eventually(t, "ready", func() bool { return m.Ready() == nil })
	at := number(t, m, "h:a", 1, 200)
	r := replay(t, m, "h:a", at[1], 1000)
	if r.Recovered || len(r.Events) == 0 || len(r.Events) > 130 || r.Head != at[200] {
		t.Errorf("%d events, recovered %t", len(r.Events), r.Recovered)
	}
	if s := m.Stats(); s.Drops["history_full"] == 0 || s.HistoryBytes > 16<<10 || s.HistoryBytes < 8<<10 {
		t.Errorf("%d dropped, %d bytes", s.Drops["history_full"], s.HistoryBytes)
	}
	place := replay(t, m, "h:quiet", Start, 0).Head
	if r := replay(t, m, "h:quiet", place, 10); !r.Recovered {
		t.Error("nothing was forgotten, but it is not recovered")
	}
	mustPublish(t, m, "h:quiet", "1")
	for i := range 200 {
		mustPublish(t, m, fmt.Sprint("h:other:", i), "1")
	}
	if s := m.Stats(); s.Drops["records_full"] == 0 {
		t.Fatal("no record went")
	}
	for _, since := range []Position{at[200], place, Start} {
		if r := replay(t, m, "h:quiet", since, 10); r.Recovered {
			t.Errorf("recovered from %s, though the topic's record was forgotten", since)
		}
	}
	if next := mustPublish(t, m, "h:quiet", "2"); next.ID.Compare(at[200].ID) <= 0 {
		t.Errorf("%s is not behind", next)
	}
	place = replay(t, m, "h:fresh", Start, 0).Head
	if r := replay(t, m, "h:fresh", place, 10); !r.Recovered {
		t.Error("a place of now is not recovered")
	}
}

func TestMemoryForgetsKeysForLackOfRoom(t *testing.T) {
	m := NewMemory(MemoryConfig{HistoryBytes: 100 * 4 * onceSize})
	start(t, m)
	eventually(t, "ready", func() bool { return m.Ready() == nil })
	for i := range 1000 {
		if res := m.Publish(t.Context(), []Publication{{Topic: "news", Data: []byte("1"), Key: fmt.Sprint(i)}}); res[0].Err != nil {
			t.Fatal(res[0].Err)
		}
	}
	if n, dropped := m.once.positions.len(), m.Stats().Drops["keys_full"]; n != 100 || dropped != 900 {
		t.Errorf("%d keys are kept, %d dropped", n, dropped)
	}
}
