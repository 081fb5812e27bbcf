package fleet

import (
	"bufio"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/centrifugal/protocol"
	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"
)

// flood accepts clients, and sends each of them frames when told to.
type flood struct {
	t        testing.TB
	listener net.Listener
	conns    chan net.Conn
	serving  sync.WaitGroup
	protocol string
	hello    []byte     // sent behind the 101
	held     []net.Conn // one that nobody holds is closed by the garbage collector
}

func newFlood(t testing.TB) *flood {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &flood{t: t, listener: listener, conns: make(chan net.Conn, 1<<16), protocol: "plain"}
	t.Cleanup(func() {
		_ = listener.Close()
		f.serving.Wait()
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

func (f *flood) serve() {
	for {
		conn, err := f.listener.Accept()
		if err != nil {
			return
		}
		f.greet(conn)
	}
}

func (f *flood) greet(conn net.Conn) {
	request, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		_ = conn.Close()
		return
	}
	sum := sha1.Sum([]byte(request.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	answer := "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " +
		base64.StdEncoding.EncodeToString(sum[:]) + "\r\n"
	if p := request.Header.Get("Sec-WebSocket-Protocol"); p != "" {
		answer += "Sec-WebSocket-Protocol: " + p + "\r\n"
	}
	_, _ = conn.Write(append([]byte(answer+"\r\n"), f.hello...))
	f.conns <- conn
}

func (f *flood) config(clients int) Config {
	return Config{
		URL: "ws://" + f.listener.Addr().String() + "/", Protocol: f.protocol, Topology: Topology{Topic: "news"},
		Run: testRun, Clients: clients, Loops: 1, Timeout: 10 * time.Second, MaxMessage: 1 << 20,
	}
}

// fleetOf connects clients and returns them with the server's ends.
func (f *flood) fleetOf(clients int) (*Local, []net.Conn) {
	f.t.Helper()
	fleet := f.dial(clients)
	f.until(fleet, func(c Counts) bool { return c.Ready == int64(clients) || c.Failed > 0 })
	for range clients {
		f.held = append(f.held, <-f.conns)
	}
	return fleet, f.held
}

// dial lets clients begin to connect, once.
func (f *flood) dial(clients int) *Local {
	f.t.Helper()
	f.serving.Go(f.serve)
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
	return fleet
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
	if _, err := conns[0].Write(append(frame, f.events(1, 2)...)); err != nil {
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

// frames are the next n frames that a client sends, without their masks.
func (f *flood) frames(conn net.Conn, n int) (all []ws.Frame) {
	f.t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		f.t.Fatal(err)
	}
	for range n {
		header, err := ws.ReadHeader(conn)
		if err != nil || header.Length > 1<<16 || !header.Masked {
			f.t.Fatalf("%+v, %v", header, err)
		}
		payload := make([]byte, header.Length)
		if _, err := io.ReadFull(conn, payload); err != nil {
			f.t.Fatal(err)
		}
		ws.Cipher(payload, header.Mask, 0)
		all = append(all, ws.Frame{Header: header, Payload: payload})
	}
	return all
}

func (f *flood) write(conn net.Conn, b []byte) {
	f.t.Helper()
	if _, err := conn.Write(b); err != nil {
		f.t.Fatal(err)
	}
}

func centrifugoFlood(t *testing.T, p Protocol) *flood {
	f := newFlood(t)
	f.speak("centrifugo")
	if (p == centrifugoProtobuf{}) {
		f.speak("centrifugo-protobuf")
	}
	return f
}

// published is the push of event seq of news.
func published(seq uint64) *protocol.Reply {
	return pushed("news", publication(string(event("news", seq, 1)), seq))
}

func TestSeveralRepliesOfOneFrameAreEachTaken(t *testing.T) {
	for _, p := range bothEncodings {
		f := centrifugoFlood(t, p)
		fleet, conns := f.fleetOf(2)
		for _, conn := range conns { // for the second one all is known
			f.write(conn, frameOf(p, joined(t, p, published(1), &protocol.Reply{}, published(2), published(3))))
		}
		c := f.until(fleet, func(c Counts) bool { return c.Delivered == 6 || c.Corrupt > 0 })
		if c.Corrupt != 0 || c.Foreign != 0 || c.Pings != 2 || c.Lost != 0 {
			t.Errorf("%T: %+v", p, c)
		}
	}
}

// Both clients get the very same answer. For the second one the event in it is known, the rest is not.
func TestAnAnswerThatHoldsEventsIsReadByEachClient(t *testing.T) {
	for _, p := range bothEncodings {
		f := centrifugoFlood(t, p)
		f.hello = frameOf(p, joined(t, p, &protocol.Reply{Id: 2, Subscribe: &protocol.SubscribeResult{
			Recoverable: true, Epoch: "e1", Publications: []*protocol.Publication{publication(string(event("news", 1, 1)), 1)},
		}}))
		fleet, _ := f.fleetOf(2)
		if c := f.until(fleet, func(c Counts) bool { return c.Delivered == 2 }); c.Ready != 2 || c.Corrupt != 0 {
			t.Errorf("%T: %+v", p, c)
		}
	}
}

func TestAnEmptyLineIsCorrupt(t *testing.T) {
	f := centrifugoFlood(t, centrifugo{})
	fleet, conns := f.fleetOf(1)
	f.write(conns[0], frameOf(centrifugo{}, append(joined(t, centrifugo{}, published(1)), '\n')))
	f.write(conns[0], f.events(2, 3))
	c := f.until(fleet, func(c Counts) bool { return c.Delivered == 2 })
	if c.Corrupt != 1 || c.Open != 1 {
		t.Errorf("%+v", c)
	}
}

func TestPingsAreAnsweredWhereTheServerAsksForThat(t *testing.T) {
	for _, p := range bothEncodings {
		for _, pong := range []bool{true, false} {
			f := centrifugoFlood(t, p)
			f.hello = frameOf(p, joined(t, p,
				&protocol.Reply{Id: 1, Connect: &protocol.ConnectResult{Ping: 25, Pong: pong}},
				&protocol.Reply{Id: 2, Subscribe: &protocol.SubscribeResult{}},
			))
			fleet, conns := f.fleetOf(1)
			f.write(conns[0], frameOf(p, joined(t, p, &protocol.Reply{})))
			f.write(conns[0], []byte{0x89, 0})
			sent := f.frames(conns[0], 2) // the first one connects
			answer := sent[1]
			if pong {
				if c := commands(t, p, answer.Payload); answer.Header.OpCode.IsControl() || len(c) != 1 || c[0].Id != 0 || c[0].Connect != nil {
					t.Errorf("%T: answered %v with %q", p, answer.Header, answer.Payload)
				}
			} else if answer.Header.OpCode != ws.OpPong {
				t.Errorf("%T: answered unasked: %v with %q", p, answer.Header, answer.Payload)
			}
			if c := f.until(fleet, func(c Counts) bool { return c.Pings == 2 }); c.Corrupt != 0 {
				t.Errorf("%T: %+v", p, c)
			}
		}
	}
}

// The server has lost the client's place. The client asks for what it missed.
func TestATopicIsFollowedAgainAfterAnUnsubscribePush(t *testing.T) {
	lost := &protocol.Reply{Push: &protocol.Push{Channel: "news", Unsubscribe: &protocol.Unsubscribe{Code: 2500, Reason: "insufficient state"}}}
	for name, c := range map[string]struct {
		answer *protocol.SubscribeResult
		ok     func(Counts) bool
	}{
		"recovered": {
			&protocol.SubscribeResult{Recoverable: true, Epoch: "e1", Offset: 1, WasRecovering: true, Recovered: true, Publications: []*protocol.Publication{
				publication(string(event("news", 2, 1)), 2), publication(string(event("news", 3, 1)), 3),
			}},
			func(c Counts) bool { return c.Delivered == 4 && c.Missed == 0 && c.Gaps == 0 },
		},
		"not recovered": {
			&protocol.SubscribeResult{Recoverable: true, Epoch: "e2", Offset: 3, WasRecovering: true},
			func(c Counts) bool { return c.Delivered == 2 && c.Missed == 2 && c.Gaps == 1 },
		},
		"promised and lost": {
			&protocol.SubscribeResult{Recoverable: true, Epoch: "e1", Offset: 1, WasRecovering: true, Recovered: true, Publications: []*protocol.Publication{
				publication(string(event("news", 3, 1)), 3),
			}},
			func(c Counts) bool { return c.Delivered == 3 && c.Lost == 1 },
		},
		"repeated": {
			&protocol.SubscribeResult{Recoverable: true, Epoch: "e1", Offset: 1, WasRecovering: true, Recovered: true, Publications: []*protocol.Publication{
				publication(string(event("news", 1, 1)), 1), publication(string(event("news", 2, 1)), 2), publication(string(event("news", 3, 1)), 3),
			}},
			func(c Counts) bool { return c.Delivered == 4 && c.Repeated == 1 },
		},
	} {
		for _, p := range bothEncodings {
			f := centrifugoFlood(t, p)
			fleet, conns := f.fleetOf(1)
			f.write(conns[0], frameOf(p, joined(t, p, published(1), lost)))
			again := commands(t, p, f.frames(conns[0], 2)[1].Payload)
			if s := again[0].Subscribe; len(again) != 1 || s == nil || s.Channel != "news" || !s.Recover || s.Offset != 1 || s.Epoch != "e1" {
				t.Fatalf("%s, %T: %v", name, p, again)
			}
			if n := f.do(fleet, Order{Op: Count}).Counts; n.Ready != 0 || n.Open != 1 {
				t.Errorf("%s, %T: ready without its topic: %+v", name, p, n)
			}
			f.write(conns[0], frameOf(p, joined(t, p, &protocol.Reply{Id: 2, Subscribe: c.answer}, published(4))))
			n := f.until(fleet, func(n Counts) bool { return n.Ready == 1 && n.Delivered >= 2 && n.Pending == 0 })
			if !c.ok(n) {
				t.Errorf("%s, %T: %+v", name, p, n)
			}
			f.write(conns[0], frameOf(p, joined(t, p, lost)))
			again = commands(t, p, f.frames(conns[0], 1)[0].Payload)
			if s := again[0].Subscribe; s.Offset != 4 || s.Epoch != c.answer.Epoch {
				t.Errorf("%s, %T: the next time: %v", name, p, again)
			}
		}
	}
}

func TestEndsOfAConnectionThatRepliesTell(t *testing.T) {
	for _, p := range bothEncodings {
		for cause, reply := range map[string]*protocol.Reply{
			"3001":         {Push: &protocol.Push{Disconnect: &protocol.Disconnect{Code: 3001, Reason: "shutdown"}}},
			"refused: 103": {Id: 2, Error: &protocol.Error{Code: 103, Message: "permission denied"}},
			"refused: 106": {Id: 2, Error: &protocol.Error{Code: 106}, Subscribe: &protocol.SubscribeResult{Publications: []*protocol.Publication{
				publication(string(event("news", 1, 1)), 1),
			}}},
		} {
			f := centrifugoFlood(t, p)
			fleet, conns := f.fleetOf(1)
			frame := joined(t, p, reply, published(1))
			if reply.Error != nil { // it is the answer to another subscribe
				frame = joined(t, p, &protocol.Reply{Push: &protocol.Push{Channel: "news", Unsubscribe: &protocol.Unsubscribe{Code: 2501}}}, reply, published(1))
			}
			f.write(conns[0], frameOf(p, frame))
			if c := f.until(fleet, func(c Counts) bool { return c.Open == 0 }); c.Closes[cause] != 1 || c.Delivered != 0 || c.Corrupt != 0 {
				t.Errorf("%T: %+v, want closed by %q", p, c, cause)
			}
		}
	}
}

func TestATopicThatTheServerAddsMakesNobodyReady(t *testing.T) {
	for _, p := range bothEncodings {
		f := centrifugoFlood(t, p)
		f.hello = frameOf(p, joined(t, p,
			&protocol.Reply{Id: 1, Connect: &protocol.ConnectResult{Subs: map[string]*protocol.SubscribeResult{"sport": {}}}}, &protocol.Reply{},
		))
		fleet := f.dial(1)
		if c := f.until(fleet, func(c Counts) bool { return c.Pings == 1 }); c.Ready != 0 || c.Open != 1 {
			t.Errorf("%T: %+v", p, c)
		}
		conn := <-f.conns
		f.held = append(f.held, conn)
		f.write(conn, frameOf(p, joined(t, p, &protocol.Reply{Id: 2, Subscribe: &protocol.SubscribeResult{}})))
		f.until(fleet, func(c Counts) bool { return c.Ready == 1 })
	}
}

func TestMessagesOfTheOtherKindOfFrameAreABreach(t *testing.T) {
	for _, p := range bothEncodings {
		f := centrifugoFlood(t, p)
		fleet, conns := f.fleetOf(1)
		frame := frameOf(p, joined(t, p, published(1)))
		frame[0] ^= 3 // text and binary
		f.write(conns[0], frame)
		if c := f.until(fleet, func(c Counts) bool { return c.Open == 0 }); c.Corrupt != 1 || c.Closes["protocol violation"] != 1 {
			t.Errorf("%T: %+v", p, c)
		}
	}
}

// BenchmarkReceive is what the client costs for each message of 128 bytes, from the socket to the
// histogram, when a server joins 400 frames to a write. The writing is in it too.
func BenchmarkReceive(b *testing.B) {
	for _, name := range ProtocolNames() {
		b.Run(name, func(b *testing.B) { benchmarkReceive(b, name) })
	}
}

func benchmarkReceive(b *testing.B, name string) {
	f := newFlood(b)
	f.speak(name)
	const clients, joined = 100, 400
	fleet, conns := f.fleetOf(clients)
	b.ResetTimer()
	before := cpuTime(b)
	next, sent := uint64(1), 0
	for sent < b.N {
		batch := f.events(next, next+joined)
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

// speak has the clients speak a protocol, and lets them in.
func (f *flood) speak(name string) {
	f.protocol = name
	switch p := Protocols[name]; p.(type) {
	case hubV1:
		f.hello = frameOf(p, []byte(`{"type":"subscribed","id":1,"topic":"news","position":"e:0"}`))
	case centrifugo, centrifugoProtobuf:
		f.hello = frameOf(p, joined(f.t, p,
			&protocol.Reply{Id: 1, Connect: &protocol.ConnectResult{Ping: 25, Pong: true}},
			&protocol.Reply{Id: 2, Subscribe: &protocol.SubscribeResult{Recoverable: true, Epoch: "e1"}},
		))
	}
}

// frameOf is a frame of a server.
func frameOf(p Protocol, payload []byte) []byte {
	b := []byte{0x80 | byte(p.Opcode()), byte(len(payload))}
	if len(payload) > 125 {
		b = binary.BigEndian.AppendUint16([]byte{b[0], 126}, uint16(len(payload)))
	}
	return append(b, payload...)
}

// events are frames with the events from seq from to to-1, as the protocol has them.
func (f *flood) events(from, to uint64) []byte {
	var b []byte
	p := Protocols[f.protocol]
	for seq := from; seq < to; seq++ {
		text := event("news", seq, 1)
		switch p.(type) {
		case hubV1:
			text = fmt.Appendf(nil, `{"type":"event","topic":"news","position":"e:%d","data":%s}`, seq, text)
		case centrifugo, centrifugoProtobuf:
			text = joined(f.t, p, pushed("news", publication(string(text), seq)))
		}
		b = append(b, frameOf(p, text)...)
	}
	return b
}

// cpuTime is what this process has used.
func cpuTime(b *testing.B) int64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
