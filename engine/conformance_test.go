package engine

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
)

func TestFramesThroughASocketAreReadAsTheRFCSays(t *testing.T) {
	s := running(t, Config{}, &echoing{})
	for _, c := range frameCases() {
		t.Run(c.name, func(t *testing.T) {
			exchange := func(next func() int) {
				conn := opened(t, s)
				send(conn, c.in, next)
				ends := false
				for _, m := range c.want {
					switch m.op {
					case OpText, OpBinary:
						expect(t, conn, AppendFrame(nil, m.op, m.payload))
					case OpPing:
						expect(t, conn, AppendFrame(nil, OpPong, m.payload))
					case OpClose:
						ends = true
						expect(t, conn, AppendFrame(nil, OpClose, m.payload[:min(2, len(m.payload))]))
						expectEnd(t, conn)
					}
				}
				switch {
				case c.err != 0:
					expectClose(t, conn, c.err)
				case !ends:
					expectOpen(t, conn)
				}
				_ = conn.Close()
			}
			exchange(whole)
			exchange(randomly(1))
			if len(c.in) < 300 {
				exchange(bytewise)
			}
		})
	}
	until(t, "all sockets closed", func() bool { return s.Stats().Sockets == 0 })
	if st := s.Stats(); st.Open != 0 || st.Partial != 0 || st.Panics != 0 {
		t.Errorf("%+v", st)
	}
}

func TestHandshakesThroughASocketAreAnsweredAsTheRFCSays(t *testing.T) {
	s := running(t, Config{Origins: parsedTableOrigins(t)}, &echoing{})
	refused := make(map[int]uint64)
	for _, c := range handshakeCases() {
		for how, next := range map[string]func() int{"whole": whole, "byte by byte": bytewise, "in pieces": randomly(1)} {
			conn := connect(t, s)
			send(conn, []byte(c.head), next)
			answer := io.Reader(conn)
			if c.status == 101 {
				answer = io.LimitReader(conn, int64(len(appendSwitch(nil, "", "", ""))))
			} else {
				refused[c.status]++
			}
			got, err := io.ReadAll(answer)
			if err != nil {
				t.Errorf("%s, %s: %v", c.name, how, err)
			}
			assertAnswer(t, c, got)
			if c.status == 101 {
				expectOpen(t, conn)
			}
			_ = conn.Close()
		}
	}
	for status, n := range refused {
		if got := s.Stats().Refused[status]; got != n {
			t.Errorf("%d refusals with %d counted, want %d", got, status, n)
		}
	}
}

func TestUnfinishedHandshakeIsAnswered408(t *testing.T) {
	t.Parallel()
	s := running(t, Config{HandshakeTimeout: 300 * time.Millisecond}, &echoing{})
	for name, part := range map[string]string{
		"nothing": "", "a byte": "G", "half": head()[:60], "all but the last byte": head()[:len(head())-1],
	} {
		c := connect(t, s)
		send(c, []byte(part), whole)
		got, err := io.ReadAll(c)
		if err != nil || !bytes.HasPrefix(got, []byte("HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n")) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}

	dribbling := connect(t, s)
	went := make(chan struct{})
	go func() {
		defer close(went)
		pace := time.NewTicker(20 * time.Millisecond)
		defer pace.Stop()
		for i := range len(head()) - 1 {
			if _, err := dribbling.Write([]byte(head()[i : i+1])); err != nil {
				return
			}
			<-pace.C
		}
	}()
	resp, err := http.ReadResponse(bufio.NewReader(dribbling), nil)
	if err != nil || resp.StatusCode != 408 {
		t.Errorf("dribbling: %v, %v", resp, err)
	}
	_ = dribbling.Close()
	<-went
	if n := s.Stats().Refused[408]; n != 5 {
		t.Errorf("%d counted", n)
	}
}

func TestHeadOverItsLimitIsAnswered431(t *testing.T) {
	sized := func(n int) []byte {
		return []byte(head("+X-Fill: " + strings.Repeat("x", n-len(head("+X-Fill: ")))))
	}
	for set, limit := range map[int]int{0: 16 << 10, 4 << 10: 4 << 10, 5000: 5000, 64 << 10: 64 << 10} {
		s := running(t, Config{MaxHead: set}, &echoing{})
		for _, next := range []func() int{whole, randomly(1)} {
			c := connect(t, s)
			send(c, sized(limit), next)
			readSwitch(t, c)
			expectOpen(t, c)
			for name, b := range map[string][]byte{
				"one byte over": sized(limit + 1), "far over": sized(200_000), "no line end": bytes.Repeat([]byte("x"), limit),
			} {
				c := connect(t, s)
				send(c, b, next)
				got, err := io.ReadAll(c)
				if err != nil || !bytes.HasPrefix(got, []byte("HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\n")) ||
					!bytes.HasSuffix(got, []byte("\r\n\r\nrequest head over "+inBytes(limit)+"\n")) {
					t.Errorf("%d, %s: %.300q, %v", limit, name, got, err)
				}
			}
		}
		if n := s.Stats().Refused[431]; n != 6 {
			t.Errorf("%d counted", n)
		}
	}
}

func TestFramesSentBehindTheHeadAreNotLost(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("y", 5000)
	frames := join(clientFrame(finText, "first"), clientFrame(finPing, "p"), clientFrame(text, "in "), clientFrame(finContinuation, "two"), clientFrame(finText, long))
	want := join(AppendFrame(nil, OpText, []byte("first")), AppendFrame(nil, OpPong, []byte("p")),
		AppendFrame(nil, OpText, []byte("in two")), AppendFrame(nil, OpText, []byte(long)))
	stream := join([]byte(head()), frames)
	for name, decide := range map[string]func(*Handshake, Peer){
		"at once": nil,
		"later": func(h *Handshake, p Peer) {
			h.Conn().Loop().After(tick, func() { h.Accept("", p, nil) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := running(t, Config{}, &echoing{decide: decide})
			exchange := func(b []byte, next func() int, rest []byte) {
				t.Helper()
				c := connect(t, s)
				send(c, b, next)
				send(c, rest, next)
				readSwitch(t, c)
				expect(t, c, want)
				expectOpen(t, c)
			}
			for cut := len(head()) - 5; cut < len(head())+60; cut += 5 {
				exchange(stream[:cut], whole, stream[cut:])
			}
			exchange(stream, bytewise, nil)
		})
	}
}

func TestMuchSentBeforeADecisionIsRefused(t *testing.T) {
	s := running(t, Config{}, &echoing{decide: func(*Handshake, Peer) {}})
	c := connect(t, s)
	send(c, []byte(head()), whole)
	send(c, clientFrame(finBinary, strings.Repeat("x", 17_000)), whole)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || resp.StatusCode != 400 {
		t.Errorf("got %v, %v", resp, err)
	}
}

func TestAcceptFindsThatTheClientHasGone(t *testing.T) {
	asked, accepted := make(chan func()), make(chan bool)
	s := running(t, Config{}, &echoing{decide: func(h *Handshake, p Peer) {
		go func() {
			asked <- func() { h.Conn().Loop().Post(func() { accepted <- h.Accept("", p, nil) }) }
		}()
	}})
	c := connect(t, s)
	send(c, []byte(head()), whole)
	accept := <-asked
	_ = c.Close()
	until(t, "socket closed", func() bool { return s.Stats().Sockets == 0 })
	accept()
	if <-accepted {
		t.Error("accepted")
	}
	if st := s.Stats(); st.Open != 0 || st.Upgraded != 0 {
		t.Errorf("%+v", st)
	}
}

func TestLargeMessagesInAllPieces(t *testing.T) {
	const limit = 1 << 20
	s := running(t, Config{MaxMessage: limit, MaxQueued: 4 * limit}, &echoing{})
	body := make([]byte, limit)
	for i := range body {
		body[i] = byte(i * 7)
	}
	rnd := rand.New(rand.NewPCG(3, 4))
	for _, size := range []int{65536, 300_000, limit} {
		for range 3 {
			var stream []byte
			first := byte(binaryOp)
			for rest := string(body[:size]); ; first = continuation {
				n := min(rnd.IntN(100_000), len(rest))
				if n == len(rest) {
					stream = append(stream, clientFrame(first|finBit, rest)...)
					break
				}
				stream = append(stream, clientFrame(first, rest[:n])...)
				rest = rest[n:]
			}
			c := opened(t, s)
			sent := make(chan struct{})
			go func() { defer close(sent); send(c, stream, randomly(rnd.Uint64())) }()
			expect(t, c, AppendFrame(nil, OpBinary, body[:size]))
			<-sent
			expectOpen(t, c)
		}
	}

	c := opened(t, s)
	go send(c, clientFrame(finBinary, string(body)+"x"), whole)
	expectClose(t, c, 1009)
	if n := s.Stats().Closed["too_big"]; n != 1 {
		t.Errorf("%d counted", n)
	}
}

// TestHalfOpenHandshakesAreBoundedAndCounted has idle half-open handshakes, 10,000 where the open-file limit
// allows (each takes two descriptors of this process), fill the server.
func TestHalfOpenHandshakesAreBoundedAndCounted(t *testing.T) {
	n := min(500, (ConnectionLimit()-500)/2)
	if os.Getenv("WSHUB_DRILL") != "" {
		n = min(10_000, (ConnectionLimit()-500)/2)
	}
	if n < 100 {
		t.Skip("the open-file limit is too low")
	}
	s := running(t, Config{MaxConnections: n, HandshakeTimeout: time.Second + time.Duration(n)*time.Millisecond}, &echoing{})
	healthy := opened(t, s)
	goroutines := runtime.NumGoroutine()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)

	half := make([]*net.TCPConn, n-1)
	for i := range half {
		half[i] = connect(t, s)
		send(half[i], []byte(head()[:80]), whole)
	}
	until(t, "all there", func() bool { return s.Stats().Sockets == int64(n) })
	runtime.GC()
	runtime.ReadMemStats(&after)
	t.Logf("%d half-open handshakes: %d bytes of heap each, client's side included", n, (after.HeapAlloc-before.HeapAlloc)/uint64(n))
	if more := runtime.NumGoroutine() - goroutines; more > 5 {
		t.Errorf("%d goroutines more", more)
	}
	expectOpen(t, healthy)

	late := opened(t, s) // half-open ones take no places

	for _, c := range half {
		got, err := io.ReadAll(c)
		if err != nil || !bytes.HasPrefix(got, []byte("HTTP/1.1 408 ")) {
			t.Fatalf("got %q, %v", got, err)
		}
		_ = c.Close()
	}
	until(t, "all closed but two", func() bool { return s.Stats().Sockets == 2 })
	if st := s.Stats(); st.Refused[408] != uint64(len(half)) || st.Open != 2 {
		t.Errorf("%+v", st)
	}
	expectOpen(t, healthy)
	expectOpen(t, late)
}

func TestAnotherImplementationAsClient(t *testing.T) {
	gone := make(chan *Cause, 10)
	s := running(t, Config{}, &echoing{gone: gone, decide: func(h *Handshake, p Peer) {
		h.Accept(h.Subprotocols[0], p, AppendFrame(nil, OpText, []byte("welcome")))
	}})
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for _, compression := range []websocket.CompressionMode{websocket.CompressionDisabled, websocket.CompressionContextTakeover} {
		var pongs atomic.Int32
		c, resp, err := websocket.Dial(ctx, fmt.Sprintf("ws://%s/notification?x=1", s.Addr()), &websocket.DialOptions{
			Subprotocols:    []string{"hub.v1.json", "other"},
			CompressionMode: compression,
			OnPongReceived:  func(context.Context, []byte) { pongs.Add(1) },
		})
		if err != nil {
			t.Fatal(err)
		}
		if c.Subprotocol() != "hub.v1.json" || resp.Header.Get("Sec-WebSocket-Extensions") != "" {
			t.Errorf("negotiated %q, %v", c.Subprotocol(), resp.Header)
		}
		read := func(typ websocket.MessageType, want string) {
			t.Helper()
			gotType, got, err := c.Read(ctx)
			if err != nil || gotType != typ || string(got) != want {
				t.Fatalf("got %v %.60q %v, want %v %.60q", gotType, got, err, typ, want)
			}
		}
		read(websocket.MessageText, "welcome")

		long := strings.Repeat("κόσμε ", 2000)
		for _, m := range []string{"", "a", long} {
			if err := c.Write(ctx, websocket.MessageText, []byte(m)); err != nil {
				t.Fatal(err)
			}
			read(websocket.MessageText, m)
		}
		w, err := c.Writer(ctx, websocket.MessageBinary) // each Write may become a fragment
		for i := 0; err == nil && i < len(long); i += 1000 {
			_, err = io.WriteString(w, long[i:min(i+1000, len(long))])
		}
		if err = errors.Join(err, w.Close()); err != nil {
			t.Fatal(err)
		}
		read(websocket.MessageBinary, long)

		pinged := make(chan error, 1)
		go func() {
			pinged <- errors.Join(c.Ping(ctx), c.Write(ctx, websocket.MessageText, []byte("pinged")))
		}()
		read(websocket.MessageText, "pinged")
		if err := <-pinged; err != nil || pongs.Load() != 1 {
			t.Errorf("ping: %v, %d pongs", err, pongs.Load())
		}

		if err := c.Close(4123, "enough"); err != nil {
			t.Errorf("close: %v", err)
		}
		if cause := <-gone; cause != ByPeer {
			t.Errorf("the peer was told %v", cause)
		}
	}

	c, _, err := websocket.Dial(ctx, fmt.Sprintf("ws://%s/notification", s.Addr()), &websocket.DialOptions{Subprotocols: []string{"x"}})
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = c.Read(ctx)
	err = errors.Join(err, c.Write(ctx, websocket.MessageText, []byte("close enough now")))
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = c.Read(ctx)
	var ce websocket.CloseError
	if !errors.As(err, &ce) || ce.Code != 4000 || ce.Reason != "enough now" {
		t.Errorf("closed by the server: %v", err)
	}
	until(t, "all closed", func() bool { return s.Stats().Sockets == 0 })
}
