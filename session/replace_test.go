package session

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"wshub/engine"
	"wshub/pubsub"
)

// tellCounter is a broker that counts what nodes tell each other.
type tellCounter struct {
	*pubsub.Memory
	tells atomic.Int64
}

func (b *tellCounter) Tell(ctx context.Context, node string, message []byte) error {
	b.tells.Add(1)
	return b.Memory.Tell(ctx, node, message)
}

// A crowd that resumes at once replaces its older connections with few messages between nodes: what a node's
// crash costs the broker must not go with the number of clients.
func TestACrowdReplacesItsOlderConnectionsInFewMessages(t *testing.T) {
	const crowd = 300
	var hub *Hub // set before the broker runs
	broker := &tellCounter{Memory: pubsub.NewMemory(pubsub.MemoryConfig{
		Node: "n1", OnControl: func(message []byte) { hub.Control(message) },
	})}
	hub, err := NewHub(Config{Node: "n1"}, broker)
	if err != nil {
		t.Fatal(err)
	}
	hub.UseSealer(sealer(t, make([]byte, 32)))
	n := run(t, hub, engine.Config{Pollers: 2})

	var older, newer []*client
	var tokens []string
	for range crowd {
		c, welcome := n.enter("")
		older, tokens = append(older, c), append(tokens, welcome.Token)
	}
	for range crowd {
		c, _ := n.enter("")
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
