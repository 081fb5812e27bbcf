package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"wshub/pubsub/redistest/drills"
)

// metric is what /metrics shows under that very name.
func (h *hubInside) metric(t *testing.T, name string) float64 {
	t.Helper()
	return (&process{t: t, control: h.control}).metric(name)
}

// addr is the host and port of the public one.
func (h *hubInside) addr() string { return (&process{public: h.public}).addr() }

// wordy is a JSON string of n bytes and more that compresses well, others each time.
func wordy(r *rand.Rand, n int) string {
	words := strings.Fields("the quick brown fox jumps over κόσμε lazy dogs and 17 4.5 more status null paid shipped")
	b := []byte{'"'}
	for len(b) < n-1 {
		b = append(append(b, words[r.IntN(len(words))]...), ' ')
	}
	return string(append(b, '"'))
}

// The peer compresses by zlib, and inflates in a window of the size agreed on: a match beyond it is an error. Sizes and
// terms are of the kinds of Autobahn's cases 12 and 13.
func TestNodesClientsCompressBothWaysOnAllTerms(t *testing.T) {
	drills.InProcess(t)
	h := startInside(t, "--compression=on", "--compression-threshold=1", "--message-rate=0", "--max-queued=1MiB")
	h.awaitReady(t)
	node := startNode(t)
	random := rand.New(rand.NewPCG(9, 10))
	for i, options := range []string{
		"true", "{}", `{"threshold":0}`, `{"threshold":0,"serverNoContextTakeover":true,"clientNoContextTakeover":true}`,
		`{"threshold":0,"serverMaxWindowBits":9}`, `{"threshold":0,"serverMaxWindowBits":12,"clientMaxWindowBits":9}`,
		`{"threshold":0,"serverMaxWindowBits":15,"clientMaxWindowBits":15}`, `{"threshold":0,"zlibDeflateOptions":{"level":9,"memLevel":1}}`,
		`{"threshold":0,"zlibDeflateOptions":{"level":0}}`, `{"threshold":0,"zlibDeflateOptions":{"strategy":4}}`, "false",
	} {
		topic := fmt.Sprint("t", i)
		c, extensions := node.dialDeflate(topic, h.public+"?topic="+topic, "", options)
		if agreed := strings.Contains(extensions, "permessage-deflate"); agreed != (options != "false") {
			t.Errorf("%s: agreed on %q", options, extensions)
		}
		witness, _ := node.dialDeflate("witness of "+topic, h.public+"?positions=1&topic="+topic, "", "false")
		witness.want(`{"type":"subscribed"`)
		for _, size := range []int{3, 16, 64, 125, 256, 1024, 4096, 8192, 16384, 32768, 60000} {
			data := wordy(random, size)
			c.say(data) // the hub sends it back
			c.until("message", "its own", func(s string) bool { return s == data })
			witness.wantEvent(topic, data)
		}
	}
	for name, least := range map[string]float64{"wshub_inflated_messages_total": 90, "wshub_compressed_messages_total": 80, "wshub_compressed_connections": 10} {
		if got := h.metric(t, name); got < least {
			t.Errorf("%s is %v", name, got)
		}
	}
	if in, out := h.metric(t, "wshub_compressed_input_bytes_total"), h.metric(t, "wshub_compressed_output_bytes_total"); out > in/2 {
		t.Errorf("%v bytes became %v", in, out)
	}
}

func TestSDKsAndBrowsersCompress(t *testing.T) {
	drills.InProcess(t)
	for name, run := range map[string]func(t *testing.T, h *hubInside){"centrifuge-js": sdksCompress, "Chromium": chromiumCompresses} {
		t.Run(name, func(t *testing.T) {
			h := startInside(t, "--compression=on", "--compression-except=secret:*", "--history=*=100")
			h.awaitReady(t)
			run(t, h)
		})
	}
}

func sdksCompress(t *testing.T, h *hubInside) {
	js := startJS(t)
	random := rand.New(rand.NewPCG(11, 12))
	for i, build := range []string{"json", "protobuf"} {
		c := js.client(t, build, build)
		c.open(sdkOptions{url: endpoint(h.addr())})
		for _, topic := range []string{"room:1", "secret:1"} {
			c.subscribe(topic)
		}
		c.connect()
		followed := 0
		c.until("that it follows both", func(e sdkEvent) bool {
			if e.Event == "subscribed" {
				followed++
			}
			return followed == 2
		})
		for _, topic := range []string{"room:1", "secret:1"} {
			data := wordy(random, 8000)
			before := h.metric(t, "wshub_compressed_messages_total")
			c.ask(0, "publish", topic, data, sdkHistory{})
			c.until("its publication", func(e sdkEvent) bool {
				return e.Event == "publication" && e.Channel == topic && e.Data == data
			})
			if compressed := h.metric(t, "wshub_compressed_messages_total") > before; compressed != (topic == "room:1") {
				t.Errorf("%s: an event of %s is compressed: %v", build, topic, compressed)
			}
		}
		if n := h.metric(t, "wshub_compressed_connections"); n != float64(i+1) {
			t.Errorf("%s: %v connections compress", build, n)
		}
	}
	if n := h.metric(t, "wshub_inflated_messages_total"); n < 4 {
		t.Errorf("%v messages came compressed", n)
	}
}

func chromiumCompresses(t *testing.T, h *hubInside) {
	p := startJSInChromium(t, "http://"+h.addr()+"/hub.js")
	if p == nil {
		t.Skip("no Chromium")
	}
	c := p.open(t, h.public)
	c.follow("news")
	data := wordy(rand.New(rand.NewPCG(13, 14)), 8000)
	var text string
	if err := json.Unmarshal([]byte(data), &text); err != nil {
		t.Fatal(err)
	}
	c.ask("publish", map[string]any{"topic": "news", "data": text})
	c.ever("its event", func(e jsEvent) bool { return e.Event == "event" && string(e.Data) == data })
	eventually(t, func() error {
		for _, name := range []string{"wshub_compressed_connections", "wshub_compressed_messages_total", "wshub_inflated_messages_total"} {
			if h.metric(t, name) < 1 {
				return fmt.Errorf("%s is 0", name)
			}
		}
		return nil
	})
}

// A client that sends a bomb is closed, and the operator is told.
func TestABombIsToldToTheOperator(t *testing.T) {
	t.Parallel()
	h := startInside(t, "--compression=on", "--log-level=debug", "--max-message=1KiB")
	node := startNode(t)
	c, _ := node.dialDeflate("bomb", h.public, "", `{"threshold":0}`)
	c.say(`"` + strings.Repeat("boom ", 10_000) + `"`)
	if code := c.wantEnd(); code != 1009 {
		t.Errorf("closed with %d", code)
	}
	if l := h.awaitReason(t, "cut", "inflate_bomb", "--max-message"); l.Session == "" {
		t.Errorf("%+v", l)
	}
	eventually(t, func() error {
		if n := h.metric(t, `wshub_connections_closed_total{cause="inflate_bomb"}`); n != 1 {
			return fmt.Errorf("%v counted", n)
		}
		return nil
	})
}

func TestSettingsOfCompressionThatDoNothingAreToldOf(t *testing.T) {
	notes := strings.Join(parsed(t, nil, "--compression-window=10", "--compression-except=user:*").conflicts(), "\n")
	for _, flag := range []string{"--compression-window", "--compression-except"} {
		if !strings.Contains(notes, flag+" has no effect") {
			t.Errorf("nothing is said of %s: %s", flag, notes)
		}
	}
	if notes := parsed(t, nil, "--compression=on", "--compression-window=10").conflicts(); len(notes) > 0 {
		t.Errorf("%q", notes)
	}
}
