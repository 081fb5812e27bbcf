package engine_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"wshub/engine"
)

func TestMoreConnectionsThanTheFileLimitAllowsAreRefused(t *testing.T) {
	limit := engine.ConnectionLimit()
	_, err := engine.New(engine.Config{Addr: "127.0.0.1:0", MaxConnections: limit + 1}, echo{})
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("max connections %d: the open-file limit allows %d", limit+1, limit)) {
		t.Errorf("New: %v", err)
	}
}

// Over the limit come some hundred who are told so, and behind them those who are not even heard.
func TestConnectionsOverTheLimitAreToldOrDropped(t *testing.T) {
	const limit, overflow = 10, 128
	s := serve(t, engine.Config{Pollers: 2, MaxConnections: limit}, echo{})
	for range limit {
		rawDial(t, s, "")
	}
	var waiting []*rawClient
	for range overflow {
		waiting = append(waiting, rawTCP(t, s, 0))
	}
	eventually(t, "all are accepted", func() bool { return s.Stats().Sockets == limit+overflow })

	if dropped, err := rawOpen(s.Addr().String(), 0); err == nil { // else it was dropped before we looked
		if _, err := dropped.in.ReadByte(); err == nil {
			t.Error("one too many was answered")
		}
		_ = dropped.Close()
	}
	eventually(t, "it is counted", func() bool { return s.Stats().Dropped["overflow"] == 1 })
	for _, c := range waiting {
		c.write(t, []byte(request("")))
		res, err := http.ReadResponse(c.in, nil)
		if err != nil || res.StatusCode != 503 || res.Header.Get("Retry-After") == "" {
			t.Fatalf("over the limit: %v, %v", res, err)
		}
		_ = c.Close()
	}
	eventually(t, "they are gone", func() bool { return s.Stats().Sockets == limit })
	if st := s.Stats(); st.Refused[503] != overflow || st.Open != limit {
		t.Errorf("%+v", st)
	}
}

// Those who hold most of what there is too much of go first, and no more of them than needed.
func TestLargestPartialMessagesAreCut(t *testing.T) {
	const limit, large, small = 1 << 20, 48 << 10, 1 << 10
	r := newRoster()
	s := serve(t, engine.Config{Pollers: 1, MaxPartial: limit}, r)
	begin := func(name string, size int) {
		c := rawDial(t, s, "?"+name)
		before := s.Stats().BytesIn
		half := masked(engine.OpText, strings.Repeat("x", size+1))
		c.write(t, half[:len(half)-1])
		eventually(t, "it is read", func() bool { return s.Stats().BytesIn == before+uint64(len(half)-1) })
	}
	for i := range 40 {
		begin(fmt.Sprint("small", i), small)
	}
	for i := range 40 {
		begin(fmt.Sprint("large", i), large)
	}
	eventually(t, "the account is under the limit", func() bool { return s.Stats().Partial <= limit })
	n := s.Stats().Closed["partial_limit"]
	if n < 40-limit/large || n > 30 {
		t.Errorf("%d were cut", n)
	}
	for range n {
		if who := within(t, "Closed", r.closed); !strings.HasPrefix(who, "large") || !strings.HasSuffix(who, "partial_limit") {
			t.Errorf("closed: %s", who)
		}
	}
}

func TestHeadsCountAsPartialInput(t *testing.T) {
	const limit, head = 64 << 10, 4 << 10
	s := serve(t, engine.Config{Pollers: 1, MaxPartial: limit}, echo{})
	var all []*rawClient
	for range 2 * limit / head {
		c := rawTCP(t, s, 0)
		c.write(t, []byte("GET / HTTP/1.1\r\nX: "+strings.Repeat("x", head)))
		all = append(all, c)
	}
	eventually(t, "some are cut", func() bool {
		st := s.Stats()
		return st.BytesIn > 2*limit && st.Partial <= limit && st.Closed["partial_limit"] >= limit/head
	})
	for _, c := range all {
		_ = c.Close()
	}
	eventually(t, "nothing is held", func() bool { st := s.Stats(); return st.Partial == 0 && st.Sockets == 0 })
}

func TestLargestBacklogsAreCut(t *testing.T) {
	const limit, frame, slow = 1 << 20, 4 << 10, 40
	r := newRoster()
	s := serve(t, engine.Config{Pollers: 1, MaxBacklog: limit, SendBuffer: 8 << 10}, r)
	for i := range slow {
		slowDial(t, s, fmt.Sprint("?slow", i))
	}
	reader := rawDial(t, s, "?reader")
	const marks = 400
	for i := range marks { // each waits for the last: so much, in all, can't come at once
		mark := engine.AppendFrame(nil, engine.OpText, []byte(fmt.Sprint("mark", i)))
		fill := engine.AppendFrame(nil, engine.OpBinary, make([]byte, frame))
		on(t, s.Loops()[0], func() {
			s.Loops()[0].Each(func(c *engine.Conn) {
				if c != r.conn("reader") {
					c.Write(fill)
				}
			})
			r.conn("reader").Write(mark)
		})
		reader.wantFrame(t, engine.OpText, fmt.Sprint("mark", i))
		if b := s.Stats().Backlog; b > limit+slow*frame {
			t.Fatalf("backlog %d", b)
		}
		if n := s.Stats().Closed["backlog_limit"]; n > 0 {
			if n > slow/2 {
				t.Errorf("%d of %d were cut at once", n, slow)
			}
			return
		}
	}
	t.Error("nobody was cut")
}

// Only a message that does not get on is cut, not a client that is always in the middle of its next.
func TestMessageTimeoutIsPerMessage(t *testing.T) {
	const timeout = 500 * time.Millisecond
	r := newRoster()
	s := serve(t, engine.Config{Pollers: 1, MessageTimeout: timeout}, r)
	stuck, busy := rawDial(t, s, "?stuck"), rawDial(t, s, "?busy")
	fragment := masked(engine.OpText, "half")
	fragment[0] &^= 0x80
	stuck.write(t, fragment)

	message := masked(engine.OpText, "whole")
	busy.write(t, message[:5])
	next := append(message[5:len(message):len(message)], message[:5]...)
	turn := time.NewTicker(50 * time.Millisecond)
	defer turn.Stop()
	for cut := false; !cut; {
		<-turn.C
		busy.write(t, next)
		busy.wantFrame(t, engine.OpText, "whole")
		stuck.write(t, masked(engine.OpPing, "")) // does not count for the message around it
		select {
		case who := <-r.closed:
			if who != "stuck message_timeout" {
				t.Errorf("closed: %s", who)
			}
			cut = true
		default:
		}
	}
	for range 2 * timeout / (50 * time.Millisecond) {
		<-turn.C
		busy.write(t, next)
		busy.wantFrame(t, engine.OpText, "whole")
	}
}

// Dripping a head byte by byte buys no more time.
func TestDrippedHeadIsAnswered408(t *testing.T) {
	s := serve(t, engine.Config{Pollers: 1, HandshakeTimeout: 300 * time.Millisecond}, echo{})
	c := rawTCP(t, s, 0)
	answer := make(chan *http.Response, 1)
	go func() {
		res, _ := http.ReadResponse(c.in, nil)
		answer <- res
	}()
	turn := time.NewTicker(10 * time.Millisecond)
	defer turn.Stop()
	for _, b := range []byte(request("?" + strings.Repeat("x", 8000))) {
		select {
		case <-turn.C:
			_, _ = c.Write([]byte{b})
			continue
		case res := <-answer:
			if res == nil || res.StatusCode != http.StatusRequestTimeout {
				t.Errorf("answer %v", res)
			}
		}
		break
	}
	eventually(t, "it is counted", func() bool { return s.Stats().Refused[408] == 1 })
}
