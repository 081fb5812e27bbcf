package session

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"wshub/pubsub/redistest"
)

// masked is a client's text frame of up to 125 bytes, masked by nothing.
func masked(text string) string {
	return "\x81" + string([]byte{0x80 | byte(len(text)), 0, 0, 0, 0}) + text
}

// frame reads a server's frame.
func frame(r *bufio.Reader) (op byte, payload []byte, err error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	n := uint64(head[1])
	switch n {
	case 126:
		var size [2]byte
		_, err = io.ReadFull(r, size[:])
		n = uint64(binary.BigEndian.Uint16(size[:]))
	case 127:
		var size [8]byte
		_, err = io.ReadFull(r, size[:])
		n = binary.BigEndian.Uint64(size[:])
	}
	if err != nil {
		return 0, nil, err
	}
	payload = make([]byte, n)
	_, err = io.ReadFull(r, payload)
	return head[0] & 0xf, payload, err
}

// The example of PROTOCOL.md: a page sends in onopen, and hears itself. Some clients do not even wait for the answer to
// their handshake.
func TestAPlainClientHearsItsFirstMessage(t *testing.T) {
	n := member(t, redistest.Start(t), "n1") // which keeps a history
	for i := range 20 {
		c := n.dial(fmt.Sprint("?topic=open:", i))
		c.send(`{"hello":"world"}`)
		c.want(`{"hello":"world"}`)
	}
	for i := range 20 {
		c, err := net.Dial("tcp", n.server.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(patience))
		_, err = fmt.Fprintf(c, "GET /notification?topic=behind:%d HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
			"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n%s%s", i, masked(`{"n":1}`), masked(`{"n":2}`))
		if err != nil {
			t.Fatal(err)
		}
		r := bufio.NewReader(c)
		if resp, err := http.ReadResponse(r, nil); err != nil || resp.StatusCode != 101 {
			t.Fatal(resp, err)
		}
		for _, want := range []string{`{"n":1}`, `{"n":2}`} {
			if _, got, err := frame(r); err != nil || string(got) != want {
				t.Fatalf("client %d: %q, %v, want %s", i, got, err, want)
			}
		}
	}
}

// maxEarly is how many messages of a plain client wait for its topics: see package plain.
const maxEarly = 64

// Messages that a client sends before its topics are followed are bounded, keep their order, and are published when it leaves.
func TestWhatAPlainClientSendsEarlyWaitsWithinBounds(t *testing.T) {
	n, b := slow(t, Config{MessageRate: -1})
	hears := n.v1("")
	hears.send(`{"type":"subscribe","topic":"news"}`)
	(<-b.answers)(nil)
	hears.want(`{"type":"subscribed","topic":"news"}`)
	other := n.v1("")
	other.send(`{"type":"subscribe","topic":"other"}`) // so that it is asked for, and not answered
	held := <-b.answers
	c := n.dial("?topic=news&topic=other")
	for i := range maxEarly {
		c.send(fmt.Sprint(i))
	}
	c.send(`"too much"`)
	c.wantError(Busy)
	_ = c.conn.CloseNow()
	for i := range maxEarly {
		hears.want(fmt.Sprintf(`{"type":"event","topic":"news","data":%d}`, i))
	}
	c = n.dial("?topic=news&topic=other")
	c.send(`"` + strings.Repeat("x", 1<<10) + `"`)
	c.send(`"and another"`)
	n.eventually("both have come", func() bool { return n.hub.Stats().Messages >= 2+maxEarly+1+2 })
	held(nil)
	c.want(`"` + strings.Repeat("x", 1<<10) + `"`)
	c.want(`"and another"`)
	if n.hub.Stats().Dropped["early_full"] != 1 {
		t.Error("not counted")
	}
}
