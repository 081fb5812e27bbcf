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
	"wshub/pubsub/redistest"
)

// resumeRequest is a resume with positions as they stand.
func resumeRequest(id int, token string, positions map[string]string) string {
	list, _ := json.Marshal(positions) // strings can always be marshalled
	return fmt.Sprintf(`{"type":"resume","id":%d,"token":%q,"positions":%s}`, id, token, list)
}

func TestAResumeIsAnsweredThoughOneOfItsTopicsIsLeft(t *testing.T) {
	n := bend(t, Config{}, engine.Config{Pollers: 1}, &bent{})
	c, welcome := n.enter("")
	at := c.follow("a", "b")
	_ = c.conn.CloseNow()
	n.number("a", 1, 3, 10)
	n.number("b", 1, 3, 10)
	c, _ = n.enter("")
	n.together(c, resumeRequest(1, welcome.Token, at), `{"type":"unsubscribe","id":2,"topic":"a"}`)
	c.want(`{"type":"ok","id":2}`)
	r := c.hear()
	if b := r.Topics["b"]; r.Type != "resumed" || r.Topics["a"].Error != NotSubscribed || b.Recovered == nil || !*b.Recovered {
		t.Fatalf("%+v", r)
	}
	c.wantEvents("b", 1, 3)
	n.number("a", 4, 4, 10)
	n.number("b", 4, 4, 10)
	c.wantEvents("b", 4, 4)
	c.send(`{"type":"ping","id":3}`)
	c.want(`{"type":"pong","id":3}`)
}

func TestASubscribeIsAnsweredThoughItsTopicIsLeftAtOnce(t *testing.T) {
	n := bend(t, Config{}, engine.Config{Pollers: 1}, &bent{})
	for _, topic := range []string{"raw", "kept"} {
		c := n.v1("")
		n.together(c, `{"type":"subscribe","id":1,"topic":"`+topic+`"}`, `{"type":"unsubscribe","id":2,"topic":"`+topic+`"}`)
		if got := c.read(); !strings.Contains(got, `"id":1,"code":"not_subscribed"`) {
			t.Errorf("%s: got %s", topic, got)
		}
		c.want(`{"type":"ok","id":2}`)
		n.publish(topic, `1`)
		c.send(`{"type":"ping","id":3}`)
		c.want(`{"type":"pong","id":3}`)
	}
}

// stuck is a node whose one worker hangs in a publication, and whose queue of publications is full.
func stuck(t *testing.T, ecfg engine.Config, b *bent) (n *node, release func()) {
	t.Helper()
	g := newGate()
	b.onPublish = func(ctx context.Context, topic string) {
		if topic == "stuck" {
			_ = g.wait(ctx)
		}
	}
	n = bend(t, Config{Workers: 1, WorkerQueue: 1, PublishTimeout: time.Minute, MaxHold: 16 << 10}, ecfg, b)
	t.Cleanup(g.open)
	return n, func() {
		c := n.v1("")
		c.send(`{"type":"publish","id":1,"topic":"stuck","data":1}`)
		<-g.came
		c.send(`{"type":"publish","id":2,"topic":"stuck","data":2}`)
		c.send(`{"type":"publish","id":3,"topic":"stuck","data":3}`)
		c.wantError(Busy)
	}
}

func TestAPlainClientFollowsThoughNothingCanBePublished(t *testing.T) {
	n, fill := stuck(t, engine.Config{Pollers: 1}, &bent{})
	fill()
	c := n.dial("?topic=news&since=0&positions=1")
	if h := c.hear(); h.Type != "subscribed" || h.Recovered == nil || !*h.Recovered {
		t.Fatalf("%+v", h)
	}
	n.number("news", 1, 3, 10)
	c.wantEvents("news", 1, 3)
}

func TestAReplayGoesOnThoughNothingCanBePublished(t *testing.T) {
	n, fill := stuck(t, engine.Config{Pollers: 1, MaxQueued: 64 << 10, SendBuffer: 8 << 10}, &bent{})
	n.number("news", 1, 300, 4000)
	c := n.v1("")
	c.send(`{"type":"subscribe","topic":"news","since":"0"}`)
	n.eventually("the replay has begun to queue", func() bool { return n.server.Stats().Backlog > 0 })
	fill()
	n.number("news", 301, 400, 4000) // far more than may be held
	if h := c.hear(); h.Recovered == nil || !*h.Recovered {
		t.Fatalf("%+v", h)
	}
	c.wantEvents("news", 1, 400)
	n.number("news", 401, 401, 10)
	c.wantEvents("news", 401, 401)
}

func TestAPageThatCantBeReadIsReadLater(t *testing.T) {
	t.Parallel()
	var away atomic.Int32
	n := bend(t, Config{MaxHold: 16 << 10}, engine.Config{Pollers: 1, MaxQueued: 64 << 10, SendBuffer: 8 << 10}, &bent{onReplay: func(context.Context, string) error {
		if away.Add(-1) >= 0 {
			return pubsub.ErrUnavailable
		}
		return nil
	}})
	n.number("news", 1, 300, 4000)
	c := n.v1("")
	c.send(`{"type":"subscribe","topic":"news","since":"0"}`)
	n.eventually("the replay has begun to queue", func() bool { return n.server.Stats().Backlog > 0 })
	away.Store(1)
	n.number("news", 301, 400, 4000)
	if h := c.hear(); h.Recovered == nil || !*h.Recovered {
		t.Fatalf("%+v", h)
	}
	c.wantEvents("news", 1, 400)
	if away.Load() >= 0 {
		t.Error("no reading failed")
	}
}

func TestABrokerThatRefusesIsAnAnswer(t *testing.T) {
	t.Parallel()
	for _, what := range []string{"follow", "read"} {
		t.Run(what, func(t *testing.T) {
			var lets atomic.Bool
			refuses := func(topic string) error {
				if lets.Load() || topic == "raw" {
					return nil
				}
				return fmt.Errorf("%w: NOPERM", pubsub.ErrRefused)
			}
			b := &bent{}
			if what == "follow" {
				b.onFollow = refuses
			} else {
				b.onReplay = func(_ context.Context, topic string) error { return refuses(topic) }
			}
			n := bend(t, Config{}, engine.Config{Pollers: 1}, b)
			_, welcome := n.enter("")
			c, _ := n.enter("")
			requests := []string{`{"type":"subscribe","id":1,"topic":"news"}`, `{"type":"subscribe","id":1,"topic":"news","since":"0"}`}
			if what == "read" {
				requests = append(requests, `{"type":"history","id":1,"topic":"news"}`)
			}
			for _, request := range requests {
				c.send(request)
				if got := c.read(); !strings.Contains(got, `"id":1,"code":"refused"`) || !strings.Contains(got, `"retry":false`) {
					t.Errorf("%s: got %s", request, got)
				}
			}
			if r := c.resume(welcome.Token, map[string]string{"news": "0", "raw": ""}); r.Type != "resumed" || r.Topics["news"].Error != Refused || r.Topics["raw"].Error != "" {
				t.Errorf("%+v", r)
			}
			plain := n.dial("?topic=news&since=0&positions=1")
			n.number("news", 1, 2, 10)
			lets.Store(true)
			if h := plain.hear(); h.Type != "subscribed" || h.Recovered == nil || !*h.Recovered {
				t.Fatalf("%+v", h)
			}
			plain.wantEvents("news", 1, 2)
		})
	}
}

// Redis does not let the hub's user do what following and reading need.
func TestARedisThatRefusesACommandIsAnAnswer(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	n := member(t, server, "n1")
	n.number("news", 1, 3, 10)
	for _, command := range []string{"time", "mget", "get", "xrange", "eval", "evalsha"} {
		server.CLI("acl", "setuser", "default", "-"+command)
		for i, request := range []string{
			`{"type":"subscribe","id":1,"topic":"news","since":"0"}`, `{"type":"subscribe","id":1,"topic":%q}`,
			`{"type":"subscribe","id":1,"topic":%q,"since":"0"}`, `{"type":"history","id":1,"topic":"news"}`,
		} {
			if strings.Contains(request, "%") {
				request = fmt.Sprintf(request, fmt.Sprint(command, i)) // of which the hub knows nothing
			}
			c := n.v1("")
			c.send(request)
			if got := c.answers(1)[1]; strings.Contains(got, `"type":"error"`) && !strings.Contains(got, `"code":"refused"`) {
				t.Errorf("without %s, %s: %s", command, request, got)
			}
			_ = c.conn.CloseNow()
		}
		server.CLI("acl", "setuser", "default", "+"+command)
	}
}

func TestTheOwnTopicIsFollowedThoughItsResumeFailed(t *testing.T) {
	t.Parallel()
	for _, what := range []string{"follow", "read"} {
		t.Run(what, func(t *testing.T) {
			var away atomic.Bool
			fails := func(topic string) error {
				if away.Load() && topic == "user:42" {
					return pubsub.ErrUnavailable
				}
				return nil
			}
			b := &bent{}
			if what == "follow" {
				b.onFollow = fails
			} else {
				b.onReplay = func(_ context.Context, topic string) error { return fails(topic) }
			}
			n := bend(t, Config{}, engine.Config{Pollers: 1}, b)
			c, welcome := n.enter("?user=42")
			at := c.follow("user:42", "news")
			_ = c.conn.CloseNow()
			n.eventually("it has left", func() bool { return n.hub.Stats().Topics == 0 })
			n.number("news", 1, 2, 10)
			c, _ = n.enter("?user=42")
			away.Store(true)
			r := c.resume(welcome.Token, at)
			if said := r.Topics["user:42"]; r.Type != "resumed" || said.Error != Unavailable || !*r.Topics["news"].Recovered {
				t.Fatalf("%+v", r)
			}
			c.wantEvents("news", 1, 2)
			away.Store(false)
			if h := c.hear(); h.Type != "subscribed" || h.Topic != "user:42" {
				t.Fatalf("%+v", h)
			}
			n.number("user:42", 1, 2, 10)
			c.wantEvents("user:42", 1, 2)
		})
	}
}

func TestAPlainClientWaitsForABrokerThatIsAwayAndMissesNothing(t *testing.T) {
	t.Parallel()
	for _, what := range []string{"follow", "read"} {
		for _, form := range []string{"positions", "verbatim"} {
			t.Run(what+" "+form, func(t *testing.T) {
				var away atomic.Bool
				refused := make(chan struct{}, 16)
				fails := func() error {
					if away.Load() {
						refused <- struct{}{}
						return pubsub.ErrUnavailable
					}
					return nil
				}
				b := &bent{}
				if what == "follow" {
					b.onFollow = func(string) error { return fails() }
				} else {
					b.onReplay = func(context.Context, string) error { return fails() }
				}
				n := bend(t, Config{}, engine.Config{Pollers: 1}, b)
				n.number("news", 1, 1, 10)
				c := n.v1("")
				c.send(`{"type":"history","topic":"news"}`)
				at := c.hear().Position
				n.number("news", 2, 4, 10)
				away.Store(true)
				query := "?topic=news&since=" + at
				if form == "positions" {
					query += "&positions=1"
				}
				plain := n.dial(query)
				<-refused
				n.number("news", 5, 6, 10)
				away.Store(false)
				if form == "positions" {
					if h := plain.hear(); h.Type != "subscribed" || h.Recovered == nil || !*h.Recovered || h.Position != at {
						t.Fatalf("%+v", h)
					}
					plain.wantEvents("news", 2, 6)
					return
				}
				for i := 2; i <= 6; i++ {
					plain.want(fmt.Sprintf(`[%d,"xxxxxxxxxx"]`, i))
				}
			})
		}
	}
}

func TestTheOwnTopicIsFollowedBesideAsManyAsASessionMayFollow(t *testing.T) {
	n := bend(t, Config{MaxTopics: 3}, engine.Config{Pollers: 1}, &bent{})
	_, welcome := n.enter("?user=42")
	c, _ := n.enter("?user=42")
	if r := c.resume(welcome.Token, map[string]string{"a": "0", "b": "0", "raw": ""}); r.Type != "resumed" || len(r.Topics) != 3 {
		t.Fatalf("%+v", r)
	}
	if h := c.hear(); h.Type != "subscribed" || h.Topic != "user:42" {
		t.Fatalf("%+v", h)
	}
	n.number("user:42", 1, 1, 10)
	c.wantEvents("user:42", 1, 1)
}

// Nothing has been published, so there is nothing that a subscriber could be ahead of.
func TestEverySubscriberOfAnEmptyTopicFollowsIt(t *testing.T) {
	n := bend(t, Config{}, engine.Config{Pollers: 1}, &bent{})
	clock := time.NewTicker(2 * time.Millisecond) // each finds the topic empty at a later time
	defer clock.Stop()
	var all []*client
	for range 5 {
		c := n.v1("")
		c.send(`{"type":"subscribe","topic":"news"}`)
		c.hear()
		all = append(all, c)
		<-clock.C
		<-clock.C
	}
	if st := n.hub.Stats(); st.Subscriptions != 5 {
		t.Errorf("%d subscriptions", st.Subscriptions)
	}
	n.number("news", 1, 3, 10)
	for _, c := range all {
		c.wantEvents("news", 1, 3)
	}
}

func TestAMadeUpPositionSilencesATopicForNobody(t *testing.T) {
	t.Parallel()
	redis, _ := cluster(t)
	for name, n := range map[string]*node{"redis": redis, "memory": bend(t, Config{}, engine.Config{Pollers: spread}, &bent{})} {
		for i, seq := range []string{"0", "1"} {
			topic := fmt.Sprint("news", i)
			forger, _ := n.enterOn(0, "") // alone on its loop
			epoch, _, _ := strings.Cut(forger.follow(topic)[topic], ":")
			forger.send(`{"type":"unsubscribe","topic":"` + topic + `"}`)
			forger.want(`{"type":"ok"}`)
			forger.send(`{"type":"subscribe","topic":"` + topic + `","since":"` + epoch + `:2795879049648-` + seq + `"}`)
			if h := forger.hear(); strings.HasPrefix(h.Position, epoch+":2795") {
				t.Errorf("%s: the forger is told its own position, %s", name, h.Position)
			}
			for loop := range 2 {
				good, _ := n.enterOn(loop, "")
				good.follow(topic)
				n.number(topic, 1, 3, 10)
				good.wantEvents(topic, 1, 3)
			}
		}
	}
}
