package engine

import (
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// Whatever sockets do, all at once and against every limit, each account comes to what is there, and in the end to nothing.
func TestAccountsOfSocketsComeOut(t *testing.T) {
	s := running(t, Config{MaxConnections: 20, HandshakeTimeout: 300 * time.Millisecond, MaxMessage: 1000}, &echoing{decide: func(h *Handshake, p Peer) {
		accept := func() {
			h.Accept("", p, nil)
			if h.URL.RawQuery == "close" {
				h.Conn().Close(&Cause{"test", 4000, ""})
			}
		}
		switch l := h.Conn().Loop(); h.URL.RawQuery {
		case "refuse":
			h.Refuse(refuseOrigin)
		case "never":
		case "late":
			l.After(tick, accept)
		case "refuse-late":
			l.After(tick, func() { h.Refuse(refuseOrigin) })
		case "panic":
			panic("in the handshake")
		default:
			accept()
		}
	}})
	ask := func(query string) []byte { return []byte(head("GET /notification?" + query + " HTTP/1.1")) }
	says := [][]byte{
		nil, ask("good")[:40], []byte("\x16\x03\x01"), []byte("GET / HTTP/1.0\r\n\r\n"), []byte(strings.Repeat("x", 20_000)),
		ask("good"), ask("close"), ask("refuse"), ask("never"), ask("late"), ask("refuse-late"), ask("panic"),
		join(ask("good"), clientFrame(finText, "close now"), clientFrame(finClose, "")),
		join(ask("good"), clientFrame(finText, "close now")),
		join(ask("late"), clientFrame(finText, "close now"), clientFrame(text, "half")),
		join(ask("late"), []byte(strings.Repeat("x", 20_000))),
		join(ask("good"), clientFrame(finBinary, strings.Repeat("x", 2000))),
		join(ask("close"), clientFrame(finClose, "")),
		join(ask("good"), rawHex("FF FF")),
	}
	// consistent compares the accounts with the sockets, each loop standing still.
	consistent := func() {
		t.Helper()
		var all sync.WaitGroup
		all.Add(len(s.loops))
		goOn := make(chan struct{})
		for _, l := range s.loops {
			l.Post(func() { all.Done(); <-goOn })
		}
		all.Wait()
		defer close(goOn)
		connections := int64(0)
		for _, l := range s.loops {
			n, parting, unknown := int64(0), int64(0), int64(0)
			for c := l.transits.oldest; c != nil; c = c.transit.newer {
				if n++; c.state.class() != inTransit {
					t.Errorf("in transit in state %d", c.state)
				}
				if c.state.parting() {
					parting++
				}
			}
			l.conns.each(func(c *Conn) {
				if c.state.class() == connection {
					connections++
				}
			})
			l.mu.Lock()
			unknown = int64(len(l.opened))
			l.mu.Unlock()
			if counted := l.count.transit.Load(); counted < n || counted > n+unknown+1 || l.count.parting.Load() != parting {
				t.Errorf("%d in transit, %d of them parting, and %d to come; counted %d and %d", n, parting, unknown, counted, l.count.parting.Load())
			}
		}
		if counted := s.room.connections.Load(); counted != connections || counted > s.room.places {
			t.Errorf("%d connections, counted %d of %d", connections, counted, s.room.places)
		}
		if n := s.room.sockets.Load(); n > s.room.most {
			t.Errorf("%d sockets, %d at most", n, s.room.most)
		}
	}
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			rnd := rand.New(rand.NewPCG(1, uint64(i)))
			var held []net.Conn
			for range 60 {
				c, err := net.Dial("tcp", s.Addr().String())
				if err != nil {
					t.Error(err)
					return
				}
				next := whole
				if rnd.IntN(4) == 0 {
					next = randomly(rnd.Uint64())
				}
				_ = c.SetDeadline(time.Now().Add(20 * time.Second))
				send(c, says[rnd.IntN(len(says))], next)
				switch rnd.IntN(4) {
				case 0:
					_ = c.(*net.TCPConn).SetLinger(0)
					_ = c.Close()
				case 1:
					_ = c.Close()
				case 2:
					_ = c.(*net.TCPConn).CloseWrite()
					_, _ = io.Copy(io.Discard, c)
					_ = c.Close()
				default:
					held = append(held, c)
				}
			}
			for _, c := range held {
				_ = c.Close()
			}
		})
	}
	done := make(chan struct{})
	go func() { all.Wait(); close(done) }()
	for busy := true; busy; {
		consistent()
		select {
		case <-done:
			busy = false
		default:
		}
	}
	until(t, "all are gone", func() bool { return s.Stats().Sockets == 0 && s.room.living.Load() == 0 })
	consistent()
	if st := s.Stats(); st.Open != 0 || st.Partial != 0 || st.Backlog != 0 || s.room.connections.Load() != 0 {
		t.Errorf("%+v, %d connections", st, s.room.connections.Load())
	}
}
