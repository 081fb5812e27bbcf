package fleet

import (
	"bufio"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"net"
	"net/http"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// flood accepts clients, and sends each of them frames when told to.
type flood struct {
	t        testing.TB
	listener net.Listener
	conns    chan net.Conn
	done     chan struct{}
	held     []net.Conn // one that nobody holds is closed by the garbage collector
}

func newFlood(t testing.TB) *flood {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &flood{t: t, listener: listener, conns: make(chan net.Conn, 1<<16), done: make(chan struct{})}
	go func() {
		defer close(f.done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			f.greet(conn)
		}
	}()
	t.Cleanup(func() {
		_ = listener.Close()
		<-f.done
		close(f.conns)
		for conn := range f.conns {
			f.held = append(f.held, conn)
		}
		for _, conn := range f.held {
			_ = conn.Close()
		}
	})
	return f
}

func (f *flood) greet(conn net.Conn) {
	request, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		_ = conn.Close()
		return
	}
	sum := sha1.Sum([]byte(request.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	_, _ = conn.Write([]byte("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " +
		base64.StdEncoding.EncodeToString(sum[:]) + "\r\n\r\n"))
	f.conns <- conn
}

func (f *flood) config(clients int) Config {
	return Config{
		URL: "ws://" + f.listener.Addr().String() + "/", Protocol: "plain", Topology: Topology{Topic: "news"},
		Run: testRun, Clients: clients, Loops: 1, Timeout: 10 * time.Second, MaxMessage: 1 << 20,
	}
}

// fleetOf connects clients and returns them with the server's ends.
func (f *flood) fleetOf(clients int) (*Local, []net.Conn) {
	f.t.Helper()
	fleet, err := NewLocal(f.config(clients))
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() {
		if err := fleet.Close(); err != nil {
			f.t.Error(err)
		}
	})
	f.do(fleet, Order{Op: Connect, To: clients, Inflight: 64, First: true})
	f.until(fleet, func(c Counts) bool { return c.Ready == int64(clients) || c.Failed > 0 })
	for range clients {
		f.held = append(f.held, <-f.conns)
	}
	return fleet, f.held
}

func (f *flood) do(fleet *Local, o Order) Report {
	f.t.Helper()
	r, err := fleet.Do(context.Background(), o)
	if err != nil {
		f.t.Fatal(err)
	}
	return r
}

// until looks until done, for at most 10 s.
func (f *flood) until(fleet *Local, done func(Counts) bool) Counts {
	f.t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); runtime.Gosched() {
		if c := f.do(fleet, Order{Op: Count}).Counts; done(c) {
			return c
		}
	}
	f.t.Fatal("it did not come to that in 10 s")
	return Counts{}
}

// frames are events from seq from to to-1, joined.
func frames(from, to uint64) []byte {
	var b []byte
	for seq := from; seq < to; seq++ {
		text := event("news", seq, 1)
		b = append(b, 0x81, 126, byte(len(text)>>8), byte(len(text)))
		b = append(b, text...)
	}
	return b
}

func TestFramesMayArriveInAnyPieces(t *testing.T) {
	f := newFlood(t)
	fleet, conns := f.fleetOf(1)
	text := event("news", 1, 1)
	whole := append([]byte{0x81, 126, 0, byte(len(text))}, text...)
	second, third := event("news", 2, 1), event("news", 3, 1)
	fragments := append([]byte{0x01, 10}, second[:10]...)
	fragments = append(fragments, 0x89, 2, 'h', 'i') // a ping in between
	fragments = append(fragments, 0x00, 0)
	fragments = append(append(fragments, 0x80, byte(len(second)-10)), second[10:]...)
	all := append(append(whole, fragments...), append([]byte{0x81, 126, 0, byte(len(third))}, third...)...)
	for i := range all { // byte by byte
		if _, err := conns[0].Write(all[i : i+1]); err != nil {
			t.Fatal(err)
		}
	}
	c := f.until(fleet, func(c Counts) bool { return c.Delivered == 3 || c.Corrupt > 0 })
	if c.Corrupt != 0 || c.Pings != 1 {
		t.Errorf("%+v", c)
	}
	pong := make([]byte, 8)
	if _, err := conns[0].Read(pong); err != nil || pong[0] != 0x8a || pong[1] != 0x82 {
		t.Errorf("pong % x, %v", pong, err)
	}
}

func TestABreachOfTheProtocolEndsTheConnection(t *testing.T) {
	for name, b := range map[string][]byte{
		"reserved bit":             {0xc1, 0},
		"masked":                   {0x81, 0x80, 1, 2, 3, 4},
		"binary":                   {0x82, 1, 'x'},
		"continuation of nothing":  {0x80, 0},
		"two messages interleaved": {0x01, 1, 'x', 0x81, 1, 'y'},
		"bad close code":           {0x88, 2, 0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFlood(t)
			fleet, conns := f.fleetOf(1)
			if _, err := conns[0].Write(b); err != nil {
				t.Fatal(err)
			}
			c := f.until(fleet, func(c Counts) bool { return c.Open == 0 })
			if c.Corrupt != 1 || c.Closed != 1 || c.Closes["protocol violation"] != 1 {
				t.Errorf("%+v", c)
			}
		})
	}
}

func TestAFrameLargerThanTheReadBufferIsTaken(t *testing.T) {
	f := newFlood(t)
	fleet, conns := f.fleetOf(2)
	const size = readSize*2 + 12345
	text := make([]byte, size)
	for i := range text {
		text[i] = 'x'
	}
	text[0], text[size-1] = '"', '"'
	frame := append([]byte{0x81, 127, 0, 0, 0, 0, 0, size >> 16, size >> 8 & 0xff, size & 0xff}, text...)
	if _, err := conns[0].Write(append(frame, frames(1, 2)...)); err != nil {
		t.Fatal(err)
	}
	c := f.until(fleet, func(c Counts) bool { return c.Delivered == 1 || c.Open < 2 })
	if c.Foreign != 1 || c.Corrupt != 0 || c.Delivered != 1 {
		t.Errorf("%+v", c)
	}
}

func TestACloseIsAnsweredAndCounted(t *testing.T) {
	f := newFlood(t)
	fleet, conns := f.fleetOf(1)
	if _, err := conns[0].Write([]byte{0x88, 2, 0x03, 0xf4}); err != nil {
		t.Fatal(err)
	}
	c := f.until(fleet, func(c Counts) bool { return c.Open == 0 })
	if c.Closes["1012"] != 1 || c.Closed != 1 || c.Corrupt != 0 {
		t.Errorf("%+v", c)
	}
}

// BenchmarkReceive is what the client costs for each message of 128 bytes, from the socket to the
// histogram, when a server joins 400 frames to a write. The writing is in it too.
func BenchmarkReceive(b *testing.B) {
	f := newFlood(b)
	const clients, joined = 100, 400
	fleet, conns := f.fleetOf(clients)
	b.ResetTimer()
	before := cpuTime(b)
	next, sent := uint64(1), 0
	for sent < b.N {
		batch := frames(next, next+joined)
		next += joined
		for _, conn := range conns {
			if _, err := conn.Write(batch); err != nil {
				b.Fatal(err)
			}
		}
		sent += joined * clients
	}
	f.until(fleet, func(c Counts) bool { return c.Delivered == uint64(sent) })
	b.StopTimer()
	b.ReportMetric(float64(sent)/b.Elapsed().Seconds(), "messages/s")
	b.ReportMetric(float64(cpuTime(b)-before)/float64(sent), "cpu-ns/message")
}

// cpuTime is what this process has used.
func cpuTime(b *testing.B) int64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
