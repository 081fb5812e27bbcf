package main

import (
	"encoding/binary"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"wshub/pubsub"
	"wshub/pubsub/redistest"
)

// A failover that is asynchronous may lose events that were acknowledged. Which ones, the logs say that are left:
// what is in no log was never there for clients that have not seen it, and clients that have must be told. So while
// the drill runs each client's steps are only noted, and they are judged by the logs at its end.

// stride is a step of a client from one event of a topic to the next.
type stride struct {
	topic    *drillTopic
	client   int
	verbatim bool   // the client has no positions, and can't be told
	told     bool   // a loss was told in between
	from, to int    // numbers of events; from is 0 before the first
	at       string // position of from, or what an answer or a gap said since
	position string // of to
}

// drillLog is what the servers have of a topic.
type drillLog struct {
	numbers   map[int]bool
	positions map[string]int // numbers of events
}

// misses is how many events that are in the log a stride leaves out.
func (l *drillLog) misses(s *stride) (n int) {
	for between := s.from + 1; between < s.to; between++ {
		if l.numbers[between] {
			n++
		}
	}
	return n
}

// silent is true if the stride leads from an event that is lost to one that is not, and the client was told nothing.
func (l *drillLog) silent(s *stride) bool {
	return !s.told && !s.verbatim && s.from > 0 && l.positions[s.at] == 0 && l.positions[s.position] != 0
}

// judgeStrides judges the clients' steps by the logs.
func (d *drill) judgeStrides() {
	d.t.Helper()
	if d.servers == nil {
		return
	}
	logs := d.logs()
	d.mu.Lock()
	strides := d.strides
	d.strides = nil
	d.mu.Unlock()
	for i := range strides {
		s := &strides[i]
		log := logs[s.topic.name]
		if n := log.misses(s); n > 0 {
			d.counted(func(c *drillCount) {
				if s.verbatim {
					c.unheard += n
				} else {
					c.lost += n
				}
			})
			if !s.verbatim {
				d.oddity("client %d gets event %d of %s behind %d", s.client, s.to, s.topic.name, s.from)
			}
		}
		if log.silent(s) {
			d.counted(func(c *drillCount) { c.lost++ })
			d.oddity("client %d has event %d of %s at %s, which a failover has lost, gets %d at %s, and is not told",
				s.client, s.from, s.topic.name, s.at, s.to, s.position)
		}
	}
	for _, topic := range d.topics {
		log, last := logs[topic.name], int(topic.acked.Load())
		for n := topic.judged + 1; n <= last; n++ {
			if !log.numbers[n] {
				d.counted(func(c *drillCount) { c.failedOver++ })
			}
		}
		topic.judged = last
	}
}

var numberOf = regexp.MustCompile(`"n":(\d+)`)

// logs are those of the masters among the servers.
func (d *drill) logs() map[string]drillLog {
	d.t.Helper()
	logs := map[string]drillLog{}
	for _, topic := range d.topics {
		logs[topic.name] = drillLog{map[int]bool{}, map[string]int{}}
	}
	for _, s := range d.servers {
		client := redis.NewClient(&redis.Options{Addr: s.Addr(), Protocol: 2, MaxRetries: -1})
		d.readLogs(client, logs)
		_ = client.Close()
	}
	return logs
}

// readLogs reads those of one server, if it is a master.
func (d *drill) readLogs(client *redis.Client, logs map[string]drillLog) {
	d.t.Helper()
	ctx := d.t.Context()
	if role, err := client.Do(ctx, "role").Slice(); err != nil || role[0] != "master" {
		return // it is dead, say
	}
	keys, err := client.Keys(ctx, "hub:{*}:s:drill:*").Result()
	if err != nil {
		d.t.Fatal(err)
	}
	for _, key := range keys {
		partition, topic, _ := strings.Cut(key, "s:")
		log, ok := logs[topic]
		if !ok {
			continue // a client's own
		}
		if len(log.numbers) > 0 {
			d.t.Fatalf("two servers have a log of %s", topic)
		}
		state, err := client.Get(ctx, partition+"epoch").Result()
		if err != nil || len(state) < 8 {
			d.t.Fatalf("%sepoch is %q: %v", partition, state, err)
		}
		entries, err := client.XRange(ctx, key, "-", "+").Result()
		if err != nil {
			d.t.Fatal(err)
		}
		newest := 0
		for _, entry := range entries {
			id, err := pubsub.ParseID(entry.ID)
			number := numberOf.FindStringSubmatch(fmt.Sprint(entry.Values["d"]))
			if err != nil || number == nil {
				d.t.Fatalf("%s has %v", key, entry)
			}
			n, _ := strconv.Atoi(number[1]) // digits
			if n <= newest {
				d.oddity("%s has event %d behind %d", key, n, newest)
			}
			newest = n
			position := pubsub.Position{Epoch: binary.BigEndian.Uint64([]byte(state)), ID: id}
			log.numbers[n], log.positions[position.String()] = true, n
		}
	}
}

// pauses are how long clients waited for an event of a topic at most, since the drill was judged last: the
// median over the topics, and the longest.
func (d *drill) pauses() (median, longest time.Duration) {
	var list []time.Duration
	for _, topic := range d.topics {
		topic.mu.Lock()
		list = append(list, topic.paused)
		topic.paused = 0
		topic.mu.Unlock()
	}
	slices.Sort(list)
	return list[len(list)/2].Round(time.Millisecond), list[len(list)-1].Round(time.Millisecond)
}

// TestADrillKnowsWhatAFailoverLost: events 3 and 4, and 5 at its first place, which is "5'". x is a gap.
func TestADrillKnowsWhatAFailoverLost(t *testing.T) {
	for _, one := range []struct {
		heard  string
		lost   int
		silent bool
	}{
		{"1 2 5 6", 0, false},
		{"1 2 6", 1, false},
		{"1 2 3 5", 0, true},
		{"1 2 3 x 5", 0, false},
		{"1 2 3 4 x 5 6", 0, false},
		{"1 2 3 4 5' x 6", 0, false},
		{"1 2 3 4 5' x 5 6", 0, false},
		{"1 2 3 4 5' 6", 0, true},
		{"x 2 x 3 5", 0, true},
	} {
		topic := newDrillTopic("drill:0")
		topic.doubt(5)
		d := &drill{t: t, topics: []*drillTopic{topic}, servers: []*redistest.Server{}, count: newDrillCount()}
		f := newFollower(d, 0, 0, []int{0})
		f.places[0].live = true
		log := drillLog{map[int]bool{}, map[string]int{}}
		for _, n := range []int{1, 2, 5, 6} {
			log.numbers[n], log.positions[strconv.Itoa(n)] = true, n
		}
		for word := range strings.FieldsSeq(one.heard) {
			h := &heard{Type: "event", Topic: topic.name, Position: word}
			if word == "x" {
				h.Type = "gap"
			} else {
				h.Data.N = numeral(t, strings.TrimSuffix(word, "'"))
			}
			f.hear(h, nil)
		}
		lost, silent := 0, false
		for _, s := range d.strides {
			lost += log.misses(&s)
			silent = silent || log.silent(&s)
		}
		if lost != one.lost || silent != one.silent || d.count.repeated+d.count.reordered > 0 || len(d.wrong) > 0 {
			t.Errorf("%q: %d lost, silent: %t; %q", one.heard, lost, silent, d.wrong)
		}
	}
}
