package engine_test

import (
	"errors"
	"fmt"
	"io"
	"net"
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

// Silent sockets take the places that are free and some more. Each that comes then has the oldest dropped, and whoever
// says what it wants gets in, as long as connections leave a place.
func TestSilentSocketsKeepNobodyOut(t *testing.T) {
	const places, spare, more = 20, 192, 100
	s := serve(t, engine.Config{Pollers: 1, MaxConnections: places, HandshakeTimeout: time.Hour}, echo{})
	healthy := rawDial(t, s, "")
	var silent []*rawClient
	come := func(n int) {
		for range n {
			silent = append(silent, rawTCP(t, s, 0))
		}
	}
	come(places + spare - 1)
	eventually(t, "all are accepted", func() bool { return s.Stats().Sockets == places+spare })
	for i := range places - 1 { // one by one, in the middle of the silent ones that go on coming
		come(more / places)
		rawDial(t, s, "")
		eventually(t, "as many have gone as came", func() bool {
			return s.Stats().Sockets <= places+spare && s.Stats().Dropped["half_open"] == uint64((i+1)*(1+more/places))
		})
	}
	for i, c := range silent {
		_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
		_, err := c.in.ReadByte()
		var timeout net.Error
		if there := errors.As(err, &timeout) && timeout.Timeout(); there != (i >= int(s.Stats().Dropped["half_open"])) {
			t.Fatalf("silent socket %d of %d: %v", i, len(silent), err)
		}
	}
	healthy.write(t, masked(engine.OpText, "still here"))
	healthy.wantFrame(t, engine.OpText, "still here")
	if st := s.Stats(); st.Open != places || len(st.Refused) > 0 {
		t.Errorf("%+v", st)
	}
}

// Over the limit come some who are told so, and who are in nobody's way when they stay.
func TestConnectionsOverTheLimitAreTold(t *testing.T) {
	const places, spare = 10, 192
	s := serve(t, engine.Config{Pollers: 2, MaxConnections: places}, echo{})
	var clients []*rawClient
	for range places {
		clients = append(clients, rawDial(t, s, ""))
	}
	const over = spare + 50
	for range over { // they are answered, and do not go
		c := rawTCP(t, s, 0)
		c.write(t, []byte(request("")))
		res, err := http.ReadResponse(c.in, nil)
		if err != nil || res.StatusCode != 503 || res.Header.Get("Retry-After") == "" {
			t.Fatalf("over the limit: %v, %v", res, err)
		}
	}
	eventually(t, "they have gone that were too many", func() bool { return s.Stats().Sockets == places+spare })
	if st := s.Stats(); st.Refused[503] != over || st.Open != places || st.Dropped["closing"] != over-spare {
		t.Errorf("%+v", st)
	}
	_ = clients[0].Close()
	eventually(t, "a place is free", func() bool { return s.Stats().Open == places-1 })
	rawDial(t, s, "")
}

// Where their protocol has words for it they hear those in place of the status, and are no more in the way.
func TestConnectionsOverTheLimitHearTheWordsOfTheirProtocol(t *testing.T) {
	const places, spare, over = 10, 192, 192 + 50
	s := serve(t, engine.Config{Pollers: 2, MaxConnections: places, OnFull: func(r *engine.Request) (string, []byte) {
		if r.URL.RawQuery != "words" {
			return "", nil
		}
		return "", engine.AppendClose(engine.AppendFrame(nil, engine.OpText, []byte("full")), 4100, "over capacity")
	}}, echo{})
	first := rawDial(t, s, "")
	for range places - 1 {
		rawDial(t, s, "?words")
	}
	for range over { // they are told, and do not go
		c := rawDial(t, s, "?words")
		c.wantFrame(t, engine.OpText, "full")
		c.wantFrame(t, engine.OpClose, "\x10\x04over capacity")
	}
	eventually(t, "they have gone that were too many", func() bool { return s.Stats().Sockets == places+spare })
	if st := s.Stats(); st.Refused[503] != over || st.Open != places || st.Dropped["closing"] != over-spare {
		t.Errorf("%+v", st)
	}
	last := rawDial(t, s, "?words")
	last.wantFrame(t, engine.OpText, "full")
	last.wantFrame(t, engine.OpClose, "\x10\x04over capacity")
	last.write(t, append(masked(engine.OpText, "too late"), masked(engine.OpClose, "\x10\x04")...))
	if _, err := last.in.ReadByte(); err != io.EOF {
		t.Errorf("behind the client's Close: %v", err)
	}
	c := rawTCP(t, s, 0)
	c.write(t, []byte(request("")))
	if res, err := http.ReadResponse(c.in, nil); err != nil || res.StatusCode != 503 {
		t.Errorf("without words: %v, %v", res, err)
	}
	_ = first.Close()
	eventually(t, "a place is free", func() bool { return s.Stats().Open == places-1 })
	again := rawDial(t, s, "?words")
	again.write(t, masked(engine.OpText, "in"))
	again.wantFrame(t, engine.OpText, "in")
}

// A client that was let in and sent away again, as with a bad token, has no place any more, though it does not go.
func TestClosingSocketsHoldNoPlaces(t *testing.T) {
	const places, spare = 10, 192
	s := serve(t, engine.Config{Pollers: 2, MaxConnections: places}, handler(func(h *engine.Handshake) {
		h.Accept("", &peer{}, nil)
		if h.URL.RawQuery != "good" {
			h.Conn().Close(engine.Panicked)
		}
	}))
	for range places + spare + 50 {
		rawDial(t, s, "?bad")
	}
	for range places {
		rawDial(t, s, "?good")
	}
	if st := s.Stats(); st.Open != places || len(st.Refused) > 0 || st.Dropped["closing"] == 0 {
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
	t.Parallel()
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
	t.Parallel()
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
