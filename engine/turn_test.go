package engine_test

import (
	"bytes"
	"io"
	"testing"

	"wshub/engine"
)

// stall keeps l from doing anything until the returned func is called.
func stall(t testing.TB, l *engine.Loop) (goOn func()) {
	t.Helper()
	stands, end := make(chan struct{}), make(chan struct{})
	l.Post(func() { close(stands); <-end })
	within(t, "the stall", stands)
	return func() { close(end) }
}

func TestReadsAreServedBetweenJobs(t *testing.T) {
	const jobs = 2000
	r := newRoster()
	s := serve(t, engine.Config{Pollers: 1}, r)
	l := s.Loops()[0]
	sink := rawDial(t, s, "?sink")
	go func() { _, _ = io.Copy(io.Discard, sink.in) }()
	ran, seen := 0, make(chan int, 1)
	asks := rawTCP(t, s, 0)
	r.onMessage("?asks", func() { seen <- ran })
	if err := asks.upgrade("?asks"); err != nil {
		t.Fatal(err)
	}
	frame := engine.AppendFrame(nil, engine.OpText, make([]byte, 100))
	goOn := stall(t, l)
	for range jobs {
		l.Post(func() {
			ran++
			r.conn("sink").Write(frame)
		})
	}
	asks.write(t, masked(engine.OpText, "anybody there?"))
	goOn()
	if n := within(t, "the message", seen); n > jobs/2 {
		t.Errorf("%d jobs of %d ran before a message was read", n, jobs)
	}
}

// One who sends much keeps nobody waiting: a buffer of it is read, then others have their turn.
func TestOneConnectionReadsABufferAtATime(t *testing.T) {
	const buffer, message, many = 4 << 10, 100, 400
	r := newRoster()
	s := serve(t, engine.Config{Pollers: 1, ReadBuffer: buffer}, r)
	l := s.Loops()[0]
	heard, seen := 0, make(chan int, 1)
	r.onMessage("?busy", func() { heard++ })
	r.onMessage("?asks", func() { seen <- heard })
	busy, asks := rawDial(t, s, "?busy"), rawDial(t, s, "?asks")
	go func() { _, _ = io.Copy(io.Discard, busy.in) }()
	goOn := stall(t, l)
	busy.write(t, bytes.Repeat(masked(engine.OpText, string(make([]byte, message))), many))
	asks.write(t, masked(engine.OpText, "anybody there?"))
	goOn()
	if n := within(t, "the message", seen); n > 2*buffer/message {
		t.Errorf("%d messages of one were heard before the other's", n)
	}
}
