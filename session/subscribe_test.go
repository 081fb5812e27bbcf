package session

import (
	"fmt"
	"strings"
	"testing"

	"wshub/engine"
	"wshub/pubsub"
)

// slowBroker is a Memory that answers Follow when it is told to.
type slowBroker struct {
	*pubsub.Memory
	answers chan func(error)
}

func (b *slowBroker) Follow(topic string, loop int, done func(error)) {
	b.Memory.Follow(topic, loop, func(error) { b.answers <- done })
}

func slow(t *testing.T, cfg Config) (*node, *slowBroker) {
	b := &slowBroker{pubsub.NewMemory(pubsub.MemoryConfig{}), make(chan func(error), 16)}
	return start(t, cfg, engine.Config{Pollers: 1}, b), b
}

func TestEventsThatArriveBeforeTheAcknowledgementComeBehindIt(t *testing.T) {
	n, b := slow(t, Config{})
	c := n.v1("")
	c.send(`{"type":"subscribe","id":1,"topic":"news"}`)
	answer := <-b.answers
	n.publish("news", `1`)
	n.publish("news", `2`)
	c.send(`{"type":"ping"}`)
	c.want(`{"type":"pong"}`) // nothing came before it
	answer(nil)
	c.want(`{"type":"subscribed","id":1,"topic":"news"}`)
	c.want(`{"type":"event","topic":"news","data":1}`)
	c.want(`{"type":"event","topic":"news","data":2}`)
	n.publish("news", `3`)
	c.want(`{"type":"event","topic":"news","data":3}`)
}

func TestUnsubscribeBeforeTheAcknowledgement(t *testing.T) {
	n, b := slow(t, Config{})
	c := n.v1("")
	c.send(`{"type":"subscribe","id":1,"topic":"news"}`)
	answer := <-b.answers
	c.send(`{"type":"unsubscribe","id":2,"topic":"news"}`)
	c.want(`{"type":"error","id":1,"code":"not_subscribed","message":"the topic was left before it was followed","retry":false}`)
	c.want(`{"type":"ok","id":2}`)
	answer(nil)
	n.publish("news", `1`)
	c.send(`{"type":"ping"}`)
	c.want(`{"type":"pong"}`)
}

func TestABrokerThatDoesNotAnswerFailsTheRequestAlone(t *testing.T) {
	n, b := slow(t, Config{})
	c := n.v1("")
	c.send(`{"type":"subscribe","id":1,"topic":"news"}`)
	(<-b.answers)(pubsub.ErrUnavailable)
	c.wantError(Unavailable)
	c.send(`{"type":"subscribe","id":2,"topic":"news"}`)
	(<-b.answers)(nil)
	c.want(`{"type":"subscribed","id":2,"topic":"news"}`)
}

func TestAPlainClientStaysWhenTheBrokerDoesNotAnswer(t *testing.T) {
	n, b := slow(t, Config{})
	c := n.dial("")
	(<-b.answers)(pubsub.ErrUnavailable)
	n.eventually("it follows all the same", func() bool { return n.hub.Stats().Subscriptions == 1 })
	n.publish("channel", `1`)
	c.want(`1`)
}

func TestAClientThatGoesWhileItsSubscriptionIsOnTheWay(t *testing.T) {
	n, b := slow(t, Config{})
	c := n.v1("")
	c.send(`{"type":"subscribe","id":1,"topic":"news"}`)
	answer := <-b.answers
	_ = c.conn.CloseNow()
	n.eventually("it is gone", func() bool { return n.hub.Stats().Sessions["v1"] == 0 })
	answer(nil)
	n.eventually("the topic is left", func() bool { return n.hub.Stats().Topics == 0 })
}

func TestAHoldThatIsTooLargeBecomesAGap(t *testing.T) {
	n, b := slow(t, Config{MaxHold: 1 << 10})
	c := n.v1("")
	c.send(`{"type":"subscribe","id":1,"topic":"news"}`)
	answer := <-b.answers
	for i := range 5 {
		n.publish("news", fmt.Sprintf(`"%d%s"`, i, strings.Repeat("x", 500)))
	}
	answer(nil)
	c.want(`{"type":"subscribed","id":1,"topic":"news"}`)
	c.want(`{"type":"gap","topic":"news"}`)
	if n.hub.Stats().Dropped["hold_full"] != 1 {
		t.Error("not counted")
	}
}

func TestAPlainClientThatGoesWhileItsSubscriptionIsOnTheWay(t *testing.T) {
	n, b := slow(t, Config{MaxSessionsPerUser: 1})
	for range 3 { // each time the place must be free again
		c := n.dial("?user=1")
		first, second := <-b.answers, <-b.answers
		_ = c.conn.CloseNow()
		n.eventually("it is gone", func() bool { return n.hub.Stats().Sessions["plain"] == 0 })
		first(nil)
		second(nil)
		n.eventually("the topics are left", func() bool { return n.hub.Stats().Topics == 0 })
	}
	if p := n.server.Stats().Panics; p != 0 {
		t.Errorf("%d panics", p)
	}
}

func TestARefusedRequestIsAnsweredWithItsID(t *testing.T) {
	n, _ := slow(t, Config{})
	c := n.v1("")
	c.send(`{"type":"subscribe","topic":5,"id":1}`)
	c.want(`{"type":"error","id":1,"code":"bad_request","message":"topic: want a string, not a number","retry":false}`)
	c.send(`{"type":"subscribe","topic":5,"id":{}}`)
	c.wantError(BadRequest)
}
