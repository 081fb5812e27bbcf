package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"wshub/engine"
	"wshub/pubsub"
)

// except publishes an event that the session called name does not get.
func (n *node) except(topic, data, name string) {
	n.t.Helper()
	n.publishWith(topic, data, &pubsub.Attributes{Except: name})
}

func (n *node) publishWith(topic, data string, a *pubsub.Attributes) {
	n.t.Helper()
	r, err := n.hub.Publish(context.Background(), []pubsub.Publication{{Topic: topic, Data: []byte(data), Attributes: a}})
	if err != nil || r[0].Err != nil {
		n.t.Fatal(r, err)
	}
}

// wantData reads one event, which must have that data, and returns its position.
func (c *client) wantData(data string) (position string) {
	c.t.Helper()
	h := c.hear()
	if h.Type != "event" || string(h.Data) != data {
		c.t.Fatalf("got %+v, want %s", h, data)
	}
	return h.Position
}

func TestAnEventPassesOverTheSessionThatItExcepts(t *testing.T) {
	n := bend(t, Config{}, engine.Config{Pollers: spread}, &bent{})
	a, name := n.enter("")
	b, other := n.enter("")
	plain := n.plain("?topic=news&topic=raw", 2)
	for _, c := range []*client{a, b} {
		c.follow("news")
		c.send(`{"type":"subscribe","topic":"raw"}`)
		c.hear()
	}
	before := n.hub.Stats().Deliveries
	for _, topic := range []string{"news", "raw"} {
		n.except(topic, `1`, name.Session)
		n.except(topic, `2`, other.Session)
		n.except(topic, `3`, "s_1") // nobody here
		n.publishWith(topic, `4`, &pubsub.Attributes{Name: "all", Info: json.RawMessage(`{}`), Tags: map[string]string{"k": "v"}})
		b.wantData(`1`)
		a.wantData(`2`)
		for _, data := range []string{`3`, `4`} {
			a.wantData(data)
			b.wantData(data)
		}
		for _, data := range []string{`1`, `2`, `3`, `4`} {
			plain.want(data)
		}
	}
	n.eventually("each delivery is counted", func() bool { return n.hub.Stats().Deliveries == before+2*(4*3-2) })
}

// A batch is joined once for all but those that it excepts; they get the others of its events, in their order.
func TestABatchReachesTheExceptedInPart(t *testing.T) {
	for _, size := range []int{10, 1000} { // in all less than fits a connection, and much more
		n := keeping(t, Config{}, engine.Config{Pollers: 1, MaxQueued: 64 << 10, SendBuffer: 16 << 10})
		a, b := n.dial("", protocolV1), n.v1("")
		name := a.hear().Session
		a.follow("news")
		b.follow("news")
		const events = 500
		batches := n.hub.Stats().Batches
		filler := strings.Repeat("x", size)
		resume := n.pause()
		for i := range events {
			data := fmt.Sprintf(`[%d,"%s"]`, i, filler)
			if i%3 == 0 {
				n.except("news", data, name)
			} else {
				n.publish("news", data)
			}
		}
		resume()
		for i := range events {
			data := fmt.Sprintf(`[%d,"%s"]`, i, filler)
			if i%3 != 0 {
				a.wantData(data)
			}
			b.wantData(data)
		}
		n.publish("news", `"last"`)
		a.wantData(`"last"`)
		b.wantData(`"last"`)
		if got := n.hub.Stats().Batches - batches; got > 3 {
			t.Errorf("%d batches", got)
		}
		n.eventually("nothing waits", func() bool { return n.server.Stats().Backlog == 0 })
	}
}

func TestAReplayPassesOverTheSessionThatItExcepts(t *testing.T) {
	n := bend(t, Config{}, engine.Config{Pollers: spread}, &bent{})
	c, name := n.enter("")
	at := c.follow("news", "quiet", "other")
	_ = c.conn.CloseNow()
	for i := range 600 { // of several pages
		data := fmt.Sprintf(`[%d,"%s"]`, i, strings.Repeat("x", 200))
		if i%2 == 0 {
			n.except("news", data, name.Session)
		} else {
			n.publish("news", data)
		}
	}
	n.except("quiet", `1`, name.Session)
	c, _ = n.enter("")
	r := c.resume(name.Token, map[string]string{"news": at["news"], "quiet": at["quiet"]})
	for topic, said := range r.Topics {
		if said.Recovered == nil || !*said.Recovered {
			t.Fatalf("%s: %+v", topic, said)
		}
	}
	for i := 1; i < 600; i += 2 {
		at["news"] = c.wantData(fmt.Sprintf(`[%d,"%s"]`, i, strings.Repeat("x", 200)))
	}
	n.except("news", `"live"`, name.Session) // the session has its earlier name again
	n.except("quiet", `2`, name.Session)
	n.publish("quiet", `3`)
	at["quiet"] = c.wantData(`3`)
	n.publish("news", `"for all"`)
	c.wantData(`"for all"`)

	// With the last position that it has, another session gets what was passed over.
	other, _ := n.enter("")
	other.send(fmt.Sprintf(`{"type":"subscribe","topic":"news","since":%q}`, at["news"]))
	if h := other.hear(); h.Recovered == nil || !*h.Recovered {
		t.Fatalf("%+v", h)
	}
	other.wantData(`"live"`)
	other.wantData(`"for all"`)
}

func TestWhatIsHeldPassesOverTheSessionThatItExcepts(t *testing.T) {
	n, b := slow(t, Config{})
	c := n.dial("", protocolV1)
	name := c.hear().Session
	c.send(`{"type":"subscribe","topic":"news"}`)
	answer := <-b.answers
	n.except("news", `1`, name)
	n.publish("news", `2`)
	n.except("news", `3`, name)
	n.written()
	answer(nil)
	c.want(`{"type":"subscribed","topic":"news"}`)
	c.want(`{"type":"event","topic":"news","data":2}`)
	n.publish("news", `4`)
	c.want(`{"type":"event","topic":"news","data":4}`)
}

// Events that did not fit the inbox are read from the log again.
func TestWhatIsReadAgainPassesOverTheSessionThatItExcepts(t *testing.T) {
	n := bend(t, Config{MaxInbox: 64 << 10}, engine.Config{Pollers: 1}, &bent{})
	c, name := n.enter("")
	c.follow("news")
	n.publish("news", `"first"`)
	c.wantData(`"first"`)
	resume := n.pause()
	const events = 600 // with names and all, twice of what has room
	for i := range events {
		if i%2 == 0 {
			n.except("news", fmt.Sprint(i), name.Session)
		} else {
			n.publish("news", fmt.Sprint(i))
		}
	}
	resume()
	for i := 1; i < events; i += 2 {
		c.wantData(fmt.Sprint(i))
	}
	if n.hub.Stats().Dropped["inbox_full"] == 0 {
		t.Error("everything had room")
	}
}

func TestASessionPublishesWithAttributes(t *testing.T) {
	n := bend(t, Config{}, engine.Config{Pollers: 1}, &bent{})
	c, name := n.enter("")
	other := n.v1("")
	c.follow("news")
	other.follow("news")
	publish := func(a *pubsub.Attributes) Refusal {
		refused := make(chan Refusal, 1)
		n.onLoop(func() {
			for s := range n.sessions() {
				if s.name() == name.Session {
					s.Publish(pubsub.Publication{Topic: "news", Data: []byte(`1`), Attributes: a}, false,
						func(_ pubsub.Position, r Refusal) { refused <- r })
				}
			}
		})
		return <-refused
	}
	if r := publish(&pubsub.Attributes{Except: name.Session}); !r.None() {
		t.Fatal(r)
	}
	other.wantData(`1`)
	c.hearsNothing()
	if r := publish(&pubsub.Attributes{Info: json.RawMessage(`1`)}); r.Code != BadRequest {
		t.Errorf("%+v", r)
	}
}

func TestABackendsAttributesAreChecked(t *testing.T) {
	n := memory(t, Config{})
	for _, a := range []pubsub.Attributes{
		{Except: "42"}, {Except: "s_"}, {Except: "s_%"}, {Name: strings.Repeat("x", pubsub.MaxText+1)}, {Tags: map[string]string{"\xff": ""}},
	} {
		if _, err := n.hub.Publish(t.Context(), []pubsub.Publication{{Topic: "a", Data: []byte(`1`), Attributes: &a}}); !errors.Is(err, ErrBadPublication) {
			t.Errorf("%+v: %v", a, err)
		}
	}
}

func TestABatchForgetsWhomTheOneBeforeExcepted(t *testing.T) {
	sh, news := &shard{hub: &Hub{}, topics: newIndex()}, &topic{name: "news"}
	for _, name := range []string{"", "s_1", "s_2", "nobody", ""} {
		m := &message{topic: "news", event: &pubsub.Event{Attributes: &pubsub.Attributes{Name: "x", Except: name}}}
		sh.extra(news).queue = []*message{m}
		sh.begin(news)
		id, ok := m.except()
		if got := news.ext.excepted; len(got) > 1 || ok != (len(got) == 1) || ok && got[0] != id {
			t.Errorf("%q excepts %d", name, got)
		}
		sh.finish(news)
	}
}

func TestAttributesCountWhileTheyWait(t *testing.T) {
	a := &pubsub.Attributes{Info: json.RawMessage(`{"x":"` + strings.Repeat("x", 1000) + `"}`)}
	m := &message{event: &pubsub.Event{Attributes: a}}
	if got := m.size(); got < 1000 {
		t.Errorf("a message counts as %d bytes", got)
	}
	if got := (&task{publication: pubsub.Publication{Attributes: a}}).size(); got < 1000 {
		t.Errorf("a task counts as %d bytes", got)
	}
}

func TestASessionIsExceptedOnEveryNode(t *testing.T) {
	t.Parallel()
	n1, n2 := cluster(t)
	c, name := n1.enter("")
	other, _ := n1.enter("")
	for _, c := range []*client{c, other} {
		c.follow("news")
		c.send(`{"type":"subscribe","topic":"raw"}`)
		c.hear()
	}
	for _, topic := range []string{"news", "raw"} {
		n2.except(topic, `1`, name.Session)
		n2.publish(topic, `2`)
		other.wantData(`1`)
		other.wantData(`2`)
		c.wantData(`2`)
	}
}
