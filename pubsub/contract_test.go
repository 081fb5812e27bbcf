package pubsub

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"wshub/pubsub/redistest"
)

func TestMemoryKeepsTheContract(t *testing.T) {
	t.Parallel()
	testContract(t, func(testing.TB) Broker {
		return NewMemory(MemoryConfig{History: contractHistory, Presence: contractPresence})
	})
	testClaims(t, func(testing.TB) Broker {
		return NewMemory(MemoryConfig{Node: "here", Presence: contractPresence, Lifecycle: contractLifecycle})
	}, lifecycleContract)
}

func TestRedisKeepsTheContract(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	testContract(t, func(t testing.TB) Broker {
		return newRedis(t, RedisConfig{URL: server.URL(), History: contractHistory, Presence: contractPresence})
	})
	testClaims(t, func(t testing.TB) Broker { return lifecycleOn(t, server.URL()) }, lifecycleContract)
}

// claim is one thing that every broker does.
type claim struct {
	text string
	test func(*testing.T, Broker, recorder)
}

// testContract holds brokers that fresh makes to what Broker promises. Brokers of one suite may share
// a server: each test has topics of its own.
func testContract(t *testing.T, fresh func(testing.TB) Broker) {
	testClaims(t, fresh, slices.Concat([]claim{
		{"only followers get an event, all of them at once", onlyFollowers},
		{"events of a topic arrive in order and verbatim", inOrder},
		{"a bad item does not stop the next", badItem},
		{"follow and unfollow agree with a set", followSet},
		{"leaving what is not followed is harmless", leaveUnknown},
		{"every done is called once", doneOnce},
		{"without history there are no positions", noHistory},
		{"attributes arrive as they were published", attributesArrive},
		{"empty attributes are none", emptyAttributes},
		{"attributes out of bounds are no event", badAttributes},
		{"a node is on the list, with the state that it told last", nodeListed},
	}, historyContract, presenceContract))
}

func testClaims(t *testing.T, fresh func(testing.TB) Broker, claims []claim) {
	for _, c := range claims {
		t.Run(c.text, func(t *testing.T) {
			b := fresh(t)
			sink := start(t, b)
			eventually(t, "ready", func() bool { return b.Ready() == nil })
			c.test(t, b, sink)
		})
	}
}

func onlyFollowers(t *testing.T, b Broker, sink recorder) {
	mustFollow(t, b, "c:one", 0)
	mustFollow(t, b, "c:one", 63)
	two := neighbour("c:one")
	mustFollow(t, b, two, 5)
	for _, topic := range []string{"c:none", "c:one", two} {
		mustPublish(t, b, topic, `1`)
	}
	if d := sink.next(t); d.topic != "c:one" || d.loops != Loops(0).With(0).With(63) {
		t.Errorf("got %s", d)
	}
	if d := sink.next(t); d.topic != two || d.loops != Loops(0).With(5) {
		t.Errorf("got %s", d)
	}
}

func inOrder(t *testing.T, b Broker, sink recorder) {
	mustFollow(t, b, "c:order", 1)
	const events, size = 1000, 50
	for first := 0; first < events; first += size {
		batch := make([]Publication, size)
		for i := range batch {
			batch[i] = Publication{Topic: "c:order", Data: []byte(spaced(first + i))}
		}
		for _, r := range b.Publish(context.Background(), batch) {
			if r.Err != nil {
				t.Fatal(r.Err)
			}
		}
	}
	for i := range events {
		if got := sink.event(t, "c:order"); got != spaced(i) {
			t.Fatalf("event %d is %s", i, got)
		}
	}
}

// spaced is JSON that only a verbatim copy keeps.
func spaced(i int) string { return fmt.Sprintf(` { "n" :%d, "text":"\u00e9é"}`+"\n", i) }

func badItem(t *testing.T, b Broker, sink recorder) {
	mustFollow(t, b, "c:bad", 1)
	batch := []Publication{
		{Topic: "c:bad", Data: []byte(`1`)},
		{Topic: "c:bad", Data: []byte(`{`)},
		{Topic: "c:bad", Data: []byte("\"\xff\"")},
		{Topic: "c:bad", Data: nil},
		{Topic: "c:bad", Data: []byte(`"` + strings.Repeat("x", DefaultMaxMessage) + `"`)},
		{Topic: "", Data: []byte(`1`)},
		{Topic: "c:\nbad", Data: []byte(`1`)},
		{Topic: strings.Repeat("x", MaxTopic+1), Data: []byte(`1`)},
		{Topic: "c:bad", Data: []byte(`2`)},
	}
	results := b.Publish(context.Background(), batch)
	if len(results) != len(batch) {
		t.Fatalf("%d results for %d items", len(results), len(batch))
	}
	for i, r := range results {
		wantBad := i != 0 && i != len(batch)-1
		if errors.Is(r.Err, ErrBadEvent) != wantBad || !wantBad && r.Err != nil {
			t.Errorf("item %d: %v", i, r.Err)
		}
	}
	if a, b := sink.event(t, "c:bad"), sink.event(t, "c:bad"); a != "1" || b != "2" {
		t.Errorf("got %s and %s", a, b)
	}
}

// neighbour is another topic in topic's partition: where servers share the topics, only of those is one known to have
// arrived before the other.
func neighbour(topic string) string {
	for i := 0; ; i++ {
		if name := fmt.Sprint("c:neighbour:", i); partition(name) == partition(topic) {
			return name
		}
	}
}

// followSet follows, unfollows and publishes at random: each event goes to those who follow just then.
func followSet(t *testing.T, b Broker, sink recorder) {
	topics := []string{"c:a", "c:b", "user:1"}
	for _, topic := range topics {
		mustFollow(t, b, neighbour(topic), 63)
	}
	rapid.Check(t, func(rt *rapid.T) {
		model := map[string]Loops{}
		topic := rapid.SampledFrom(topics)
		loop := rapid.IntRange(0, 3)
		rt.Repeat(map[string]func(*rapid.T){
			"follow": func(rt *rapid.T) {
				topic, loop := topic.Draw(rt, "topic"), loop.Draw(rt, "loop")
				mustFollow(t, b, topic, loop)
				model[topic] = model[topic].With(loop)
			},
			"unfollow": func(rt *rapid.T) {
				topic, loop := topic.Draw(rt, "topic"), loop.Draw(rt, "loop")
				b.Unfollow(topic, loop)
				model[topic] = model[topic].Without(loop)
			},
			"publish": func(rt *rapid.T) {
				topic := topic.Draw(rt, "topic")
				mustPublish(t, b, topic, `1`)
				mustPublish(t, b, neighbour(topic), `2`)
				if model[topic] != 0 {
					if d := sink.next(t); d.topic != topic || d.loops != model[topic] {
						rt.Fatalf("got %s, want one of %s for %b", d, topic, model[topic])
					}
				}
				if d := sink.next(t); d.topic != neighbour(topic) {
					rt.Fatalf("got %s, which nobody follows", d)
				}
			},
		})
		for topic, loops := range model {
			for loop := range loops.All {
				b.Unfollow(topic, loop)
			}
		}
	})
}

func leaveUnknown(t *testing.T, b Broker, sink recorder) {
	b.Unfollow("c:unknown", 7)
	mustFollow(t, b, "c:known", 1)
	b.Unfollow("c:known", 7)
	mustPublish(t, b, "c:known", `1`)
	if d := sink.next(t); d.loops != Loops(0).With(1) {
		t.Errorf("got %s", d)
	}
}

func doneOnce(t *testing.T, b Broker, _ recorder) {
	const topics, loops = 700, 3
	answers := make(chan error, 2*topics*loops)
	for i := range topics {
		for loop := range loops {
			b.Follow(fmt.Sprintf("c:done:%d", i), loop, func(err error) { answers <- err })
		}
	}
	for range topics * loops {
		if err := <-answers; err != nil {
			t.Fatal(err)
		}
	}
	mustFollow(t, b, "c:done:last", 0)
	if len(answers) > 0 {
		t.Errorf("%d answers too many", len(answers))
	}
}

func noHistory(t *testing.T, b Broker, sink recorder) {
	mustFollow(t, b, "c:plain", 0)
	if at := mustPublish(t, b, "c:plain", `1`); !at.IsZero() {
		t.Errorf("published at %s", at)
	}
	if d := sink.next(t); !d.at.IsZero() || !d.Before.IsZero() {
		t.Errorf("got %s", d)
	}
	r, err := b.Replay(context.Background(), "c:plain", Start, Limit{Events: 10})
	if err != nil || len(r.Events) > 0 || !r.Head.IsZero() || r.Recovered {
		t.Errorf("got %+v, %v", r, err)
	}
}
