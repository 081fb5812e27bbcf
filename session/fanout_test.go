package session

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"wshub/engine"
	"wshub/pubsub"
)

// listener is a cheap plain client: it counts the bytes that come and keeps nothing.
func (n *node) listener(query string, bytes *atomic.Int64) net.Conn {
	n.t.Helper()
	c, err := net.Dial("tcp", n.server.Addr().String())
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = c.Close() })
	_, _ = fmt.Fprintf(c, "GET /notification%s HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n", query)
	r := bufio.NewReaderSize(c, 256)
	if resp, err := http.ReadResponse(r, nil); err != nil || resp.StatusCode != 101 {
		n.t.Fatal(resp, err)
	}
	if bytes != nil {
		go func() {
			buf := make([]byte, 4096)
			for {
				got, err := c.Read(buf)
				bytes.Add(int64(got))
				if err != nil {
					return
				}
			}
		}()
	}
	return c
}

func TestFanOutAllocatesPerEventNotPerDelivery(t *testing.T) {
	const followers, events = 400, 100
	n := memory(t, Config{})
	var bytes atomic.Int64
	for range followers {
		n.listener("", &bytes)
	}
	n.eventually("all follow", func() bool { return n.hub.Stats().Subscriptions == followers })
	publish := func() {
		data := `"` + strings.Repeat("x", 98) + `"` // a frame of 102 bytes
		want := bytes.Load() + followers*events*102
		for range events {
			n.publish("channel", data)
		}
		n.eventually("all is delivered", func() bool { return bytes.Load() == want })
	}
	publish() // warms the buffers up
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	publish()
	runtime.ReadMemStats(&after)
	if per := float64(after.Mallocs-before.Mallocs) / (followers * events); per > 0.25 {
		t.Errorf("%.2f allocations per delivery; those of an event, shared by %d followers, are some 0.1", per, followers)
	}
}

// pause stops the loops until the func it returns is called.
func (n *node) pause() (resume func()) {
	gate := make(chan struct{})
	var stopped sync.WaitGroup
	for _, loop := range n.server.Loops() {
		stopped.Add(1)
		loop.Post(func() { stopped.Done(); <-gate })
	}
	stopped.Wait()
	return func() { close(gate) }
}

func TestWhatQueuesUpGoesOutJoinedAndInOrder(t *testing.T) {
	n := memory(t, Config{})
	plain, v1 := n.plain("", 1), n.v1("")
	v1.send(`{"type":"subscribe","topic":"channel"}`)
	v1.want(`{"type":"subscribed","topic":"channel"}`)
	batches := n.hub.Stats().Batches
	resume := n.pause()
	const events = 3000
	filler := strings.Repeat("x", 100) // 300 KB and more: several chunks
	for i := range events {
		n.publish("channel", fmt.Sprintf(`{"n":%d,"x":"%s"}`, i, filler))
	}
	resume()
	for i := range events {
		data := fmt.Sprintf(`{"n":%d,"x":"%s"}`, i, filler)
		plain.want(data)
		v1.want(`{"type":"event","topic":"channel","data":` + data + `}`)
	}
	if got := n.hub.Stats().Batches - batches; got > 2*spread {
		t.Errorf("%d batches for what the loops found queued", got)
	}
}

func TestAFullInboxIsToldAsAGap(t *testing.T) {
	n := start(t, Config{MaxInbox: 64 << 10}, engine.Config{Pollers: 1}, pubsub.NewMemory(pubsub.MemoryConfig{}))
	c := n.v1("")
	c.send(`{"type":"subscribe","topic":"news"}`)
	c.want(`{"type":"subscribed","topic":"news"}`)
	resume := n.pause()
	for i := range 1000 {
		n.publish("news", fmt.Sprintf(`%d`, i))
	}
	resume()
	for i := 0; ; i++ {
		got := c.read()
		if got == `{"type":"gap","topic":"news"}` {
			break
		}
		if want := fmt.Sprintf(`{"type":"event","topic":"news","data":%d}`, i); got != want {
			t.Fatalf("got %s, want %s or a gap", got, want)
		}
	}
	if n.hub.Stats().Dropped["inbox_full"] == 0 {
		t.Error("not counted")
	}
	n.written()
	n.publish("news", `"on"`)
	c.want(`{"type":"event","topic":"news","data":"on"}`)
}

func TestASlowConsumerIsCutAloneAndLeavesItsTopics(t *testing.T) {
	t.Parallel()
	n := start(t, Config{}, engine.Config{Pollers: spread, MaxQueued: 64 << 10, SendBuffer: 16 << 10}, pubsub.NewMemory(pubsub.MemoryConfig{}))
	good := n.plain("", 1)
	n.listener("?user=slow", nil) // never reads
	n.eventually("it follows", func() bool { return n.hub.Stats().Subscriptions == 3 })
	data := `"` + strings.Repeat("x", 60<<10) + `"`
	for n.server.Stats().Backlog <= 64<<10 {
		n.publish("channel", data)
		good.want(data)
	}
	n.eventually("it is cut", func() bool { return n.server.Stats().Closed["slow_consumer"] == 1 })
	n.eventually("its topics are left", func() bool { return n.hub.Stats().Subscriptions == 1 })
	good.send(`"still here"`)
	good.want(`"still here"`)
}

func TestComingAndGoingDuringABroadcast(t *testing.T) {
	n := memory(t, Config{})
	stayer := n.plain("", 1)
	stop := make(chan struct{})
	var churn sync.WaitGroup
	churn.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				_ = n.listener("?topic=channel&topic=other", nil).Close()
			}
		}
	})
	for i := range 500 {
		n.publish("channel", fmt.Sprint(i))
		stayer.want(fmt.Sprint(i))
	}
	close(stop)
	churn.Wait()
	_ = stayer.conn.CloseNow()
	n.eventually("all is left", func() bool { return n.hub.Stats().Subscriptions == 0 })
}

func TestALoopKeepsFewSpareBuffers(t *testing.T) {
	sh := &shard{hub: &Hub{}, topics: newIndex()}
	topics := make([]*topic, 2*spareExts)
	for i := range topics {
		topics[i] = &topic{}
		ext := sh.extra(topics[i])
		for range spareBuffers {
			buf := make([]byte, 0, 8)
			ext.joined = append(ext.joined, &buf)
		}
		ext.batch = append(ext.batch, &message{})
	}
	for _, topic := range topics {
		sh.finish(topic)
		sh.dropIdleState(topic)
	}
	if len(sh.buffers) != spareBuffers || len(sh.exts) != spareExts {
		t.Errorf("keeps %d buffers and %d lists, want %d and %d", len(sh.buffers), len(sh.exts), spareBuffers, spareExts)
	}
	for _, ext := range sh.exts {
		if m := ext.batch[:1][0]; m != nil || len(ext.joined)+len(ext.queue) > 0 {
			t.Fatal("a message is kept alive")
		}
	}
}
