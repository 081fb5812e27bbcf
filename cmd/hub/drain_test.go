package main

import (
	"context"
	"errors"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"wshub/session"
)

// clients take their time to leave.
type clients struct {
	leave  time.Duration
	answer time.Duration // how long the last of them take to answer the Close frame
	window time.Duration // as told to Drain
	began  time.Time
}

func (c *clients) Drain(ctx context.Context, d session.Departure) error {
	c.window, c.began = d.Window, time.Now()
	select {
	case <-time.After(c.leave):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *clients) await(ctx context.Context) {
	select {
	case <-time.After(c.answer):
	case <-ctx.Done():
	}
}

// nowhere knows of no other hub.
func nowhere() *elsewhere {
	return &elsewhere{others: func(context.Context) ([]string, error) { return nil, nil }, log: zerolog.Nop()}
}

func newDrainer(c *clients, shut func()) (*drainer, chan<- os.Signal) {
	come := make(chan os.Signal, 2)
	return &drainer{announce: func() {}, elsewhere: nowhere(), hub: c, stopAccepting: shut, awaitClosing: c.await, grace: 2 * time.Second, window: 30 * time.Second, signals: signals{come: come, release: func() {}}, log: zerolog.Nop()}, come
}

func TestASignalDrainsNotReadyFirstThenTheDoorThenTheClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &clients{leave: 10 * time.Second, answer: time.Second}
		begin := time.Now()
		var shut atomic.Int64 // since begin
		d, signals := newDrainer(c, func() { shut.Store(int64(time.Since(begin))) })
		works := func() error { return nil }
		if err := d.ready(works); err != nil {
			t.Errorf("not ready before the signal: %v", err)
		}
		ended := make(chan error)
		go func() { ended <- d.Run(t.Context()) }()
		signals <- syscall.SIGTERM
		synctest.Wait()
		if err := d.ready(works); !errors.Is(err, errDraining) || shut.Load() != 0 {
			t.Errorf("right after the signal: ready is %v, the door was shut after %v", err, time.Duration(shut.Load()))
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if shut.Load() != int64(2*time.Second) || c.began.Sub(begin) != 2*time.Second || c.window != 30*time.Second || time.Since(begin) != 13*time.Second {
			t.Errorf("the door was shut after %v, the clients left from %v in %v; it ended after %v",
				time.Duration(shut.Load()), c.began.Sub(begin), c.window, time.Since(begin))
		}
	})
}

func TestClientsThatDoNotLeaveAreNotWaitedForLongerThanTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, signals := newDrainer(&clients{leave: time.Hour}, func() {})
		begin := time.Now()
		signals <- syscall.SIGTERM
		if err := d.Run(t.Context()); err != nil {
			t.Error(err)
		}
		if took := time.Since(begin); took != 2*time.Second+30*time.Second+drainExtra {
			t.Errorf("it took %v", took)
		}
	})
}

func TestASecondSignalEndsAtOnce(t *testing.T) {
	for _, wait := range []time.Duration{echoTime, time.Second, 5 * time.Second} { // in the grace and behind it
		synctest.Test(t, func(t *testing.T) {
			d, signals := newDrainer(&clients{leave: time.Hour}, func() {})
			begin := time.Now()
			go func() {
				signals <- os.Interrupt
				signals <- os.Interrupt // its echo
				time.Sleep(wait)
				signals <- os.Interrupt
			}()
			if err := d.Run(t.Context()); !errors.Is(err, errCut) {
				t.Errorf("ended with %v", err)
			}
			if took := time.Since(begin); took != wait {
				t.Errorf("the second signal came after %v, the end after %v", wait, took)
			}
		})
	}
}

func TestWithoutASignalTheEndOfTheContextIsTheEnd(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	d, _ := newDrainer(&clients{leave: time.Hour}, func() { t.Error("the door was shut") })
	if err := d.Run(ctx); err != nil || d.Draining() {
		t.Errorf("ended with %v, draining %v", err, d.Draining())
	}
}
