package session

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"wshub/engine"
	"wshub/pubsub"
	"wshub/pubsub/redistest/drills"
)

// farBroker keeps its members elsewhere, as Redis does.
type farBroker struct{ *pubsub.Memory }

func (farBroker) ChangePresence(_ context.Context, list []pubsub.Change) []error {
	return make([]error, len(list))
}

// TestAMemberCostsTheHubFewBytes compares followers of a topic with presence with those of one without.
func TestAMemberCostsTheHubFewBytes(t *testing.T) {
	drills.InProcess(t)
	if !alone(t) {
		return
	}
	const crowd, most = 1000, 8
	// Pings that nobody answers would end clients meanwhile.
	n := start(t, Config{Presence: isRoom, TrustUserParam: true}, engine.Config{Pollers: spread, Heartbeat: time.Hour}, farBroker{pubsub.NewMemory(pubsub.MemoryConfig{})})
	n.hub.UseSealer(sealer2(t))
	cost := func(topic string) float64 {
		clients := make([]*client, crowd)
		followed := n.hub.Stats().Subscriptions
		for i := range clients {
			clients[i], _ = n.enter(fmt.Sprint("?user=", i))
		}
		// A session that still waits for its first frame holds more.
		n.eventually("each follows its own topic", func() bool { return n.hub.Stats().Subscriptions == followed+crowd })
		connected := heap()
		for _, c := range clients {
			c.send(fmt.Sprintf(`{"type":"subscribe","topic":%q}`, topic))
		}
		n.eventually("all follow", func() bool { return n.hub.Stats().PresenceQueued == 0 && n.followers(topic) == crowd })
		per := float64(heap()-connected) / crowd
		t.Logf("%.1f B for a follower of %s", per, topic)
		return per
	}
	cost("room:0") // pools and queues grow
	cost("news:0")
	const rounds = 3
	differences := make([]float64, rounds)
	for i := range differences {
		differences[i] = cost(fmt.Sprint("room:", 1+i)) - cost(fmt.Sprint("news:", 1+i))
	}
	slices.Sort(differences)
	more := differences[rounds/2] // a queue that grew for a larger batch counts in one round
	if more > most {
		t.Errorf("a member costs %.1f B more than a follower, at most %d", more, most)
	}
	if members := n.hub.Stats().Members; members != (1+rounds)*crowd {
		t.Errorf("%d members", members)
	}
}

// followers counts those of topic.
func (n *node) followers(topic string) int {
	n.t.Helper()
	list, ok := n.hub.Followers([]string{topic})(n.t.Context())
	if !ok {
		n.t.Fatal("a loop did not answer")
	}
	return list[0]
}
