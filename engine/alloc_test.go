package engine

import (
	"bytes"
	"context"
	"io"
	"net"
	"testing"
	"time"
)

// idlePeer keeps nothing of what it hears.
type idlePeer struct {
	Usual
	heard int
}

func (p *idlePeer) Message(Opcode, []byte) { p.heard++ }
func (p *idlePeer) Overhead(int)           {}
func (p *idlePeer) Closed(*Cause)          {}

type admitting chan *Conn

func (a admitting) Handshake(h *Handshake) {
	h.Accept("", new(idlePeer), nil)
	a <- h.Conn()
}

// The two things that a hub does most cost no memory.
func TestReceivingAndWritingAllocateNothing(t *testing.T) {
	came := make(admitting, 1)
	s, err := New(Config{Addr: "127.0.0.1:0", Pollers: 1}, came)
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	defer func() { end(); <-ended }()

	client, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	read := make(chan struct{})
	go func() { defer close(read); _, _ = io.Copy(io.Discard, client) }()
	defer func() { _ = client.Close(); <-read }()
	_ = client.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(client, "GET /notification HTTP/1.1\r\nHost: hub\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	c := <-came

	const rounds = 200
	message := maskedText("grüße an alle", 0x12345678)
	frame := AppendFrame(nil, OpText, bytes.Repeat([]byte("x"), 100))
	var receiving, writing float64
	done := make(chan int)
	c.loop.Post(func() {
		buf := make([]byte, len(message))
		receiving = testing.AllocsPerRun(rounds, func() {
			copy(buf, message) // receive unmasks in place
			c.receive(buf)
		})
		writing = testing.AllocsPerRun(rounds, func() { c.Write(frame) })
		done <- c.peer.(*idlePeer).heard
	})
	if heard := <-done; heard != rounds+1 {
		t.Errorf("%d messages were heard", heard)
	}
	if receiving != 0 || writing != 0 {
		t.Errorf("receiving allocates %v times, writing %v times", receiving, writing)
	}
}

func maskedText(payload string, key uint32) []byte {
	b := AppendFrameHeader(nil, OpText, len(payload))
	b[1] |= maskBit
	b = append(b, byte(key), byte(key>>8), byte(key>>16), byte(key>>24))
	from := len(b)
	b = append(b, payload...)
	unmask(b[from:], key)
	return b
}
