package main

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"wshub/pubsub/redistest"
	"wshub/pubsub/redistest/drills"
	"wshub/session/centrifugo"
)

// The user-space memory that one more idle connection may cost: with one topic that all share, and with a second
// one of its own.
const maxShared, maxOwn = 600, 700

// TestIdleConnectionsCostLittle weighs a hub with 5,000 and with 19,000 idle connections. It takes a minute
// and wants the machine for itself, so it runs only where it is asked for:
//
//	WSHUB_MEMORY=1 go test -count=1 -v -run TestIdleConnectionsCostLittle ./cmd/hub
func TestIdleConnectionsCostLittle(t *testing.T) {
	if os.Getenv("WSHUB_MEMORY") == "" {
		t.Skip("WSHUB_MEMORY is not set")
	}
	var lim syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim); err != nil || lim.Cur < 20_000 {
		t.Skipf("needs 20,000 open files, has %d", lim.Cur)
	}
	path := buildHub(t)
	for _, test := range []struct {
		name  string
		query func(i int) string
		limit float64
		path  string // "" for the usual one
		hello string // is sent behind the handshake
		sse   bool
	}{
		{name: "one topic", query: func(int) string { return "" }, limit: maxShared},
		{name: "two topics, one its own", query: func(i int) string { return "?user=u" + strconv.Itoa(i) }, limit: maxOwn},
		{name: "a channel of Pusher", query: func(int) string { return "?protocol=7" }, limit: maxOwn, path: "/app/app-key", hello: `{"event":"pusher:subscribe","data":{"channel":"news"}}`},
		{name: "a channel of Centrifugo by SSE", query: func(int) string { return "?cf_connect=" + connectAndFollow }, limit: maxOwn, path: centrifugo.SSEPath, sse: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			redis := "" // has who subscribes to channels, whom the embedded broker would have in the hub's memory
			if test.path != "" {
				redis = redistest.Start(t).URL()
			}
			h := startHub(t, path, redis, "--log-level=info", "--heartbeat=1h", "--pusher-app="+pusherApp) // they answer no ping
			(&threeHubs{t: t}).awaitReady(h)
			u, err := url.Parse(h.public)
			if err != nil {
				t.Fatal(err)
			}
			u.Path = cmp.Or(test.path, u.Path)
			idle := idlers{hello: test.hello, sse: test.sse}
			defer idle.close()
			few := idle.grow(t, u, 5_000, test.query, h.cmd.Process.Pid)
			many := idle.grow(t, u, 19_000, test.query, h.cmd.Process.Pid)
			slope := float64(many-few) / (19_000 - 5_000)
			t.Logf("RSS %.1f MB at 5,000, %.1f MB at 19,000: %.0f B per connection", float64(few)/1e6, float64(many)/1e6, slope)
			if out := os.Getenv("WSHUB_HEAP_PROFILE"); out != "" {
				saveHeapProfile(t, h, out)
			}
			if n := h.metric("wshub_subscriptions"); n < 19_000 {
				t.Errorf("%.0f subscriptions: some clients have left", n)
			}
			if slope > test.limit {
				t.Errorf("more than %.0f B", test.limit)
			}
		})
	}
}

// A wave of reconnecting clients is not to become a wave of garbage.
func TestAHandshakeLeavesLittleGarbage(t *testing.T) {
	drills.Programs(t)
	const warm, clients, limit = 200, 1000, 4 << 10
	h := startHub(t, buildHub(t), "", "--log-level=info")
	u, err := url.Parse(h.public)
	if err != nil {
		t.Fatal(err)
	}
	var idle idlers
	defer idle.close()
	shared := func(int) string { return "" }
	idle.connect(t, u, warm, shared)
	allocated := func() float64 { return h.metric("go_memstats_alloc_bytes_total") }
	allocated()
	before := allocated()
	ownCost := allocated() - before // costs something too
	idle.connect(t, u, warm+clients, shared)
	each := (allocated() - before - 2*ownCost) / clients
	t.Logf("%.0f B for a handshake", each)
	if each > limit || each < 200 {
		t.Errorf("%.0f B for a handshake; want less than %d, and some", each, limit)
	}
}

// connectAndFollow are commands for a query.
var connectAndFollow = url.QueryEscape(`{"id":1,"connect":{}}` + "\n" + `{"id":2,"subscribe":{"channel":"news"}}`)

// idlers are clients that connect, say hello and listen.
type idlers struct {
	hello string // "" for nothing
	sse   bool   // they open streams
	conns []net.Conn
}

func (c *idlers) close() {
	for _, conn := range c.conns {
		_ = conn.Close()
	}
}

// grow connects until there are n, waits until process pid's memory is at rest, and returns its RSS in bytes.
func (c *idlers) grow(t *testing.T, u *url.URL, n int, query func(int) string, pid int) int {
	t.Helper()
	c.connect(t, u, n, query)
	return atRest(t, pid)
}

// connect connects until there are n.
func (c *idlers) connect(t *testing.T, u *url.URL, n int, query func(int) string) {
	t.Helper()
	for i := len(c.conns); i < n; i++ {
		// Many source addresses, so that ports do not run out.
		from := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, byte(1+i/5000), 1)}}
		conn, err := from.Dial("tcp", u.Host)
		if err != nil {
			t.Fatal(err)
		}
		c.conns = append(c.conns, conn)
		lines, status := "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n", http.StatusSwitchingProtocols
		if c.sse {
			lines, status = "Accept: text/event-stream\r\n", http.StatusOK
		}
		_, err = fmt.Fprintf(conn, "GET %s%s HTTP/1.1\r\nHost: %s\r\n%s\r\n", u.Path, query(i), u.Host, lines)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReaderSize(conn, 512), nil)
		if err != nil || resp.StatusCode != status {
			t.Fatal(resp, err)
		}
		if c.hello == "" {
			continue
		}
		frame := append([]byte{0x81, 0x80 | byte(len(c.hello)), 0, 0, 0, 0}, c.hello...) // shorter than 126 bytes
		if _, err := conn.Write(frame); err != nil {
			t.Fatal(err)
		}
	}
}

// atRest waits until the RSS of process pid has not moved by 1 % for twice the time after which the hub
// gives back what a wave of handshakes took.
func atRest(t *testing.T, pid int) int {
	t.Helper()
	const polls = int(2 * (2 * tidyPeriod) / time.Second)
	poll := time.NewTicker(time.Second)
	defer poll.Stop()
	last := 0
	for still, tries := 0, 0; still < polls; tries++ {
		if tries > 120 {
			t.Fatal("the memory does not come to rest")
		}
		<-poll.C
		now := rss(t, pid)
		if d := now - last; -last/100 < d && d < last/100 {
			still++
		} else {
			still = 0
		}
		last = now
	}
	return last
}

// rss is the resident memory of process pid in bytes.
func rss(t *testing.T, pid int) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(status) {
		var kib int
		if n, _ := fmt.Sscanf(string(line), "VmRSS: %d kB", &kib); n == 1 {
			return kib << 10
		}
	}
	t.Fatal("no VmRSS")
	return 0
}

func saveHeapProfile(t *testing.T, h *process, path string) {
	t.Helper()
	resp, err := http.Get(h.control + "/debug/pprof/heap?gc=1")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(f, resp.Body)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
}
