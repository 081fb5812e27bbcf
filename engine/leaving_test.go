package engine

import (
	"bytes"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestServerClosesByHandshake(t *testing.T) {
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
		expectEnd(t, c)
		began := time.Now()
		if answers {
			for _, late := range [][]byte{clientFrame(finText, "too late"), clientFrame(finClose, closePayload(4000, ""))} {
				before := s.Stats().BytesIn
				send(c, late, whole)
				until(t, "late bytes read", func() bool { return s.Stats().BytesIn == before+uint64(len(late)) })
			}
			_ = c.Close()
		}
		until(t, "socket closed", func() bool { return s.Stats().Sockets == 0 })
		switch took := time.Since(began); {
		case answers && took > lingerTime-2*tick:
			t.Errorf("the socket outlived its peer's by %v", took)
		case !answers && (took < lingerTime-2*tick || took > 3*lingerTime):
			t.Errorf("the socket was kept for a silent peer for %v", took)
		}
	}
	if n := s.Stats().Closed["test"]; n != 2 {
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
type counting struct{ messages atomic.Int64 }

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
