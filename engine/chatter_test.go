package engine

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// listening is a Peer that notes what it is told.
type listening struct {
	Usual
	conn     *Conn
	overhead []int
	messages int
	closeAt  int // closes when so much overhead was told, if not 0
}

func (p *listening) Message(op Opcode, payload []byte) {
	p.messages++
	p.conn.Write(AppendFrame(nil, op, payload))
}

func (p *listening) Overhead(frames int) {
	p.overhead = append(p.overhead, frames)
	if p.closeAt > 0 && frames >= p.closeAt {
		p.conn.Close(&Cause{"test", 4000, "chatter"})
	}
}

func (p *listening) Closed(*Cause) {}

// chatting is a server with one connection, whose peer and client come with it.
func chatting(t *testing.T) (*listening, *laggard) {
	p := new(listening)
	came := make(chan *Conn, 1)
	s := running(t, Config{}, &echoing{decide: func(h *Handshake, _ Peer) {
		p.conn = h.Conn()
		h.Accept("", p, nil)
		came <- h.Conn()
	}})
	client := opened(t, s)
	c := <-came
	return p, &laggard{t: t, loop: c.loop, conn: c, client: client}
}

func TestAFewPingsAreAllAnswered(t *testing.T) {
	_, g := chatting(t)
	var in, want []byte
	for i := range maxPongs {
		payload := fmt.Sprint("payload ", i)
		in = append(in, clientFrame(finPing, payload)...)
		want = AppendFrame(want, OpPong, []byte(payload))
	}
	g.on(func() { g.conn.receive(in) })
	expect(t, g.client, want)
}

// RFC 6455, 5.5.3.
func TestOfManyPingsTheNewestIsAnswered(t *testing.T) {
	const many = 1000
	_, g := chatting(t)
	var in []byte
	for i := range many {
		in = append(in, clientFrame(finPing, fmt.Sprint(i))...)
	}
	g.on(func() {
		before := g.loop.spent
		g.conn.receive(in)
		if cost := g.loop.spent - before; cost > 2*writeCost+many*frameCost {
			t.Errorf("it cost %v: more than one write", cost)
		}
	})
	expect(t, g.client, AppendFrame(nil, OpPong, []byte(fmt.Sprint(many-1))))
	expectOpen(t, g.client)
}

func TestPongsStandWhereTheirPingsStood(t *testing.T) {
	_, g := chatting(t)
	g.on(func() {
		g.conn.receive(join(clientFrame(finPing, "1"), clientFrame(finText, "2"), clientFrame(finPing, "3"),
			clientFrame(finClose, closePayload(1000, ""))))
	})
	expect(t, g.client, join(AppendFrame(nil, OpPong, []byte("1")), AppendFrame(nil, OpText, []byte("2")),
		AppendFrame(nil, OpPong, []byte("3")), AppendClose(nil, 1000, "")))
}

func TestPongsComeBeforeTheCloseOfABrokenStream(t *testing.T) {
	_, g := chatting(t)
	g.on(func() { g.conn.receive(join(clientFrame(finPing, "1"), []byte{0xFF, 0xFF})) })
	expect(t, g.client, AppendFrame(nil, OpPong, []byte("1")))
	expectClose(t, g.client, 1002)
}

// Eight control frames or small fragments in a second are nobody's business, more are told to the Peer, each once.
func TestOverheadIsTold(t *testing.T) {
	ping, pong, part := clientFrame(finPing, ""), clientFrame(finPong, ""), clientFrame(continuation, "")
	for _, test := range []struct {
		name  string
		reads [][]byte
		want  []int
	}{
		{"a quiet client", [][]byte{ping, pong, clientFrame(finText, "x"), pong, ping}, nil},
		{"pings in one read", [][]byte{bytes.Repeat(ping, 100)}, []int{92}},
		{"pings in two reads", [][]byte{bytes.Repeat(ping, 7), bytes.Repeat(ping, 7)}, []int{6}},
		{"a ping in each read", slices.Repeat([][]byte{ping}, 11), []int{1, 1, 1}},
		{"pongs but the one for our ping", [][]byte{bytes.Repeat(pong, 11)}, []int{2}},
		{"empty fragments", [][]byte{clientFrame(text, ""), bytes.Repeat(part, 100)}, []int{1 + 100 - 1 - 8}},
		{"a message in pieces of 4 KiB", [][]byte{join(clientFrame(text, strings.Repeat("x", 4096)),
			bytes.Repeat(clientFrame(continuation, strings.Repeat("x", 4096)), 14), clientFrame(finContinuation, "x"))}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, g := chatting(t)
			g.on(func() {
				for _, data := range test.reads {
					g.conn.receive(bytes.Clone(data))
				}
				if !slices.Equal(p.overhead, test.want) {
					t.Errorf("told %v, want %v", p.overhead, test.want)
				}
				p.overhead = nil
				g.loop.sweep() // a second later
				g.conn.receive(bytes.Repeat(clientFrame(finPing, ""), quietChatter))
				if len(p.overhead) > 0 {
					t.Errorf("told %v in the next second", p.overhead)
				}
			})
		})
	}
}

// A Peer may close for it, in the middle of whatever has come.
func TestAPeerMayCloseForOverhead(t *testing.T) {
	p, g := chatting(t)
	p.closeAt = 50
	g.on(func() {
		g.conn.receive(bytes.Repeat(clientFrame(finPing, ""), 100))
		g.conn.receive(bytes.Repeat(clientFrame(finPing, ""), 100))
		g.conn.receive(clientFrame(finText, "too late"))
	})
	expect(t, g.client, join(AppendFrame(nil, OpPong, nil), AppendClose(nil, 4000, "chatter")))
	if len(p.overhead) != 1 || p.messages > 0 {
		t.Errorf("told %v, and %d messages", p.overhead, p.messages)
	}
}

func TestChatterOfTheGoneIsForgotten(t *testing.T) {
	_, g := chatting(t)
	g.on(func() {
		g.conn.receive(bytes.Repeat(clientFrame(finPing, ""), 100))
		g.conn.Close(ByPeer)
		g.loop.sweep()
		if n := len(g.loop.chatter); n > 0 {
			t.Errorf("%d are kept", n)
		}
	})
}
