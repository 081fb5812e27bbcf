package engine_test

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"wshub/engine"
	"wshub/pubsub/redistest/drills"
)

// fullVariable, not empty, runs the drills at the scale that their issue names.
const fullVariable = "WSHUB_FULL"

// scale is full when asked for it, else modest.
func scale(full, modest int) int {
	if os.Getenv(fullVariable) != "" {
		return full
	}
	return modest
}

// Peers vanish by RST in the middle of broadcasts while others connect, whose descriptors get the same
// numbers. A close that takes place outside the event of its own descriptor lets a stale event hit one
// of those: see the package's comment.
func TestPeersThatVanishTakeNoNewcomerWithThem(t *testing.T) {
	t.Parallel()
	rounds, dying, staying := 3, scale(8000, 1500), scale(9000, 1500)
	if drills.IsPlain(t) {
		rounds, dying, staying = 1, 500, 500
	}
	const batch = 250 // die whenever as many more stayers have come

	leavers, stayers := spawn(t, "peers"), spawn(t, "peers")
	var came, closed atomic.Int64                          // of the stayers
	cfg := engine.Config{Pollers: 2, Heartbeat: time.Hour} // they answer no pings
	s := serve(t, cfg, handler(func(h *engine.Handshake) {
		p := &peer{}
		if h.URL.RawQuery == "stay" {
			came.Add(1)
			p.closed = func(cause *engine.Cause) {
				if closed.Add(1) > 0 {
					t.Logf("a stayer was closed: %s", cause.Name)
				}
			}
		}
		h.Accept("", p, nil)
	}))
	defer broadcast(s)()

	var opened, failed int
	for range rounds {
		leavers.send("open %s die %d", s.Addr(), dying)
		leavers.answer("opened %d failed %d", &opened, &failed)
		if failed > 0 {
			t.Fatalf("%d of %d could not connect", failed, dying)
		}
		came.Store(0)
		stayers.send("open %s stay %d", s.Addr(), staying)
		for dead := 0; dead < dying; dead += batch {
			eventually(t, "more stayers", func() bool { return came.Load() >= int64(dead*staying/dying) })
			leavers.send("vanish %d", batch)
			leavers.answer("vanished")
		}
		stayers.answer("opened %d failed %d", &opened, &failed)
		eventually(t, "all leavers are gone", func() bool { return s.Stats().Sockets <= int64(staying) })

		lost := 0
		stayers.send("lost")
		stayers.answer("lost %d", &lost)
		if failed > 0 || closed.Load() > 0 || lost > 0 {
			t.Fatalf("of %d stayers %d could not connect, %d were closed, %d saw it", staying, failed, closed.Load(), lost)
		}
		closed.Store(-int64(staying)) // they may go now
		stayers.send("vanish %d", staying)
		stayers.answer("vanished")
		eventually(t, "all are gone", func() bool { return s.Stats().Sockets == 0 && closed.Load() == 0 })
	}
}

// broadcast writes to all connections, again and again, until the returned func is called.
func broadcast(s *engine.Server) (end func()) {
	frame := engine.AppendFrame(nil, engine.OpText, []byte("to whom it may concern"))
	ended := make(chan struct{})
	var all sync.WaitGroup
	for _, l := range s.Loops() {
		all.Go(func() {
			next := time.NewTicker(20 * time.Millisecond)
			defer next.Stop()
			for {
				written := make(chan struct{})
				l.Post(func() {
					defer close(written)
					l.Each(func(c *engine.Conn) { c.Write(frame) })
				})
				select {
				case <-written:
					<-next.C
				case <-ended:
					return
				}
			}
		})
	}
	return func() { close(ended); all.Wait() }
}

// playPeers is a crowd of clients.
func playPeers() {
	var crowd []*rawClient
	var lost atomic.Int64
	var leaving atomic.Bool
	listen := func(c *rawClient) {
		buf := make([]byte, 4096)
		_ = c.SetDeadline(time.Time{})
		for {
			if _, err := c.in.Read(buf); err != nil {
				if !leaving.Load() {
					lost.Add(1)
				}
				return
			}
		}
	}
	obey(map[string]func(string) string{
		"open": func(args string) string {
			var addr, kind string
			var n int
			_, _ = fmt.Sscan(args, &addr, &kind, &n)
			leaving.Store(false)
			came, failed := openMany(addr, "?"+kind, n)
			if kind == "stay" {
				for _, c := range came {
					go listen(c)
				}
			}
			crowd = append(crowd, came...)
			return fmt.Sprintf("opened %d failed %d", len(came), failed)
		},
		"vanish": func(args string) string {
			var n int
			_, _ = fmt.Sscan(args, &n)
			leaving.Store(true)
			n = min(n, len(crowd))
			for _, c := range crowd[:n] {
				_ = c.SetLinger(0)
				_ = c.Close()
			}
			crowd = crowd[n:]
			return "vanished"
		},
		"lost": func(string) string { return fmt.Sprintf("lost %d", lost.Load()) },
	})
}
