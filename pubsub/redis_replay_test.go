package pubsub

import (
	"context"
	"errors"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"wshub/pubsub/redistest"
)

func TestManyReplaysAreReadFromRedisOnce(t *testing.T) {
	server := redistest.Start(t)
	r, sink := running(t, RedisConfig{URL: server.URL(), History: keepAll})
	at := number(t, r, "h:a", 1, 5) // before anybody here follows
	mustFollow(t, r, "h:a", 0)
	at[6] = mustPublish(t, r, "h:a", "6")
	wantEvents(t, sink, "h:a", 6, 6)
	const clients = 500
	var waiting sync.WaitGroup
	for range clients {
		waiting.Go(func() { wantReplay(t, "in memory", replay(t, r, "h:a", at[5], 10), at[6], true, 6, 6) })
	}
	waiting.Wait()
	if s := r.Stats(); s.ReplaysFromMemory != clients || s.ReplaysFromRedis != 0 {
		t.Errorf("%d from memory, %d from redis", s.ReplaysFromMemory, s.ReplaysFromRedis)
	}
	for range clients {
		waiting.Go(func() { wantReplay(t, "stored", replay(t, r, "h:a", at[2], 10), at[6], true, 3, 6) })
	}
	waiting.Wait()
	n := r.Stats().ReplaysFromRedis
	t.Logf("%d clients made %d readings", clients, n)
	if n > clients/2 {
		t.Error("the readings are not shared")
	}
	for since := 2; since < 6; since++ {
		wantReplay(t, "read before", replay(t, r, "h:a", at[since], 10), at[6], true, since+1, 6)
	}
	if again := r.Stats().ReplaysFromRedis; again != n {
		t.Errorf("%d readings of what was read before", again-n)
	}
}

// TestAReplayIsNeverOlderThanWhatWasDelivered joins a reading that began before the last event was
// delivered: its answer would be a hole.
func TestAReplayIsNeverOlderThanWhatWasDelivered(t *testing.T) {
	server := redistest.Start(t)
	r, sink := running(t, RedisConfig{URL: server.URL(), History: keepAll, RecentBytes: 1})
	mustFollow(t, r, "h:a", 0)
	one := mustPublish(t, r, "h:a", "1")
	two := mustPublish(t, r, "h:a", "2")
	wantEvents(t, sink, "h:a", 1, 2)
	eventually(t, "the reading is shared", func() bool {
		landed := make(chan struct{})
		flight := r.reads.DoChan(r.flightKey("h:a", one, Limit{Events: 10}), func() (any, error) {
			<-landed
			return Replay{Head: one, Recovered: true}, nil
		})
		answers := make(chan Replay, 1)
		go func() { answers <- replay(t, r, "h:a", one, 10) }()
		runtime.Gosched()
		close(landed)
		wantReplay(t, "after the shared reading", <-answers, two, true, 2, 2)
		return (<-flight).Shared
	})
}

func TestATopicThatDoesNotArriveYetIsReplayedFromRedis(t *testing.T) {
	server := redistest.Start(t)
	publisher, _ := running(t, RedisConfig{URL: server.URL(), History: keepAll})
	at := number(t, publisher, "h:a", 1, 2)
	r := newRedis(t, RedisConfig{URL: server.URL(), History: keepAll})
	r.Follow("h:a", 0, func(error) {})
	wantReplay(t, "before the first connection", replay(t, r, "h:a", Start, 10), at[2], true, 1, 2)
	start(t, r)
}

func TestReplayErrors(t *testing.T) {
	server := redistest.Start(t)
	r, _ := running(t, RedisConfig{URL: server.URL(), History: keepAll})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Replay(ctx, "h:a", Start, Limit{Events: 10}); err == nil || errors.Is(err, ErrRefused) {
		t.Errorf("cancelled: %v", err)
	}
	server.Kill()
	if _, err := r.Replay(t.Context(), "h:a", Start, Limit{Events: 10}); !errors.Is(err, ErrUnavailable) {
		t.Errorf("server down: %v", err)
	}
}

// TestAPageCostsAPage reads a small page of a long log of long events: the server reads two of them, and
// the last one to see that it is there.
func TestAPageCostsAPage(t *testing.T) {
	server := redistest.Start(t)
	r, _ := running(t, RedisConfig{URL: server.URL(), History: keepAll, ProbeEvery: time.Hour, ProbeDeadline: time.Hour})
	data := []byte(`"` + strings.Repeat("x", 60_000) + `"`)
	const events = 100
	for range events { // one by one: a busy machine takes long for many of them
		mustPublish(t, r, "h:a", string(data))
	}
	monitor := server.Monitor()
	rep, err := r.Replay(t.Context(), "h:a", Start, Limit{Events: 1000, Bytes: 64 << 10})
	if err != nil || len(rep.Events) != 1 || !rep.Recovered || rep.Missed != events {
		t.Fatalf("%d events of %d, recovered %t, %v", len(rep.Events), rep.Missed, rep.Recovered, err)
	}
	entries := 0
	for _, line := range monitor() {
		if _, count, ok := strings.Cut(line, `"COUNT" "`); ok {
			n, _ := strconv.Atoi(strings.TrimSuffix(count, `"`))
			entries += n
		}
	}
	if entries == 0 || entries > 3 {
		t.Errorf("the server read %d entries", entries)
	}
}

// TestACrowdThatReadsPageByPageSharesTheReading has clients come back that left off at different places.
func TestACrowdThatReadsPageByPageSharesTheReading(t *testing.T) {
	const events, clients = 2000, 50
	server := redistest.Start(t)
	r, _ := running(t, RedisConfig{URL: server.URL(), History: keepAll})
	data := []byte(`"` + strings.Repeat("x", 500) + `"`)
	var positions []Position
	for range events / 100 { // a busy machine takes long for all at once
		batch := make([]Publication, 100)
		for i := range batch {
			batch[i] = Publication{Topic: "h:a", Data: data}
		}
		for _, result := range r.Publish(t.Context(), batch) {
			if result.Err != nil {
				t.Fatal(result.Err)
			}
			positions = append(positions, result.Position)
		}
	}
	mustFollow(t, r, "h:a", 0)
	var reading sync.WaitGroup
	for i := range clients {
		reading.Go(func() {
			since, pages := positions[i], 0
			for n := events - 1 - i; n > 0; pages++ {
				rep, err := r.Replay(t.Context(), "h:a", since, Limit{Events: 1000, Bytes: 64 << 10})
				if err != nil || !rep.Recovered || rep.Missed != n || len(rep.Events) == 0 {
					t.Errorf("client %d, page %d: %d events, %d missed of %d, recovered %t, %v", i, pages, len(rep.Events), rep.Missed, n, rep.Recovered, err)
					return
				}
				since, n = rep.Events[len(rep.Events)-1].Position, n-len(rep.Events)
			}
		})
	}
	reading.Wait()
	pages := events * len(data) / (64 << 10)
	n := r.Stats().ReplaysFromRedis
	t.Logf("%d readings of %d pages for %d clients", n, pages, clients)
	if n > uint64(2*(pages+clients)) { // it would be 750 if each read its own; some 20 is usual
		t.Error("the readings are not shared")
	}
}
