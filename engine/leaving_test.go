package engine

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// The end of the stream follows our Close frame when the client's has come, whatever else comes first, or 2 s later.
func TestServerClosesByHandshake(t *testing.T) {
	t.Parallel()
	gone := make(chan *Cause, 1)
	s := running(t, Config{}, &echoing{gone: gone})
	for _, answers := range []bool{true, false} {
		c := opened(t, s)
		send(c, join(clientFrame(finText, "before"), clientFrame(finText, "close why"), clientFrame(finText, "after")), whole)
		expect(t, c, AppendFrame(nil, OpText, []byte("before")))
		expect(t, c, AppendClose(nil, 4000, "why"))
		if cause := <-gone; cause.Name != "test" {
			t.Errorf("the peer was told %v", cause)
		}
		began := time.Now()
		if answers {
			late := join(clientFrame(finText, "too late"), clientFrame(finPing, "and this"), clientFrame(finClose, closePayload(4000, "")))
			rest := late[len(late)-1:]
			for piece := range slices.Chunk(late[:len(late)-1], 7) { // few, for all must come within lingerTime
				before := s.Stats().BytesIn
				send(c, piece, whole)
				until(t, "it is read", func() bool { return s.Stats().BytesIn == before+uint64(len(piece)) })
			}
			expectSilence(t, c)
			send(c, rest, whole)
		}
		expectEnd(t, c)
		ended := time.Since(began)
		if answers {
			_ = c.Close()
		}
		until(t, "socket closed", func() bool { return s.Stats().Sockets == 0 })
		switch took := time.Since(began); {
		case answers && took > lingerTime-2*tick:
			t.Errorf("the socket outlived its peer's by %v", took)
		case !answers && (ended < lingerTime-2*tick || took-ended < lingerTime-2*tick || took > 4*lingerTime):
			t.Errorf("a silent peer was closed after %v, cut after %v", ended, took)
		}
	}
	if n := s.Stats().Closed["test"]; n != 2 {
		t.Errorf("%d counted", n)
	}
}

func TestAwaitClosingWaitsForAnswersOnly(t *testing.T) {
	s := running(t, Config{HandshakeTimeout: time.Hour}, &echoing{})
	connect(t, s) // a half-open one does not count
	opened(t, s)
	var all []*net.TCPConn
	for range 3 {
		c := opened(t, s)
		send(c, clientFrame(finText, "close now"), whole)
		expect(t, c, AppendClose(nil, 4000, "now"))
		all = append(all, c)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	s.AwaitClosing(over)
	done := make(chan time.Time, 1)
	go func() { s.AwaitClosing(t.Context()); done <- time.Now() }()
	began := time.Now()
	for _, c := range all {
		if len(done) > 0 {
			t.Error("it did not wait")
		}
		send(c, clientFrame(finClose, ""), whole)
		expectEnd(t, c)
	}
	if took := (<-done).Sub(began); took > lingerTime/2 {
		t.Errorf("it waited for %v", took)
	}
}

// Where the hub closes in the middle of what the client sends, the client's Close frame is found behind it.
func TestClientsCloseIsFoundBehindWhatItWasSending(t *testing.T) {
	t.Parallel()
	var conn *Conn
	arrived := make(chan struct{}, 1)
	s := running(t, Config{}, &echoing{decide: func(h *Handshake, p Peer) {
		conn = h.Conn()
		h.Accept("", p, nil)
		arrived <- struct{}{}
	}})
	long := strings.Repeat("\x88\x80....", 3000) // what looks like Close frames
	began := time.Now()
	n := 0
	for name, sending := range map[string]struct {
		b   []byte
		cut int // what came before the hub closed
	}{
		"nothing":                   {nil, 0},
		"a header":                  {clientFrame(finText, "x"), 1},
		"a long header":             {clientFrame(finBinary, long), 7},
		"a message":                 {clientFrame(finBinary, long), 5000},
		"a fragment":                {join(clientFrame(binaryOp, long), clientFrame(finContinuation, long)), 5000},
		"between fragments":         {join(clientFrame(binaryOp, "a"), clientFrame(finContinuation, long)), len(clientFrame(binaryOp, "a"))},
		"the last fragment":         {join(clientFrame(binaryOp, "a"), clientFrame(finContinuation, long)), 5000},
		"a ping":                    {clientFrame(finPing, "are you there?"), 9},
		"a ping between fragments":  {join(clientFrame(text, "a"), clientFrame(finPing, "x"), clientFrame(finContinuation, "b")), 13},
		"its own Close, in the end": {nil, -1},
	} {
		for _, next := range []func() int{whole, bytewise} {
			n++
			c := opened(t, s)
			<-arrived
			all := join(sending.b, clientFrame(finClose, closePayload(4000, "")))
			cut := sending.cut
			if cut < 0 {
				cut = len(all) - 3
			}
			before := s.Stats().BytesIn
			send(c, all[:cut], whole)
			until(t, "it is read", func() bool { return s.Stats().BytesIn == before+uint64(cut) })
			conn.loop.Post(func() { conn.Close(&Cause{"test", 4000, name}) })
			expect(t, c, AppendClose(nil, 4000, name))
			expectSilence(t, c)
			send(c, all[cut:], next)
			expectEnd(t, c)
			_ = c.Close()
		}
	}
	until(t, "all are gone", func() bool { return s.Stats().Sockets == 0 })
	if took := time.Since(began); took > time.Duration(n)*lingerTime/2 {
		t.Errorf("%d clients took %v", n, took)
	}
}

func TestTooLargeMessagesSenderIsToldAndWaitedFor(t *testing.T) {
	s := running(t, Config{MaxMessage: 1000}, &echoing{})
	part := strings.Repeat("x", 600)
	for name, b := range map[string][]byte{
		"in one frame":          clientFrame(finText, part+part),
		"far too large":         clientFrame(finBinary, strings.Repeat("x", 3<<20)),
		"in fragments":          join(clientFrame(text, part), clientFrame(finContinuation, part)),
		"and more of fragments": join(clientFrame(text, part), clientFrame(continuation, part), clientFrame(finPing, ""), clientFrame(finContinuation, part)),
	} {
		c := opened(t, s)
		began := time.Now()
		sent := make(chan struct{})
		go func() { defer close(sent); send(c, b, randomly(1)) }()
		expect(t, c, AppendClose(nil, 1009, errTooBig.reason))
		<-sent
		expectSilence(t, c)
		send(c, clientFrame(finClose, closePayload(1009, "")), whole)
		expectEnd(t, c)
		if took := time.Since(began); took > lingerTime-2*tick {
			t.Errorf("%s: it took %v", name, took)
		}
	}
}

// A client that goes on sending while it is to go is cut: it may send more than was under way, not without end.
func TestClientThatOnlyGoesOnSendingIsCut(t *testing.T) {
	s := running(t, Config{}, &echoing{})
	closed := func() *net.TCPConn {
		c := opened(t, s)
		send(c, clientFrame(finText, "close"), whole)
		expect(t, c, AppendFrame(nil, OpText, []byte("close"))) // the echo of what is no command
		send(c, clientFrame(finText, "close now"), whole)
		expect(t, c, AppendClose(nil, 4000, "now"))
		return c
	}
	refused := func() *net.TCPConn {
		c := connect(t, s)
		send(c, []byte("no\r\n"), whole)
		_, _ = io.ReadAll(c)
		return c
	}
	frame := clientFrame(finBinary, strings.Repeat("x", 60_000))
	for name, flood := range map[string]struct {
		from func() *net.TCPConn
		b    []byte
		most int
	}{
		"messages":     {closed, frame, maxLate},
		"empty pings":  {closed, bytes.Repeat(clientFrame(finPing, ""), 10_000), maxLate * 6 / (6 + lateFrame)},
		"behind a FIN": {refused, frame, maxLate},
	} {
		before := s.Stats().BytesIn
		c := flood.from()
		for {
			if _, err := c.Write(flood.b); err != nil {
				break
			}
		}
		until(t, "it is gone", func() bool { return s.Stats().Sockets == 0 })
		if came := s.Stats().BytesIn - before; came < uint64(flood.most) || came > uint64(flood.most)+1<<20 {
			t.Errorf("%s: %d bytes were read", name, came)
		}
	}
	if n := s.Stats().Dropped["flood"]; n != 3 {
		t.Errorf("%d counted", n)
	}
}

func TestClientClosesByHandshake(t *testing.T) {
	gone := make(chan *Cause, 1)
	s := running(t, Config{}, &echoing{gone: gone})
	c := opened(t, s)
	send(c, clientFrame(finClose, closePayload(1001, "leaving")), whole)
	expectClose(t, c, 1001)
	if cause := <-gone; cause != ByPeer {
		t.Errorf("the peer was told %v", cause)
	}
	_ = c.Close()
	until(t, "socket closed", func() bool { return s.Stats().Sockets == 0 })
}

func TestVanishedClientsLeaveNothingBehind(t *testing.T) {
	gone := make(chan *Cause, 100)
	s := running(t, Config{}, &echoing{gone: gone})
	begun := map[string][]byte{
		"idle":           nil,
		"in a header":    clientFrame(finText, "x")[:1],
		"in a message":   clientFrame(finText, strings.Repeat("x", 5000))[:3000],
		"in fragments":   clientFrame(text, strings.Repeat("x", 5000)),
		"within a pong":  clientFrame(finPong, "pong")[:8],
		"after messages": join(clientFrame(finText, "a"), clientFrame(finPing, "b")),
	}
	told, sent := 0, 0
	for _, b := range begun {
		for _, linger := range []int{-1, 0} { // a FIN, a RST
			c := opened(t, s)
			send(c, b, whole)
			sent += len(head()) + len(b)
			until(t, "all read", func() bool { return s.Stats().BytesIn == uint64(sent) })
			_ = c.SetLinger(linger)
			_ = c.Close()
			told++
		}
	}
	for range told {
		if cause := <-gone; cause != PeerGone {
			t.Errorf("a peer was told %v", cause)
		}
	}
	for _, b := range []string{"", "GET", head()[:70]} {
		c := connect(t, s)
		send(c, []byte(b), whole)
		_ = c.Close()
	}
	// A socket is counted down when its descriptor is closed; its loop lets go of the rest a moment later.
	until(t, "all closed", func() bool {
		st := s.Stats()
		return st.Sockets == 0 && st.Accepted == uint64(told+3) && st.Partial == 0
	})
	if st := s.Stats(); st.Open != 0 || st.Partial != 0 || st.Backlog != 0 || st.Closed["gone"] != uint64(told) {
		t.Errorf("%+v", st)
	}
	if len(gone) > 0 {
		t.Error("a peer was told twice")
	}
}

// counting counts messages and answers none.
type counting struct {
	Usual
	messages atomic.Int64
}

func (p *counting) Handshake(h *Handshake) { h.Accept("", p, nil) }
func (p *counting) Message(Opcode, []byte) { p.messages.Add(1) }
func (p *counting) Overhead(int)           {}
func (p *counting) Closed(*Cause)          {}

func TestWhatWasSentBeforeAFinIsRead(t *testing.T) {
	const clients, each = 20, 40
	burst := bytes.Repeat(clientFrame(finBinary, strings.Repeat("x", 15_000)), each)
	for _, buffer := range []int{4 << 10, 64 << 10} {
		t.Run(fmt.Sprintf("with a buffer of %d", buffer), func(t *testing.T) {
			p := new(counting)
			s := running(t, Config{ReadBuffer: buffer}, p)
			for range clients {
				c := opened(t, s)
				send(c, burst, whole)
				_ = c.Close()
			}
			until(t, "all closed", func() bool { return s.Stats().Sockets == 0 })
			if n := p.messages.Load(); n != clients*each {
				t.Errorf("%d messages of %d", n, clients*each)
			}
		})
	}
}

// Messages that a client sent before it broke off are read, and the answer to the first of it finds that it is gone.
func TestAnswerToWhoBrokeOffIsNoPanic(t *testing.T) {
	p := new(counting)
	s := running(t, Config{}, p)
	const clients = 20
	for range clients {
		c := opened(t, s)
		stalled, goOn := make(chan struct{}), make(chan struct{})
		for _, l := range s.loops {
			l.Post(func() { stalled <- struct{}{}; <-goOn })
			<-stalled
		}
		send(c, join(clientFrame(finPing, "p"), clientFrame(finText, "x")), whole)
		_ = c.SetLinger(0)
		_ = c.Close()
		close(goOn)
	}
	until(t, "all are gone", func() bool { st := s.Stats(); return st.Sockets == 0 && st.Closed["gone"] == clients })
	if st := s.Stats(); st.Panics != 0 || p.messages.Load() != 0 {
		t.Errorf("%d panics, %d messages", st.Panics, p.messages.Load())
	}
}
