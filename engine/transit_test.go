package engine

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"wshub/engine/proxy"
)

// Whatever sockets do, all at once and against every limit, each account comes to what is there, and in the end to nothing.
func TestAccountsOfSocketsComeOut(t *testing.T) {
	t.Parallel()
	accountsComeOut(t, Config{}, func(int) string { return head() })
}

// Also those of the clients' addresses, of which each may have some connections.
func TestAccountsOfAddressesComeOut(t *testing.T) {
	t.Parallel()
	loopback := proxy.Networks{netip.MustParsePrefix("127.0.0.0/8")}
	t.Run("by header", func(t *testing.T) {
		t.Parallel()
		accountsComeOut(t, Config{ClientAddress: proxy.XForwardedFor, TrustedProxies: loopback, MaxPerAddress: 3, AddressRate: 40}, func(i int) string {
			return head(fmt.Sprintf("+X-Forwarded-For: 192.0.2.%d", i%8))
		})
	})
	t.Run("by PROXY protocol", func(t *testing.T) {
		t.Parallel()
		accountsComeOut(t, Config{ClientAddress: proxy.Protocol, TrustedProxies: loopback, MaxPerAddress: 3}, func(i int) string {
			return fmt.Sprintf("PROXY TCP6 2001:db8:0:%d::%d ::1 4711 80\r\n", i%8, i) + head()
		})
	})
}

// accountsComeOut has clients come and go in each way, with the head for the i-th.
func accountsComeOut(t *testing.T, cfg Config, headOf func(i int) string) {
	cfg.MaxConnections, cfg.HandshakeTimeout, cfg.MaxMessage = 20, 300*time.Millisecond, 1000
	s := running(t, cfg, &echoing{decide: func(h *Handshake, p Peer) {
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
	var asked atomic.Int64
	ask := func(query string) []byte {
		return []byte(strings.Replace(headOf(int(asked.Add(1))), "GET /notification ", "GET /notification?"+query+" ", 1))
	}
	says := func() [][]byte {
		return [][]byte{
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
			counted := l.count.transit.Load() // before those to come: of these there may be more at any time
			l.mu.Lock()
			unknown = int64(len(l.opened))
			l.mu.Unlock()
			if counted < n || counted > n+unknown+1 || l.count.parting.Load() != parting {
				t.Errorf("%d in transit, %d of them parting, and %d to come; counted %d and %d", n, parting, unknown, counted, l.count.parting.Load())
			}
		}
		if counted := s.room.connections.Load(); counted != connections || counted > s.room.places {
			t.Errorf("%d connections, counted %d of %d", connections, counted, s.room.places)
		}
		if of, n := s.addresses.counted(); s.addresses != nil && (n != connections || of > 8+1) { // one for those whose socket had no peer any more
			t.Errorf("%d connections, %d counted for %d addresses", connections, n, of)
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
				words := says()
				send(c, words[rnd.IntN(len(words))], next)
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
	if s.addresses != nil {
		if st := s.Stats(); st.Refused[429] == 0 || st.Upgraded == 0 {
			t.Errorf("no address was over its bound, or all were: %+v", st)
		}
		until(t, "all addresses are forgotten", func() bool { return s.addresses.forgotten() })
	}
}

// counted is how many addresses have connections, and how many they have together.
func (a *addresses) counted() (of int, connections int64) {
	if a == nil {
		return 0, 0
	}
	for i := range a.shards {
		s := &a.shards[i]
		s.mu.Lock()
		of += len(s.open)
		for _, n := range s.open {
			connections += int64(n)
		}
		s.mu.Unlock()
	}
	return of, connections
}

// forgotten reports whether nothing is kept.
func (a *addresses) forgotten() bool {
	for i := range a.shards {
		s := &a.shards[i]
		s.mu.Lock()
		kept := s.open != nil || s.recent != nil || s.older != nil
		s.mu.Unlock()
		if kept {
			return false
		}
	}
	return true
}
