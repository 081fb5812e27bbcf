package session

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"wshub/engine"
	"wshub/pubsub"
)

// keeping is a node whose broker keeps every topic's last 1,000 events.
func keeping(t testing.TB, cfg Config, ecfg engine.Config) *node {
	cfg.History = pubsub.History{{Count: 1000}}
	return start(t, cfg, ecfg, pubsub.NewMemory(pubsub.MemoryConfig{History: cfg.History}))
}

// heard is what a server's message says, as far as these tests look.
type heard struct {
	Type      string
	Code      Code
	Session   string
	Token     string
	Topic     string
	Topics    map[string]heardTopic
	Position  string
	Recovered *bool
	Data      json.RawMessage
	More      bool
	Events    []struct {
		Position string
		Data     json.RawMessage
	}
}

// heardTopic is what resumed says of one topic.
type heardTopic struct {
	Recovered *bool
	Position  string
	Error     Code
}

func (c *client) hear() heard {
	c.t.Helper()
	var h heard
	if err := json.Unmarshal([]byte(c.read()), &h); err != nil {
		c.t.Fatal(err)
	}
	return h
}

// wantEvents reads the events first to last of topic, and returns the position of the last.
func (c *client) wantEvents(topic string, first, last int) (position string) {
	c.t.Helper()
	for i := first; i <= last; i++ {
		h := c.hear()
		if h.Type != "event" || h.Topic != topic || !strings.HasPrefix(string(h.Data), fmt.Sprintf("[%d,", i)) || h.Position == "" {
			c.t.Fatalf("got %+v, want event %d", h, i)
		}
		position = h.Position
	}
	return position
}

// number publishes the events first to last of topic, each padded to some size.
func (n *node) number(topic string, first, last, size int) {
	for i := first; i <= last; i++ {
		n.publish(topic, fmt.Sprintf(`[%d,"%s"]`, i, strings.Repeat("x", size)))
	}
}

// numberAtOnce is number by one call.
func (n *node) numberAtOnce(topic string, first, last, size int) {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var list []pubsub.Publication
	for i := first; i <= last; i++ {
		list = append(list, pubsub.Publication{Topic: topic, Data: fmt.Appendf(nil, `[%d,"%s"]`, i, strings.Repeat("x", size))})
	}
	results, err := n.hub.Publish(ctx, list)
	if err != nil {
		n.t.Fatal(err)
	}
	for _, r := range results {
		if r.Err != nil {
			n.t.Fatal(r.Err)
		}
	}
}

func TestSinceBringsWhatWasMissedThenWhatIsLive(t *testing.T) {
	n := keeping(t, Config{}, engine.Config{Pollers: spread})
	c := n.v1("")
	c.send(`{"type":"subscribe","topic":"news"}`)
	if h := c.hear(); h.Type != "subscribed" || h.Position == "" || h.Recovered != nil {
		t.Fatalf("%+v", h)
	}
	n.number("news", 1, 5, 10)
	at := c.wantEvents("news", 1, 5)
	_ = c.conn.CloseNow()
	n.number("news", 6, 20, 10)

	c = n.v1("")
	c.send(`{"type":"subscribe","topic":"news","since":"` + at + `"}`)
	if h := c.hear(); h.Recovered == nil || !*h.Recovered {
		t.Fatalf("%+v", h)
	}
	n.number("news", 21, 30, 10)
	c.wantEvents("news", 6, 30)
}

func TestSinceThatCantBeServedIsToldAndFollowsFromNow(t *testing.T) {
	n := keeping(t, Config{ReplayLimit: 10}, engine.Config{Pollers: 1})
	n.number("news", 1, 20, 10)
	for _, since := range []string{"0", "00000000000000aa:1-1"} {
		c := n.v1("")
		c.send(`{"type":"subscribe","topic":"news","since":"` + since + `"}`)
		if h := c.hear(); h.Type != "subscribed" || h.Recovered == nil || *h.Recovered || h.Position == "" {
			t.Fatalf("%s: %+v", since, h)
		}
		n.number("news", 21, 21, 10)
		c.wantEvents("news", 21, 21)
	}
}

func TestALongReplayLeavesInPiecesAndLiveEventsFollow(t *testing.T) {
	n := keeping(t, Config{}, engine.Config{Pollers: 1, MaxQueued: 64 << 10, SendBuffer: 8 << 10})
	n.number("news", 1, 500, 4000) // 2 MB through a queue of 64 KiB
	c := n.v1("")
	c.send(`{"type":"subscribe","topic":"news","since":"0"}`)
	if h := c.hear(); h.Recovered == nil || !*h.Recovered {
		t.Fatalf("%+v", h)
	}
	n.number("news", 501, 520, 4000)
	c.wantEvents("news", 1, 520)
}

func TestAHoldThatIsTooLargeIsReadAgain(t *testing.T) {
	n := keeping(t, Config{MaxHold: 16 << 10}, engine.Config{Pollers: 1, MaxQueued: 64 << 10, SendBuffer: 8 << 10})
	n.number("news", 1, 300, 4000)
	c := n.v1("")
	c.send(`{"type":"subscribe","topic":"news","since":"0"}`)
	n.eventually("the replay has begun to queue", func() bool { return n.server.Stats().Backlog > 0 })
	n.number("news", 301, 400, 4000) // far more than may be held
	if h := c.hear(); h.Recovered == nil || !*h.Recovered {
		t.Fatalf("%+v", h)
	}
	c.wantEvents("news", 1, 400)
}

func TestAFullInboxIsMendedFromTheHistory(t *testing.T) {
	n := keeping(t, Config{MaxInbox: 64 << 10}, engine.Config{Pollers: 1})
	c := n.v1("")
	c.send(`{"type":"subscribe","topic":"news"}`)
	c.hear()
	n.number("news", 1, 1, 100)
	c.wantEvents("news", 1, 1)
	resume := n.pause()
	n.number("news", 2, 900, 100)
	resume()
	n.number("news", 901, 910, 100)
	c.wantEvents("news", 2, 910)
	if n.hub.Stats().Dropped["inbox_full"] == 0 {
		t.Error("the inbox was never full")
	}
}

func TestPlainClientResumesByURL(t *testing.T) {
	n := keeping(t, Config{}, engine.Config{Pollers: spread})
	c := n.dial("?topic=news&positions=1&since=0")
	if h := c.hear(); h.Type != "subscribed" || h.Recovered == nil || !*h.Recovered {
		t.Fatalf("%+v", h)
	}
	n.number("news", 1, 3, 10)
	at := c.wantEvents("news", 1, 3)
	_ = c.conn.CloseNow()
	n.number("news", 4, 6, 10)
	c = n.dial("?topic=news&positions=1&since=" + at)
	c.hear()
	c.wantEvents("news", 4, 6)
	verbatim := n.dial("?topic=news&since=" + at)
	for i := 4; i <= 6; i++ {
		verbatim.want(fmt.Sprintf(`[%d,"xxxxxxxxxx"]`, i))
	}
	lost := n.dial("?topic=news&since=00000000000000aa:1-1")
	if h := lost.hear(); h.Type != "gap" || h.Topic != "news" {
		t.Fatalf("%+v", h)
	}
}

func TestHistoryIsReadInPages(t *testing.T) {
	n := keeping(t, Config{}, engine.Config{Pollers: 1})
	n.number("news", 1, 100, 2000)
	c := n.v1("")
	seen, since := 0, "0"
	for more := true; more; {
		c.send(`{"type":"history","id":1,"topic":"news","since":"` + since + `"}`)
		h := c.hear()
		if h.Type != "history" || len(h.Events) == 0 {
			t.Fatalf("%+v", h)
		}
		for _, ev := range h.Events {
			seen++
			if !strings.HasPrefix(string(ev.Data), fmt.Sprintf("[%d,", seen)) {
				t.Fatalf("event %d: %s", seen, ev.Data)
			}
		}
		since, more = h.Position, h.More
	}
	if seen != 100 {
		t.Errorf("%d events", seen)
	}
	c.send(`{"type":"history","id":1,"topic":"news","limit":5000}`)
	c.wantError(BadRequest)
	c.send(`{"type":"history","id":1,"topic":"user:9"}`)
	c.wantError(Forbidden)
}

func TestAReplayAheadOfTheLoopRepeatsNothing(t *testing.T) {
	n := keeping(t, Config{}, engine.Config{Pollers: 1})
	first := n.v1("")
	first.send(`{"type":"subscribe","topic":"news"}`)
	first.hear()
	second := n.v1("")
	// The loop stops; events are published, so they are in the history and in the inbox; and the
	// subscription's bytes arrive before the loop goes on.
	resume := n.pause()
	n.number("news", 1, 50, 10)
	second.send(`{"type":"subscribe","topic":"news","since":"0"}`)
	resume()
	if h := second.hear(); h.Recovered == nil || !*h.Recovered {
		t.Fatalf("%+v", h)
	}
	n.number("news", 51, 60, 10)
	second.wantEvents("news", 1, 60)
	first.wantEvents("news", 1, 60)
}
