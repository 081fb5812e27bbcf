package pubsub

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// server is a Redis as far as follows sees one: it knows what is subscribed and answers in order.
type server struct {
	subscribed map[string]bool
	sent       []sentCommand
}

type sentCommand struct {
	subscribe bool
	channel   string
}

// oneLine is a table whose topics are all heard on one line.
type oneLine struct {
	*follows
	line *line
}

func newOneLine(patience, linger time.Duration, history History) *oneLine {
	t := &oneLine{newFollows(&plainNames, patience, linger, history), newLine()}
	var lines [partitions]*line
	for p := range lines {
		lines[p] = t.line
	}
	t.place(&lines)
	return t
}

func (t *oneLine) begin() { t.follows.begin(t.line) }

func (t *oneLine) end() { t.follows.end(t.line) }

func (t *oneLine) next() batch { return t.follows.next(t.line) }

func (t *oneLine) subscribed(channel string) bool { return t.follows.subscribed(t.line, channel) }

func (t *oneLine) unsubscribed(channel string) { t.follows.unsubscribed(t.line, channel) }

// send is the connection's writer: it sends the commands that the table wants.
func (s *server) send(table *oneLine) {
	b := table.next()
	for _, channel := range b.subscribe {
		s.sent = append(s.sent, sentCommand{true, channel})
	}
	for _, channel := range b.unsubscribe {
		s.sent = append(s.sent, sentCommand{false, channel})
	}
}

// answer executes the oldest command and reports it, as the connection's reader does.
func (s *server) answer(table *oneLine) {
	c := s.sent[0]
	s.sent = s.sent[1:]
	if len(s.sent) == 0 { // the fence behind the batch
		defer table.answered(table.line)
	}
	if c.subscribe {
		s.subscribed[c.channel] = true
		table.subscribed(c.channel)
		_, _, _, done := table.confirm(c.channel)
		for _, w := range done {
			w.done(nil)
		}
		return
	}
	delete(s.subscribed, c.channel)
	table.unsubscribed(c.channel)
}

// TestTheServerEndsUpWithWhatIsFollowed does all that loops, the server and time can do, in any order:
// done(nil) is only said while the server has the topic, and when all is quiet it has exactly the
// topics that somebody follows.
func TestTheServerEndsUpWithWhatIsFollowed(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		table := newOneLine(time.Nanosecond, time.Nanosecond, nil)
		redis := &server{subscribed: map[string]bool{}}
		wanted := map[string]Loops{}
		asked, answers := 0, 0
		topic := rapid.SampledFrom([]string{"a", "b", "c"})
		loop := rapid.IntRange(0, 2)
		table.begin()
		rt.Repeat(map[string]func(*rapid.T){
			"follow": func(rt *rapid.T) {
				topic, loop := topic.Draw(rt, "topic"), loop.Draw(rt, "loop")
				wanted[topic] = wanted[topic].With(loop)
				asked++
				table.add(topic, loop, func(err error) {
					answers++
					if err == nil && !redis.subscribed[topicChannel(topic)] {
						rt.Errorf("%s is not subscribed", topic)
					}
				})
			},
			"unfollow": func(rt *rapid.T) {
				topic, loop := topic.Draw(rt, "topic"), loop.Draw(rt, "loop")
				wanted[topic] = wanted[topic].Without(loop)
				table.remove(topic, loop)
			},
			"send": func(*rapid.T) { redis.send(table) },
			"answer": func(rt *rapid.T) {
				if len(redis.sent) == 0 {
					rt.Skip()
				}
				redis.answer(table)
			},
			"time": func(*rapid.T) {
				late, _ := table.expire(table.clock())
				for _, done := range late {
					done(ErrUnavailable)
				}
			},
			"reconnect": func(*rapid.T) {
				table.end()
				clear(redis.subscribed)
				redis.sent = nil
				table.begin()
			},
		})

		table.expire(table.clock() + int64(time.Hour))
		for redis.send(table); len(redis.sent) > 0; redis.send(table) {
			for len(redis.sent) > 0 {
				redis.answer(table)
			}
		}
		for topic, loops := range wanted {
			if redis.subscribed[topicChannel(topic)] != (loops != 0) {
				rt.Errorf("%s: followed by %b, subscribed: %t", topic, loops, redis.subscribed[topicChannel(topic)])
			}
			if loops == 0 {
				delete(wanted, topic)
			}
		}
		if table.len() != len(redis.subscribed) {
			rt.Errorf("%d topics in the table, %d subscribed", table.len(), len(redis.subscribed))
		}
		if answers > asked {
			rt.Errorf("%d answers to %d follows", answers, asked)
		}
	})
}

func TestTheLastUnfollowLingers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table, redis := timed(t, 5*time.Second, 10*time.Second)
		table.add("news", 0, func(error) {})
		redis.send(table)
		redis.answer(table)

		table.remove("news", 0)
		time.Sleep(9 * time.Second)
		synctest.Wait()
		if redis.send(table); len(redis.sent) > 0 {
			t.Error("unsubscribed after 9 s")
		}
		table.add("news", 1, func(error) {})
		table.remove("news", 1)
		time.Sleep(9 * time.Second)
		synctest.Wait()
		if redis.send(table); len(redis.sent) > 0 {
			t.Error("the first lingering was not ended by a new follower")
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if redis.send(table); len(redis.sent) != 1 || redis.sent[0].subscribe {
			t.Errorf("sent %v after 10 s", redis.sent)
		}
	})
}

func TestAFollowThatRedisDoesNotConfirmIsAnsweredInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table, redis := timed(t, 5*time.Second, 10*time.Second)
		began := time.Now()
		var after time.Duration
		var got error
		table.add("news", 0, func(err error) { got, after = err, time.Since(began) })
		time.Sleep(time.Minute)
		synctest.Wait()
		if !errors.Is(got, ErrUnavailable) || after != 5*time.Second {
			t.Errorf("got %v after %s", got, after)
		}
		redis.send(table)
		table.subscribed("hub:t:news")
		if loops, torn, _, _ := table.confirm("hub:t:news"); loops != 1 || !torn {
			t.Errorf("confirmed late: loops %b, torn %t", loops, torn)
		}
	})
}

// TestTheTableGoesByItsOwnClock waits on one that nothing but the test moves: the machine's may be set at will.
func TestTheTableGoesByItsOwnClock(t *testing.T) {
	now := int64(1)
	table, redis := newOneLine(5*time.Second, 10*time.Second, nil), &server{subscribed: map[string]bool{}}
	table.clock = func() int64 { return now }
	table.begin()
	table.add("left", 0, func(error) {})
	redis.send(table)
	redis.answer(table)
	table.remove("left", 0)
	table.add("asked", 0, func(error) {})
	for _, c := range []struct {
		at         time.Duration
		late, left int
	}{{4 * time.Second, 0, 2}, {5 * time.Second, 1, 2}, {9 * time.Second, 0, 2}, {10 * time.Second, 0, 1}} {
		now = 1 + int64(c.at)
		late, _ := table.expire(now)
		if c.late == 0 && c.at > 5*time.Second { // the server answers now
			redis.send(table)
		}
		for len(redis.sent) > 0 {
			redis.answer(table)
		}
		if len(late) != c.late || table.len() != c.left {
			t.Errorf("after %s: %d answered too late, %d topics; want %d and %d", c.at, len(late), table.len(), c.late, c.left)
		}
	}
}

// timed is a table whose time passes, for a test in a bubble.
func timed(t *testing.T, patience, linger time.Duration) (*oneLine, *server) {
	table := newOneLine(patience, linger, nil)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- table.keepTime(ctx, func([]*chain) {}) }()
	t.Cleanup(func() { cancel(); <-ended })
	table.begin()
	return table, &server{subscribed: map[string]bool{}}
}

func TestTheNextBatchWaitsForTheAnswers(t *testing.T) {
	table, redis := newOneLine(time.Second, time.Second, nil), &server{subscribed: map[string]bool{}}
	for i := range followBatch + 1 {
		table.add(strconv.Itoa(i), 0, func(error) {})
	}
	table.begin()
	if redis.send(table); len(redis.sent) != followBatch {
		t.Fatalf("a batch of %d", len(redis.sent))
	}
	for len(redis.sent) > 1 {
		redis.answer(table)
	}
	if redis.send(table); len(redis.sent) != 1 {
		t.Fatal("the next batch was sent before the last answer")
	}
	redis.answer(table)
	if redis.send(table); len(redis.sent) != 1 {
		t.Fatalf("a last batch of %d", len(redis.sent))
	}
}

func TestOnlyWhatWasConfirmedIsTornByAReconnect(t *testing.T) {
	table, redis := newOneLine(time.Minute, time.Minute, nil), &server{subscribed: map[string]bool{}}
	table.begin()
	table.add("confirmed", 0, func(error) {})
	redis.send(table)
	redis.answer(table)
	table.add("asked", 0, func(error) {})
	redis.send(table)
	table.end()
	table.add("new", 0, func(error) {})
	table.begin()
	table.next()
	for topic, want := range map[string]bool{"confirmed": true, "asked": false, "new": false} {
		table.subscribed(topicChannel(topic))
		if _, torn, _, _ := table.confirm(topicChannel(topic)); torn != want {
			t.Errorf("%s: torn is %t", topic, torn)
		}
	}
}

// A Follow that was answered too late is told as a gap, unless the topic arrived before: then its chain tells
// what is missing, and who follows it since before is not to be alarmed.
func TestOnlyAFirstFollowThatWaitedInVainIsTorn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table, redis := timed(t, 5*time.Second, time.Minute)
		table.history = keepAll
		table.add("h:known", 0, func(error) {})
		redis.send(table)
		redis.answer(table)
		table.end()
		for _, topic := range []string{"h:known", "h:new"} {
			table.add(topic, 1, func(error) {})
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		table.begin()
		table.next()
		for topic, want := range map[string]bool{"h:known": false, "h:new": true} {
			table.subscribed(topicChannel(topic))
			if loops, torn, _, _ := table.confirm(topicChannel(topic)); torn != want || !loops.Has(1) {
				t.Errorf("%s: torn is %t, loops %b", topic, torn, loops)
			}
		}
	})
}

func TestClosingAnswersEveryFollow(t *testing.T) {
	table := newOneLine(time.Minute, time.Minute, nil)
	var got []error
	done := func(err error) { got = append(got, err) }
	table.add("news", 0, done)
	table.add("news", 1, done)
	table.close()
	table.add("news", 2, done)
	if len(got) != 3 {
		t.Fatalf("%d answers", len(got))
	}
	for _, err := range got {
		if !errors.Is(err, ErrUnavailable) {
			t.Errorf("got %v", err)
		}
	}
}

// BenchmarkFollowedTopicMemory reports what a followed user topic costs, its name included.
func BenchmarkFollowedTopicMemory(b *testing.B) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	table := newOneLine(0, 0, nil)
	for i := range b.N {
		table.add(fmt.Sprintf("user:%d", i), 0, func(error) {})
	}
	table.begin()
	for next := table.next(); next.len() > 0; next = table.next() {
		for _, channel := range next.subscribe {
			table.subscribed(channel)
			table.confirm(channel)
		}
		table.answered(table.line)
	}
	table.expire(table.clock())
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(b.N), "B/topic")
	runtime.KeepAlive(table)
}
