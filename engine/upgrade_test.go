package engine_test

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"wshub/engine"
)

// Messages that a client sends while the decision about it is pending reach its peer afterwards, in order.
func TestLateAcceptKeepsWhatCameMeanwhile(t *testing.T) {
	pending := make(chan *engine.Handshake, 1)
	s := serve(t, engine.Config{Pollers: 1}, handler(func(h *engine.Handshake) { pending <- h }))
	c := rawTCP(t, s, 0)
	sent := uint64(0)
	say := func(b []byte) {
		t.Helper()
		c.write(t, b)
		sent += uint64(len(b))
		eventually(t, "it is read", func() bool { return s.Stats().BytesIn == sent })
	}
	numbered := func(i int) []byte { return masked(engine.OpText, fmt.Sprint("message ", i)) }
	half := numbered(2)
	say(append([]byte(request("")), numbered(0)...))
	say(numbered(1))
	say(half[:3])
	h := within(t, "the handshake", pending)
	var got []string
	heard := make(chan struct{}, 10)
	on(t, s.Loops()[0], func() {
		p := &peer{message: func(_ engine.Opcode, payload []byte) {
			got = append(got, string(payload))
			heard <- struct{}{}
		}}
		if !h.Accept("", p, engine.AppendFrame(nil, engine.OpText, []byte("first"))) {
			t.Error("the client is gone")
		}
		if h.Accept("", p, nil) {
			t.Error("it was accepted twice")
		}
		h.Refuse(&engine.Refusal{Status: 503}) // too late: nothing happens
		if len(got) > 0 {
			t.Error("the peer heard something before Accept returned")
		}
	})
	say(half[3:])
	say(numbered(3))
	for range 4 {
		within(t, "a message", heard)
	}
	on(t, s.Loops()[0], func() {
		if all := strings.Join(got, ", "); all != "message 0, message 1, message 2, message 3" {
			t.Error(all)
		}
	})
	if answer, _ := io.ReadAll(io.LimitReader(c.in, 12)); string(answer) != "HTTP/1.1 101" {
		t.Errorf("answer %q", answer)
	}
}

func TestLateRefusalAndLateAcceptOfTheGone(t *testing.T) {
	pending := make(chan *engine.Handshake, 1)
	s := serve(t, engine.Config{Pollers: 1}, handler(func(h *engine.Handshake) { pending <- h }))
	l := s.Loops()[0]

	c := rawTCP(t, s, 0)
	answer := make(chan error)
	go func() { answer <- c.upgrade("") }()
	h := within(t, "the handshake", pending)
	on(t, l, func() { h.Refuse(&engine.Refusal{Status: 401, Reason: "who are you?"}) })
	if err := within(t, "the answer", answer); err == nil || err.Error() != "answer 401 Unauthorized" {
		t.Error(err)
	}
	_ = c.Close()

	c = rawTCP(t, s, 0)
	c.write(t, []byte(request("")))
	h = within(t, "the handshake", pending)
	_ = c.Close()
	eventually(t, "it is gone", func() bool { return s.Stats().Sockets == 0 })
	on(t, l, func() {}) // the loop has heard of it by now
	on(t, l, func() {
		p := &peer{closed: func(*engine.Cause) { t.Error("a peer that was never open was closed") }}
		if h.Accept("", p, nil) {
			t.Error("the gone was accepted")
		}
	})
	if st := s.Stats(); st.Open != 0 || st.Upgraded != 0 || st.Refused[401] != 1 {
		t.Errorf("%+v", st)
	}
}

func TestNoDecisionInTimeIsA503(t *testing.T) {
	t.Parallel()
	cfg := engine.Config{Pollers: 1, HandshakeTimeout: time.Second}
	s := serve(t, cfg, handler(func(*engine.Handshake) {}))
	if err := rawTCP(t, s, 0).upgrade(""); err == nil || err.Error() != "answer 503 Service Unavailable" {
		t.Error(err)
	}
}
