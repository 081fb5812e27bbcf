package pubsub

import (
	"fmt"
	"testing"
	"time"

	"wshub/pubsub/redistest"
)

// BenchmarkPresence costs members of one topic that has 100,000, without a follower: server-µs/op is the server's CPU time for a
// member that enters or leaves in batches of 100, for counts, and for a page of 100; B/member is what one takes of its memory.
func BenchmarkPresence(b *testing.B) {
	const size = 100_000
	server := redistest.Start(b)
	r, _ := running(b, RedisConfig{URL: server.URL(), Presence: contractPresence})
	batch := func(from int, leave bool) {
		list := make([]Change, 100)
		for i := range list {
			list[i] = enter("p:big", fmt.Sprintf("session-%08d", from+i), fmt.Sprint("user-", (from+i)/2))
			list[i].Member.Info = []byte(`{"name":"somebody"}`)
			list[i].Leave = leave
		}
		mustChange(b, r, list...)
	}
	empty := memoryUsed(b, server)
	for n := 0; n < size; n += 100 {
		batch(n, false)
	}
	kept := float64(memoryUsed(b, server)-empty) / size
	measure := func(name string, ops int, run func(n int)) {
		b.Run(name, func(b *testing.B) {
			before := serverMicros(b, server)
			longest := time.Duration(0)
			b.ResetTimer()
			for n := 0; n < b.N; n += ops {
				begin := time.Now()
				run(n)
				longest = max(longest, time.Since(begin))
			}
			b.StopTimer()
			b.ReportMetric((serverMicros(b, server)-before)/float64(b.N), "server-µs/op")
			b.ReportMetric(float64(longest.Microseconds()), "longest-µs")
			b.ReportMetric(kept, "B/member")
		})
	}
	measure("counts", 1, func(int) { mustRead(b, r, "p:big", "", 0) })
	after := ""
	measure("page of 100", 1, func(int) { after = mustRead(b, r, "p:big", after, 100).Next })
	measure("enter", 100, func(n int) { batch(size+n, false) })
	measure("leave", 100, func(n int) { batch(size+n, true) })
}

// BenchmarkLifecycle costs sessions of users with two each that open and close, in batches of 100, beside 100,000: server-µs/op is the server's CPU
// time, B/session what one takes of its memory, without the stream.
func BenchmarkLifecycle(b *testing.B) {
	const size = 100_000
	server := redistest.Start(b)
	r, _ := running(b, RedisConfig{URL: server.URL(), Lifecycle: LifecycleConfig{On: true, MaxEntries: 1000}})
	batch := func(from int, leave bool) {
		list := make([]Change, 100)
		for i := range list {
			list[i] = opened(fmt.Sprintf("s_%013d", from+i), fmt.Sprint("user-", (from+i)/2))
			list[i].Leave, list[i].Cause = leave, "gone"
		}
		mustChange(b, r, list...)
	}
	empty := memoryUsed(b, server)
	for n := 0; n < size; n += 100 {
		batch(n, false)
	}
	kept := float64(memoryUsed(b, server)-empty) / size
	for _, leave := range []bool{false, true} {
		b.Run(map[bool]string{false: "open", true: "close"}[leave], func(b *testing.B) {
			for n := 0; leave && n < b.N; n += 100 {
				batch(size+n, false)
			}
			before := serverMicros(b, server)
			b.ResetTimer()
			for n := 0; n < b.N; n += 100 {
				batch(size+n, leave)
			}
			b.StopTimer()
			b.ReportMetric((serverMicros(b, server)-before)/float64(b.N), "server-µs/op")
			b.ReportMetric(kept, "B/session")
		})
	}
}

// memoryUsed is how many bytes the server's data take.
func memoryUsed(b *testing.B, server *redistest.Server) (n int) {
	if _, err := fmt.Sscan(infoField(server.CLI("info", "memory"), "used_memory"), &n); err != nil {
		b.Fatal(err)
	}
	return n
}
