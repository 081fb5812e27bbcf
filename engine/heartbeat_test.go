package engine_test

import (
	"io"
	"testing"
	"time"

	"wshub/engine"
)

// A client that does not answer hears one ping and is cut; any byte, were it half a header, is life.
func TestOnlySilentPeersAreCut(t *testing.T) {
	t.Parallel()
	r := newRoster()
	s := serve(t, engine.Config{Pollers: 1, Heartbeat: 300 * time.Millisecond}, r)
	silent, drowsy := rawDial(t, s, "?silent"), rawDial(t, s, "?drowsy")

	silent.wantFrame(t, engine.OpPing, "")
	alive := masked(engine.OpText, "hi")
	for i := range alive {
		drowsy.wantFrame(t, engine.OpPing, "")
		drowsy.write(t, alive[i:i+1])
	}
	drowsy.wantFrame(t, engine.OpText, "hi")

	if who := within(t, "the cut", r.closed); who != "silent heartbeat" || len(r.closed) > 0 {
		t.Errorf("closed: %s, and %d more", who, len(r.closed))
	}
	if rest, err := io.ReadAll(silent.in); len(rest) > 0 {
		t.Errorf("the silent one got %q, %v", rest, err)
	}
	if st := s.Stats(); st.Closed["heartbeat"] != 1 || st.Pings < uint64(len(alive)) || st.Open != 1 {
		t.Errorf("%+v", st)
	}
}

// A loop that could not run, in a process that was stopped for a while, finds heartbeats due and their
// answers unread.
func TestStallOfTheLoopKillsNobody(t *testing.T) {
	t.Parallel()
	const heartbeat = time.Second
	r := newRoster()
	s := serve(t, engine.Config{Pollers: 1, Heartbeat: heartbeat}, r)
	l := s.Loops()[0]
	c := rawDial(t, s, "?c")
	c.wantFrame(t, engine.OpPing, "")

	stalled, goOn := make(chan struct{}), make(chan struct{})
	l.Post(func() { close(stalled); <-goOn })
	within(t, "the stall", stalled)
	c.write(t, masked(engine.OpPong, ""))
	within(t, "a heartbeat's time", time.After(heartbeat+200*time.Millisecond))
	close(goOn)

	c.wantFrame(t, engine.OpPing, "")
	c.write(t, masked(engine.OpPong, ""))
	c.wantFrame(t, engine.OpPing, "")
	if len(r.closed) > 0 {
		t.Errorf("closed: %s", <-r.closed)
	}
}

// The answer to a ping comes when what was sent before has been read. Until then, bytes that leave show that the peer
// lives, whether they waited with us or with the kernel.
func TestBytesThatLeaveAreLife(t *testing.T) {
	t.Parallel()
	const heartbeat, chunk, total = 400 * time.Millisecond, 8 << 10, 160 << 10 // with 200 ms the reader was cut on a busy machine
	for _, test := range []struct {
		where      string
		sendBuffer int
	}{
		{"in the queue", 8 << 10},
		{"with the kernel", 256 << 10},
	} {
		t.Run(test.where, func(t *testing.T) {
			t.Parallel()
			r := newRoster()
			s := serve(t, engine.Config{Pollers: 1, Heartbeat: heartbeat, SendBuffer: test.sendBuffer}, r)
			c := slowDial(t, s, "?c")
			on(t, s.Loops()[0], func() {
				r.conn("c").Write(engine.AppendFrame(nil, engine.OpBinary, make([]byte, total)))
			})
			next := time.NewTicker(heartbeat / 2)
			defer next.Stop()
			for range total / chunk { // 10 heartbeats
				<-next.C
				if _, err := io.CopyN(io.Discard, c.in, chunk); err != nil {
					t.Fatal(err)
				}
			}
			if len(r.closed) > 0 {
				t.Errorf("closed: %s", <-r.closed)
			}
			if who := within(t, "the cut, once it has read all and is silent", r.closed); who != "c heartbeat" {
				t.Errorf("closed: %s", who)
			}
		})
	}
}

// One whose kernel answers probes, but that reads nothing, does not live.
func TestWhoReadsNothingIsCutByTheHeartbeat(t *testing.T) {
	t.Parallel()
	r := newRoster()
	s := serve(t, engine.Config{Pollers: 1, Heartbeat: 300 * time.Millisecond, SendBuffer: 256 << 10}, r)
	c := slowDial(t, s, "?c")
	defer c.Close()
	on(t, s.Loops()[0], func() {
		r.conn("c").Write(engine.AppendFrame(nil, engine.OpBinary, make([]byte, 160<<10)))
	})
	if who := within(t, "the cut", r.closed); who != "c heartbeat" {
		t.Errorf("closed: %s", who)
	}
}
