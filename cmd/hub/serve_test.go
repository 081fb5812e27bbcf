package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/rs/zerolog"
)

// hubInside is a whole hub in the test's process.
type hubInside struct {
	public, control string
	log             *logBuffer
	stop            chan<- os.Signal
	cut             context.CancelFunc
	ended           chan error
}

// logBuffer takes a log and says when the hub listens.
type logBuffer struct {
	mu        sync.Mutex
	text      bytes.Buffer
	listening chan logLine
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var l logLine
	if json.Unmarshal(p, &l) == nil && l.Message == "listening" {
		b.listening <- l
	}
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func startInside(t *testing.T, args ...string) *hubInside {
	t.Helper()
	come := make(chan os.Signal, 2)
	ctx, cut := context.WithCancel(t.Context())
	h := &hubInside{log: &logBuffer{listening: make(chan logLine, 1)}, stop: come, cut: cut, ended: make(chan error, 1)}
	s := parsed(t, nil, append([]string{"--port=0", "--control=127.0.0.1:0", "--drain-grace=0s", "--drain-window=100ms", "--log-format=json"}, args...)...)
	go func() {
		defer close(h.ended)
		h.ended <- serve(ctx, s, h.log, signals{come: come, release: func() {}})
	}()
	t.Cleanup(func() {
		cut()
		http.DefaultClient.CloseIdleConnections()
		for range h.ended { // the next hub must not overlap: nbio's logger is the process's
		}
	})
	select {
	case l := <-h.log.listening:
		h.public, h.control = "ws://"+l.Addr+l.Path, "http://"+l.Control
	case err := <-h.ended:
		t.Fatalf("ended with %v:\n%s", err, h.log)
	}
	if h.control == "http://" || s.cfg.ControlTLSCert != "" { // a test that has it waits by itself
		return h
	}
	eventually(t, func() error { // the broker without a Redis runs: a hub listens before
		if _, reason, _ := ask(t, "GET", h.control+"/readyz", ""); strings.Contains(reason, "not running") {
			return errors.New(reason)
		}
		return nil
	})
	return h
}

// awaitReady waits until the hub's broker runs, too: it listens before.
func (h *hubInside) awaitReady(t *testing.T) {
	t.Helper()
	eventually(t, func() error {
		if status, reason, _ := ask(t, "GET", h.control+"/readyz", ""); status != 200 {
			return fmt.Errorf("/readyz is %d %s", status, reason)
		}
		return nil
	})
}

func TestOneHubNeedsNothingElse(t *testing.T) {
	h := startInside(t)
	plain := dial(t, "plain", h.public, "")
	v1 := dial(t, "v1", h.public+"?user=42", "hub.v1.json")
	v1.want(`{"type":"welcome"`)
	v1.say(`{"type":"subscribe","id":1,"topic":"news"}`)
	v1.want(`{"type":"subscribed","id":1`)
	plain.say(`{"hello":"world"}`)
	plain.want(`{"hello":"world"}`)
	for topic, data := range map[string]string{"news": `{"a":1}`, "user:42": `"for you"`} {
		if status, answer, _ := ask(t, "POST", h.control+"/api/publish", fmt.Sprintf(`{"topic":%q,"data":%s}`, topic, data), asJSON...); status != 200 {
			t.Errorf("publish is answered %d %s", status, answer)
		}
	}
	v1.wantEvent("news", `{"a":1}`)
	for _, path := range []string{"/livez", "/readyz"} {
		eventually(t, func() error {
			if status, reason, _ := ask(t, "GET", h.control+path, ""); status != 200 {
				return fmt.Errorf("%s is %d %s", path, status, reason)
			}
			return nil
		})
	}
	_, metrics, _ := ask(t, "GET", h.control+"/metrics", "")
	for _, want := range []string{"wshub_connections 2\n", `wshub_sessions{mode="v1"} 1`, "wshub_messages_total 2\n", "go_goroutines "} {
		if !strings.Contains(metrics, want) {
			t.Errorf("no %q in the metrics", want)
		}
	}
	h.stop <- syscall.SIGTERM
	v1.want(`{"type":"goodbye"`)
	for _, c := range []*client{plain, v1} {
		if code := c.wantEnd(); code != 1012 {
			t.Errorf("%s is closed with %d", c.name, code)
		}
	}
	if err := <-h.ended; err != nil {
		t.Error(err)
	}
}

func TestAPageThatWasMadeToPointHereIsRefused(t *testing.T) {
	for _, c := range []struct {
		name         string
		args         []string
		host, origin string
		want         int
	}{
		{"a page of this machine may", nil, "127.0.0.1:3000", "http://127.0.0.1:8080", 101},
		{"also by name", nil, "localhost:3000", "http://localhost:8080", 101},
		{"a page of another name may not", nil, "evil.example:3000", "http://evil.example:3000", 403},
		{"a program is no page", nil, "hub.example:3000", "", 101},
		{"--open lets in pages that a proxy brings", []string{"--open"}, "hub.example", "http://hub.example", 101},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := startInside(t, append(c.args, "--control=off")...)
			r, err := http.NewRequestWithContext(t.Context(), "GET", "http"+strings.TrimPrefix(h.public, "ws"), nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Host = c.host
			r.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="}}
			if c.origin != "" {
				r.Header.Set("Origin", c.origin)
			}
			res, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if res.StatusCode != c.want {
				t.Errorf("answered %d, want %d", res.StatusCode, c.want)
			}
		})
	}
}

func TestAMetricTellsHowManyAreLeft(t *testing.T) {
	h := startInside(t, "--drain-window=4s")
	for range 20 {
		dial(t, "v1", h.public, "hub.v1.json").want(`{"type":"welcome"`)
	}
	left := func(low, high int) {
		t.Helper()
		eventually(t, func() error {
			_, metrics, _ := ask(t, "GET", h.control+"/metrics", "")
			_, rest, _ := strings.Cut(metrics, "\nwshub_connections ")
			text, _, _ := strings.Cut(rest, "\n")
			if n, err := strconv.Atoi(text); err != nil || n < low || n > high {
				return fmt.Errorf("wshub_connections is %q", text)
			}
			return nil
		})
	}
	left(20, 20)
	h.stop <- syscall.SIGTERM
	left(1, 19)
	left(1, 17)
}

func TestTheEndOfTheContextCutsClients(t *testing.T) {
	h := startInside(t, "--control=off", "--drain-window=1h")
	c := dial(t, "plain", h.public, "")
	h.cut()
	c.wantEnd()
	if err := <-h.ended; err != nil {
		t.Error(err)
	}
}

func TestATakenPortIsNamedWithExitCode1(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, args := range [][]string{
		{"--addr=" + taken.Addr().String(), "--control=off"},
		{"--port=0", "--control=" + taken.Addr().String()},
	} {
		code, _, stderr := call(t, nil, args...)
		if flag, _, _ := strings.Cut(args[len(args)-1], "="); code != 1 || !strings.Contains(stderr, taken.Addr().String()) || !strings.Contains(stderr, "another program has this port") {
			t.Errorf("%s ends with %d: %s", flag, code, stderr)
		}
	}
}

func TestTheStartTellsAPersonHowToBegin(t *testing.T) {
	var out bytes.Buffer
	started{"127.0.0.1:3000", "127.0.0.1:3001"}.announce(parsed(t, nil), &out, zerolog.New(io.Discard), true)
	for _, want := range []string{"ws://127.0.0.1:3000/notification", "new WebSocket(", "http://127.0.0.1:3001/try", "Open hub", "in this process"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
}

func TestTheStartOfAHubThatWantsTokensNamesNoWayWithoutOne(t *testing.T) {
	var out bytes.Buffer
	started{"127.0.0.1:3000", "127.0.0.1:3001"}.announce(parsed(t, nil, "--jwt-secret="+secret), &out, zerolog.New(io.Discard), true)
	if text := out.String(); strings.Contains(text, "new WebSocket(") || !strings.Contains(text, "hub token --sub 42") {
		t.Error(text)
	}
}

func TestNotesWarnOfWhatOthersCanReach(t *testing.T) {
	has := func(text string, args ...string) bool {
		return strings.Contains(strings.Join(parsed(t, nil, args...).notes(), "\n"), text)
	}
	switch public := []string{"--addr=0.0.0.0:3000", "--open"}; {
	case has("--open"), !has("--open", public...),
		has("control port"), !has("control port", "--control=0.0.0.0:3001"), has("control port", "--control=0.0.0.0:3001", "--api-key=0123456789abcdef"),
		has("any user", "--trust-user-param"), !has("any user", append(public, "--trust-user-param")...),
		has("in this process", "--redis-url=redis://localhost"):
		t.Error("a note is missing or too much")
	}
}
