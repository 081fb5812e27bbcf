package pubsub

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"wshub/pubsub/redistest"
)

// serverMicros is the CPU time that the server has used so far, in microseconds.
func serverMicros(b *testing.B, server *redistest.Server) float64 {
	info := server.CLI("info", "cpu")
	var sum float64
	for _, name := range []string{"used_cpu_sys", "used_cpu_user"} {
		seconds, err := strconv.ParseFloat(infoField(strings.ReplaceAll(info, "\r", ""), name), 64)
		if err != nil {
			b.Fatal(err)
		}
		sum += seconds * 1e6
	}
	return sum
}

// BenchmarkPublish costs an event of 128 bytes in batches of 16 to a topic that this node follows:
// server-µs/op is the server's CPU time for storing it, publishing it and sending it here.
func BenchmarkPublish(b *testing.B) {
	data := []byte(`"` + strings.Repeat("x", 126) + `"`)
	for _, c := range []struct{ name, topic, key string }{
		{"plain", "plain", ""}, {"plain with a key", "plain", "k"}, {"history", "h:a", ""}, {"history with a key", "h:a", "k"},
	} {
		b.Run(c.name, func(b *testing.B) {
			server := redistest.Start(b)
			r, sink := running(b, RedisConfig{URL: server.URL(), History: History{{Prefix: "h:", Count: 1000}}})
			mustFollow(b, r, c.topic, 0)
			before := serverMicros(b, server)
			b.ResetTimer()
			for n := 0; n < b.N; n += 16 {
				batch := make([]Publication, 16)
				for i := range batch {
					batch[i] = Publication{Topic: c.topic, Data: data}
					if c.key != "" {
						batch[i].Key = fmt.Sprint(n + i)
					}
				}
				r.Publish(b.Context(), batch)
				for range batch {
					sink.next(b)
				}
			}
			b.StopTimer()
			b.ReportMetric((serverMicros(b, server)-before)/float64(b.N), "server-µs/op")
		})
	}
}

// BenchmarkReplay answers a client that missed 10 events, from memory and from Redis.
func BenchmarkReplay(b *testing.B) {
	server := redistest.Start(b)
	r, sink := running(b, RedisConfig{URL: server.URL(), History: keepAll})
	number(b, r, "h:stored", 1, 9)
	stored := replay(b, r, "h:stored", Start, 1).Events[0].Position
	mustFollow(b, r, "h:recent", 0)
	at := number(b, r, "h:recent", 1, 11)
	wantEvents(b, sink, "h:recent", 1, 11)
	for _, c := range []struct {
		topic string
		since Position
	}{{"h:recent", at[1]}, {"h:stored", stored}} {
		b.Run(c.topic, func(b *testing.B) {
			for b.Loop() {
				if rep := replay(b, r, c.topic, c.since, 100); !rep.Recovered {
					b.Fatalf("%+v", rep)
				}
			}
		})
	}
}

// BenchmarkArrive is what an event costs the subscriber, without reading it from the socket.
func BenchmarkArrive(b *testing.B) {
	r := newRedis(b, RedisConfig{URL: "redis://localhost"})
	r.delivery.sink = ignore{}
	s := &subscriber{Redis: r, link: r.only().link, master: r.only(), bus: true}
	r.follows.add("news", 0, func(error) {})
	payload := bytes.Repeat([]byte{'1'}, 128)
	b.ReportAllocs()
	for b.Loop() {
		s.dispatch("hub:t:news", payload)
	}
}
