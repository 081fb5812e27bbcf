package main

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// minGCPercent is the least growth between two collections, in percent of the live heap: at a
	// gigabyte of idle connections a collection costs half a second of one core, and should not come
	// more often.
	minGCPercent = 5
	// tidyPeriod is how often the heap is sampled, and how long it must be quiet to be tidied.
	tidyPeriod = 3 * time.Second
	// quietBytes allocated in a tidyPeriod still count as quiet; tidyBytes since the last time are
	// worth the work.
	quietBytes = 1 << 20
	tidyBytes  = 4 << 20
)

// memoryKeeper fits the garbage collector to a heap that is nearly all idle connections, which live for
// hours. Collections come about every headroom bytes of allocation instead of after growth in proportion
// to the heap. And when a wave of handshakes is over, which leaves garbage that nothing would collect for
// minutes, what it took goes back to the system.
type memoryKeeper struct {
	headroom int64
	percent  int
	// Bytes allocated since the process began: at the last sample, and when last tidied.
	sampled, tidied uint64
}

// Run works until ctx ends.
func (k *memoryKeeper) Run(ctx context.Context) error {
	poll := time.NewTicker(tidyPeriod)
	defer poll.Stop()
	for {
		k.tidy()
		select {
		case <-poll.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// tidy samples the heap, gives memory back after a wave, and sets GOGC.
func (k *memoryKeeper) tidy() {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	live, allocated := sample[0].Value.Uint64(), sample[1].Value.Uint64()
	if worthTidying(allocated-k.sampled, allocated-k.tidied) {
		k.tidied = allocated
		debug.FreeOSMemory()
	}
	k.sampled = allocated
	if percent := gcPercent(k.headroom, int64(live)); percent != k.percent {
		k.percent = percent
		debug.SetGCPercent(percent)
	}
}

// worthTidying reports whether a wave of allocations is over, from the bytes allocated since the last sample
// and since the last time.
func worthTidying(lately, sinceTidied uint64) bool {
	return lately <= quietBytes && sinceTidied >= tidyBytes
}

// gcPercent is the GOGC value that leaves headroom above live, both in bytes.
func gcPercent(headroom, live int64) int {
	return int(max(minGCPercent, min(100*headroom/max(live, 1), 1000)))
}
