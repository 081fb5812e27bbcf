package engine_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"wshub/engine"
)

// roster is a Handler that keeps its connections by query.
type roster struct {
	mu     sync.Mutex
	byName map[string]*engine.Conn
	heard  map[string]func() // called in place of the echo
	closed chan string       // name and cause
}

func newRoster() *roster {
	return &roster{byName: make(map[string]*engine.Conn), heard: make(map[string]func()), closed: make(chan string, 1000)}
}

// onMessage has f called on the loop for each message of the connection that comes with query.
func (r *roster) onMessage(query string, f func()) { r.heard[query[1:]] = f }

func (r *roster) Handshake(h *engine.Handshake) {
	name := h.URL.RawQuery
	c := h.Conn()
	r.mu.Lock()
	r.byName[name] = c
	r.mu.Unlock()
	h.Accept("", &peer{
		message: func(op engine.Opcode, payload []byte) {
			if f := r.heard[name]; f != nil {
				f()
				return
			}
			c.Write(engine.AppendFrame(nil, op, payload))
		},
		closed: func(cause *engine.Cause) { r.closed <- name + " " + cause.Name },
	}, nil)
}

func (r *roster) conn(name string) *engine.Conn {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.byName[name]
}

// slowDial opens a connection whose client takes little before it reads.
func slowDial(t testing.TB, s *engine.Server, query string) *rawClient {
	t.Helper()
	c := rawTCP(t, s, 4<<10)
	if err := c.upgrade(query); err != nil {
		t.Fatal(err)
	}
	return c
}

// One who does not read is cut a second or two after more than MaxQueued waits for it. The others get everything, and
// nothing stays on the account.
func TestSlowConsumerIsCutAlone(t *testing.T) {
	t.Parallel()
	const readers, size = 5, 1 << 10
	r := newRoster()
	cfg := engine.Config{Pollers: 2, SendBuffer: 8 << 10, MaxQueued: 64 << 10}
	s := serve(t, cfg, r)
	slowDial(t, s, "?slow")
	var frames atomic.Int64 // that have left
	var got [readers]int64
	var all sync.WaitGroup
	for i := range readers {
		c := rawDial(t, s, fmt.Sprintf("?reader%d", i))
		all.Go(func() {
			for {
				_, payload, err := c.frame()
				if err != nil {
					t.Errorf("reader %d: %v", i, err)
					return
				}
				if string(payload) == "the end" {
					return
				}
				got[i]++
			}
		})
	}
	frame := engine.AppendFrame(nil, engine.OpBinary, make([]byte, size))
	for cut := false; !cut; {
		for _, l := range s.Loops() {
			on(t, l, func() {
				l.Each(func(c *engine.Conn) { c.Write(frame) })
				l.Each(func(c *engine.Conn) {
					if c.Queued() > cfg.MaxQueued+len(frame) {
						t.Errorf("%d bytes queued", c.Queued())
					}
				})
			})
		}
		if b := s.Stats().Backlog; b > (readers+1)*int64(cfg.MaxQueued) {
			t.Fatalf("backlog %d", b)
		}
		frames.Add(1)
		select {
		case who := <-r.closed:
			if who != "slow slow_consumer" {
				t.Errorf("closed: %s", who)
			}
			cut = true
		default:
		}
		eventually(t, "readers keep up", func() bool { return s.Stats().Backlog <= int64(cfg.MaxQueued) })
	}
	for _, l := range s.Loops() {
		on(t, l, func() {
			l.Each(func(c *engine.Conn) { c.Write(engine.AppendFrame(nil, engine.OpText, []byte("the end"))) })
		})
	}
	all.Wait()
	for i, n := range got {
		if n != frames.Load() {
			t.Errorf("reader %d got %d frames of %d", i, n, frames.Load())
		}
	}
	eventually(t, "the account is even", func() bool { st := s.Stats(); return st.Backlog == 0 && st.Sockets == readers })
	if st := s.Stats(); st.Closed["slow_consumer"] != 1 || st.Open != readers {
		t.Errorf("%+v", st)
	}
}

// A frame that has left halfway is not followed by a Close frame.
func TestCutInAFrameLeavesNoBrokenStream(t *testing.T) {
	t.Parallel()
	r := newRoster()
	s := serve(t, engine.Config{Pollers: 1, SendBuffer: 8 << 10, MaxQueued: 64 << 10}, r)
	c := slowDial(t, s, "?slow")
	body := strings.Repeat("x", 1<<20)
	c.write(t, masked(engine.OpText, "hello"))
	c.wantFrame(t, engine.OpText, "hello")
	on(t, s.Loops()[0], func() { r.conn("slow").Write(engine.AppendFrame(nil, engine.OpText, []byte(body))) })
	if who := within(t, "the cut", r.closed); who != "slow slow_consumer" {
		t.Error(who)
	}
	got, _ := io.ReadAll(c.in)
	if rest := bytes.TrimLeft(got[min(10, len(got)):], "x"); len(rest) > 0 {
		t.Errorf("behind the frame's part came %q", rest)
	}
}

// Short writes, queues and flushes neither lose nor mix up a byte.
func TestSteadyReaderGetsEveryByteInOrder(t *testing.T) {
	const total = 4 << 20
	for _, chunk := range []int{1, 700, 30_000} {
		t.Run(fmt.Sprintf("reads of %d", chunk), func(t *testing.T) {
			total := min(total, chunk*40_000)
			r := newRoster()
			s := serve(t, engine.Config{Pollers: 1, SendBuffer: 8 << 10, MaxQueued: 64 << 10}, r)
			client := slowDial(t, s, "?c")
			l, c := s.Loops()[0], r.conn("c")
			sizes, filler := rand.New(rand.NewPCG(1, uint64(chunk))), rand.NewChaCha8([32]byte{7})
			sent := 0
			var step func()
			step = func() {
				for sent < total {
					frame := engine.AppendFrameHeader(nil, engine.OpBinary, 1+sizes.IntN(20_000))
					n := 1 + sizes.IntN(20_000)
					frame = engine.AppendFrameHeader(frame[:0], engine.OpBinary, n)
					body := make([]byte, n)
					_, _ = filler.Read(body)
					if sent += n; !c.Write(append(frame, body...)) {
						t.Error("closed")
						return
					}
					if sizes.IntN(3) > 0 && c.Queued() > 0 || c.Queued() > 40_000 {
						c.AfterWritten(step)
						return
					}
				}
				c.Close(engine.ByPeer)
			}
			l.Post(step)

			want := rand.NewChaCha8([32]byte{7})
			in := &dripping{client, chunk}
			client.in.Reset(in)
			expected := make([]byte, 32<<10)
			got := 0
			for {
				op, payload, err := client.frame()
				if err != nil {
					t.Fatal(err)
				}
				if op == engine.OpClose {
					break
				}
				_, _ = want.Read(expected[:len(payload)])
				if !bytes.Equal(payload, expected[:len(payload)]) {
					t.Fatalf("wrong bytes behind %d", got)
				}
				got += len(payload)
			}
			if got < total {
				t.Errorf("got %d bytes of %d", got, total)
			}
			eventually(t, "nothing is queued any more", func() bool { return s.Stats().Backlog == 0 }) // counted after it has left
		})
	}
}

// dripping reads at most n bytes at a time.
type dripping struct {
	io.Reader
	n int
}

func (d *dripping) Read(b []byte) (int, error) { return d.Reader.Read(b[:min(d.n, len(b))]) }

func TestAfterWrittenIsNotCalledForTheClosed(t *testing.T) {
	r := newRoster()
	s := serve(t, engine.Config{Pollers: 1}, r)
	rawDial(t, s, "?c")
	l, c := s.Loops()[0], r.conn("c")
	var calls []string
	on(t, l, func() {
		c.AfterWritten(func() { calls = append(calls, "first") })
		c.AfterWritten(func() { calls = append(calls, "while open") })
	})
	on(t, l, func() {
		c.AfterWritten(func() { calls = append(calls, "closed before") })
		c.Close(engine.ByPeer)
		c.Close(engine.ByPeer)
		c.AfterWritten(func() { calls = append(calls, "asked too late") })
		if c.Write([]byte{0x89, 0}) {
			t.Error("a closed connection was written to")
		}
	})
	on(t, l, func() {})
	if !slices.Equal(calls, []string{"first", "while open"}) {
		t.Errorf("called: %v", calls)
	}
	if who := within(t, "Closed", r.closed); who != "c peer" || len(r.closed) > 0 {
		t.Errorf("closed: %s, and %d more", who, len(r.closed))
	}
}

// Frames that were queued before Close reach the client before the Close frame does.
func TestQueuedDataIsDeliveredBeforeTheClose(t *testing.T) {
	t.Parallel()
	r := newRoster()
	s := serve(t, engine.Config{Pollers: 1, SendBuffer: 8 << 10}, r)
	client := slowDial(t, s, "?c")
	body := strings.Repeat("0123456789", 20_000)
	on(t, s.Loops()[0], func() {
		c := r.conn("c")
		c.Write(engine.AppendFrame(nil, engine.OpText, []byte(body)))
		if c.Queued() == 0 {
			t.Error("nothing is queued: the test shows nothing")
		}
		c.Close(&engine.Cause{Name: "test", Code: 4000, Reason: "bye"})
	})
	client.wantFrame(t, engine.OpText, body)
	client.wantFrame(t, engine.OpClose, "\x0f\xa0bye")
	if _, err := client.in.ReadByte(); err != io.EOF {
		t.Errorf("behind the Close frame: %v", err)
	}
}
