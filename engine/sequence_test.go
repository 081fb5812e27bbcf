package engine

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"
)

// sequence is what one client sends: numbered messages of all sizes, in fragments, with pings between them.
type sequence struct {
	random  *rand.Rand
	deflate bool
	sizes   []int // of the messages
	bytes   []byte
}

func newSequence(t testing.TB, random *rand.Rand, deflate bool) *sequence {
	q := &sequence{random: random, deflate: deflate}
	for range 20 + random.IntN(200) {
		size := 4 + random.IntN(40)
		switch random.IntN(12) {
		case 0:
			size += random.IntN(4000)
		case 1:
			size += random.IntN(50_000)
		}
		q.add(t, size)
	}
	return q
}

func (q *sequence) add(t testing.TB, size int) {
	data := numberedMessage(len(q.sizes), size)
	q.sizes = append(q.sizes, size)
	first := byte(OpBinary)
	if q.deflate && q.random.IntN(4) > 0 {
		data, first = squeezed(t, 9, data), first|deflateBit
	}
	for n := 1 + q.random.IntN(4)*q.random.IntN(2); n > 0; n-- {
		part := data
		if n > 1 {
			part = data[:q.random.IntN(len(data)+1)]
		} else {
			first |= finBit
		}
		data = data[len(part):]
		q.bytes = append(q.bytes, clientFrame(first, string(part))...)
		first = continuation
		for q.random.IntN(3) == 0 {
			q.bytes = append(q.bytes, clientFrame([]byte{finPing, finPong}[q.random.IntN(2)], "between")...)
		}
	}
}

func numberedMessage(i, size int) []byte {
	data := make([]byte, size)
	binary.BigEndian.PutUint32(data, uint32(i))
	for k := 4; k < size; k++ {
		data[k] = byte(i + k)
	}
	return data
}

// hears is a Handler that holds what it hears against a sequence. It spends all of a turn now and then, so that much of what is
// read waits.
func (q *sequence) hears(t testing.TB, spends []time.Duration, at int, do func(*Conn)) (h *hearing, heard *atomic.Int64, closed chan *Cause) {
	h, heard, closed = &hearing{}, new(atomic.Int64), make(chan *Cause, 2)
	h.message = func(c *Conn, payload []byte) {
		i := int(heard.Add(1)) - 1
		if i >= len(q.sizes) || string(payload) != string(numberedMessage(i, q.sizes[i])) {
			t.Errorf("message %d is not what was sent", i)
			return
		}
		c.loop.spend(spends[i%len(spends)])
		if i == at {
			do(c)
		}
	}
	h.closed = func(cause *Cause) { closed <- cause }
	return h, heard, closed
}

// Whatever is sent in whatever pieces is heard once and in order, without another byte that would bring what was forgotten.
func TestEachSequenceIsHeardAsItWasSent(t *testing.T) {
	t.Parallel()
	for seed := range uint64(50) {
		random := rand.New(rand.NewPCG(seed, 7))
		secured, deflate := random.IntN(3) == 0, random.IntN(2) == 0
		end := []string{"close", "fin", "rst", "by the hub", "cut"}[seed%5]
		t.Run(fmt.Sprintf("%d %s, TLS %v, deflate %v", seed, end, secured, deflate), func(t *testing.T) {
			t.Parallel()
			q := newSequence(t, random, deflate)
			spends := []time.Duration{0, 0, turnWork / 20, 0, maxInput, 0, 0, 3 * turnWork}[:1+random.IntN(8)]
			at, cause := -1, &Cause{"test", 4000, "enough"}
			if end == "cut" {
				cause.Code = codeCut
			}
			if end == "by the hub" || end == "cut" {
				at = random.IntN(len(q.sizes))
			}
			h, heard, closed := q.hears(t, spends, at, func(c *Conn) { c.Close(cause) })
			cfg := Config{Pollers: 1}
			if secured {
				cfg = secure()
				cfg.Pollers = 1
			}
			if deflate {
				cfg.Deflate = 15
			}
			s := running(t, cfg, h)
			raw := connect(t, s)
			c := net.Conn(raw)
			if secured {
				c = tls.Client(raw, &tls.Config{RootCAs: trusted(), ServerName: "localhost"})
			}
			request := []byte(head())
			if deflate {
				request = []byte(head("+Sec-WebSocket-Extensions: permessage-deflate"))
			}
			bytes := q.bytes
			if end == "close" {
				bytes = append(bytes, clientFrame(finClose, closePayload(1000, ""))...)
			}
			if random.IntN(2) == 0 { // without waiting for the answer, as far as may be sent then
				early := random.IntN(min(len(bytes), 8<<10) + 1)
				request, bytes = append(request, bytes[:early]...), bytes[early:]
			}
			drained := make(chan error, 1)
			send(c, request, whole)
			in := bufio.NewReader(c)
			if answer, err := http.ReadResponse(in, nil); err != nil || answer.StatusCode != http.StatusSwitchingProtocols {
				t.Fatalf("%v, %v", answer, err)
			}
			go func() { _, err := io.Copy(io.Discard, in); drained <- err }()
			hog := func() { // the turn is used up before anything is read
				turns := time.Duration(random.IntN(3))
				s.loops[0].Post(func() { s.loops[0].spend(turns * turnWork) })
			}
			send(c, bytes, func() int {
				if random.IntN(4) == 0 {
					hog()
				}
				if random.IntN(2) == 0 {
					return 1 + random.IntN(64)
				}
				return 1 + random.IntN(80_000)
			})
			all := int64(len(q.sizes))
			switch end {
			case "fin":
				_ = c.(interface{ CloseWrite() error }).CloseWrite()
			case "by the hub", "cut":
				all = int64(at + 1)
			case "rst":
				until(t, "all is heard", func() bool { return heard.Load() == all })
				_ = raw.SetLinger(0)
				_ = raw.Close()
			}
			got := await(t, closed)
			if n := heard.Load(); n != all {
				t.Errorf("%d messages of %d were heard", n, all)
			}
			if want := map[string]*Cause{"close": ByPeer, "fin": PeerGone, "rst": PeerGone, "by the hub": cause, "cut": cause}[end]; got != want {
				t.Errorf("closed for %s", got.Name)
			}
			_ = raw.Close()
			<-drained
			until(t, "nothing is left of it", func() bool {
				left, l := make(chan int), s.loops[0]
				l.Post(func() { left <- len(l.rests) + len(l.partials) + len(l.layers) })
				st := s.Stats()
				return <-left == 0 && st.Open == 0 && st.Partial == 0 && st.Sockets == 0 && st.Backlog == 0
			})
			if len(closed) > 0 || heard.Load() != all {
				t.Errorf("closed twice, or %d messages", heard.Load())
			}
		})
	}
}
