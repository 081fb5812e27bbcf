package sessiontest

import (
	"context"
	"errors"
	"testing"
	"time"

	"wshub/engine"
	"wshub/pubsub"
	"wshub/session"
)

// Patience is how long a test waits for an event that must come. Most come within milliseconds.
const Patience = 20 * time.Second

// Secret signs the tokens of tests.
const Secret = "a secret of thirty-two bytes, at least"

// Run runs hub on a server of cfg, on a free loopback port and by default with two pollers, until t ends. It returns
// when hub is ready. A topic, a subscription or a session that is there at the end fails t, and so does a panic
// of the server's handler.
func Run(t testing.TB, hub *session.Hub, cfg engine.Config) *engine.Server {
	t.Helper()
	cfg.Addr = "127.0.0.1:0"
	if cfg.Pollers == 0 {
		cfg.Pollers = 2
	}
	server, err := engine.New(cfg, hub)
	if err != nil {
		t.Fatal(err)
	}
	hub.Attach(server)
	ctx, cancel := context.WithCancel(context.Background())
	serverCtx, cancelServer := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	go func() { ended <- server.Run(serverCtx) }()
	go func() {
		err := hub.Run(ctx)
		cancelServer()
		ended <- err
	}()
	t.Cleanup(func() {
		cancel()
		for range 2 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
		st := hub.Stats()
		left := st.Topics + st.Subscriptions
		for _, sessions := range st.Sessions {
			left += sessions
		}
		if left != 0 || server.Stats().Panics > 0 {
			t.Errorf("left behind: %+v, %d panics", st, server.Stats().Panics)
		}
	})
	Eventually(t, "ready", func() bool { return hub.Ready() == nil })
	return server
}

// Eventually waits until ok is true. After Patience t fails and says that what never happened.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	late, poll := time.After(Patience), time.NewTicker(2*time.Millisecond)
	defer poll.Stop()
	for !ok() {
		select {
		case <-poll.C:
		case <-late:
			t.Fatal("never: " + what)
		}
	}
}

// Publish publishes events as a backend does. All must be accepted.
func Publish(t testing.TB, hub *session.Hub, events ...pubsub.Publication) {
	t.Helper()
	results, err := hub.Publish(context.Background(), events)
	for _, r := range results {
		err = errors.Join(err, r.Err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// PublishData publishes an event of topic for each of data.
func PublishData(t testing.TB, hub *session.Hub, topic string, data ...string) {
	t.Helper()
	events := make([]pubsub.Publication, len(data))
	for i, d := range data {
		events[i] = pubsub.Publication{Topic: topic, Data: []byte(d)}
	}
	Publish(t, hub, events...)
}
