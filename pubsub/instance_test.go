package pubsub

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"wshub/pubsub/redistest"
)

// instance is a broker with the members that its hub has.
type instance struct {
	*Redis
	sink recorder
	stop func() // ends it as a hub ends

	mu   sync.Mutex
	have map[string]Member // by entry
}

// instanceOf runs a broker that takes others for dead at once, and has what it told Redis.
func instanceOf(t testing.TB, cfg RedisConfig) *instance {
	t.Helper()
	n := prepare(t, cfg)
	n.run(t)
	return n
}

func prepare(t testing.TB, cfg RedisConfig) *instance {
	n := &instance{have: map[string]Member{}}
	cfg.Presence.Match = contractPresence.Match
	setDefault(&cfg.Presence.Grace, time.Millisecond)
	cfg.Presence.Members = n.members
	n.Redis = newRedis(t, cfg)
	n.presence.vigil, n.presence.stranger = 1, 1
	return n
}

func (n *instance) run(t testing.TB) {
	t.Helper()
	n.sink = newRecorder()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := n.Run(ctx, n.sink); err != nil {
			t.Error(err)
		}
	}()
	n.stop = func() { cancel(); <-ended }
	t.Cleanup(n.stop)
	ready(t, n.Redis)
}

func (n *instance) members(_ context.Context, p byte, yield func(string, Member)) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	for entry, m := range n.have {
		if c, ok := parseEntry(entry); ok && partition(c.Topic) == p {
			yield(c.Topic, m)
		}
	}
	return nil
}

// know makes changes known to the hub, and not to Redis.
func (n *instance) know(changes ...Change) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range changes {
		if n.have[entryOf(c.Topic, c.Member.Session)] = c.Member; c.Leave {
			delete(n.have, entryOf(c.Topic, c.Member.Session))
		}
	}
}

func (n *instance) change(t testing.TB, changes ...Change) {
	t.Helper()
	n.know(changes...)
	mustChange(t, n, changes...)
}

// watch follows topic on loop 0.
func (n *instance) watch(t testing.TB, topics ...string) {
	t.Helper()
	for _, topic := range topics {
		mustFollow(t, n, topic, 0)
	}
}

// expire has the lease of n's boot, which is at server, run out.
func (n *instance) expire(server *redistest.Server) {
	server.CLI("zadd", n.names.leases(), "1", n.presence.boot())
}

// wantPresent waits until topic has these sessions, and no more.
func wantPresent(t testing.TB, b Broker, topic, want string) {
	t.Helper()
	eventually(t, topic+" has "+want, func() bool {
		p, err := b.ReadPresence(t.Context(), topic, "", MaxPresencePage)
		return err == nil && sessions(p) == want && p.Clients == len(strings.Fields(want))
	})
}

// quiet wants no change to be told until an event that is published now arrives; news that some may be lost is none.
func (n *instance) quiet(t testing.TB, topic string) {
	t.Helper()
	mustPublish(t, n, topic, `"quiet"`)
	for d := n.sink.next(t); d.Event == nil; d = n.sink.next(t) {
		if d.moved != nil && !d.moved.Version.IsZero() {
			t.Errorf("told: %s", d)
		}
	}
}

// presenceTopics are in different partitions, and of three masters each serves some.
var presenceTopics = []string{"p:1", "p:2", "p:3", "p:4", "p:5", "p:6"}
