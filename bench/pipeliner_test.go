package bench

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/centrifugal/protocol"

	"wshub/bench/fleet"
)

// posts keeps the events of POST requests by topic, in the order in which they came.
type posts struct {
	*httptest.Server
	mu     sync.Mutex
	events map[string][]string
	conns  map[string]bool
	refuse int // the nth request
	nth    int
}

func newPosts(t *testing.T) *posts {
	p := &posts{events: map[string][]string{}, conns: map[string]bool{}}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		event, _ := io.ReadAll(r.Body)
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.nth++; p.nth == p.refuse {
			http.Error(w, "full", http.StatusServiceUnavailable)
			return
		}
		p.conns[r.RemoteAddr] = true
		topic := r.URL.RawQuery // as nginx has it: not decoded
		p.events[topic] = append(p.events[topic], string(event))
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, "queued messages: 0\r\n")
	}))
	t.Cleanup(p.Close)
	return p
}

// batchOf has n events of so many topics in turn.
func batchOf(n, topics int) (batch []outgoing) {
	for i := range n {
		batch = append(batch, outgoing{topic: i % topics, name: fmt.Sprintf("user:u%d", i%topics), data: fmt.Appendf(nil, `{"n":%d,"s":"a&b=c"}`, i)})
	}
	return batch
}

func TestEachEventIsOneRequestAndTopicsStayInOrder(t *testing.T) {
	t.Parallel()
	server := newPosts(t)
	p, err := newPipeliner(&Publishing{Publish: "nchan", Control: server.URL + "/publish"})
	if err != nil {
		t.Fatal(err)
	}
	const n, topics = 1000, 3
	batch := batchOf(n, topics)
	if err := p.publish(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	next := map[string]int{}
	for _, o := range batch {
		got := server.events["topic="+o.name]
		if i := next[o.name]; !o.done || i >= len(got) || got[i] != string(o.data) {
			t.Fatalf("%s: event %d of %d is not %s", o.name, i, len(got), o.data)
		}
		next[o.name]++
	}
	if server.nth != n || len(server.conns) != topics {
		t.Errorf("%d requests over %d connections", server.nth, len(server.conns))
	}
}

func TestARefusedEventIsNotDone(t *testing.T) {
	t.Parallel()
	server := newPosts(t)
	server.refuse = 5
	p, err := newPipeliner(&Publishing{Publish: "nchan", Control: server.URL + "/publish"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	batch := batchOf(10, 1)
	var answer answerError
	if err := p.publish(t.Context(), batch); !errors.As(err, &answer) || answer.status != http.StatusServiceUnavailable {
		t.Fatal(err)
	}
	for i, o := range batch {
		if o.done != (i < 4) {
			t.Errorf("event %d: done %t", i, o.done)
		}
	}
	server.Close()
	if err := p.publish(t.Context(), batch); err == nil {
		t.Error("nobody listens")
	}
}

// Centrifugo's nodes read what they find on Redis with the codec of its servers.
func TestEventsForCentrifugoAreAsItsNodesPublishThem(t *testing.T) {
	r := &redisPublisher{topology: fleet.Topology{Users: true}, prefix: defaultPrefix, centrifugo: true}
	channel, message := r.address(outgoing{name: "user:u7", data: []byte(`{"n":1}`)})
	var pub protocol.Publication
	if err := pub.UnmarshalCF(message); err != nil || channel != "centrifugo.client.user:u7" || string(pub.Data) != `{"n":1}` {
		t.Errorf("%s: %v, %v", channel, &pub, err)
	}
}
