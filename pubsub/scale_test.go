package pubsub

import (
	"context"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"wshub/pubsub/redistest"
	"wshub/pubsub/redistest/drills"
)

// TestWhatMastersCarry prints what events cost with one server, and in a cluster with 1, 2 and 3 masters, and what
// many topics do: through this package's Go interface, servers and node on one machine.
//
//	WSHUB_DRILL=full go test -count=1 -v -run TestWhatMastersCarry ./pubsub
func TestWhatMastersCarry(t *testing.T) {
	drills.Measurement(t)
	for masters := range 4 {
		name := fmt.Sprintf("cluster of %d", masters)
		if masters == 0 {
			name = "single server"
		}
		t.Run(name, func(t *testing.T) {
			var servers []*redistest.Server
			var url string
			if masters == 0 {
				servers = append(servers, redistest.Start(t))
				url = servers[0].URL()
			} else {
				set := redistest.StartCluster(t, masters, 0)
				servers, url = set.Servers, set.URL()
			}
			measureEvents(t, servers, url)
			measureTopics(t, servers, url)
		})
	}
}

// counter is a Sink that counts what it gets.
type counter struct{ events, gaps atomic.Int64 }

func (c *counter) Deliver(*Event, Loops)   { c.events.Add(1) }
func (c *counter) Gap(string, Loops, Loss) { c.gaps.Add(1) }

func (*counter) Moved(*Moved, Loops) {}
func (*counter) HandOver()           {}

// started runs r with a counter as its sink until end is called.
func started(t *testing.T, url string) (r *Redis, sink *counter, end func()) {
	r, sink = newRedis(t, RedisConfig{URL: url, History: keepAll, PoolSize: 20, ProbeEvery: time.Second, FollowTimeout: time.Minute}), &counter{}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- r.Run(ctx, sink) }()
	ready(t, r)
	return r, sink, func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

const (
	scaleTopics     = 1000
	scalePublishers = 12
	scaleBatch      = 16
	scaleEvents     = scalePublishers * scaleBatch * 800
)

// measureEvents publishes to topics that this node follows, as fast as it goes.
func measureEvents(t *testing.T, servers []*redistest.Server, url string) {
	data := []byte(`"` + strings.Repeat("x", 126) + `"`)
	for _, kind := range []string{"raw", "h"} {
		r, sink, end := started(t, url)
		var answers sync.WaitGroup
		for i := range scaleTopics {
			answers.Add(1)
			r.Follow(fmt.Sprint(kind, ":", i), 0, func(error) { answers.Done() })
		}
		answers.Wait()
		before, own, begin := micros(t, servers), ownMicros(t), time.Now()
		var publishers sync.WaitGroup
		for p := range scalePublishers {
			publishers.Go(func() {
				for n := range scaleEvents / scalePublishers / scaleBatch {
					batch := make([]Publication, scaleBatch)
					for i := range batch {
						batch[i] = Publication{Topic: fmt.Sprint(kind, ":", (n*scaleBatch*7+p*83+i)%scaleTopics), Data: data}
					}
					for _, result := range r.Publish(t.Context(), batch) {
						if result.Err != nil {
							t.Error(result.Err)
							return
						}
					}
				}
			})
		}
		publishers.Wait()
		eventually(t, "all has arrived", func() bool { return sink.events.Load() >= scaleEvents })
		took, after := time.Since(begin), micros(t, servers)
		var each []string
		sum := 0.0
		for i := range after {
			each = append(each, fmt.Sprintf("%.1f", (after[i]-before[i])/scaleEvents))
			sum += after[i] - before[i]
		}
		t.Logf("%-3s events: %.0f/s, CPU µs each: redis %.1f (%s), node %.1f; %d gaps", kind, scaleEvents/took.Seconds(),
			sum/scaleEvents, strings.Join(each, ", "), (ownMicros(t)-own)/scaleEvents, sink.gaps.Load())
		end()
	}
}

// measureTopics follows very many.
func measureTopics(t *testing.T, servers []*redistest.Server, url string) {
	const topics = 200_000
	r, _, end := started(t, url)
	defer end()
	before, memory, own, begin := heapInUse(), memoryOf(t, servers), micros(t, servers), time.Now()
	var answers sync.WaitGroup
	var failed atomic.Int64
	answers.Add(topics)
	for i := range topics {
		r.Follow("user:"+strconv.Itoa(i), 0, func(err error) {
			if err != nil {
				failed.Add(1)
			}
			answers.Done()
		})
	}
	answers.Wait()
	took, after, used := time.Since(begin), micros(t, servers), 0.0
	for i := range after {
		used += after[i] - own[i]
	}
	t.Logf("%d topics are followed after %s (%d not): CPU of redis %.1f µs each; memory each: redis %.0f B, node %.0f B", topics,
		took.Round(time.Millisecond), failed.Load(), used/topics, float64(memoryOf(t, servers)-memory)/topics, float64(heapInUse()-before)/topics)
	runtime.KeepAlive(r)
}

// micros is the CPU time that each server has used, in microseconds.
func micros(t *testing.T, servers []*redistest.Server) (list []float64) {
	for _, server := range servers {
		list = append(list, infoNumber(t, server, "cpu", "used_cpu_sys")*1e6+infoNumber(t, server, "cpu", "used_cpu_user")*1e6)
	}
	return list
}

func memoryOf(t *testing.T, servers []*redistest.Server) (sum int64) {
	for _, server := range servers {
		sum += int64(infoNumber(t, server, "memory", "used_memory"))
	}
	return sum
}

func infoNumber(t *testing.T, server *redistest.Server, section, name string) float64 {
	n, err := strconv.ParseFloat(infoField(strings.ReplaceAll(server.CLI("info", section), "\r", ""), name), 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func ownMicros(t *testing.T) float64 {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		t.Fatal(err)
	}
	return float64(used.Utime.Nano()+used.Stime.Nano()) / 1e3
}

func heapInUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
