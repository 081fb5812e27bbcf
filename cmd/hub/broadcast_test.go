package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"wshub/pubsub/redistest/drills"
)

// TestSubscribersDoNotWaitForABroadcast: while events go out to all followers of one topic again and again, a
// client on the same loop subscribes to other topics and is answered soon, since a broadcast is written in
// slices and the loop reads in between. How soon is asserted only where the machine is ours:
//
//	WSHUB_DRILL=full go test -count=1 -v -run TestSubscribersDoNotWaitForABroadcast ./cmd/hub
func TestSubscribersDoNotWaitForABroadcast(t *testing.T) {
	drills.Programs(t)
	t.Parallel()
	const every = 200 * time.Millisecond // an event
	followers, events, limit := 1_000, 5, patience
	if drills.IsFull(t) {
		followers, events, limit = 10_000, 15, 50*time.Millisecond
	}
	h := startHub(t, buildHub(t), "", "--pollers=1", "--heartbeat=1h", "--message-rate=0", "--max-topics=1000", "--log-level=info")
	d := &drill{t: t, hubs: []*process{h}}
	for range followers {
		deaf(t, h.public)
	}
	eventually(t, func() error {
		if n := d.metric("wshub_subscriptions"); n != float64(followers) {
			return fmt.Errorf("%v follow", n)
		}
		return nil
	})

	quiet, err := subscribeOften(t.Context(), h.public, every)
	if err != nil {
		t.Fatal(err)
	}
	type result struct {
		waits []time.Duration
		err   error
	}
	busy := make(chan result, 1)
	go func() {
		waits, err := subscribeOften(t.Context(), h.public, time.Duration(events)*every)
		busy <- result{waits, err}
	}()
	due := time.NewTicker(every)
	defer due.Stop()
	event := `{"topic":"channel","data":"` + strings.Repeat("x", 126) + `"}`
	for i := range events {
		if status, answer, _ := ask(t, "POST", h.control+"/api/publish", event, asJSON...); status != 200 {
			t.Fatalf("event %d: %d %s", i, status, answer)
		}
		<-due.C
	}
	r := <-busy
	if r.err != nil {
		t.Fatal(r.err)
	}
	eventually(t, func() error {
		if n := d.metric("wshub_deliveries_total"); n != float64(followers*events) {
			return fmt.Errorf("%v deliveries", n)
		}
		return nil
	})
	p99 := percentile(r.waits, 99)
	t.Logf("%d followers, %d events: subscribed after p50 %s, p99 %s, at most %s (before: p50 %s, p99 %s)", followers, events,
		percentile(r.waits, 50), p99, percentile(r.waits, 100), percentile(quiet, 50), percentile(quiet, 99))
	if p99 > limit {
		t.Errorf("p99 is %s, want at most %s", p99, limit)
	}
}

// deaf is a plain client that never reads: what a test sends fits into its socket. Neither a goroutine nor a
// poller knows of it, so that ten thousand of them take nothing from the processor that the hub is measured on.
func deaf(t *testing.T, public string) {
	t.Helper()
	u, err := url.Parse(public)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	syscall.CloseOnExec(fd)
	addr := netip.MustParseAddrPort(u.Host)
	if err := syscall.Connect(fd, &syscall.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 512)
	_, err = syscall.Write(fd, fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n", u.Path, u.Host))
	if err == nil {
		_, err = syscall.Read(fd, answer)
	}
	if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 101 ") {
		t.Fatalf("%.40q, %v", answer, err)
	}
}

// subscribeOften has a client subscribe to a topic of its own every 5 ms, and leave it when that is answered. It
// returns how long the answers took, each from when its request was due.
func subscribeOften(ctx context.Context, public string, during time.Duration) (waits []time.Duration, err error) {
	const pace = 5 * time.Millisecond
	conn, buffered, _, err := ws.Dialer{Protocols: []string{"hub.v1.json"}}.Dial(ctx, public)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(during + patience)); err != nil {
		return nil, err
	}
	if buffered == nil {
		buffered = bufio.NewReader(conn)
	}
	if _, _, err := readFrame(buffered); err != nil { // the welcome
		return nil, err
	}
	requests, begin := int(during/pace), time.Now()
	sent := make(chan error, 1)
	go func() {
		due := time.NewTicker(pace)
		defer due.Stop()
		for i := range requests {
			for time.Since(begin) < time.Duration(i)*pace { // a tick may have been left out
				<-due.C
			}
			if err := request(conn, "subscribe", i); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	waits, err = answers(conn, buffered, requests, func(i int) time.Duration { return time.Since(begin) - time.Duration(i)*pace })
	return waits, errors.Join(err, <-sent)
}

// answers reads until so many requests are answered, and returns what each waited.
func answers(conn net.Conn, from io.Reader, requests int, waited func(i int) time.Duration) (waits []time.Duration, err error) {
	for len(waits) < requests {
		_, text, err := readFrame(from)
		var h heard
		if err == nil {
			err = json.Unmarshal(text, &h)
		}
		if err != nil {
			return nil, err
		}
		switch h.Type {
		case "subscribed":
			waits = append(waits, waited(*h.ID))
			if err := request(conn, "unsubscribe", *h.ID); err != nil {
				return nil, err
			}
		case "ok":
		default:
			return nil, fmt.Errorf("heard %s", text)
		}
	}
	return waits, nil
}

// request sends a hub.v1 request for the topic of that number, in one write: two goroutines do so.
func request(conn net.Conn, kind string, i int) error {
	text := fmt.Appendf(nil, `{"type":%q,"id":%d,"topic":"other:%d"}`, kind, i, i)
	frame, err := ws.CompileFrame(ws.MaskFrameInPlace(ws.NewTextFrame(text)))
	if err == nil {
		_, err = conn.Write(frame)
	}
	return err
}
