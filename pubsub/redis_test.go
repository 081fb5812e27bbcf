package pubsub

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"wshub/pubsub/redistest"
	"wshub/pubsub/redistest/drills"
)

// newRedis makes a broker that notices and reconnects fast unless cfg says otherwise.
func newRedis(t testing.TB, cfg RedisConfig) *Redis {
	t.Helper()
	setDefault(&cfg.Backoff, 5*time.Millisecond)
	setDefault(&cfg.ProbeEvery, 100*time.Millisecond)
	r, err := NewRedis(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// running starts a broker on url and waits until it is ready.
func running(t testing.TB, cfg RedisConfig) (*Redis, recorder) {
	t.Helper()
	r := newRedis(t, cfg)
	sink := start(t, r)
	ready(t, r)
	return r, sink
}

func ready(t testing.TB, r *Redis) {
	t.Helper()
	eventually(t, "ready", func() bool { return r.Ready() == nil })
}

func TestBackendsReachFollowersByEveryChannel(t *testing.T) {
	server := redistest.Start(t)
	r, sink := running(t, RedisConfig{URL: server.URL()})
	for _, topic := range []string{"channel", "news", "user:42"} {
		mustFollow(t, r, topic, 3)
	}
	envelope := string(appendEnvelope(nil, &Event{Position: Position{1, ID{5, 1}}, Before: ID{4, 9}, Number: 1, Data: []byte(`"env"`)}))
	for _, c := range []struct{ channel, payload, topic, data string }{
		{"channel", ` {"any":"json"}`, "channel", ` {"any":"json"}`},
		{"channel", `{"to":{"user":"42"},"data":1}`, "channel", `{"to":{"user":"42"},"data":1}`},
		{"hub:t:news", `{"price":1}`, "news", `{"price":1}`},
		{"hub:t:channel", `3`, "channel", `3`},
		{"hub:to", `{"to":{"user":"42"},"data": {"a" :1}}`, "user:42", `{"a" :1}`},
		{"hub:to", `{"data":null,"to":{"topic":"news"}}`, "news", `null`},
		{"hub:t:news", envelope, "news", `"env"`},
	} {
		if n, err := r.only().pub.Publish(t.Context(), c.channel, c.payload).Result(); n != 1 {
			t.Fatalf("PUBLISH %s reached %d nodes, %v", c.channel, n, err)
		}
		if got := sink.event(t, c.topic); got != c.data {
			t.Errorf("PUBLISH %s %q: got %q", c.channel, c.payload, got)
		}
	}
}

func TestPublishedBroadcastIsVerbatimForForeignSubscribers(t *testing.T) {
	server := redistest.Start(t)
	r, _ := running(t, RedisConfig{URL: server.URL(), Broadcast: "all"})
	foreign := r.only().pub.Subscribe(t.Context(), "all")
	defer foreign.Close()
	if _, err := foreign.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustPublish(t, r, "all", ` {"a": 1}`)
	if m, err := foreign.ReceiveMessage(t.Context()); err != nil || m.Payload != ` {"a": 1}` {
		t.Errorf("got %v, %v", m, err)
	}
}

func TestBadPayloadsAreDroppedCountedAndHarmless(t *testing.T) {
	server := redistest.Start(t)
	r, sink := running(t, RedisConfig{URL: server.URL(), MaxMessage: 100})
	for _, topic := range []string{"channel", "news", "user:42"} {
		mustFollow(t, r, topic, 0)
	}
	big := `"` + strings.Repeat("x", 100) + `"`
	want := map[string]uint64{}
	for _, c := range []struct {
		channel, payload string
		why              Drop
	}{
		{"channel", "\"\xff\"", BadUTF8},
		{"channel", "{", BadJSON},
		{"channel", "", BadJSON},
		{"channel", big, TooBig},
		{"hub:t:news", "1 2", BadJSON},
		{"hub:t:news", big, TooBig},
		{"hub:t:news", "\x01", BadEnvelope},
		{"hub:t:news", "\x02", BadEnvelope},
		{"hub:t:news", "\x02\x00\x00\x00\x00\x00\x00\x00{}", BadEnvelope},
		{"hub:t:news", "\x03{}", BadJSON},
		{"hub:t:news", string(appendBody(nil, attributed[1], []byte(`{`))), BadJSON},
		{"hub:t:news", string(appendBody(nil, attributed[1], []byte(big))), TooBig},
		{"hub:t:news", string(appendEnvelope(nil, &Event{Position: Position{1, ID{5, 1}}, Number: 1, Data: []byte("\x02{}")})), BadEnvelope},
		{"channel", string(appendBody(nil, attributed[1], []byte(`{}`))), BadJSON},
		{"hub:t:news", string(appendEnvelope(nil, &Event{Position: Position{1, ID{5, 1}}, Number: 1, Data: []byte(`{`)})), BadJSON},
		{"hub:to", "{", BadJSON},
		{"hub:to", `{"to":{"topic":"news"}}`, BadAddress},
		{"hub:to", `{"to":{"topic":"news"},"data":` + big + `}`, TooBig},
		{"hub:to", `{"to":{"topic":"news","user":"42"},"data":1}`, BadAddress},
		{"hub:to", `{"to":{"topic":"a\u0001b"},"data":1}`, BadAddress},
	} {
		r.only().pub.Publish(t.Context(), c.channel, c.payload)
		want[c.why.String()]++
		mustPublish(t, r, "news", `"good"`)
		if got := sink.event(t, "news"); got != `"good"` {
			t.Errorf("%s %q was delivered", c.channel, c.payload)
		}
	}
	for why, n := range r.Stats().Drops {
		if n != want[why] {
			t.Errorf("%s: %d drops, want %d", why, n, want[why])
		}
	}
}

func TestTakingAnEventAllocatesItAndItsDataOnly(t *testing.T) {
	r := newRedis(t, RedisConfig{URL: "redis://localhost", History: keepAll})
	r.delivery.sink = ignore{}
	s := &subscriber{Redis: r, link: r.only().link, master: r.only(), bus: true}
	for _, topic := range []string{"news", "channel", "h:a"} {
		r.follows.add(topic, 0, func(error) {})
	}
	r.follows.begin(s.line)
	r.follows.next(s.line)
	r.follows.subscribed(s.line, "hub:t:h:a")
	r.follows.confirm("hub:t:h:a")
	_, c, _ := r.follows.followers("hub:t:h:a")
	ev := Event{Position: Position{1, ID{5, 1}}, Before: ID{4, 1}, Number: 2, Data: []byte(`{"price":1}`)}
	for channel, payload := range map[string]string{
		"hub:t:news": `{"price":1}`, "channel": `{"price":1}`, "hub:t:h:a": string(appendEnvelope(nil, &ev)),
	} {
		delivered := r.Stats().Delivered
		n := testing.AllocsPerRun(100, func() {
			c.last, c.number = Position{1, ev.Before}, 1
			s.dispatch(channel, []byte(payload))
		})
		if n > 2 || r.Stats().Delivered != delivered+101 {
			t.Errorf("%s: %v allocations, %d delivered", channel, n, r.Stats().Delivered-delivered)
		}
	}
}

// ignore is a Sink.
type ignore struct{}

func (ignore) Deliver(*Event, Loops)   {}
func (ignore) Gap(string, Loops, Loss) {}

func (ignore) Moved(*Moved, Loops) {}
func (ignore) HandOver()           {}

func TestConfigErrorsHideThePassword(t *testing.T) {
	for _, url := range []string{"", "localhost", "redis://:s3cret@host:port", "redis://:s3/cret@host:1", "redis://:s3cret@h/x"} {
		_, err := NewRedis(RedisConfig{URL: url})
		if err == nil {
			t.Errorf("%q is taken", url)
		} else if strings.Contains(err.Error(), "s3") {
			t.Errorf("the error holds the password: %v", err)
		}
	}
	for _, broadcast := range []string{"hub:to", "a\nb"} {
		if _, err := NewRedis(RedisConfig{URL: "redis://localhost", Broadcast: broadcast}); err == nil {
			t.Errorf("broadcast channel %q is taken", broadcast)
		}
	}
}

func TestRedisAwayAtTheStartIsUsedWhenItComes(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	server.Kill()
	r := newRedis(t, RedisConfig{URL: server.URL(), FollowTimeout: 50 * time.Millisecond})
	sink := start(t, r)
	eventually(t, "a failed attempt", func() bool { return r.Stats().Reconnects > 0 })
	if err := r.Ready(); !errors.Is(err, ErrUnavailable) {
		t.Errorf("Ready says %v", err)
	}
	if err := tryFollow(r, "news", 4); !errors.Is(err, ErrUnavailable) {
		t.Errorf("Follow says %v", err)
	}
	results := r.Publish(t.Context(), []Publication{{Topic: "news", Data: []byte("1")}, {Topic: "news", Data: []byte("2")}})
	for _, res := range results {
		if !errors.Is(res.Err, ErrUnavailable) {
			t.Errorf("Publish says %v", res.Err)
		}
	}
	if n := r.Stats().PublishErrors["unavailable"]; n != 2 {
		t.Errorf("%d errors counted", n)
	}

	server.Restart()
	if d := sink.gap(t, "news"); d.loops != Loops(0).With(4) {
		t.Errorf("got %s", d)
	}
	eventually(t, "publishing", func() bool {
		return r.Publish(t.Context(), []Publication{{Topic: "news", Data: []byte("3")}})[0].Err == nil
	})
	if got := sink.event(t, "news"); got != "3" {
		t.Errorf("got %s", got)
	}
	ready(t, r)
}

func TestRedisKilledAndRestartedGoesOnWithAGap(t *testing.T) {
	server := redistest.Start(t)
	r, sink := running(t, RedisConfig{URL: server.URL(), ProbeDeadline: time.Minute})
	mustFollow(t, r, "news", 2)
	server.Kill()
	eventually(t, "not ready", func() bool { return r.Ready() != nil })
	server.Restart()
	if d := sink.gap(t, "news"); d.loops != Loops(0).With(2) || !d.at.IsZero() {
		t.Errorf("got %s", d)
	}
	server.CLI("publish", "hub:t:news", "1")
	if got := sink.event(t, "news"); got != "1" {
		t.Errorf("got %s", got)
	}
	ready(t, r)
}

func TestAFrozenConnectionIsNoticed(t *testing.T) {
	t.Parallel()
	for way, name := range map[redistest.Way]string{
		redistest.Both: "both ways", redistest.ToServer: "to the server", redistest.ToClient: "to the hub",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			proxy := redistest.NewProxy(t, server.Addr())
			r, sink := running(t, RedisConfig{URL: proxy.URL(), ProbeEvery: 50 * time.Millisecond, ProbeDeadline: 2 * time.Second})
			mustFollow(t, r, "news", 0)
			proxy.Freeze(way)
			eventually(t, "the connection is given up", func() bool { return r.Stats().Reconnects > 0 })
			eventually(t, "not ready", func() bool { return r.Ready() != nil })
			proxy.Thaw(way)
			sink.gap(t, "news")
			ready(t, r) // a machine that is busy may give one more up
			server.CLI("publish", "hub:t:news", "1")
			if got := sink.event(t, "news"); got != "1" {
				t.Errorf("got %s", got)
			}
		})
	}
}

// TestAServerThatOnlyAnswersPingsIsGivenUp stands for a master that was demoted: nobody publishes
// there any more.
func TestAServerThatOnlyAnswersPingsIsGivenUp(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	r, _ := running(t, RedisConfig{URL: server.URL(), ProbeEvery: 20 * time.Millisecond, ProbeDeadline: 200 * time.Millisecond})
	server.CLI("acl", "setuser", "default", "-publish")
	eventually(t, "the connection is given up", func() bool { return r.Stats().Reconnects > 0 })
	server.CLI("acl", "setuser", "default", "+publish")
	ready(t, r)
}

// TestTheDefaultsNoticeInFiveSeconds guards the promise where waiting for it would take too long.
func TestTheDefaultsNoticeInFiveSeconds(t *testing.T) {
	var cfg RedisConfig
	cfg.setDefaults()
	if cfg.ProbeDeadline > 5*time.Second || 2*cfg.ProbeEvery > cfg.ProbeDeadline {
		t.Errorf("probes every %s, given up after %s", cfg.ProbeEvery, cfg.ProbeDeadline)
	}
}

func TestSlowRepliesByteByByteAreUnderstood(t *testing.T) {
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr())
	proxy.Chunk(1)
	r, sink := running(t, RedisConfig{URL: proxy.URL()})
	mustFollow(t, r, "news", 0)
	mustPublish(t, r, "news", `{"price":1}`)
	if got := sink.event(t, "news"); got != `{"price":1}` {
		t.Errorf("got %s", got)
	}
}

func TestManyTopicsComeBackInBatches(t *testing.T) {
	topics := 100_000
	if drills.IsPlain(t) {
		topics /= 10
	}
	server := redistest.Start(t)
	r, sink := running(t, RedisConfig{URL: server.URL(), FollowTimeout: time.Minute, ProbeDeadline: time.Minute})
	answers := make(chan error, topics)
	for i := range topics {
		r.Follow(UserTopic(fmt.Sprint(i)), i%MaxLoops, func(err error) { answers <- err })
	}
	for range topics {
		if err := <-answers; err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	server.CLI("client", "kill", "type", "pubsub")
	seen := make(map[string]bool, topics)
	for range topics {
		d := sink.next(t)
		if d.Event != nil || seen[d.topic] {
			t.Fatalf("got %s", d)
		}
		seen[d.topic] = true
	}
	t.Logf("%d topics subscribed again in %s", topics, time.Since(began).Round(time.Millisecond))
	server.CLI("publish", "hub:t:user:9999", "1")
	if got := sink.event(t, "user:9999"); got != "1" {
		t.Errorf("got %s", got)
	}
	if stats := server.CLI("info", "commandstats"); !batched(stats, 2*topics) {
		t.Errorf("not batched:\n%s", stats)
	}
}

// batched reports whether INFO commandstats holds as many SUBSCRIBEs as batches of followBatch make of
// channels, or up to a half more: Follows that come one by one are batched as they queue up.
func batched(stats string, channels int) bool {
	_, rest, _ := strings.Cut(stats, "cmdstat_subscribe:calls=")
	var calls int
	_, _ = fmt.Sscanf(rest, "%d", &calls)
	least := channels / followBatch
	return calls >= least && calls <= least+least/2+10
}

func TestALateUnsubscribeNeverKillsAFreshFollow(t *testing.T) {
	server := redistest.Start(t)
	r, sink := running(t, RedisConfig{URL: server.URL(), Linger: time.Microsecond})
	for i := range 100 {
		mustFollow(t, r, "news", 0)
		server.CLI("ping")
		mustPublish(t, r, "news", fmt.Sprint(i))
		if got := sink.event(t, "news"); got != fmt.Sprint(i) {
			t.Fatalf("got %s, want %d", got, i)
		}
		r.Unfollow("news", 0)
	}
	eventually(t, "nothing is followed any more", func() bool {
		return r.Stats().Followed == 0 && server.CLI("pubsub", "numsub", "hub:t:news") == "hub:t:news\n0"
	})
}

func TestPublishErrorsTellWhatBecameOfTheEvent(t *testing.T) {
	t.Parallel()
	one := []Publication{{Topic: "news", Data: []byte("1")}}
	for _, c := range []struct {
		name    string
		prepare func(*redistest.Server, *redistest.Proxy)
		want    error
	}{
		{"server down", func(s *redistest.Server, p *redistest.Proxy) { s.Kill() }, ErrUnavailable},
		{"no permission", func(s *redistest.Server, _ *redistest.Proxy) {
			s.CLI("acl", "setuser", "default", "-publish")
		}, ErrRefused},
		{"answer lost", func(_ *redistest.Server, p *redistest.Proxy) { p.Freeze(redistest.ToClient) }, ErrUnknownOutcome},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := redistest.Start(t)
			proxy := redistest.NewProxy(t, server.Addr())
			r := newRedis(t, RedisConfig{URL: server.URL()})
			if c.want == ErrUnknownOutcome {
				r = newRedis(t, RedisConfig{URL: proxy.URL()})
			}
			start(t, r)
			mustPublish(t, r, "news", "0")
			c.prepare(server, proxy)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second) // a busy machine must have sent it by then
			defer cancel()
			if err := r.Publish(ctx, one)[0].Err; !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

func TestAWrongPasswordIsNoSuccess(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	r := newRedis(t, RedisConfig{URL: strings.Replace(server.URL(), "//", "//hub:wrong@", 1)})
	start(t, r)
	err := r.Publish(t.Context(), []Publication{{Topic: "news", Data: []byte("1")}})[0].Err
	if !errors.Is(err, ErrRefused) || strings.Contains(err.Error(), "wrong@") {
		t.Errorf("got %v", err)
	}
}

func TestTheServersShortcomingsAreNamed(t *testing.T) {
	good := "# Server\r\nredis_version:7.0.15\r\n# Memory\r\nmaxmemory_policy:noeviction\r\n"
	if list := troubles(good); len(list) > 0 {
		t.Errorf("a good server: %q", list)
	}
	bad := "redis_version:6.2.1\r\nmaxmemory_policy:allkeys-lru\r\n"
	if list := troubles(bad); len(list) != 2 {
		t.Errorf("a bad server: %q", list)
	}
	if list := troubles(""); len(list) > 0 {
		t.Errorf("a silent server: %q", list)
	}
}

// TestTooManyClientsIsNoDoubt has the server turn away all new connections.
func TestTooManyClientsIsNoDoubt(t *testing.T) {
	t.Parallel()
	for _, topic := range []string{"h:a", "plain"} {
		t.Run(topic, func(t *testing.T) {
			server := redistest.Start(t)
			r, _ := running(t, RedisConfig{URL: server.URL(), History: keepAll})
			mustPublish(t, r, topic, "1")
			admin := redis.NewClient(&redis.Options{Addr: server.Addr(), PoolSize: 1})
			defer admin.Close()
			if err := admin.ConfigSet(t.Context(), "maxclients", "1").Err(); err != nil {
				t.Fatal(err)
			}
			if err := admin.ClientKillByFilter(t.Context(), "type", "normal", "skipme", "yes").Err(); err != nil {
				t.Fatal(err)
			}
			// The connection that was killed is in doubt; those that come after it are not.
			r.Publish(t.Context(), []Publication{{Topic: topic, Data: []byte("2")}})
			for range 50 {
				if err := r.Publish(t.Context(), []Publication{{Topic: topic, Data: []byte("3")}})[0].Err; !errors.Is(err, ErrUnavailable) {
					t.Fatalf("got %v", err)
				}
			}
			if err := admin.ConfigSet(t.Context(), "maxclients", "10000").Err(); err != nil {
				t.Fatal(err)
			}
			eventually(t, "publishing", func() bool {
				return r.Publish(t.Context(), []Publication{{Topic: topic, Data: []byte("4")}})[0].Err == nil
			})
			ready(t, r)
		})
	}
}
