package pubsub

import (
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"
)

// Loops wait for the table's lock, so a reconnect with a great many topics must let them in between; and what
// they do meanwhile must end up subscribed like the rest.
func TestAReconnectLetsLoopsInBetween(t *testing.T) {
	const topics = 100_000
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(max(2, runtime.GOMAXPROCS(0)))) // a loop beside the table's owner
	table, redis := newOneLine(time.Hour, time.Hour, nil), &server{subscribed: map[string]bool{}}
	for i := range topics {
		table.add(strconv.Itoa(i), 0, func(error) {})
	}
	var ended sync.WaitGroup
	ended.Go(table.begin)
	between, answered := 0, 0
	for done := false; !done; {
		table.mu.Lock()
		live, queued := table.line.live, len(table.line.queue)
		table.mu.Unlock()
		if live && queued < topics {
			name := strconv.Itoa(between)
			table.add("new "+name, 0, func(error) { answered++ })
			table.add(name, 1, func(error) { answered++ })
			table.remove(name, 0)
			between++
		}
		done = live && queued >= topics
	}
	ended.Wait()
	if between == 0 {
		t.Error("nobody was let in before the whole table had been looked through")
	}

	for redis.send(table); len(redis.sent) > 0; redis.send(table) {
		for len(redis.sent) > 0 {
			redis.answer(table)
		}
	}
	if want := topics + between; len(redis.subscribed) != want || table.len() != want {
		t.Errorf("%d subscribed, %d in the table, want %d", len(redis.subscribed), table.len(), want)
	}
	if answered != 2*between {
		t.Errorf("%d answers to %d follows", answered, 2*between)
	}
}

func TestManyDeadlinesAtOnceAreTakenInParts(t *testing.T) {
	const topics = 2*followBatch + 1
	table := newOneLine(time.Second, time.Second, nil)
	for i := range topics {
		table.add(strconv.Itoa(i), 0, func(error) {})
		table.remove(strconv.Itoa(i), 0)
	}
	now := table.clock() + int64(time.Minute)
	for turn, want := range []int{followBatch, followBatch, 1} {
		late, next := table.expire(now)
		if len(late) != want {
			t.Errorf("turn %d: %d answered, want %d", turn, len(late), want)
		}
		if more := turn < 2; more != (next > 0 && next <= now) {
			t.Errorf("turn %d: the next is due %d ns after now", turn, next-now)
		}
	}
	if n := table.len(); n != 0 {
		t.Errorf("%d topics are left", n)
	}
}

// TestTopicsThatWereLeftGiveTheirMemoryBack follows and leaves very many, with history.
func TestTopicsThatWereLeftGiveTheirMemoryBack(t *testing.T) {
	const topics = 100_000
	before := heap()
	table, redis := newOneLine(5*time.Second, 10*time.Second, History{{Count: 1}}), &server{subscribed: map[string]bool{}}
	table.begin()
	quiet := func() {
		for redis.send(table); len(redis.sent) > 0; redis.send(table) {
			for len(redis.sent) > 0 {
				redis.answer(table)
			}
		}
		redis.sent = nil
	}
	for i := range topics {
		table.add(strconv.Itoa(i), 0, func(error) {})
	}
	quiet()
	full := heap() - before
	for i := range topics {
		table.remove(strconv.Itoa(i), 0)
	}
	for now := table.clock() + int64(20*time.Second); ; {
		if _, next := table.expire(now); next == 0 {
			break
		}
		quiet()
	}
	quiet()
	if gone := table.takeGone(); len(gone) != topics || table.len() != 0 {
		t.Errorf("%d chains are gone, %d topics are left", len(gone), table.len())
	}
	redis.subscribed = nil
	if left := heap() - before; left > full/20 {
		t.Errorf("%d bytes of %d are left", left, full)
	}
	runtime.KeepAlive(table)
}
