package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
)

// pipes is a listener without a network, so that time can be a test's own.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (l *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipes) Close() error   { close(l.closed); return nil }
func (l *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 3001} }

func (l *pipes) dial() *visitor {
	here, there := net.Pipe()
	l.conns <- there
	return &visitor{here, bufio.NewReader(here)}
}

// visitor is a connection to the control port.
type visitor struct {
	net.Conn
	r *bufio.Reader
}

func (v *visitor) ask(path string) error {
	if _, err := io.WriteString(v, "GET "+path+" HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		return err
	}
	return v.answer()
}

func (v *visitor) answer() error {
	res, err := http.ReadResponse(v.r, nil)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, res.Body)
	return err
}

// isCut waits until the other end has closed v.
func (v *visitor) isCut() bool {
	_, err := v.r.ReadByte()
	return err != nil
}

// visited runs a control port of at most so many connections in a bubble of synctest.
func visited(t *testing.T, most int, live func() error, f func(ln *pipes, c *callers)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ln := &pipes{make(chan net.Conn), make(chan struct{})}
		from := newCallers(ln, most)
		c := newControl(from, parsed(t, nil).cfg, zerolog.Nop(), controlled{
			live: live, ready: func() error { return nil }, hub: &backend{}, registry: prometheus.NewRegistry(), console: http.NotFoundHandler(),
		})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- c.Run(ctx) }()
		f(ln, from)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if from.open != 0 || from.quiet.Len() != 0 {
			t.Errorf("%d connections are counted as open and %d as quiet at the end", from.open, from.quiet.Len())
		}
	})
}

func lives() error { return nil }

// Balancers keep connections for 60 s, mostly, and send the next request right before that.
func TestAConnectionToTheControlPortIsKeptForBalancers(t *testing.T) {
	visited(t, 10, lives, func(ln *pipes, _ *callers) {
		v := ln.dial()
		for _, pause := range []time.Duration{0, 15 * time.Second, 60 * time.Second, 75 * time.Second} {
			time.Sleep(pause)
			if err := v.ask("/livez"); err != nil {
				t.Errorf("a request after %v: %v", pause, err)
			}
		}
		begin := time.Now()
		if !v.isCut() || time.Since(begin) > 5*time.Minute {
			t.Errorf("an idle connection is kept for %v", time.Since(begin))
		}
	})
}

func TestARequestsHeadHasItsTimeHoweverLongTheConnectionIsKept(t *testing.T) {
	visited(t, 10, lives, func(ln *pipes, _ *callers) {
		v := ln.dial()
		if err := v.ask("/livez"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(60 * time.Second)
		begin, wrote := time.Now(), make(chan struct{})
		go func() {
			defer close(wrote)
			for _, b := range []byte("GET /livez HTTP/1.1\r\nX: " + strings.Repeat("x", 1000)) {
				if _, err := v.Write([]byte{b}); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}()
		for !v.isCut() { // the answer may be a 408
		}
		if got := time.Since(begin); got > controlTime+4*time.Second { // net/http counts from the fourth byte
			t.Errorf("a head may take %v", got)
		}
		<-wrote
	})
}

func TestTheLongestQuietConnectionGoesWhenThereAreTooMany(t *testing.T) {
	visited(t, 3, lives, func(ln *pipes, from *callers) {
		silent, half, used := ln.dial(), ln.dial(), ln.dial()
		if _, err := io.WriteString(half, "GET /livez HT"); err != nil { // a head that never ends is quiet, too
			t.Fatal(err)
		}
		if err := used.ask("/livez"); err != nil {
			t.Fatal(err)
		}
		first := ln.dial()
		if !silent.isCut() {
			t.Error("the silent one stays")
		}
		second := ln.dial()
		if !half.isCut() {
			t.Error("the half one stays")
		}
		for _, v := range []*visitor{used, first, second} {
			if err := v.ask("/livez"); err != nil {
				t.Errorf("an honest one: %v", err)
			}
		}
		if got := from.Dropped(); got["idle"] != 2 || got["busy"] != 0 {
			t.Errorf("counted %v", got)
		}
	})
}

func TestConnectionsWithAnOpenRequestAreNotCutForNewOnes(t *testing.T) {
	var asked, answer chan bool // the bubble's own: a wait that has no end is a deadlock there, and no hang
	visited(t, 2, func() error {
		asked <- true
		<-answer
		return errors.New("late")
	}, func(ln *pipes, from *callers) {
		asked, answer = make(chan bool), make(chan bool)
		busy := []*visitor{ln.dial(), ln.dial()}
		for _, v := range busy {
			if _, err := io.WriteString(v, "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			<-asked
		}
		if !ln.dial().isCut() {
			t.Error("a third one is let in")
		}
		if got := from.Dropped(); got["idle"] != 0 || got["busy"] != 1 {
			t.Errorf("counted %v", got)
		}
		for range busy { // which of them waits first is not known
			answer <- true
		}
		for _, v := range busy {
			if err := v.answer(); err != nil {
				t.Error(err)
			}
		}
		synctest.Wait()
		go func() { <-asked; answer <- true }()
		if err := ln.dial().ask("/livez"); err != nil { // the first of them was quiet again
			t.Error(err)
		}
		if got := from.Dropped(); got["idle"] != 1 {
			t.Errorf("counted %v", got)
		}
	})
}
