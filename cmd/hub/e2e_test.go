package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"wshub/pubsub"
	"wshub/pubsub/redistest"
	"wshub/pubsub/redistest/drills"
)

// threeHubs are three hubs on one Redis, and on each hub clients of two makes in both modes.
type threeHubs struct {
	t      *testing.T
	redis  *redistest.Server
	hubs   []*process
	plain  []*client // follow the broadcast topic
	news   []*client // plain, follow news
	v1     []*client // follow news and channel; user 42
	byHub  map[*process][]*client
	serial int
}

// TestThreeHubsOnOneRedis is the main job on real input: processes, a server and clients of others.
func TestThreeHubsOnOneRedis(t *testing.T) {
	t.Parallel()
	f := &threeHubs{t: t, redis: redistest.Start(t), byHub: map[*process][]*client{}}
	node := startNode(t)
	path := buildHub(t)
	f.hubs = []*process{
		startHub(t, path, f.redis.URL(), "--drain-grace=500ms", "--drain-window=1s"),
		startHub(t, path, f.redis.URL(), "--drain-grace=0s", "--drain-window=1h"),
		startHub(t, path, f.redis.URL()),
	}
	for i, h := range f.hubs {
		f.awaitReady(h)
		f.join(h, fmt.Sprint("node", i), node.dial)
		f.join(h, fmt.Sprint("coder", i), func(name, url, protocol string) *client { return dial(t, name, url, protocol) })
	}
	f.awaitDelivery()

	f.backendsReachClients()
	f.clientsReachEachOther()
	f.theAPIReachesClients()
	f.badInputDisturbsNobody()
	f.redisDies()
	f.redisComesBack()
	f.aHubDrains(f.hubs[0])
	f.aSecondSignalEnds(f.hubs[1])

	f.broadcastReaches(f.byHub[f.hubs[2]])
}

// join connects clients of one make to h.
func (f *threeHubs) join(h *process, name string, dial func(name, url, protocol string) *client) {
	plain := dial(name+"/plain", h.public, "")
	news := dial(name+"/plain-news", h.public+"?topic=news", "")
	v1 := dial(name+"/v1", h.public+"?user=42", "hub.v1.json")
	v1.want(`{"type":"welcome"`)
	for i, topic := range []string{"news", "channel"} {
		v1.say(fmt.Sprintf(`{"type":"subscribe","id":%d,"topic":%q}`, i, topic))
		v1.want(fmt.Sprintf(`{"type":"subscribed","id":%d`, i))
	}
	f.plain, f.news, f.v1 = append(f.plain, plain), append(f.news, news), append(f.v1, v1)
	f.byHub[h] = append(f.byHub[h], plain, v1)
}

// awaitDelivery returns when events of each topic reach all who follow it. Plain clients are not told when.
func (f *threeHubs) awaitDelivery() {
	f.t.Helper()
	for _, try := range []struct {
		channel string
		data    string
		to      []*client
	}{
		{"channel", `{"try":"channel"}`, f.plain},
		{"hub:t:news", `{"try":"news"}`, f.news},
		{"hub:t:user:42", `{"try":"user"}`, f.v1},
	} {
		eventually(f.t, func() error {
			f.redis.CLI("PUBLISH", try.channel, try.data)
			for _, c := range try.to {
				if c.count(try.data) == 0 {
					return fmt.Errorf("%s does not get %s", c.name, try.channel)
				}
			}
			return nil
		})
	}
}

// event is data that no other event has.
func (f *threeHubs) event() string {
	f.serial++
	return fmt.Sprintf(`{"event":%d, "verbatim": [1.50]}`, f.serial)
}

// reaches waits until each of plain got data as it stands and each of v1 got it as an event of topic, and
// tells whoever got it twice.
func (f *threeHubs) reaches(data, topic string, plain, v1 []*client) {
	f.t.Helper()
	for _, c := range plain {
		if got := c.want(data); got != data {
			f.t.Errorf("%s got %s, want %s", c.name, got, data)
		}
	}
	for _, c := range v1 {
		c.wantEvent(topic, data)
	}
	for _, c := range append(plain, v1...) {
		if n := c.count(data); n != 1 {
			f.t.Errorf("%s got %s %d times", c.name, data, n)
		}
	}
}

func (f *threeHubs) backendsReachClients() {
	f.t.Helper()
	e := f.event()
	f.redis.CLI("PUBLISH", "channel", e)
	f.reaches(e, "channel", f.plain, f.v1)

	e = f.event()
	f.redis.CLI("PUBLISH", "hub:t:news", e)
	f.reaches(e, "news", f.news, f.v1)

	e = f.event()
	f.redis.CLI("PUBLISH", "hub:to", `{"to":{"user":"42"},"data":`+e+`}`)
	f.reaches(e, "user:42", nil, f.v1)

	e = f.event()
	f.redis.CLI("PUBLISH", "hub:to", `{"to":{"topic":"news"},"data":`+e+`}`)
	f.reaches(e, "news", f.news, f.v1)
}

func (f *threeHubs) clientsReachEachOther() {
	f.t.Helper()
	for _, c := range f.plain {
		e := f.event()
		c.say(e)
		f.reaches(e, "channel", f.plain, f.v1)
	}
	for _, c := range f.v1 {
		e := f.event()
		c.say(fmt.Sprintf(`{"type":"publish","id":%d,"topic":"news","data":%s}`, f.serial, e))
		f.reaches(e, "news", f.news, f.v1)
		answer := fmt.Sprintf(`{"type":"ok","id":%d`, f.serial) // before the event or behind it
		eventually(f.t, func() error {
			if n := c.count(answer); n != 1 {
				return fmt.Errorf("%s was answered %d times", c.name, n)
			}
			return nil
		})
	}
}

// publish calls the API of h.
func (f *threeHubs) publish(h *process, topic, data string) (status int, answer string) {
	f.t.Helper()
	status, answer, _ = ask(f.t, "POST", h.control+"/api/publish", fmt.Sprintf(`{"topic":%q,"data":%s}`, topic, data), asJSON...)
	return status, answer
}

func (f *threeHubs) theAPIReachesClients() {
	f.t.Helper()
	for _, h := range f.hubs {
		e := f.event()
		if status, answer := f.publish(h, "news", e); status != 200 {
			f.t.Errorf("publish is answered %d %s", status, answer)
		}
		f.reaches(e, "news", f.news, f.v1)
	}
}

// badInputDisturbsNobody sends what is no event from everywhere. The next event comes right behind.
func (f *threeHubs) badInputDisturbsNobody() {
	f.t.Helper()
	for _, bad := range []string{"", "{", "\xff", `{"a":1}x`, "\x01\x02"} {
		f.redis.CLI("PUBLISH", "channel", bad)
		f.redis.CLI("PUBLISH", "hub:t:news", bad)
		f.redis.CLI("PUBLISH", "hub:to", bad)
	}
	f.redis.CLI("PUBLISH", "hub:to", `{"to":{"topic":""},"data":1}`)
	for _, c := range f.plain {
		c.say("not json")
		c.want(`{"type":"error","code":"bad_json"`)
	}
	for _, c := range f.v1 {
		c.say(`{"type":"dance","id":7}`)
		c.want(`{"type":"error","id":7,"code":"unknown_type"`)
		c.say(`{"type":"subscribe","id":8,"topic":"user:43"}`)
		c.want(`{"type":"error","id":8,"code":"forbidden"`)
	}
	e := f.event()
	f.redis.CLI("PUBLISH", "channel", e)
	f.reaches(e, "channel", f.plain, f.v1)
	for _, h := range f.hubs {
		_, metrics, _ := ask(f.t, "GET", h.control+"/metrics", "")
		if !strings.Contains(metrics, `wshub_broker_dropped_total{reason="bad_json"} `) || strings.Contains(metrics, `wshub_broker_dropped_total{reason="bad_json"} 0`) {
			f.t.Errorf("bad events are not counted:\n%s", metrics)
		}
	}
}

// redisDies: the sockets stay, what needs Redis is refused with the hint to retry, and readyz says why.
func (f *threeHubs) redisDies() {
	f.t.Helper()
	f.redis.Kill()
	for _, h := range f.hubs {
		eventually(f.t, func() error {
			status, reason, _ := ask(f.t, "GET", h.control+"/readyz", "")
			if status != 503 || !strings.Contains(reason, "redis") {
				return fmt.Errorf("readyz is %d %q", status, reason)
			}
			return nil
		})
		if status, _, _ := ask(f.t, "GET", h.control+"/livez", ""); status != 200 {
			f.t.Errorf("livez is %d", status)
		}
		status, answer := f.publish(h, "news", f.event())
		if _, retry := errorOf(f.t, answer); status != 503 && status != 504 || !retry {
			f.t.Errorf("publish is answered %d %s", status, answer)
		}
	}
	for _, c := range f.v1 {
		c.say(`{"type":"publish","id":9,"topic":"news","data":1}`)
		if got := c.want(`{"type":"error","id":9`); !strings.Contains(got, `"retry":true`) {
			f.t.Errorf("%s is told %s", c.name, got)
		}
	}
	for _, c := range f.plain {
		c.say(f.event())
		if got := c.want(`{"type":"error"`); !strings.Contains(got, `"retry":true`) {
			f.t.Errorf("%s is told %s", c.name, got)
		}
	}
}

func (f *threeHubs) redisComesBack() {
	f.t.Helper()
	f.redis.Restart()
	for _, h := range f.hubs {
		f.awaitReady(h)
	}
	f.awaitDelivery()
	f.backendsReachClients()
	f.clientsReachEachOther()
	f.theAPIReachesClients()
}

func (f *threeHubs) awaitReady(h *process) {
	f.t.Helper()
	eventually(f.t, func() error {
		if status, reason, _ := ask(f.t, "GET", h.control+"/readyz", ""); status != 200 {
			return fmt.Errorf("readyz is %d %q", status, reason)
		}
		return nil
	})
}

// awaitListed waits until the hubs, which have lost their list with Redis, know of each other again.
func (f *threeHubs) awaitListed() {
	f.t.Helper()
	listener := listen(f.t, f.redis.URL())
	eventually(f.t, func() error {
		nodes, err := listener.Nodes(f.t.Context())
		ready := 0
		for _, n := range nodes {
			if n.State == pubsub.Ready {
				ready++
			}
		}
		if err != nil || ready != len(f.hubs) {
			return fmt.Errorf("listed are %v, %v", nodes, err)
		}
		return nil
	})
}

// aHubDrains: not ready at once, then each client is told to go, and the others notice nothing.
func (f *threeHubs) aHubDrains(h *process) {
	f.t.Helper()
	f.awaitListed()
	h.terminate()
	if status, reason, _ := ask(f.t, "GET", h.control+"/readyz", ""); status != 503 || !strings.Contains(reason, "draining") {
		f.t.Errorf("readyz of a draining hub is %d %q", status, reason)
	}
	for _, c := range f.byHub[h] {
		if strings.HasSuffix(c.name, "v1") {
			var bye struct {
				AfterMS *int `json:"after_ms"`
				Reason  string
			}
			got := c.want(`{"type":"goodbye"`)
			if err := json.Unmarshal([]byte(got), &bye); err != nil || bye.AfterMS == nil || *bye.AfterMS < 1000 || *bye.AfterMS >= 2000 || bye.Reason != "drain" {
				f.t.Errorf("%s is told %s", c.name, got)
			}
		}
		if code := c.wantEnd(); code != 1012 {
			f.t.Errorf("%s was closed with %d", c.name, code)
		}
	}
	if code := h.exitCode(); code != 0 {
		f.t.Errorf("a drained hub exits with %d:\n%s", code, h.text())
	}
	f.broadcastReaches(append(f.byHub[f.hubs[1]], f.byHub[f.hubs[2]]...))
}

// broadcastReaches publishes one event and waits until each of to has it.
func (f *threeHubs) broadcastReaches(to []*client) {
	f.t.Helper()
	var plain, v1 []*client
	for _, c := range to {
		if strings.HasSuffix(c.name, "v1") {
			v1 = append(v1, c)
		} else {
			plain = append(plain, c)
		}
	}
	e := f.event()
	f.redis.CLI("PUBLISH", "channel", e)
	f.reaches(e, "channel", plain, v1)
}

// aSecondSignalEnds: h would drain for an hour.
func (f *threeHubs) aSecondSignalEnds(h *process) {
	f.t.Helper()
	h.terminate()
	h.signal(os.Interrupt)
	if code := h.exitCode(); code != 1 {
		f.t.Errorf("a hub that was cut short exits with %d:\n%s", code, h.text())
	}
	for _, c := range f.byHub[h] {
		c.wantEnd()
	}
}

// TestAHubWithoutRedisWaitsForIt: Redis is away at the start.
func TestAHubWithoutRedisWaitsForIt(t *testing.T) {
	drills.Programs(t)
	t.Parallel()
	redis := redistest.Start(t)
	redis.Kill()
	h := startHub(t, buildHub(t), redis.URL())
	c := dial(t, "early", h.public, "")
	if status, reason, _ := ask(t, "GET", h.control+"/readyz", ""); status != 503 {
		t.Errorf("readyz is %d %q", status, reason)
	}
	redis.Restart()
	eventually(t, func() error {
		redis.CLI("PUBLISH", "channel", `{"at":"last"}`)
		if c.count(`{"at":"last"}`) == 0 {
			return fmt.Errorf("the event does not arrive")
		}
		return nil
	})
	h.signal(syscall.SIGTERM)
	if code := c.wantEnd(); code != 1012 {
		t.Errorf("closed with %d", code)
	}
	if code := h.exitCode(); code != 0 {
		t.Errorf("exits with %d", code)
	}
}
