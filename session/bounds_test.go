package session

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"wshub/engine"
	"wshub/pubsub"
	"wshub/pubsub/redistest/drills"
)

func TestReplaysThatNobodyReadsCostLittleAndAreCounted(t *testing.T) {
	const clients, events, size = 73, 1000, 60_000
	n := bend(t, Config{}, engine.Config{Pollers: 1}, &bent{})
	n.number("log", 1, events, size)
	before := heap()
	for range clients {
		n.listener("?topic=log&since=0", nil)
	}
	backlog := int64(0)
	n.eventually("each waits for its client", func() bool {
		was := backlog
		backlog = n.server.Stats().Backlog
		return backlog == was && backlog > 0 && n.hub.Stats().Recovered == clients && n.hub.Stats().Reads == 0
	})
	grown := heap() - before
	t.Logf("%d KB of heap, %d KB of backlog for %d replays of %d MB", grown>>10, backlog>>10, clients, events*size>>20)
	if backlog > clients*256<<10 {
		t.Errorf("a backlog of %d bytes", backlog)
	}
	if grown > backlog+8<<20 {
		t.Errorf("%d bytes of heap, of which %d are counted", grown, backlog)
	}
}

func TestAReplayThatNobodyReadsIsCut(t *testing.T) {
	drills.InProcess(t)
	t.Parallel()
	n := bend(t, Config{}, engine.Config{Pollers: 1}, &bent{})
	n.number("log", 1, 100, 60_000)
	for range 3 {
		n.listener("?topic=log&since=0", nil)
	}
	deadline, poll := time.After(40*time.Second), time.NewTicker(50*time.Millisecond)
	defer poll.Stop()
	for n.server.Stats().Closed["slow_consumer"] < 3 {
		select {
		case <-poll.C:
		case <-deadline:
			t.Fatalf("closed: %v", n.server.Stats().Closed)
		}
	}
	n.eventually("no backlog is left", func() bool { return n.server.Stats().Backlog == 0 }) // the last one's socket may be closing
}

func TestOneClientsReadingHoldsUpNobodyAndEndsWithIt(t *testing.T) {
	g := newGate()
	var reads atomic.Int32
	n := bend(t, Config{Workers: 1, MessageRate: -1, PublishTimeout: time.Minute}, engine.Config{Pollers: 1}, &bent{onReplay: func(ctx context.Context, topic string) error {
		if topic == "log" {
			reads.Add(1)
			return g.wait(ctx)
		}
		return nil
	}})
	t.Cleanup(g.open)
	greedy, healthy := n.v1(""), n.v1("")
	for i := range maxHistories {
		greedy.send(fmt.Sprintf(`{"type":"history","id":%d,"topic":"log"}`, i+1))
	}
	greedy.send(`{"type":"history","id":1000,"topic":"log"}`)
	greedy.wantError(Busy)
	<-g.came
	healthy.send(`{"type":"publish","id":1,"topic":"raw","data":1}`)
	healthy.want(`{"type":"ok","id":1}`)
	healthy.send(`{"type":"history","id":2,"topic":"other"}`)
	healthy.send(`{"type":"ping","id":3}`)
	healthy.want(`{"type":"pong","id":3}`) // its request has been taken, and waits for one read
	g.pass <- struct{}{}
	healthy.answers(2)
	if h := greedy.hear(); h.Type != "history" {
		t.Errorf("%+v", h)
	}
	<-g.came // the greedy client's second one
	_ = greedy.conn.CloseNow()
	n.eventually("it has left", func() bool { return n.hub.Stats().Sessions["v1"] == 1 })
	g.open()
	healthy.send(`{"type":"history","id":4,"topic":"other"}`)
	healthy.answers(4)
	n.eventually("nothing is read any more", func() bool { return n.hub.Stats().Reads == 0 })
	if got := reads.Load(); got != 2 {
		t.Errorf("the log was read %d times", got)
	}
	if got := n.hub.Stats().Dropped["history_queue_full"]; got != 1 {
		t.Errorf("%d were dropped", got)
	}
}

func TestAPageOfHistoryCostsAPage(t *testing.T) {
	const events, size = 500, 1000
	var read atomic.Int64
	n := bend(t, Config{}, engine.Config{Pollers: 1}, &bent{replayed: func(_ string, r pubsub.Replay) {
		for _, ev := range r.Events {
			read.Add(int64(len(ev.Data)))
		}
	}})
	n.number("log", 1, events, size)
	c := n.v1("")
	c.send(`{"type":"history","id":1,"topic":"log"}`)
	h := c.hear()
	sent := int64(0)
	for _, ev := range h.Events {
		sent += int64(len(ev.Data))
	}
	if got := read.Load(); got != sent || sent > maxHistoryBytes || !h.More {
		t.Errorf("%d bytes were read, %d sent", got, sent)
	}
}

// longPing is a ping of 60 KB with members that a ping has no use for.
func longPing() []byte {
	positions := map[string]string{}
	for i := range 4000 {
		positions[fmt.Sprintf("t%04d", i)] = "0"
	}
	list, _ := json.Marshal(positions)
	return fmt.Appendf(nil, `{"type":"ping","id":1,"positions":%s,"data":%q}`, list, strings.Repeat("x", 60_000-len(list)))
}

func TestTheBytesOfAMessageAreCharged(t *testing.T) {
	n := memory(t, Config{MessageRate: 1, MessageBurst: 10})
	c := n.v1("")
	for range 2 { // each costs 1, and 3 for its bytes
		c.send(string(longPing()))
		c.want(`{"type":"pong","id":1}`)
	}
	c.send(string(longPing()))
	c.wantError(RateLimited)
}

func TestALongPingIsCheap(t *testing.T) {
	n := oneLoop(t)
	u := n.unheard(protocolV1)
	ping := longPing()
	var s *Session
	n.onLoop(func() {
		for _, s = range n.hub.shards[0].named { // the only one
		}
	})
	var allocs float64
	n.onLoop(func() {
		allocs = testing.AllocsPerRun(20, func() { s.Message(engine.OpText, ping) })
	})
	u.drain()
	if allocs > 20 {
		t.Errorf("%.0f allocations", allocs)
	}
}

// Everybody hears from the hub again and again that it sends too much. A client that goes on is cut, though
// now and then one of its messages is taken.
func TestWhoKeepsSendingTooMuchIsCut(t *testing.T) {
	n := memory(t, Config{MessageRate: 1000, MessageBurst: 5000})
	var came atomic.Int64
	c := n.listener("", &came) // reads all
	burst := []byte(strings.Repeat(masked(`1`), 150))
	for range 2000 {
		if _, err := c.Write(burst); err != nil {
			break
		}
	}
	n.eventually("it is cut", func() bool { return n.server.Stats().Closed["rate_limit"] == 1 })
}

func TestWhatWaitsForABrokerIsBoundedInBytes(t *testing.T) {
	const messages, size, most = 200, 60_000, 8 << 20 // 12 MB
	g := newGate()
	n := bend(t, Config{MessageRate: -1, MaxPublishing: most, PublishTimeout: time.Hour}, engine.Config{Pollers: 1}, &bent{onPublish: func(ctx context.Context, _ string) { _ = g.wait(ctx) }})
	t.Cleanup(g.open)
	c := n.v1("")
	before := heap()
	data := strings.Repeat("x", size)
	for i := range messages {
		c.send(fmt.Sprintf(`{"type":"publish","id":%d,"topic":"raw","data":%q}`, i+1, data))
	}
	c.send(`{"type":"ping","id":"sent"}`)
	busy := 0
	for got := ""; got != `{"type":"pong","id":"sent"}`; got = c.read() {
		if strings.Contains(got, `"code":"busy"`) {
			busy++
		}
	}
	if grown := heap() - before; grown > most*5/4 {
		t.Errorf("%d MB wait", grown>>20)
	}
	if want := messages - most/(size+300); busy < want-5 || busy > want+5 {
		t.Errorf("%d were not taken, want some %d", busy, want)
	}
	g.open()
	for i := range messages - busy { // each is answered
		if h := c.hear(); h.Type != "ok" {
			t.Fatalf("%d: %+v", i, h)
		}
	}
	c.send(`{"type":"publish","id":1,"topic":"raw","data":1}`)
	c.want(`{"type":"ok","id":1}`)
}
