package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync"
)

// crossed is an event of one of the publishers.
type crossed struct {
	From string
	N    int
}

// onOneTopicAllProtocolsMeet: followers and publishers by each protocol, on three hubs, and backends by Redis and by the
// API. Each event comes to everybody once, and all that is kept in the order of the topic.
func onOneTopicAllProtocolsMeet(s *sdkTest) {
	const each = 40 // events of a publisher
	t := s.t
	heard := map[string]func() []crossed{} // by follower
	publish := map[string]func(data string){
		"redis": func(data string) { s.redis.CLI("PUBLISH", "channel", data) },
	}
	var sdks []*sdk
	for i := range 3 {
		h := s.hub()
		plain := dial(t, fmt.Sprint("plain ", i), h.public, "")
		v1 := dial(t, fmt.Sprint("hub.v1 ", i), h.public, "hub.v1.json")
		v1.say(`{"type":"subscribe","id":1,"topic":"channel"}`)
		v1.want(`{"type":"subscribed","id":1`)
		eventually(t, func() error { // a plain client is not told when it follows
			if n := h.metric("wshub_subscriptions"); n != 2 {
				return fmt.Errorf("%v follow", n)
			}
			return nil
		})
		heard[plain.name], heard[v1.name] = plain.crossed, v1.crossed
		publish[plain.name] = plain.say
		publish[v1.name] = func(data string) { v1.say(`{"type":"publish","topic":"channel","data":` + data + `}`) }
		publish[fmt.Sprint("api ", i)] = func(data string) {
			if err := h.trySend([]map[string]any{{"topic": "channel", "data": json.RawMessage(data)}}); err != nil {
				t.Error(err)
			}
		}
		for _, m := range s.makes {
			c := m.client(t, fmt.Sprint(m.name, " ", i))
			c.open(sdkOptions{url: endpoint(h.addr())})
			c.subscribe("channel")
			c.connect()
			c.want("subscribed", "channel")
			heard[c.name] = c.crossed
			publish[c.name] = func(data string) { c.ask(0, "publish", "channel", data, sdkHistory{}) }
			sdks = append(sdks, c)
		}
	}

	var publishing sync.WaitGroup
	for from, one := range publish {
		publishing.Go(func() {
			for n := range each {
				one(fmt.Sprintf(`{"from":%q,"n":%d}`, from, n+1))
			}
		})
	}
	publishing.Wait()

	for name, events := range heard {
		eventually(t, func() error {
			if n := len(events()); n < each*len(publish) {
				return fmt.Errorf("%s has %d of %d events", name, n, each*len(publish))
			}
			return nil
		})
	}
	var order []crossed // of the topic
	for _, p := range sdks[0].ask(0, "history", "channel", "", sdkHistory{Limit: each * len(publish)}).Publications {
		order = append(order, crossing(p.Data))
	}
	raw := func(e crossed) bool { return e.From == "redis" }
	for name, events := range heard {
		all := events()
		if kept := slices.DeleteFunc(slices.Clone(all), raw); !slices.Equal(kept, order) {
			at := 0
			for at < min(len(kept), len(order)) && kept[at] == order[at] {
				at++
			}
			t.Errorf("%s: got %d events, the topic has %d; they differ from the %dth on", name, len(kept), len(order), at+1)
		}
		last := 0
		for _, e := range all {
			if raw(e) {
				if last++; e.N != last {
					t.Errorf("%s: event %d of Redis comes as the %dth", name, e.N, last)
				}
			}
		}
		if last != each {
			t.Errorf("%s: got %d events of Redis, want %d", name, last, each)
		}
	}
}

func crossing(data string) (e crossed) {
	_ = json.Unmarshal([]byte(data), &e)
	return e
}

// crossed are the events that came to the client so far.
func (c *sdk) crossed() (list []crossed) {
	for _, e := range c.all() {
		if e.Event == "publication" {
			list = append(list, crossing(e.Data))
		}
	}
	return list
}

// crossed are the events that came to the client so far, by plain or hub.v1.
func (c *client) crossed() (list []crossed) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, text := range c.seen {
		var envelope struct {
			Type string
			Data json.RawMessage
		}
		if _ = json.Unmarshal([]byte(text), &envelope); envelope.Type == "event" {
			text = string(envelope.Data)
		}
		if e := crossing(text); e.From != "" {
			list = append(list, e)
		}
	}
	return list
}
