package sse_test

import (
	"fmt"
	"strings"
	"testing"

	"wshub/engine"
	"wshub/session"
)

// The id of many topics is longer than most events. It counts in all that waits for a client that does not read.
func TestIDsOfManyTopicsCountInTheQueue(t *testing.T) {
	const topics, events, queue = 88, 600, 128 << 10
	for _, missed := range []bool{false, true} {
		t.Run(fmt.Sprintf("missed %v", missed), func(t *testing.T) {
			n := start(t, session.Config{}, engine.Config{MaxQueued: queue, SendBuffer: 4 << 10})
			query := "?topic=news"
			for i := range topics - 1 {
				query += fmt.Sprintf("&topic=t%d", i)
			}
			var data []string
			for i := range events {
				data = append(data, fmt.Sprint(i))
			}
			s := n.open(query).fresh(topics)
			if missed {
				_ = s.conn.Close()
				n.eventually("it has gone", func() bool { return n.hub.Stats().Sessions["sse"] == 0 })
				n.publish("news", data...)
				s = s.back(n, query)
			} else {
				n.publish("news", data...)
			}
			const toCome = events * 1900 // and more; the kernel has some 300 KB of it
			if !missed {
				n.eventually("all that waits is counted", func() bool { return n.server.Stats().Backlog > toCome/2 })
			}
			n.eventually("something waits", func() bool { return n.server.Stats().Backlog > 0 })
			for i := 0; i < events; {
				if b := n.server.Stats().Backlog; missed && b > queue {
					t.Fatalf("%d bytes wait of a replay", b)
				}
				ev := s.next()
				if ev.kind == "hub" {
					continue
				}
				if !strings.HasSuffix(ev.data, fmt.Sprintf(`"data":%d}`, i)) {
					t.Fatalf("got %+v, want %d", ev, i)
				}
				i++
			}
		})
	}
}
