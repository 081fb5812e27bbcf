package pubsub

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"wshub/pubsub/redistest"
)

var keepAll = History{{Prefix: "h:", Count: 100_000, Age: time.Minute}}

// hide stores an event in topic's log as Publish does, but tells nobody: pub/sub lost it.
func hide(t testing.TB, r *Redis, topic, data string) {
	t.Helper()
	c := r.publication(&Publication{Topic: topic, Data: []byte(data)})
	c.args[0] = "hub:nowhere"
	if err := r.run(t.Context(), []call{c})[0].Err(); err != nil {
		t.Fatal(err)
	}
}

// setRecord makes it look as if id were topic's last event, of that number.
func setRecord(t testing.TB, r *Redis, topic string, id ID, number uint64) {
	t.Helper()
	var record []byte
	for _, n := range []uint64{id.Ms, id.Seq, number, 0} {
		record = binary.BigEndian.AppendUint64(record, n)
	}
	if err := r.only().pub.Set(t.Context(), logKeys(topic)[2], record, 0).Err(); err != nil {
		t.Fatal(err)
	}
}

// wantEvents waits for events of topic with the numbers first to last, and nothing between them.
func wantEvents(t testing.TB, sink recorder, topic string, first, last int) {
	t.Helper()
	for i := first; i <= last; i++ {
		if got := sink.event(t, topic); got != fmt.Sprint(i) {
			t.Fatalf("got %s, want %d", got, i)
		}
	}
}

func TestALostEventIsReadFromTheLog(t *testing.T) {
	server := redistest.Start(t)
	r, sink := running(t, RedisConfig{URL: server.URL(), History: keepAll})
	mustFollow(t, r, "h:a", 0)
	mustPublish(t, r, "h:a", "1")
	wantEvents(t, sink, "h:a", 1, 1)
	mustFollow(t, r, "h:a", 1) // a second loop does not make the node forget
	lost := 2 * logPage.Events
	for i := range lost {
		hide(t, r, "h:a", fmt.Sprint(2+i))
	}
	mustPublish(t, r, "h:a", fmt.Sprint(2+lost))
	r.only().pub.Publish(t.Context(), "hub:t:h:a", `"raw"`)
	wantEvents(t, sink, "h:a", 2, 2+lost)
	if got := sink.event(t, "h:a"); got != `"raw"` {
		t.Errorf("the raw event did not wait behind: got %s", got)
	}
	mustPublish(t, r, "h:a", "0")
	wantEvents(t, sink, "h:a", 0, 0)
	if s := r.Stats(); s.Torn != 1 || s.CaughtUp != uint64(lost)+1 || s.Gaps != 0 {
		t.Errorf("%d torn, %d read, %d gaps", s.Torn, s.CaughtUp, s.Gaps)
	}
}

// byHand is a broker whose goroutines the test plays itself, and the connection they would share.
func byHand(t *testing.T) (*subscriber, recorder) {
	server := redistest.Start(t)
	r := newRedis(t, RedisConfig{URL: server.URL(), History: keepAll, Linger: time.Nanosecond})
	sink := newRecorder()
	r.delivery.sink = sink
	t.Cleanup(func() { _ = r.only().pub.Close() })
	m := r.only()
	r.follows.begin(m.line)
	return &subscriber{Redis: r, link: m.link, master: m, bus: true, doubts: doubts{work: make(chan struct{}, 1)}}, sink
}

// subscribe follows channel's topic and has the server acknowledge it.
func (s *subscriber) subscribe(channel string) {
	s.Follow(topicOf(channel), 0, func(error) {})
	s.follows.next(s.line)
	s.follows.subscribed(s.line, channel)
	s.follows.answered(s.line)
	s.putInDoubt(channel)
}

func (s *subscriber) compareAll(t *testing.T) {
	t.Helper()
	if failed := s.compare(t.Context(), s.doubts.take(headBatch)); len(failed) > 0 {
		t.Fatal(failed)
	}
}

// TestALossDuringAReadingIsReadToo loses an event after the log was read for an earlier loss, and
// before that takes effect.
func TestALossDuringAReadingIsReadToo(t *testing.T) {
	const channel = "hub:t:h:a"
	s, sink := byHand(t)
	arrive := func(number uint64, before Position) {
		data := fmt.Sprint(number)
		at := mustPublish(t, s, "h:a", data)
		s.arrive(channel, Event{Position: at, Before: before.ID, Number: number, Data: []byte(data)}, false)
	}
	s.subscribe(channel)
	s.compareAll(t)
	one := mustPublish(t, s, "h:a", "1")
	arrive(2, one)
	list := s.beginReading(s.doubts.take(1))
	x := s.excerpts(t.Context(), s.topicsOf(list), []Position{list[0].since}, logPage, false)
	three := mustPublish(t, s, "h:a", "3")
	arrive(4, three)
	if s.goOn(list[0], &x[0]) {
		t.Error("the reading did not reach its end")
	}
	wantEvents(t, sink, "h:a", 1, 2)
	if len(sink) > 0 {
		t.Errorf("%s was not held", <-sink)
	}
	s.compareAll(t)
	wantEvents(t, sink, "h:a", 3, 4)
}

// TestAGapIsNumberedByTheReadingThatHasShownIt: a session that has replayed tells by the numbers whether the replay knows of it.
func TestAGapIsNumberedByTheReadingThatHasShownIt(t *testing.T) {
	const channel = "hub:t:h:a"
	s, sink := byHand(t)
	stored := func(since Position) uint64 {
		t.Helper()
		got, err := s.replayStored(t.Context(), "h:a", since, Limit{Events: 10})
		if err != nil {
			t.Fatal(err)
		}
		return got.Read
	}
	s.subscribe(channel)
	s.compareAll(t)
	one := mustPublish(t, s, "h:a", "1")
	s.arrive(channel, Event{Position: one, Before: ID{}, Number: 1, Data: []byte("1")}, false)
	two := mustPublish(t, s, "h:a", "2")
	s.arrive(channel, Event{Position: two, Before: one.ID, Number: 2, Data: []byte("2")}, false)
	wantEvents(t, sink, "h:a", 1, 2)
	inMemory, earlier := replay(t, s, "h:a", one, 10).Read, stored(one)

	s.only().pub.XDel(t.Context(), logKeys("h:a")[1], two.ID.String())
	setRecord(t, s.Redis, "h:a", one.ID, 1)
	s.putInDoubt(channel)
	list := s.beginReading(s.doubts.take(1))
	x := s.excerpts(t.Context(), s.topicsOf(list), []Position{list[0].since}, logPage, false)
	meanwhile, inMemoryStill := stored(one), replay(t, s, "h:a", one, 10).Read
	s.goOn(list[0], &x[0])
	gap := sink.gap(t, "h:a")
	if inMemory >= gap.loss.Read || earlier >= gap.loss.Read || inMemoryStill >= gap.loss.Read || meanwhile <= gap.loss.Read || gap.at != one {
		t.Errorf("%s of reading %d; replays %d, %d, then %d, %d", gap, gap.loss.Read, inMemory, earlier, meanwhile, inMemoryStill)
	}
	if behind := replay(t, s, "h:a", Start, 0).Read; behind != gap.loss.Read {
		t.Errorf("a replay from memory behind it has number %d, want %d", behind, gap.loss.Read)
	}
}

// TestARawEventWaitsUntilItsTopicIsSubscribed sends it by hub:to, which is heard before a new
// connection has subscribed the topic's own channel.
func TestARawEventWaitsUntilItsTopicIsSubscribed(t *testing.T) {
	const channel = "hub:t:h:a"
	s, sink := byHand(t)
	s.subscribe(channel)
	s.compareAll(t)
	s.follows.end(s.line)
	s.follows.begin(s.line)
	mustPublish(t, s, "h:a", "1")
	s.dispatch("hub:to", []byte(`{"to":{"topic":"h:a"},"data":2}`))
	s.subscribe(channel)
	s.compareAll(t)
	wantEvents(t, sink, "h:a", 1, 2)
}

// TestAReadingBeforeASubscriptionProvesNothing unsubscribes a topic while its log is being read, and
// subscribes it again: the reading tells nothing of what was published in between.
func TestAReadingBeforeASubscriptionProvesNothing(t *testing.T) {
	const channel = "hub:t:h:a"
	s, sink := byHand(t)
	s.subscribe(channel)
	list := s.beginReading(s.doubts.take(1))
	heads := s.heads(t.Context(), s.topicsOf(list))
	if heads[0].err != nil {
		t.Fatal(heads[0].err)
	}
	s.Unfollow("h:a", 0)
	s.follows.expire(s.follows.clock() + int64(time.Second))
	s.follows.next(s.line)
	s.follows.unsubscribed(s.line, channel)
	s.follows.answered(s.line)
	at := mustPublish(t, s, "h:a", "1")
	s.subscribe(channel)
	s.endDoubt(list[0], &heads[0])
	s.compareAll(t)
	if r := replay(t, s, "h:a", Start, 0); r.Head != at || len(sink) > 0 {
		t.Errorf("at %s, want %s", r.Head, at)
	}
}

// TestAnEventThatArrivesAsTheDoubtEndsIsNotHeldForEver races the two.
func TestAnEventThatArrivesAsTheDoubtEndsIsNotHeldForEver(t *testing.T) {
	s, sink := byHand(t)
	sent := 0
	for i := range 200 {
		channel := topicChannel(fmt.Sprintf("h:%d", i))
		s.subscribe(channel)
		compared := make(chan []unread)
		go func() { compared <- s.compare(context.Background(), s.doubts.take(1)) }()
		for over := false; !over; {
			select {
			case failed := <-compared:
				if over = true; len(failed) > 0 {
					t.Fatal(failed)
				}
			default:
				if sent < cap(sink) {
					s.arrive(channel, Event{Data: []byte("1")}, false)
					sent++
				}
			}
		}
		for len(s.doubts.channels) > 0 { // too much had to be held
			s.compareAll(t)
		}
	}
	if n := len(sink); n+int(s.Stats().Drops["overrun"]) != sent {
		t.Errorf("%d of %d events were delivered, %d were too many to be held", n, sent, s.Stats().Drops["overrun"])
	}
}

func TestAReconnectMissesNothing(t *testing.T) {
	server := redistest.Start(t)
	r, sink := running(t, RedisConfig{URL: server.URL(), History: keepAll})
	for _, topic := range []string{"h:changed", "h:quiet", "h:empty"} {
		mustFollow(t, r, topic, 0)
	}
	mustPublish(t, r, "h:changed", "1")
	wantEvents(t, sink, "h:changed", 1, 1)
	mustPublish(t, r, "h:quiet", "1")
	wantEvents(t, sink, "h:quiet", 1, 1)

	hide(t, r, "h:changed", "2")
	hide(t, r, "h:empty", "1")
	server.CLI("client", "kill", "type", "pubsub")
	got := map[string]string{}
	for range 2 {
		d := sink.next(t)
		if d.Event == nil {
			t.Fatalf("got %s", d)
		}
		got[d.topic] = string(d.Data)
	}
	if got["h:changed"] != "2" || got["h:empty"] != "1" {
		t.Errorf("got %v", got)
	}
	mustPublish(t, r, "h:quiet", "2")
	wantEvents(t, sink, "h:quiet", 2, 2)
}

// TestEveryEventArrivesOnceWhateverBreaks numbers the events of many topics and breaks the
// subscriber's connection over and over: each topic's events arrive in order, once, without a gap.
func TestEveryEventArrivesOnceWhateverBreaks(t *testing.T) {
	t.Parallel()
	for name, disturb := range map[string]func(*redistest.Server, *redistest.Proxy){
		"connections killed": func(s *redistest.Server, _ *redistest.Proxy) { s.CLI("client", "kill", "type", "pubsub") },
		"connections reset":  func(_ *redistest.Server, p *redistest.Proxy) { p.Reset() },
		"scripts forgotten":  func(s *redistest.Server, _ *redistest.Proxy) { s.CLI("script", "flush") },
	} {
		t.Run(name, func(t *testing.T) {
			server := redistest.Start(t)
			proxy := redistest.NewProxy(t, server.Addr())
			subscriber, sink := running(t, RedisConfig{URL: proxy.URL(), History: keepAll})
			publisher, _ := running(t, RedisConfig{URL: server.URL(), History: keepAll})
			const topics, events, pauses = 20, 100, 10
			for i := range topics {
				mustFollow(t, subscriber, fmt.Sprintf("h:%d", i), i)
			}
			for n := range events {
				batch := make([]Publication, topics)
				for i := range batch {
					batch[i] = Publication{Topic: fmt.Sprintf("h:%d", i), Data: []byte(strconv.Itoa(n))}
				}
				for _, res := range publisher.Publish(t.Context(), batch) {
					if res.Err != nil {
						t.Fatal(res.Err)
					}
				}
				if n%(events/pauses) == 0 {
					disturb(server, proxy)
				}
			}
			next := map[string]int{}
			for range topics * events {
				d := sink.next(t)
				if d.Event == nil || string(d.Data) != strconv.Itoa(next[d.topic]) {
					t.Fatalf("got %s, want event %d", d, next[d.topic])
				}
				next[d.topic]++
			}
			s := subscriber.Stats()
			t.Logf("%d events, %d of them read from the logs after %d reconnects", s.Delivered, s.CaughtUp, s.Reconnects)
		})
	}
}

// TestAFloodOverTheOutputLimitIsReadFromTheLog keeps the subscriber from reading until the server has
// had enough of it.
func TestAFloodOverTheOutputLimitIsReadFromTheLog(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	server.CLI("config", "set", "client-output-buffer-limit", "pubsub 64kb 32kb 1")
	proxy := redistest.NewProxy(t, server.Addr())
	r, sink := running(t, RedisConfig{URL: proxy.URL(), History: keepAll, ProbeDeadline: time.Minute})
	publisher, _ := running(t, RedisConfig{URL: server.URL(), History: keepAll})
	mustFollow(t, r, "h:flood", 0)
	const batches, size = 30, 100
	pad := strings.Repeat("x", 5000)
	proxy.Freeze(redistest.ToClient)
	for b := range batches {
		batch := make([]Publication, size)
		for i := range batch {
			batch[i] = Publication{Topic: "h:flood", Data: []byte(fmt.Sprintf(`"%d %s"`, b*size+i, pad))}
		}
		for _, res := range publisher.Publish(t.Context(), batch) {
			if res.Err != nil {
				t.Fatal(res.Err)
			}
		}
	}
	proxy.Thaw(redistest.ToClient)
	for i := range batches * size {
		if got, want := sink.event(t, "h:flood"), fmt.Sprintf(`"%d `, i); !strings.HasPrefix(got, want) {
			t.Fatalf("got %.10s, want %s", got, want)
		}
	}
	if s := r.Stats(); s.Reconnects == 0 || s.CaughtUp == 0 {
		t.Errorf("the server had not enough: %d reconnects, %d read", s.Reconnects, s.CaughtUp)
	}
}

func TestARestartWithoutPersistenceIsAGapAndNothingIsRecovered(t *testing.T) {
	server := redistest.Start(t)
	r, sink := running(t, RedisConfig{URL: server.URL(), History: keepAll})
	mustFollow(t, r, "h:a", 5)
	old := mustPublish(t, r, "h:a", "1")
	wantEvents(t, sink, "h:a", 1, 1)
	server.Kill()
	server.Restart()
	d := sink.gap(t, "h:a")
	if d.loops != Loops(0).With(5) || d.at.Epoch == old.Epoch || d.at.IsZero() {
		t.Errorf("got %s", d)
	}
	ready(t, r)
	if rep := replay(t, r, "h:a", old, 10); rep.Recovered || len(rep.Events) > 0 || rep.Head.Epoch != d.at.Epoch {
		t.Errorf("got %+v", rep)
	}
	at := mustPublish(t, r, "h:a", "2")
	if wantEvents(t, sink, "h:a", 2, 2); at.Epoch != d.at.Epoch {
		t.Errorf("published at %s", at)
	}
}

func TestARestartWithPersistenceLosesNothing(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	r, sink := running(t, RedisConfig{URL: server.URL(), History: keepAll})
	mustFollow(t, r, "h:a", 0)
	acknowledged := 0
	for n := 0; acknowledged < 200; n++ {
		res := r.Publish(t.Context(), []Publication{{Topic: "h:a", Data: []byte(strconv.Itoa(acknowledged)), Key: strconv.Itoa(acknowledged)}})[0]
		switch {
		case res.Err == nil:
			acknowledged++
		case errors.Is(res.Err, ErrRefused), errors.Is(res.Err, ErrBadEvent):
			t.Fatal(res.Err)
		}
		if n == 50 || n == 150 {
			server.Kill()
			server.Restart()
		}
	}
	wantEvents(t, sink, "h:a", 0, 199)
}

func TestFlushedHistoryIsAGap(t *testing.T) {
	server := redistest.Start(t)
	r, sink := running(t, RedisConfig{URL: server.URL(), History: keepAll})
	mustFollow(t, r, "h:a", 0)
	old := mustPublish(t, r, "h:a", "1")
	wantEvents(t, sink, "h:a", 1, 1)
	server.CLI("flushall")
	wantGapBefore(t, sink, mustPublish(t, r, "h:a", "2"))
	if rep := replay(t, r, "h:a", old, 10); rep.Recovered {
		t.Errorf("got %+v", rep)
	}
}

// TestTheFirstOfALogMayHaveTheIDOfTheLastOfTheOneBefore publishes, flushes and publishes as in one millisecond.
func TestTheFirstOfALogMayHaveTheIDOfTheLastOfTheOneBefore(t *testing.T) {
	server := redistest.Start(t)
	r, sink := running(t, RedisConfig{URL: server.URL(), History: keepAll})
	mustFollow(t, r, "h:a", 0)
	key, db := logKeys("h:a")[0], r.only().pub
	floor := uint64(time.Now().Add(10 * time.Second).UnixMilli())
	db.SetRange(t.Context(), key, 16, string(binary.BigEndian.AppendUint64(nil, floor)))
	old := mustPublish(t, r, "h:a", "1")
	wantEvents(t, sink, "h:a", 1, 1)
	partition := db.Get(t.Context(), key).Val()
	server.CLI("flushall")
	db.Set(t.Context(), key, freshEpoch()+partition[8:], 0)
	at := mustPublish(t, r, "h:a", "2")
	if at.ID != old.ID || at.Epoch == old.Epoch {
		t.Fatalf("got %s behind %s", at, old)
	}
	wantGapBefore(t, sink, at)
}

// wantGapBefore waits for a gap of h:a that ends before at, and then for event 2.
func wantGapBefore(t testing.TB, sink recorder, at Position) {
	t.Helper()
	if d := sink.gap(t, "h:a"); d.at.Epoch != at.Epoch || d.at.ID.Compare(at.ID) >= 0 || d.loss.Next != at.ID {
		t.Errorf("got %s, the event is at %s", d, at)
	}
	wantEvents(t, sink, "h:a", 2, 2)
}

// TestARewoundLogIsAGap puts the log back as a failover to a replica does that lacks the last events.
func TestARewoundLogIsAGap(t *testing.T) {
	server := redistest.Start(t)
	r, sink := running(t, RedisConfig{URL: server.URL(), History: keepAll})
	mustFollow(t, r, "h:a", 0)
	one := mustPublish(t, r, "h:a", "1")
	two := mustPublish(t, r, "h:a", "2")
	wantEvents(t, sink, "h:a", 1, 2)
	keys := logKeys("h:a")
	server.CLI("xdel", keys[1], two.ID.String())
	setRecord(t, r, "h:a", one.ID, 1)
	server.CLI("client", "kill", "type", "pubsub")
	if d := sink.gap(t, "h:a"); d.at != one || !d.loss.Next.IsZero() {
		t.Errorf("got %s, want %s", d, one)
	}
	if rep := replay(t, r, "h:a", two, 10); rep.Recovered || rep.Head != one {
		t.Errorf("got %+v", rep)
	}
	three := mustPublish(t, r, "h:a", "3")
	wantEvents(t, sink, "h:a", 3, 3)
	stored := r.Stats().ReplaysFromRedis
	wantReplay(t, "over the loss", replay(t, r, "h:a", one, 10), three, true, 3, 3)
	if r.Stats().ReplaysFromRedis != stored {
		t.Error("recent events of the lost end are still in the way")
	}
}

func TestAnUnreadableLogHoldsUpItsOwnTopicOnly(t *testing.T) {
	server := redistest.Start(t)
	r, sink := running(t, RedisConfig{URL: server.URL(), History: keepAll})
	keys := logKeys("h:bad")
	server.CLI("set", keys[2], "nonsense")
	if err := tryFollow(r, "h:bad", 0); !errors.Is(err, ErrRefused) {
		t.Errorf("Follow says %v", err)
	}
	mustFollow(t, r, "h:good", 0)
	mustPublish(t, r, "h:good", "1")
	wantEvents(t, sink, "h:good", 1, 1)
	if _, err := r.Replay(t.Context(), "h:bad", Start, Limit{Events: 10}); !errors.Is(err, ErrRefused) {
		t.Errorf("Replay says %v", err)
	}
	server.CLI("del", keys[2])
	if d := sink.gap(t, "h:bad"); d.at.IsZero() {
		t.Errorf("got %s", d)
	}
	mustPublish(t, r, "h:bad", "1")
	wantEvents(t, sink, "h:bad", 1, 1)
}

func TestAStrangersEntryIsDroppedAndToldAsAGap(t *testing.T) {
	server := redistest.Start(t)
	r, sink := running(t, RedisConfig{URL: server.URL(), History: keepAll})
	mustFollow(t, r, "h:a", 0)
	mustPublish(t, r, "h:a", "1")
	wantEvents(t, sink, "h:a", 1, 1)
	keys := logKeys("h:a")
	given, _, _ := strings.Cut(server.CLI("xadd", keys[1], "*", "some", "thing"), "-")
	eventually(t, "the clock goes on", func() bool { // until then the stranger's ID is the one that comes next
		now, _, _ := strings.Cut(server.CLI("xadd", "clock", "*", "", ""), "-")
		return now > given
	})
	server.CLI("client", "kill", "type", "pubsub")
	mustPublish(t, r, "h:a", "2") // an entry that tells of a record's ID, and not of the stranger's
	wantEvents(t, sink, "h:a", 2, 2)
	if rep := replay(t, r, "h:a", Start, 10); !rep.Recovered || len(rep.Events) != 2 {
		t.Errorf("got %+v", rep)
	}
}

// TestAFollowIsToldThatTheServerRefuses takes away a right that is needed to see where a log ends.
func TestAFollowIsToldThatTheServerRefuses(t *testing.T) {
	for _, right := range []string{"time", "mget", "evalsha"} {
		t.Run(right, func(t *testing.T) {
			server := redistest.Start(t)
			r, sink := running(t, RedisConfig{URL: server.URL(), History: keepAll, FollowTimeout: time.Minute})
			mustFollow(t, r, "h:known", 0)
			server.CLI("acl", "setuser", "default", "-"+right)
			if right == "evalsha" { // the first reading makes the partition
				server.CLI("flushall")
			}
			began := time.Now()
			if err := tryFollow(r, "h:a", 0); !errors.Is(err, ErrRefused) {
				t.Errorf("Follow says %v", err)
			}
			if d := time.Since(began); d > 5*time.Second {
				t.Errorf("answered after %s", d)
			}
			server.CLI("acl", "setuser", "default", "+"+right)
			sink.gap(t, "h:a")
			mustFollow(t, r, "h:a", 1)
			mustPublish(t, r, "h:a", "1")
			for {
				if d := sink.next(t); d.Event != nil {
					break
				}
			}
		})
	}
}

func TestEventsOfATopicThatNobodyFollowsAreForgotten(t *testing.T) {
	server := redistest.Start(t)
	r, sink := running(t, RedisConfig{URL: server.URL(), History: keepAll, Linger: time.Millisecond})
	kept := func() int {
		r.delivery.mu.Lock()
		defer r.delivery.mu.Unlock()
		return r.delivery.recent.kept
	}
	mustFollow(t, r, "h:a", 0)
	number(t, r, "h:a", 1, 100)
	wantEvents(t, sink, "h:a", 1, 100)
	if kept() == 0 {
		t.Error("no events are kept")
	}
	r.Unfollow("h:a", 0)
	eventually(t, "all are forgotten", func() bool { return kept() == 0 })
}
