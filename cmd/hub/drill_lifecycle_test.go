package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"wshub/pubsub/redistest"
)

// chronicle is a consumer of the lifecycle: it reads the stream as it grows, and knows who is there, by the rule of pubsub/README.md.
type chronicle struct {
	client *redis.Client
	stream string

	mu       sync.Mutex
	last     string // ID
	epoch    string
	seq      uint64
	known    map[string]uint64 // "session s_1", "user 42", "topic room:1", and the entry that said so first
	entries  int
	changes  int // of what is known
	failures []string
}

// lifeEntry is an entry of the stream.
type lifeEntry struct {
	Seq                                                   uint64
	Type, Session, User, Hub, Cause, Topic, Epoch, Before string
	Time                                                  int64
}

func newChronicle(t *testing.T, server *redistest.Server, h *process) *chronicle {
	t.Helper()
	var answer struct {
		On      bool
		Streams []string
	}
	status, body, _ := ask(t, "GET", h.control+"/api/lifecycle", "", "X-Api-Key", apiKey)
	if err := json.Unmarshal([]byte(body), &answer); err != nil || status != 200 || !answer.On || len(answer.Streams) != 1 {
		t.Fatalf("GET /api/lifecycle is answered %d %s", status, body)
	}
	c := &chronicle{client: redis.NewClient(&redis.Options{Addr: server.Addr(), MaxRetries: -1}), stream: answer.Streams[0], last: "0-0", known: map[string]uint64{}}
	t.Cleanup(func() { _ = c.client.Close() })
	return c
}

// read takes what is new.
func (c *chronicle) read(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		found, err := c.client.XRangeN(ctx, c.stream, "("+c.last, "+", 1000).Result()
		if err != nil || len(found) == 0 {
			return err
		}
		for _, one := range found {
			c.last = one.ID
			text, _ := one.Values["event"].(string)
			var e lifeEntry
			if err := json.Unmarshal([]byte(text), &e); err != nil {
				return fmt.Errorf("entry %s: %w in %s", one.ID, err, text)
			}
			c.take(&e)
		}
	}
}

func (c *chronicle) take(e *lifeEntry) {
	c.entries++
	before := len(c.known)
	switch what := strings.SplitN(e.Type, "_", 2); {
	case e.Type == "reset":
		maps.DeleteFunc(c.known, func(_ string, seq uint64) bool { return c.epoch != e.Before || seq >= e.Seq })
		c.epoch = e.Epoch
	case e.Seq != c.seq+1:
		c.failures = append(c.failures, fmt.Sprintf("entry %d follows %d", e.Seq, c.seq))
	case len(what) == 2:
		name := what[0] + " " + map[string]string{"session": e.Session, "user": e.User, "topic": e.Topic}[what[0]]
		if _, there := c.known[name]; !there && slices.Contains([]string{"opened", "online", "occupied"}, what[1]) {
			c.known[name] = e.Seq
		} else if slices.Contains([]string{"closed", "offline", "vacated"}, what[1]) {
			delete(c.known, name)
		}
		if what[1] == "closed" && e.Cause == "" || what[0] == "session" && e.Hub == "" {
			c.failures = append(c.failures, fmt.Sprintf("%+v", *e))
		}
	}
	c.seq = e.Seq
	if len(c.known) != before {
		c.changes++
	}
}

// counts are those of entries, and of those that changed what is known.
func (c *chronicle) counts() (entries, changes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.entries, c.changes
}

// alive is what the chronicle should know, by what the clients were told.
func (d *presenceDrill) alive(rooms map[string]fold) map[string]bool {
	all := map[string]bool{}
	for topic, members := range rooms {
		if len(members) > 0 {
			all["topic "+topic] = true
		}
	}
	for _, g := range d.guests {
		g.mu.Lock()
		if g.conn != nil {
			all["session "+g.session], all["user "+g.user] = true, true
		}
		g.mu.Unlock()
	}
	return all
}

// misses says how what the chronicle knows differs from the truth, "" if it does not.
func (c *chronicle) misses(ctx context.Context, truth map[string]bool) string {
	if err := c.read(ctx); err != nil {
		return err.Error()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	list := slices.Clone(c.failures)
	for name := range c.known {
		if !truth[name] {
			list = append(list, name+" should not be there")
		}
	}
	for name := range truth {
		if _, there := c.known[name]; !there {
			list = append(list, name+" is missing")
		}
	}
	slices.Sort(list)
	if n := len(list); n > 4 {
		list = append(list[:4], fmt.Sprintf("and %d more", n-4))
	}
	return strings.Join(list, ", ")
}

// follow reads until ctx ends, as a backend does.
func (c *chronicle) follow(ctx context.Context) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			_ = c.read(ctx) // redis may be away
		}
	}
}
