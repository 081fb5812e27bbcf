package main

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

// listenAsManager is the socket of a service manager. next returns the message that comes next.
func listenAsManager(t *testing.T) (socket string, next func() string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return socket, func() string {
		t.Helper()
		b := make([]byte, 1024)
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		n, err := conn.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
}

func TestTheServiceManagerIsToldOfTheHubsLife(t *testing.T) {
	socket, next := listenAsManager(t)
	t.Setenv("NOTIFY_SOCKET", socket)
	t.Setenv("WATCHDOG_USEC", "150000")
	h := startHub(t, buildHub(t), "", "--drain-grace=500ms", "--drain-window=1s")
	for _, want := range []string{"READY=1", "WATCHDOG=1", "WATCHDOG=1"} {
		if got := next(); got != want {
			t.Fatalf("%q instead of %q", got, want)
		}
	}
	h.terminate()
	said := next()
	for ; said == "WATCHDOG=1"; said = next() {
	}
	if want := "STOPPING=1\nEXTEND_TIMEOUT_USEC=9500000"; said != want { // both times, 5 s for the last clients, 2 s for callers, 1 s for the log
		t.Errorf("%q instead of %q", said, want)
	}
	if got := next(); got != "WATCHDOG=1" {
		t.Errorf("%q while it drains", got)
	}
	if code := h.exitCode(); code != 0 {
		t.Errorf("ends with %d", code)
	}
}

func TestAHubThatDoesNotLiveMissesItsBeats(t *testing.T) {
	socket, next := listenAsManager(t)
	var asked atomic.Int32
	live := func() error {
		if asked.Add(1) < 5 {
			return errors.New("stuck")
		}
		return nil
	}
	ctx, end := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		ended <- serviceManager{socket, 3 * time.Millisecond}.run(live, nil, 0, zerolog.Nop())(ctx)
	}()
	if got := next(); got != "READY=1" {
		t.Error(got)
	}
	if got, n := next(), asked.Load(); got != "WATCHDOG=1" || n < 5 {
		t.Errorf("%q after %d questions", got, n)
	}
	end()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// A manager that is not there, or reads nothing, holds nobody up and is complained of once.
func TestASilentServiceManagerCostsOneLine(t *testing.T) {
	var log strings.Builder
	ctx, end := context.WithCancel(t.Context())
	n := 0
	live := func() error {
		if n++; n == 3 {
			end()
		}
		return nil
	}
	if err := (serviceManager{"/nowhere/notify", 3 * time.Millisecond}).run(live, nil, 0, zerolog.New(&log))(ctx); err != nil {
		t.Error(err)
	}
	if lines := strings.Count(log.String(), "\n"); lines != 1 || !strings.Contains(log.String(), "can't be told") {
		t.Errorf("%d lines: %s", lines, log.String())
	}
}

func TestTheWatchdogOfAnotherProcessIsNotOurs(t *testing.T) {
	for _, c := range []struct {
		vars map[string]string
		want time.Duration
	}{
		{map[string]string{}, 0},
		{map[string]string{"WATCHDOG_USEC": "30000000"}, 30 * time.Second},
		{map[string]string{"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, 0},
		{map[string]string{"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": strconv.Itoa(os.Getpid())}, 30 * time.Second},
		{map[string]string{"WATCHDOG_USEC": "-5"}, 0},
		{map[string]string{"WATCHDOG_USEC": "soon"}, 0},
		{map[string]string{"WATCHDOG_USEC": "99999999999999999999"}, 0},
	} {
		if got := (environment{vars: c.vars}).manager().beat; got != c.want {
			t.Errorf("%v: %v", c.vars, got)
		}
	}
}
