package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// publish begins to publish, every topic at its pace.
func (d *drill) publish() {
	ctx, cancel := context.WithCancel(context.Background())
	d.stop = cancel
	d.mu.Lock()
	d.flowing = time.Now()
	d.mu.Unlock()
	d.t.Cleanup(func() {
		cancel()
		d.publishers.Wait()
	})
	for i := range d.topics {
		d.publishers.Go(func() {
			tick := time.NewTicker(d.scale.every)
			defer tick.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
				}
				d.publishNext(i)
			}
		})
	}
}

// publishMore publishes events more of each topic, padded to at least size bytes each.
func (d *drill) publishMore(events, size int) {
	d.pad.Store(int64(size))
	defer d.pad.Store(0)
	var all sync.WaitGroup
	for i := range d.topics {
		all.Go(func() {
			for range events {
				d.publishNext(i)
			}
		})
	}
	all.Wait()
}

// advance returns when two more events of each topic are acknowledged, and have had time to arrive.
func (d *drill) advance() {
	d.t.Helper()
	before := make([]int64, len(d.topics))
	for i, topic := range d.topics {
		before[i] = topic.acked.Load()
	}
	d.until("events flow", drillPatience, func() bool {
		for i, topic := range d.topics {
			if topic.acked.Load() < before[i]+2 {
				return false
			}
		}
		return true
	})
	d.pass(time.Second)
}

// publishNext publishes the topic's next event until it is acknowledged, or the test is over. A client that
// publishes to the topic does it if it can at first; then nobody else can go on, since keys count per client.
func (d *drill) publishNext(i int) {
	topic := d.topics[i]
	n := int(topic.acked.Load()) + 1
	post, again := d.post, 50*time.Millisecond
	if f := d.publisher(i); f != nil && f.mayPublish() && !d.calm {
		post, again = f.post, 250*time.Millisecond // well below --message-rate: what is over it has no answer
	}
	d.counted(func(c *drillCount) { c.events++ })
	retry, late := time.NewTicker(again), time.After(drillPatience)
	defer retry.Stop()
	for d.t.Context().Err() == nil {
		code, sure := post(topic, n)
		if code == "" {
			topic.acked.Store(int64(n))
			d.counted(func(c *drillCount) { c.acked++ })
			return
		}
		if !sure {
			topic.doubt(n)
		}
		topic.failed(n, code)
		select {
		case <-d.t.Context().Done():
		case <-retry.C:
		case <-late:
			d.oddity("event %d of %s is not published in %s: %s", n, topic.name, drillPatience, code)
			return
		}
	}
}

// post asks any hub to publish event n of topic. code is "" if that is acknowledged, else why not; sure
// is true if it was surely not published then.
func (d *drill) post(topic *drillTopic, n int) (code string, sure bool) {
	body := fmt.Sprintf(`{"topic":%q,"key":"%s/%d","data":%s}`, topic.name, topic.name, n, d.event(topic, n))
	r, _ := http.NewRequestWithContext(d.t.Context(), http.MethodPost, d.hub(-1).control+"/api/publish", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-API-Key", apiKey)
	res, err := d.http.Do(r)
	var text bytes.Buffer
	if err == nil {
		_, err = text.ReadFrom(res.Body)
		_ = res.Body.Close()
	}
	if err != nil {
		d.counted(func(c *drillCount) { c.retried["no_answer"]++ })
		return "no_answer", false
	}
	var answer struct {
		Position string
		Error    struct {
			Code  string
			Retry bool
		}
	}
	if err := json.Unmarshal(text.Bytes(), &answer); err != nil || (res.StatusCode == http.StatusOK) != (answer.Error.Code == "") {
		d.oddity("a publisher is answered %d %s", res.StatusCode, text.String())
	}
	return d.published(topic, n, answer.Position, answer.Error.Code, answer.Error.Retry)
}

// post has the client publish event n of topic.
func (f *follower) post(topic *drillTopic, n int) (code string, sure bool) {
	answers := make(chan *heard, 1)
	f.mu.Lock()
	if !f.established {
		f.mu.Unlock()
		return "away", true
	}
	key := fmt.Sprintf("%s/%d", topic.name, n)
	f.ask(map[string]any{"type": "publish", "topic": topic.name, "key": key, "data": f.d.event(topic, n)}, func(h *heard, _ []byte) { answers <- h })
	f.mu.Unlock()
	select {
	case h := <-answers:
		if h == nil { // the connection broke
			f.d.counted(func(c *drillCount) { c.retried["no_answer"]++ })
			return "no_answer", false
		}
		return f.d.published(topic, n, h.Position, h.Code, h.Retry)
	case <-time.After(drillPatience):
		f.d.oddity("client %d publishes event %d of %s and is not answered", f.number, n, topic.name)
		return "no_answer", false
	case <-f.d.t.Context().Done():
		return "no_answer", false
	}
}

// mayPublish reports whether the client's connection has the session that its keys count for.
func (f *follower) mayPublish() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.established
}

// publisher is the client that publishes to topic i, nil if none does.
func (d *drill) publisher(i int) *follower {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, f := range d.clients {
		if f.publishes && slices.ContainsFunc(f.places, func(p *place) bool { return p.topic == i }) {
			return f
		}
	}
	return nil
}

// published is the answer to the publisher of event n: its position, or why there is none.
func (d *drill) published(topic *drillTopic, n int, position, code string, retry bool) (_ string, sure bool) {
	switch {
	case code == "":
		d.acknowledged(topic, n, position)
		return "", true
	case retry:
		d.counted(func(c *drillCount) { c.retried[code]++ })
	default:
		d.counted(func(c *drillCount) { c.refused[code]++ })
	}
	return code, code != "unknown_outcome"
}

// event is the data of event n of a topic.
func (d *drill) event(topic *drillTopic, n int) json.RawMessage {
	return fmt.Appendf(nil, `{"of":%q,"n":%d,"at":%d,"pad":%q}`, topic.name, n, time.Now().UnixNano(), strings.Repeat("x", int(d.pad.Load())))
}

// acknowledged notes that the broker has event n of topic, and where.
func (d *drill) acknowledged(topic *drillTopic, n int, position string) {
	if position == "" {
		d.oddity("event %d of %s is acknowledged without a position", n, topic.name)
	} else if other := topic.note(n, position); other > 0 {
		d.oddity("events %d and %d of %s have one position, %s", other, n, topic.name, position)
	} else if !topic.goesOn(position) {
		d.oddity("event %d of %s is at %s, which is not behind those before it", n, topic.name, position)
	}
}
