package engine

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"net"
	"strings"
	"testing"
	"time"
)

// hearing lets everybody in and hands all that it hears to funcs, on the loop. Those that are nil hear nothing.
type hearing struct {
	message  func(c *Conn, payload []byte)
	overhead func(frames int)
	closed   func(cause *Cause)
}

func (e *hearing) Handshake(h *Handshake) {
	h.Accept("", &hearingPeer{hearing: e, conn: h.Conn()}, nil)
}

type hearingPeer struct {
	Usual
	*hearing
	conn *Conn
}

func (p *hearingPeer) Message(_ Opcode, payload []byte) { p.message(p.conn, payload) }

func (p *hearingPeer) Overhead(frames int) {
	if p.overhead != nil {
		p.overhead(frames)
	}
}

func (p *hearingPeer) Closed(cause *Cause) {
	if p.closed != nil {
		p.closed(cause)
	}
}

// loads are frames of which a read holds enough for many turns: of each kind so many, with their numbers in order.
var loads = map[string]struct {
	offer string
	size  int // of a message, in bytes
	n     int
}{
	"plain":      {"", 4, 20_000},
	"compressed": {"permessage-deflate", 60_000, 300},
}

// loadOf is the frames of a kind.
func loadOf(t testing.TB, kind string) (frames []byte) {
	l := loads[kind]
	data := make([]byte, l.size)
	for i := range l.n {
		binary.BigEndian.PutUint32(data, uint32(i))
		if l.offer == "" {
			frames = append(frames, clientFrame(finBinary, string(data))...)
		} else {
			frames = append(frames, clientFrame(finBinary|deflateBit, string(squeezed(t, 9, data)))...)
		}
	}
	return frames
}

// hearingAll expects the messages of one connection in order, and sends the number of them when that ends.
func hearingAll(t testing.TB, h *hearing) chan int {
	n, all := 0, make(chan int, 1)
	h.message = func(_ *Conn, payload []byte) {
		if got := int(binary.BigEndian.Uint32(payload)); got != n {
			t.Errorf("message %d is the %d.", got, n)
		}
		n++
	}
	h.closed = func(*Cause) { all <- n }
	return all
}

// whileStalled runs f while the loops of s do nothing.
func whileStalled(s *Server, f func()) {
	stands, end := make(chan struct{}), make(chan struct{})
	for _, l := range s.loops {
		l.Post(func() { stands <- struct{}{}; <-end })
		<-stands
	}
	f()
	close(end)
}

// However much work one read holds, others have their turn meanwhile, nothing is lost, and no more is held than a read.
func TestOneReadIsWorkedOffInTurns(t *testing.T) {
	t.Parallel()
	for kind, load := range loads {
		t.Run(kind, func(t *testing.T) {
			frames := loadOf(t, kind)
			var held int64
			n, before, all := 0, -1, make(chan struct{})
			h := &hearing{}
			s := running(t, Config{Pollers: 1, Deflate: 15}, h)
			h.message = func(c *Conn, payload []byte) {
				if len(payload) == 1 {
					before = n
					return
				}
				if got := int(binary.BigEndian.Uint32(payload)); got != n || len(payload) != load.size {
					t.Errorf("message %d of %d bytes is the %d.", got, len(payload), n)
				}
				held = max(held, s.Stats().Partial)
				if n++; n == load.n {
					close(all)
				}
			}
			sender, _ := deflateDial(t, s, load.offer)
			asks := opened(t, s)
			var written chan struct{}
			whileStalled(s, func() {
				written = writing(sender, frames)
				send(asks, clientFrame(finText, "?"), whole)
			})
			await(t, written)
			await(t, all)
			price := frameCost + messageCost(load.size)
			if few := int(4 * maxInput / price); before < 0 || before > few+4 {
				t.Errorf("%d messages of one were heard before the other's, want about %d", before, few)
			}
			if limit := int64(s.cfg.ReadBuffer); held == 0 || held > limit+limit/4 {
				t.Errorf("up to %d bytes were held", held)
			}
			until(t, "nothing is held at the end", func() bool { return s.Stats().Partial == 0 }) // the last one's turn may not be over
		})
	}
}

// await is what comes on c.
func await[T any](t testing.TB, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(10 * time.Second):
		t.Fatal("nothing came")
	}
	return v
}

// writing writes b, and closes written when that is done. It begins with a buffer's worth at once.
func writing(c net.Conn, b []byte) (written chan struct{}) {
	written = make(chan struct{})
	first := min(len(b), 60<<10)
	_, _ = c.Write(b[:first])
	go func() { _, _ = c.Write(b[first:]); close(written) }()
	return written
}

// All that a client sent before it left is heard, though the poller closes its socket at once.
func TestTheRestOfOneWhoHasGoneIsHeard(t *testing.T) {
	t.Parallel()
	for kind, load := range loads {
		t.Run(kind, func(t *testing.T) {
			frames := loadOf(t, kind) // before the connection's time begins
			h := &hearing{}
			all := hearingAll(t, h)
			s := running(t, Config{Deflate: 15}, h)
			c, _ := deflateDial(t, s, load.offer)
			await(t, writing(c, frames))
			_ = c.Close()
			if n := await(t, all); n != load.n {
				t.Errorf("%d of %d messages", n, load.n)
			}
			until(t, "nothing is left of it", func() bool {
				st := s.Stats()
				return st.Open == 0 && st.Partial == 0 && st.Sockets == 0 && st.Closed[PeerGone.Name] == 1
			})
		})
	}
}

// The poller closes the socket in the very moment in which the FIN is seen: what the kernel holds is read then, though a rest
// waits.
func TestInputBehindARestIsHeard(t *testing.T) {
	t.Parallel()
	const first, more = 6000, 1000
	h := &hearing{}
	all := hearingAll(t, h)
	s := running(t, Config{}, h)
	c := opened(t, s)
	frames, hear := loadOf(t, "plain"), h.message
	h.message = func(conn *Conn, payload []byte) {
		if hear(conn, payload); binary.BigEndian.Uint32(payload) == 1000 {
			if conn.loop.rests[conn] == nil {
				t.Error("no rest waits")
			}
			send(c, frames[first*10:(first+more)*10], whole)
			_ = c.Close()
		}
	}
	whileStalled(s, func() { send(c, frames[:first*10], whole) })
	if got := await(t, all); got != first+more {
		t.Errorf("%d of %d messages", got, first+more)
	}
}

// Over TLS likewise, behind a close_notify and behind broken TLS.
func TestTheRestIsHeardBeforeTLSEnds(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]struct {
		act  func(c *tls.Conn)
		want *Cause
	}{
		"close_notify":          {func(c *tls.Conn) { _ = c.CloseWrite() }, PeerGone},
		"close_notify, and FIN": {func(c *tls.Conn) { _ = c.Close() }, PeerGone},
		"broken":                {func(c *tls.Conn) { _, _ = c.NetConn().Write([]byte("\x17\x03\x03\x00\x20" + strings.Repeat("x", 32))) }, TLSBroken},
	} {
		t.Run(name, func(t *testing.T) {
			h := &hearing{}
			all := hearingAll(t, h)
			s := running(t, secure(), h)
			c := openedTLS(t, s, &tls.Config{RootCAs: trusted(), ServerName: "localhost"})
			frames := loadOf(t, "plain")
			const n = 5000 // they fit into one read
			frames = frames[:len(frames)/loads["plain"].n*n]
			whileStalled(s, func() {
				_, _ = c.Write(frames)
				end.act(c)
			})
			if got := await(t, all); got != n {
				t.Errorf("%d of %d messages", got, n)
			}
			if got := s.Stats().Closed; got[end.want.Name] != 1 {
				t.Errorf("%v, want %s", got, end.want.Name)
			}
		})
	}
}

// Whoever is closed while a rest waits is heard no more, and the Close frame in the rest ends it.
func TestARestIsLookedThroughForTheCloseFrame(t *testing.T) {
	t.Parallel()
	cause := &Cause{"test", 4000, "now"}
	for name, closeIt := range map[string]func(*Conn){
		"by itself":   func(c *Conn) { c.Close(cause) },
		"by another":  func(c *Conn) { c.loop.Post(func() { c.Close(cause) }) },
		"and cut off": func(c *Conn) { c.Close(&Cause{"test", codeCut, ""}) },
	} {
		t.Run(name, func(t *testing.T) {
			const first = 1000 // behind the first piece
			h, n, closed := &hearing{}, 0, make(chan *Cause, 1)
			h.message = func(c *Conn, _ []byte) {
				if n++; n == first {
					closeIt(c)
				}
			}
			h.closed = func(cause *Cause) { closed <- cause }
			s := running(t, Config{Deflate: 15}, h)
			c := opened(t, s)
			whileStalled(s, func() {
				send(c, join(loadOf(t, "plain")[:5000*10], clientFrame(finClose, closePayload(4000, ""))), whole)
			})
			await(t, closed)
			if n > first+1000 {
				t.Errorf("%d messages", n)
			}
			began := time.Now()
			if name != "and cut off" {
				buf := make([]byte, 100)
				k, err := c.Read(buf)
				if err != nil || k < 4 || buf[0] != finClose {
					t.Fatalf("got %q, %v", buf[:k], err)
				}
				expectEnd(t, c)
			}
			_ = c.Close()
			until(t, "nothing is left of it", func() bool { return s.Stats().Partial == 0 && s.Stats().Sockets == 0 })
			if took := time.Since(began); took > lingerTime/2 {
				t.Errorf("the end took %v", took)
			}
		})
	}
}

// Records of one message each are no small ones, though the messages are found in later turns.
func TestTheRecordsOfARestCostNothing(t *testing.T) {
	t.Parallel()
	const n = 300
	h, heard, over, all := &hearing{}, 0, 0, make(chan int, 1)
	h.message = func(c *Conn, _ []byte) {
		if heard++; heard == n {
			c.loop.Post(func() { all <- over }) // when the rest is gone
		}
	}
	h.overhead = func(frames int) { over += frames }
	cfg := secure()
	cfg.Deflate = 15
	s := running(t, cfg, h)
	c := connectTLS(t, s, &tls.Config{RootCAs: trusted(), ServerName: "localhost"})
	send(c, []byte(head("+Sec-WebSocket-Extensions: permessage-deflate")), whole)
	answer := make([]byte, 1000)
	if k, err := c.Read(answer); err != nil || !bytes.Contains(answer[:k], []byte("permessage-deflate")) {
		t.Fatalf("%q, %v", answer[:k], err)
	}
	frame := clientFrame(finText|deflateBit, string(squeezed(t, 9, bytes.Repeat([]byte("x"), 4<<10))))
	whileStalled(s, func() {
		for range n {
			send(c, frame, whole)
		}
	})
	if over := await(t, all); over > 0 {
		t.Errorf("%d frames over", over)
	}
}

// A rest waits for us: that is no message that does not come to its end.
func TestOneWithARestIsNotLate(t *testing.T) {
	t.Parallel()
	h, closed, looked := &hearing{}, make(chan *Cause, 1), 0
	h.message = func(c *Conn, _ []byte) {
		if c.loop.rests[c] != nil && looked == 0 {
			looked++
			c.loop.Post(func() { // behind this piece
				if p, ok := c.loop.partials[c]; ok {
					looked++
					p.since -= 100
					c.loop.partials[c] = p
				}
				c.loop.expirePartials()
			})
		}
	}
	h.closed = func(cause *Cause) { closed <- cause }
	s := running(t, Config{MessageTimeout: tick}, h)
	c := opened(t, s)
	whileStalled(s, func() { send(c, loadOf(t, "plain")[:5000*10], whole) })
	_ = c.Close()
	if got := await(t, closed); got != PeerGone || looked != 2 {
		t.Errorf("closed for %s, looked %d times", got.Name, looked)
	}
}

// However many have sent too much, a job waits for no more than a turn of theirs.
func TestJobsDoNotWaitForAllRests(t *testing.T) {
	t.Parallel()
	const senders, each = 40, 2000
	h, n, posted, ran := &hearing{}, 0, 0, make(chan int, 1)
	h.message = func(c *Conn, _ []byte) {
		if n++; n == senders*each/2 {
			posted = n
			c.loop.Post(func() { ran <- n - posted })
		}
	}
	s := running(t, Config{Pollers: 1}, h)
	frames := loadOf(t, "plain")[:each*10]
	var all []net.Conn
	for range senders {
		all = append(all, opened(t, s))
	}
	whileStalled(s, func() {
		for _, c := range all {
			send(c, frames, whole)
		}
	})
	if heard, most := await(t, ran), int(2*turnWork/(frameCost+messageCost(4))); heard > most {
		t.Errorf("%d messages were heard before the job, want %d at most", heard, most)
	}
}
