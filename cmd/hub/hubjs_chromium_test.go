package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// findChromium is the path of a Chromium, "" if there is none.
func findChromium() string {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

// startJSInChromium runs clients of hub.js in a page of a headless Chromium until the test ends; the page imports the
// module from a hub. It is nil without a Chromium, unless WSHUB_REQUIRE_CHROMIUM is 1: then the test fails.
func startJSInChromium(t *testing.T, module string) *jsProgram {
	t.Helper()
	return startPageInChromium(t, "testdata/hubjs.mjs", fmt.Sprintf("import { Hub as Client } from %q", module))
}

// startPageInChromium runs the clients of a harness in a page; clients is the statement that defines Client for it.
func startPageInChromium(t *testing.T, harness, clients string) *jsProgram {
	t.Helper()
	p := &jsProgram{t: t, name: "chromium", clients: map[string]*jsClient{}}
	b := openPage(t, harness, clients, p.note)
	if b == nil {
		return nil
	}
	p.orders = b
	return p
}

// openPage is startPageInChromium for a program of whatever kind.
func openPage(t *testing.T, harness, clients string, note func(line []byte)) *browser {
	t.Helper()
	path := findChromium()
	if path == "" {
		if os.Getenv("WSHUB_REQUIRE_CHROMIUM") == "1" {
			t.Fatal("no Chromium")
		}
		return nil
	}
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/harness.mjs" {
			w.Header().Set("Content-Type", "text/javascript")
			http.ServeFile(w, r, harness)
			return
		}
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `<script type="module">
			%s
			import { harness } from '/harness.mjs'
			globalThis.order = harness(Client, (happened) => report(JSON.stringify(happened)))
			report('ready')
		</script>`, clients)
	}))
	t.Cleanup(page.Close)

	ready := make(chan struct{})
	b := startBrowser(t, path, func(line string) {
		if line == "ready" {
			close(ready)
			return
		}
		note([]byte(line))
	})
	b.call("Network.enable", nil)
	b.call("Page.navigate", map[string]any{"url": page.URL})
	select {
	case <-ready:
	case <-time.After(patience):
		t.Fatal("the page does not come up")
	}
	return b
}

// browser is one page of a Chromium, led by its DevTools protocol.
type browser struct {
	t      *testing.T
	ctx    context.Context
	ws     *websocket.Conn
	report func(line string) // called for what the page reports
	log    func(text string) // called for errors that the browser logs; nil in pages that may have some
	last   atomic.Int64      // id of a call
	// waiting are channels by a call's id, which its answer closes.
	waiting sync.Map
}

func startBrowser(t *testing.T, path string, report func(line string)) *browser {
	t.Helper()
	cmd := exec.Command(path, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
		"--disable-background-networking", "--ignore-certificate-errors", "--remote-debugging-port=0", "--user-data-dir="+t.TempDir(), "about:blank")
	stderr, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	b := &browser{t: t, ctx: ctx, report: report}
	addr := make(chan string, 1)
	var running sync.WaitGroup
	running.Go(func() {
		lines := bufio.NewScanner(stderr)
		for lines.Scan() {
			if rest, ok := strings.CutPrefix(lines.Text(), "DevTools listening on ws://"); ok {
				addr <- rest[:strings.IndexByte(rest, '/')]
			}
		}
		_, _ = io.Copy(io.Discard, stderr)
		_ = cmd.Wait()
	})
	t.Cleanup(func() {
		if b.ws != nil {
			b.call("Browser.close", nil)
		}
		kill := time.AfterFunc(5*time.Second, func() { _ = cmd.Process.Kill() })
		running.Wait()
		kill.Stop()
		cancel()
	})
	select {
	case at := <-addr:
		b.attach(at, &running)
	case <-time.After(patience):
		_ = cmd.Process.Kill()
		t.Fatal("Chromium does not start")
	}
	b.do("Runtime.enable", nil)
	b.do("Runtime.addBinding", map[string]any{"name": "report"}) // for the pages to come, which may be in other processes
	return b
}

// attach connects to the first page.
func (b *browser) attach(addr string, running *sync.WaitGroup) {
	b.t.Helper()
	var pages []struct {
		Type string
		URL  string `json:"webSocketDebuggerUrl"`
	}
	eventually(b.t, func() error {
		_, list, _ := ask(b.t, "GET", "http://"+addr+"/json/list", "")
		if err := json.Unmarshal([]byte(list), &pages); err != nil || len(pages) == 0 || pages[0].Type != "page" {
			return fmt.Errorf("its pages are %s, %v", list, err)
		}
		return nil
	})
	ws, _, err := websocket.Dial(b.ctx, pages[0].URL, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	ws.SetReadLimit(-1)
	b.ws = ws
	running.Go(b.listen)
}

func (b *browser) listen() {
	for {
		_, data, err := b.ws.Read(b.ctx)
		if err != nil {
			_ = b.ws.CloseNow()
			return
		}
		var m struct {
			ID     int64
			Method string
			Params struct {
				Payload string
				Type    string
				Entry   struct{ Level, Text, URL string }
			}
			Error  json.RawMessage
			Result struct{ ExceptionDetails json.RawMessage }
		}
		if err := json.Unmarshal(data, &m); err != nil {
			b.t.Errorf("Chromium says %q", data)
			continue
		}
		if waits, ok := b.waiting.LoadAndDelete(m.ID); ok {
			close(waits.(chan struct{}))
		}
		switch {
		case m.Method == "Runtime.bindingCalled":
			b.report(m.Params.Payload)
		case m.Method == "Log.entryAdded" && m.Params.Entry.Level == "error" && b.log != nil:
			b.log(m.Params.Entry.Text + " " + m.Params.Entry.URL)
		case m.Error != nil, m.Result.ExceptionDetails != nil, m.Method == "Runtime.exceptionThrown":
			b.t.Errorf("in Chromium: %s", data)
		case m.Method == "Runtime.consoleAPICalled":
			b.t.Logf("Chromium's console: %s", data)
		}
	}
}

// do sends the browser a command, and returns when it is done: one that follows can't overtake it.
func (b *browser) do(method string, params map[string]any) {
	b.t.Helper()
	id, done := b.last.Add(1), make(chan struct{})
	b.waiting.Store(id, done)
	b.write(id, method, params)
	select {
	case <-done:
	case <-time.After(patience):
		b.t.Fatalf("Chromium does not answer %s", method)
	}
}

// call sends the browser a command. An error fails the test later.
func (b *browser) call(method string, params map[string]any) { b.write(b.last.Add(1), method, params) }

func (b *browser) write(id int64, method string, params map[string]any) {
	text, err := json.Marshal(map[string]any{"id": id, "method": method, "params": params})
	if err == nil {
		err = b.ws.Write(b.ctx, websocket.MessageText, text)
	}
	if err != nil {
		b.t.Errorf("%s: %v", method, err)
	}
}

// Write gives the page an order.
func (b *browser) Write(line []byte) (int, error) {
	b.call("Runtime.evaluate", map[string]any{"expression": "void order(" + string(line) + ")"})
	return len(line), nil
}

// offline has the browser tell its page that the network is gone, or back.
func (b *browser) offline(is bool) {
	b.call("Network.emulateNetworkConditions", map[string]any{"offline": is, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1})
}
