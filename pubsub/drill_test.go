package pubsub

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"wshub/pubsub/redistest"
	"wshub/pubsub/redistest/drills"
)

// register knows which event each position was given to, from whoever saw it.
type register struct {
	t     *testing.T
	mu    sync.Mutex
	given map[string]string
}

func (r *register) record(by, topic string, at Position, data []byte) {
	if at.IsZero() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	place := topic + " " + at.String()
	if was, known := r.given[place]; known && was != string(data) {
		r.t.Errorf("%s: %s is %s and %s", by, place, was, data)
	}
	r.given[place] = string(data)
}

// witness is a Sink that holds what it gets to its order.
type witness struct {
	register *register
	mu       sync.Mutex
	at       map[string]Position
}

func (w *witness) Deliver(ev *Event, _ Loops) {
	w.register.record("delivered", ev.Topic, ev.Position, ev.Data)
	w.mu.Lock()
	defer w.mu.Unlock()
	if at, known := w.at[ev.Topic]; known && !links(at, ev) {
		w.register.t.Errorf("%s: %s, which follows %s, came after %s", ev.Topic, ev.Position, ev.Before, at)
	}
	w.at[ev.Topic] = ev.Position
}

func (w *witness) Gap(topic string, _ Loops, loss Loss) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at[topic] = loss.At
}

func (*witness) Moved(*Moved, Loops) {}
func (*witness) HandOver()           {}

func (w *witness) isAt(topic string, at Position) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.at[topic] == at
}

const drillTopics = 8

func drillTopic(i int) string { return fmt.Sprint("h:", i) }

// trio is a master and two replicas whose clocks differ, and a way to whoever is the master.
type trio struct {
	servers [3]*redistest.Server
	master  int
	proxy   *redistest.Proxy
}

func startTrio(t *testing.T) *trio {
	d := &trio{}
	for i := range d.servers {
		d.servers[i] = redistest.Start(t)
		d.servers[i].SetClock(time.Duration(i-1) * time.Second)
		d.servers[i].Restart()
		if i > 0 {
			d.servers[i].Follow(d.servers[0])
		}
	}
	d.proxy = redistest.NewProxy(t, d.servers[0].Addr())
	return d
}

// failOver promotes the next one, which lacks what is published until all have moved there.
func (d *trio) failOver(t *testing.T, late time.Duration) {
	d.master = (d.master + 1) % len(d.servers)
	next := d.servers[d.master]
	next.Promote()
	pause(t, late)
	d.proxy.Point(next.Addr())
	for i, other := range d.servers {
		if i != d.master {
			other.Follow(next)
		}
	}
}

// pause lets the load go on for a while.
func pause(t *testing.T, d time.Duration) {
	select {
	case <-time.After(d):
	case <-t.Context().Done():
	}
}

// disturb does one of the things that servers and networks do.
func (d *trio) disturb(t *testing.T) {
	s, late := d.servers[d.master], time.Duration(rand.IntN(200))*time.Millisecond
	things := []func(){
		func() { d.failOver(t, late) },
		func() { d.failOver(t, late) },
		func() { s.Kill(); s.Restart() },
		func() { s.CLI("client", "kill", "type", "pubsub") },
		func() { s.CLI("client", "kill", "type", "normal") },
		func() { s.CLI("client", "pause", "200", "all") },
		func() { s.CLI("debug", "sleep", "0.2") },
		func() { s.CLI("flushall") },
		func() { s.CLI("script", "flush") },
		func() {
			s.CLI("acl", "setuser", "default", "-publish")
			pause(t, late)
			s.CLI("acl", "setuser", "default", "+publish")
		},
		func() {
			s.CLI("config", "set", "maxmemory", "1")
			pause(t, late)
			s.CLI("config", "set", "maxmemory", "0")
		},
		func() { d.proxy.Reset() },
		func() {
			d.proxy.Freeze(redistest.ToClient)
			pause(t, late)
			d.proxy.Thaw(redistest.ToClient)
		},
	}
	things[rand.IntN(len(things))]()
}

// TestDrillOnePositionIsOneEvent has three hubs publish, follow and replay while their servers do all that servers
// do: whoever sees a position, by an answer, a delivery or a replay, sees the same event there; each event links
// to the one before or a gap was told; a recovered replay has no hole; and in the end all are where the log is.
//
//	WSHUB_DRILL=full go test -run Drill ./pubsub
func TestDrillOnePositionIsOneEvent(t *testing.T) {
	t.Parallel()
	length := 2 * time.Second
	if drills.IsFull(t) {
		length = time.Minute
	}
	if drills.IsPlain(t) {
		length = time.Second / 2
	}
	servers := startTrio(t)
	seen := &register{t: t, given: map[string]string{}}
	var hubs [3]*Redis
	var witnesses [3]*witness
	ctx, cancel := context.WithCancel(t.Context())
	var running, load, followed sync.WaitGroup
	defer running.Wait()
	defer cancel()
	for i := range hubs {
		hubs[i] = newRedis(t, RedisConfig{URL: servers.proxy.URL(), History: keepAll, ProbeEvery: 200 * time.Millisecond, ProbeDeadline: time.Second})
		witnesses[i] = &witness{register: seen, at: map[string]Position{}}
		running.Go(func() { _ = hubs[i].Run(ctx, witnesses[i]) })
		for k := range drillTopics {
			followed.Add(1)
			hubs[i].Follow(drillTopic(k), 0, func(error) { followed.Done() })
		}
	}
	ending := time.Now().Add(length)
	for i, hub := range hubs {
		load.Go(func() {
			for n := 0; time.Now().Before(ending); n++ {
				drillPublish(t, hub, seen, fmt.Sprintf("%d-%d", i, n))
			}
		})
		load.Go(func() {
			for time.Now().Before(ending) {
				drillReplay(t, hub, seen, drillTopic(rand.IntN(drillTopics)))
			}
		})
	}
	for time.Now().Before(ending) {
		servers.disturb(t)
		pause(t, time.Duration(rand.IntN(200))*time.Millisecond)
	}
	load.Wait()
	followed.Wait() // whoever begins behind the last event is told of none, and misses none
	for k := range drillTopics {
		var last Position
		eventually(t, "publishing", func() bool {
			res := hubs[0].Publish(ctx, []Publication{{Topic: drillTopic(k), Data: []byte(`"last"`)}})[0]
			last = res.Position
			return res.Err == nil
		})
		for _, w := range witnesses {
			eventually(t, "all are at the end", func() bool { return w.isAt(drillTopic(k), last) })
		}
	}
	t.Logf("%d positions", len(seen.given))
}

func drillPublish(t *testing.T, hub *Redis, seen *register, name string) {
	batch := make([]Publication, drillTopics)
	for k := range batch {
		batch[k] = Publication{Topic: drillTopic(k), Data: []byte(fmt.Sprintf(`"%s-%d"`, name, k))}
	}
	for k, res := range hub.Publish(t.Context(), batch) {
		if res.Err == nil {
			seen.record("published", drillTopic(k), res.Position, batch[k].Data)
		} else if errors.Is(res.Err, ErrBadEvent) {
			t.Error(res.Err)
		}
	}
	pause(t, 3*time.Millisecond)
}

// drillReplay is a client that was away for a moment.
func drillReplay(t *testing.T, hub *Redis, seen *register, topic string) {
	left, err := hub.Replay(t.Context(), topic, Start, Limit{})
	pause(t, time.Duration(rand.IntN(200))*time.Millisecond)
	for at := left.Head; err == nil; {
		var page Replay
		if page, err = hub.Replay(t.Context(), topic, at, Limit{Events: 50, Bytes: 1000}); err != nil || len(page.Events) == 0 {
			return
		}
		if page.Recovered && page.Missed < len(page.Events) {
			t.Errorf("%s: %d events of %d", topic, len(page.Events), page.Missed)
		}
		for _, ev := range page.Events {
			seen.record("replayed", topic, ev.Position, ev.Data)
			if page.Recovered && !links(at, ev) {
				t.Errorf("%s: %s, which follows %s, was replayed after %s", topic, ev.Position, ev.Before, at)
			}
			at = ev.Position
		}
	}
}
