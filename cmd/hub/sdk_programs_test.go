package main

import (
	"encoding/json"
	"io"
	"maps"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	_ "github.com/centrifugal/centrifuge-go" // is for testdata/centrifugego, where go.mod does not look
)

// sdkProgram is a process with clients of one SDK.
type sdkProgram struct {
	t      *testing.T
	orders io.Writer

	mu      sync.Mutex
	clients map[string]*sdk
	asked   map[int]chan sdkEvent
	asks    int // so far
}

// startJS runs clients of centrifuge-js until the test ends.
func startJS(t *testing.T) *sdkProgram {
	t.Helper()
	p := newSDKProgram(t)
	p.orders = runNode(t, "centrifuge.mjs", "centrifuge", p.note)
	return p
}

// startJSPage runs them in a page of a Chromium; nil without one.
func startJSPage(t *testing.T) *sdkProgram {
	t.Helper()
	bundle := filepath.Join(t.TempDir(), "centrifuge.mjs")
	out, err := exec.Command(needTool(t, "esbuild"), "--bundle", "--format=esm", "--log-level=error", "--external:node:readline", "--external:ws",
		"--external:eventsource", "--outfile="+bundle, "testdata/centrifuge.mjs").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	p := newSDKProgram(t)
	page := openPage(t, bundle, "const Client = {}", p.note)
	if page == nil {
		return nil
	}
	p.orders = page
	return p
}

// startGo runs clients of centrifuge-go until the test ends.
func startGo(t *testing.T) *sdkProgram {
	t.Helper()
	path, err := built.centrifugego()
	if err != nil {
		t.Fatal(err)
	}
	p := newSDKProgram(t)
	p.orders = runClients(t, exec.Command(path), p.note)
	return p
}

func newSDKProgram(t *testing.T) *sdkProgram {
	return &sdkProgram{t: t, clients: map[string]*sdk{}, asked: map[int]chan sdkEvent{}}
}

func (p *sdkProgram) note(line []byte) {
	var e sdkEvent
	if err := json.Unmarshal(line, &e); err != nil {
		p.t.Errorf("an SDK says %q: %v", line, err)
		return
	}
	p.mu.Lock()
	c, answer := p.clients[e.Client], p.asked[e.Ask]
	delete(p.asked, e.Ask)
	p.mu.Unlock()
	switch {
	case e.Event == "answer" && answer != nil:
		answer <- e
	case c != nil:
		c.note(e)
	default:
		p.t.Errorf("an SDK says %q", line)
	}
}

// client makes a client by one build of the SDK.
func (p *sdkProgram) client(t *testing.T, name, build string) *sdk {
	c := &sdk{t: t, name: name, program: p, build: build}
	c.more = sync.NewCond(&c.mu)
	p.mu.Lock()
	if p.clients[name] != nil {
		t.Errorf("two clients are named %s", name)
	}
	p.clients[name] = c
	p.mu.Unlock()
	return c
}

// order has the program do something with the client.
func (c *sdk) order(do string, members map[string]any) {
	o := map[string]any{"client": c.name, "do": do, "build": c.build}
	maps.Copy(o, members)
	b, err := json.Marshal(o)
	if err != nil {
		c.t.Error(err)
		return
	}
	p := c.program
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, err := p.orders.Write(append(b, '\n')); err != nil {
		c.t.Error(err)
	}
}

// sdkOptions say how a client connects.
type sdkOptions struct {
	url      string
	tokens   []string // in turn, the last one for ever; nil for none
	fallback string   // another transport's endpoint, for centrifuge-js
}

// open makes the client, which does not connect yet. It disconnects when the test ends.
func (c *sdk) open(o sdkOptions) {
	members := map[string]any{"url": o.url}
	if o.tokens != nil {
		members["tokens"] = o.tokens
	}
	if o.fallback != "" {
		members["fallback"] = o.fallback
	}
	c.order("open", members)
	c.t.Cleanup(func() { c.order("disconnect", nil) })
}

func (c *sdk) connect() { c.order("connect", nil) }

// subscribe follows a channel, with tokens in turn if there are any.
func (c *sdk) subscribe(channel string, tokens ...string) {
	members := map[string]any{"channel": channel}
	if tokens != nil {
		members["tokens"] = tokens
	}
	c.order("subscribe", members)
}

func (c *sdk) unsubscribe(channel string) {
	c.order("unsubscribe", map[string]any{"channel": channel})
}

// sdkHistory is what a client asks of a history.
type sdkHistory struct {
	Limit   int     `json:"limit"`
	Since   *sdkPos `json:"since,omitempty"`
	Reverse bool    `json:"reverse,omitempty"`
}

type sdkPos struct {
	Offset uint64 `json:"offset"`
	Epoch  string `json:"epoch"`
}

// ask asks for publish, history, presence or presenceStats, and wants an answer with this code, 0 if all is well.
func (c *sdk) ask(code int, method, channel, data string, h sdkHistory) sdkEvent {
	c.t.Helper()
	p, heard := c.program, make(chan sdkEvent, 1)
	p.mu.Lock()
	p.asks++
	number := p.asks
	p.asked[number] = heard
	p.mu.Unlock()
	members := map[string]any{"ask": number, "channel": channel, "options": h}
	if data != "" {
		members["data"] = json.RawMessage(data)
	}
	c.order(method, members)
	select {
	case answer := <-heard:
		if answer.Code != code {
			c.t.Errorf("%s: %s of %s is answered %d %s, want %d", c.name, method, channel, answer.Code, answer.Reason, code)
		}
		return answer
	case <-time.After(patience):
		c.t.Fatalf("%s: %s of %s is not answered:%s", c.name, method, channel, lastOf(c.all()))
		return sdkEvent{}
	}
}
