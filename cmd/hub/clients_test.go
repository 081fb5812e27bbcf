package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// client is one WebSocket client, of whatever make.
type client struct {
	t    *testing.T
	name string
	say  func(text string)

	// events are what happened to it, in order.
	events chan clientEvent

	mu   sync.Mutex
	seen []string // all messages
}

type clientEvent struct {
	Client string
	Event  string // open, message, binary, close, error
	Text   string
	Code   int
}

func newClient(t *testing.T, name string) *client {
	return &client{t: t, name: name, events: make(chan clientEvent, 10_000)}
}

func (c *client) note(e clientEvent) {
	if e.Event == "message" {
		c.mu.Lock()
		c.seen = append(c.seen, e.Text)
		c.mu.Unlock()
	}
	c.events <- e
}

// count is how many messages that hold text have come so far.
func (c *client) count(text string) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.seen {
		if strings.Contains(s, text) {
			n++
		}
	}
	return n
}

// want waits for a message that begins with text, and returns it. It passes over others.
func (c *client) want(text string) string {
	c.t.Helper()
	return c.until("message", text, func(s string) bool { return strings.HasPrefix(s, text) }).Text
}

// wantEvent waits for an event of topic in hub.v1 with this data.
func (c *client) wantEvent(topic, data string) {
	c.t.Helper()
	c.until("message", "event of "+topic+" with "+data, func(s string) bool {
		var e struct {
			Type, Topic string
			Data        json.RawMessage
		}
		return json.Unmarshal([]byte(s), &e) == nil && e.Type == "event" && e.Topic == topic && string(e.Data) == data
	})
}

// wantEnd waits until the client is closed, and returns the code.
func (c *client) wantEnd() int {
	c.t.Helper()
	return c.until("close", "", func(string) bool { return true }).Code
}

// until waits for an event of that kind whose text fits.
func (c *client) until(kind, what string, fits func(text string) bool) clientEvent {
	c.t.Helper()
	late := time.After(patience)
	for {
		select {
		case e := <-c.events:
			if e.Event == kind && fits(e.Text) {
				return e
			}
			if e.Event == "close" || e.Event == "error" {
				c.t.Fatalf("%s: %s %d %s instead of %s %s", c.name, e.Event, e.Code, e.Text, kind, what)
			}
		case <-late:
			c.mu.Lock()
			defer c.mu.Unlock()
			c.t.Fatalf("%s: no %s %s; it got %q", c.name, kind, what, c.seen)
		}
	}
}

// dial makes a client of coder/websocket.
func dial(t *testing.T, name, url, protocol string) *client {
	t.Helper()
	var o websocket.DialOptions
	if protocol != "" {
		o.Subprotocols = []string{protocol}
	}
	return dialWith(t, name, url, o)
}

func dialWith(t *testing.T, name, url string, o websocket.DialOptions) *client {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ws, _, err := websocket.Dial(ctx, url, &o)
	if err != nil {
		cancel()
		t.Fatalf("%s: %v", name, err)
	}
	c := newClient(t, name)
	inV1 := ws.Subprotocol() == "hub.v1.json"
	c.say = func(text string) {
		if err := ws.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	var reading sync.WaitGroup
	reading.Go(func() {
		for {
			kind, data, err := ws.Read(ctx)
			switch {
			case err != nil:
				c.note(clientEvent{Event: "close", Code: int(websocket.CloseStatus(err))})
				return
			case kind == websocket.MessageText:
				if inV1 {
					holdToAsyncAPI(t, data)
				}
				c.note(clientEvent{Event: "message", Text: string(data)})
			default:
				c.note(clientEvent{Event: "binary"})
			}
		}
	})
	t.Cleanup(func() {
		cancel()
		_ = ws.CloseNow()
		reading.Wait()
	})
	return c
}

// nodeClients is a process with clients of npm's ws.
type nodeClients struct {
	t       *testing.T
	mu      sync.Mutex
	orders  io.Writer
	clients map[string]*client
}

// startNode runs testdata/clients.mjs until the test ends.
func startNode(t *testing.T) *nodeClients {
	t.Helper()
	n := &nodeClients{t: t, clients: map[string]*client{}}
	n.orders = runNode(t, "clients.mjs", "ws", n.note)
	return n
}

// runNode runs a script of testdata: it takes orders on its standard input, a line each, and note is called for each line
// of its output. Without Node or the module that it needs the test is skipped, or fails if
// WSHUB_REQUIRE_NODE is 1.
func runNode(t *testing.T, script, module string, note func(line []byte)) (orders io.Writer) {
	t.Helper()
	_, err := exec.LookPath("node")
	if err == nil {
		_, err = os.Stat("testdata/node_modules/" + module)
	}
	if err != nil {
		if os.Getenv("WSHUB_REQUIRE_NODE") == "1" {
			t.Fatal(err)
		}
		t.Skipf("no Node with %s (npm ci --prefix cmd/hub/testdata): %v", module, err)
	}
	return runClients(t, exec.Command("node", "testdata/"+script), note)
}

// runClients runs a program with clients until the test ends. It ends with its standard input.
func runClients(t *testing.T, cmd *exec.Cmd, note func(line []byte)) (orders io.Writer) {
	t.Helper()
	cmd.Stderr = t.Output()
	stdin, err1 := cmd.StdinPipe()
	events, err2 := cmd.StdoutPipe()
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		scan := bufio.NewScanner(events)
		scan.Buffer(nil, 1<<20)
		for scan.Scan() {
			note(scan.Bytes())
		}
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = stdin.Close()
		select {
		case <-ended:
		case <-time.After(patience):
			_ = cmd.Process.Kill()
			<-ended
		}
	})
	return stdin
}

func (n *nodeClients) note(line []byte) {
	var e clientEvent
	if err := json.Unmarshal(line, &e); err != nil {
		n.t.Errorf("node says %q", line)
		return
	}
	n.mu.Lock()
	c := n.clients[e.Client]
	n.mu.Unlock()
	c.note(e)
}

func (n *nodeClients) order(o map[string]string) {
	b, _ := json.Marshal(o) // strings can always be written
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, err := n.orders.Write(append(b, '\n')); err != nil {
		n.t.Error(err)
	}
}

// dial makes a client of ws.
func (n *nodeClients) dial(name, url, protocol string) *client {
	n.t.Helper()
	c, _ := n.dialDeflate(name, url, protocol, "")
	return c
}

// dialDeflate makes a client of ws with options for permessage-deflate, in JSON; extensions are those agreed on.
func (n *nodeClients) dialDeflate(name, url, protocol, options string) (c *client, extensions string) {
	n.t.Helper()
	c = newClient(n.t, name)
	c.say = func(text string) { n.order(map[string]string{"client": name, "send": text}) }
	n.mu.Lock()
	n.clients[name] = c
	n.mu.Unlock()
	n.order(map[string]string{"client": name, "open": url, "protocol": protocol, "deflate": options})
	return c, c.until("open", "", func(string) bool { return true }).Text
}
