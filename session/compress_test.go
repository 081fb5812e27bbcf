package session

import (
	"bufio"
	"bytes"
	"compress/flate"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"wshub/engine"
	"wshub/pubsub"
)

// frames is a client that shows how frames come.
type frames struct {
	t *testing.T
	net.Conn
	r *bufio.Reader
}

// frames connects a client that speaks protocol and offers an extension, "" for none.
func (n *node) frames(t *testing.T, query, protocol, offer string) *frames {
	t.Helper()
	c, err := net.Dial("tcp", n.server.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	extension := ""
	if offer != "" {
		extension = "Sec-WebSocket-Extensions: " + offer + "\r\n"
	}
	_, _ = fmt.Fprintf(c, "GET /notification%s HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n%s"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: %s\r\n\r\n", query, extension, protocol)
	f := &frames{t, c, bufio.NewReader(c)}
	resp, err := http.ReadResponse(f.r, nil)
	if err != nil || resp.StatusCode != 101 || (resp.Header.Get("Sec-WebSocket-Extensions") == "") != (offer == "") {
		t.Fatal(resp, err)
	}
	return f
}

// next reads a message; size is that of its frame's payload, and deflated says that it came compressed.
func (f *frames) next() (text string, size int, deflated bool) {
	f.t.Helper()
	var h [4]byte
	if _, err := io.ReadFull(f.r, h[:2]); err != nil {
		f.t.Fatal(err)
	}
	switch size = int(h[1]); size {
	case 126:
		_, _ = io.ReadFull(f.r, h[2:])
		size = int(binary.BigEndian.Uint16(h[2:]))
	case 127:
		var long [8]byte
		_, _ = io.ReadFull(f.r, long[:])
		size = int(binary.BigEndian.Uint64(long[:]))
	}
	b := make([]byte, size)
	if _, err := io.ReadFull(f.r, b); err != nil {
		f.t.Fatal(err)
	}
	if h[0]&0x40 == 0 {
		return string(b), size, false
	}
	plain, err := io.ReadAll(flate.NewReader(io.MultiReader(bytes.NewReader(b), strings.NewReader("\x00\x00\xff\xff\x01\x00\x00\xff\xff"))))
	if err != nil {
		f.t.Fatal(err)
	}
	return string(plain), size, true
}

// event reads messages up to one that ends in data.
func (f *frames) event(data string) (size int, deflated bool) {
	f.t.Helper()
	for {
		text, size, deflated := f.next()
		if strings.Contains(text, data) {
			return size, deflated
		}
	}
}

// texts are JSON strings of some size, which compress well.
func jsonText(first string, size int) string {
	return `"` + first + strings.Repeat(" some text", size/10) + `"`
}

const anyDeflate = "permessage-deflate; client_max_window_bits"

func deflating(t *testing.T, cfg Config, history pubsub.History) *node {
	cfg.History = history
	return start(t, cfg, engine.Config{Pollers: spread, Deflate: 15}, pubsub.NewMemory(pubsub.MemoryConfig{History: history}))
}

func TestAnEventIsCompressedOnceForAllWhoAgreed(t *testing.T) {
	const each = 20
	n := deflating(t, Config{}, nil)
	var squeezed, plain []*frames
	for range each {
		squeezed = append(squeezed, n.frames(t, "", protocolPlain, anyDeflate), n.frames(t, "?positions=1", protocolPlain, anyDeflate))
	}
	for range each {
		plain = append(plain, n.frames(t, "", protocolPlain, ""))
	}
	n.eventually("all follow", func() bool { return n.hub.Stats().Subscriptions == 3*each })
	n.onEveryLoop(func(sh *shard) {
		forms := map[uint8]bool{}
		n.server.Loops()[sh.loop.Index].Each(func(c *engine.Conn) { forms[c.Peer().(*Session).format] = true })
		if len(forms) < 2 {
			t.Errorf("a loop has sessions of %d formats: it can't share with others", len(forms))
		}
	})
	before := n.server.Stats()
	data := jsonText("once", 2000)
	n.publish("channel", data)
	for _, c := range squeezed {
		if size, deflated := c.event(data); !deflated || size > 200 {
			t.Fatalf("%d bytes, compressed: %v", size, deflated)
		}
	}
	for _, c := range plain {
		if size, deflated := c.event(data); deflated || size != len(data) {
			t.Fatalf("%d bytes, compressed: %v, for who did not agree", size, deflated)
		}
	}
	if st := n.server.Stats(); st.Deflated-before.Deflated != 2 {
		t.Errorf("compressed %d times for 2 formats, by %d loops", st.Deflated-before.Deflated, spread)
	}
}

func TestSmallAndExposedEventsAreNotCompressed(t *testing.T) {
	n := deflating(t, Config{DeflateFrom: 300, Exposed: func(topic string) bool { return strings.HasPrefix(topic, "secret:") }}, nil)
	c := n.frames(t, "?topic=secret:1&topic=open", protocolPlain, anyDeflate)
	n.eventually("it follows", func() bool { return n.hub.Stats().Subscriptions == 2 })
	for i, e := range []struct {
		topic    string
		size     int
		deflated bool
	}{{"open", 1000, true}, {"secret:1", 1000, false}, {"open", 200, false}, {"open", 310, true}} {
		data := jsonText(fmt.Sprint(i), e.size)
		n.publish(e.topic, data)
		if size, deflated := c.event(data); deflated != e.deflated {
			t.Errorf("%d bytes of %s come in %d, compressed: %v", e.size, e.topic, size, deflated)
		}
	}
	if st := n.server.Stats(); st.Deflated != 2 {
		t.Errorf("%d compressed", st.Deflated)
	}
}

// Batches, replays and other windows: whatever way an event takes, it comes as it was published, in its order.
func TestCompressedEventsComeWholeByEveryWay(t *testing.T) {
	const events = 60
	n := deflating(t, Config{}, pubsub.History{{Prefix: "log", Count: 1000, Age: time.Hour}})
	offers := []string{anyDeflate, "permessage-deflate; server_max_window_bits=9", "permessage-deflate; server_max_window_bits=12", ""}
	for i := range events / 2 {
		n.publish("log", jsonText(fmt.Sprintf("<%d>", i), 50*i))
	}
	var all []*frames
	for _, offer := range offers {
		all = append(all, n.frames(t, "?topic=log&since=0", protocolPlain, offer), n.frames(t, "?topic=log&since=0&positions=1", protocolPlain, offer))
	}
	resume := n.pause() // so that the rest comes in batches
	for i := range events / 2 {
		n.publish("log", jsonText(fmt.Sprintf("<%d>", events/2+i), 50*i))
	}
	resume()
	for k, c := range all {
		squeezed := 0
		for i := range events {
			if _, deflated := c.event(jsonText(fmt.Sprintf("<%d>", i), 50*(i%(events/2)))); deflated {
				squeezed++
			}
		}
		if agreed := offers[k/2] != ""; agreed != (squeezed > events/2) {
			t.Errorf("%q: %d of %d compressed", offers[k/2], squeezed, events)
		}
	}
}

// The message that a client compresses is published as one that it does not.
func TestMessagesOfClientsAreInflated(t *testing.T) {
	n := deflating(t, Config{}, nil)
	c := n.frames(t, "", protocolPlain, anyDeflate)
	n.eventually("it follows", func() bool { return n.hub.Stats().Subscriptions == 1 })
	data := jsonText("from a client", 3000)
	var b bytes.Buffer
	w, _ := flate.NewWriter(&b, flate.BestCompression)
	_, _ = w.Write([]byte(data))
	_ = w.Flush()
	payload := bytes.TrimSuffix(b.Bytes(), []byte{0, 0, 0xff, 0xff})
	frame := engine.AppendFrame(nil, engine.OpText, payload)
	frame[0] |= 0x40
	masked := append([]byte{frame[0], frame[1] | 0x80}, frame[2:len(frame)-len(payload)]...)
	if _, err := c.Write(append(append(masked, 0, 0, 0, 0), payload...)); err != nil {
		t.Fatal(err)
	}
	if size, deflated := c.event(data); !deflated || size > 300 {
		t.Errorf("it comes back in %d bytes, compressed: %v", size, deflated)
	}
	if st := n.server.Stats(); st.Inflated != 1 || st.InflateIn != uint64(len(payload)) || st.InflateOut != uint64(len(data)) {
		t.Errorf("%+v", st)
	}
}
