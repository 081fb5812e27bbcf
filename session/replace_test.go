package session

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"wshub/engine"
	"wshub/pubsub"
)

// tellCounter is the broker of a node that tells one other node things, and counts them.
type tellCounter struct {
	*pubsub.Memory
	other *Hub
	tells atomic.Int64
}

func (b *tellCounter) Tell(_ context.Context, _ string, message []byte) error {
	b.tells.Add(1)
	b.other.Control(message)
	return nil
}

// A crowd that resumes at once on another node replaces its older connections with few messages between the
// two: what a node's crash costs the broker must not go with the number of clients.
func TestACrowdReplacesItsOlderConnectionsInFewMessages(t *testing.T) {
	const crowd = 300
	start := func(name string, broker Broker) (*Hub, *node) {
		hub, err := NewHub(Config{Node: name}, broker)
		if err != nil {
			t.Fatal(err)
		}
		hub.UseSealer(sealer(t, make([]byte, 32)))
		return hub, run(t, hub, engine.Config{Pollers: 2})
	}
	first, n1 := start("n1", pubsub.NewMemory(pubsub.MemoryConfig{Node: "n1"}))
	broker := &tellCounter{Memory: pubsub.NewMemory(pubsub.MemoryConfig{Node: "n2"}), other: first}
	_, n2 := start("n2", broker)

	var older, newer []*client
	var tokens []string
	for range crowd {
		c, welcome := n1.enter("")
		older, tokens = append(older, c), append(tokens, welcome.Token)
	}
	for range crowd {
		c, _ := n2.enter("")
		newer = append(newer, c)
	}
	for i, c := range newer {
		c.send(fmt.Sprintf(`{"type":"resume","token":%q}`, tokens[i]))
	}
	for i, c := range newer {
		if h := c.hear(); h.Type != "resumed" {
			t.Fatalf("%+v", h)
		}
		older[i].wantClose(4009)
	}
	tells := broker.tells.Load()
	t.Logf("%d clients were replaced with %d messages", crowd, tells)
	if tells == 0 || tells > crowd/5 {
		t.Errorf("%d messages for %d clients", tells, crowd)
	}
}
