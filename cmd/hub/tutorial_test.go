package main

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"wshub/pubsub/redistest/drills"
)

// TestTheTutorialWorks runs the backend and the page of README.md as they stand there, but for the ports.
func TestTheTutorialWorks(t *testing.T) {
	drills.InProcess(t)
	t.Parallel()
	h := startClosed(t, "--history=user:*=100,24h")
	app := startTutorial(t, h)
	order := func() {
		t.Helper()
		if status, body, _ := ask(t, "POST", app+"/order", ""); status != http.StatusOK {
			t.Fatalf("the order is answered %d %s", status, body)
		}
	}

	if status, _, _ := ask(t, "POST", app+"/hub-token", ""); status != http.StatusUnauthorized {
		t.Errorf("a stranger who asks for a token is answered %d", status)
	}
	_, user, header := ask(t, "POST", app+"/login", "")
	cookie, _, _ := strings.Cut(header.Get("Set-Cookie"), ";")
	_, token, _ := ask(t, "POST", app+"/hub-token", "", "Cookie", cookie)
	c := dialWith(t, "client", h.public, websocket.DialOptions{Subprotocols: []string{"hub.v1.json", "bearer." + token}})
	c.want(`{"type":"welcome"`)
	c.say(`{"type":"ping","id":1}`)
	c.want(`{"type":"subscribed","topic":"user:` + user + `"`)
	order()
	c.want(`{"type":"event","topic":"user:42"`)

	tutorialPage(t, app, order)
	if code := c.wantEnd(); code != 4001 {
		t.Errorf("after the logout its user's connections end with %d", code)
	}
}

// tutorialPage opens the page in a Chromium, and logs out at the end. One event is in the history before.
func tutorialPage(t *testing.T, app string, order func()) {
	t.Helper()
	path := findChromium()
	if path == "" {
		if os.Getenv("WSHUB_REQUIRE_CHROMIUM") == "1" {
			t.Fatal("no Chromium")
		}
		t.Skip("no Chromium")
	}
	shown := make(chan string, 1000)
	b := startBrowser(t, path, func(line string) { shown <- line })
	await := func(want string) {
		t.Helper()
		last, late := "nothing", time.After(patience)
		for last != want {
			select {
			case last = <-shown:
			case <-late:
				t.Fatalf("the page shows %q, not %q", last, want)
			}
		}
	}
	click := func(id string) {
		b.call("Runtime.evaluate", map[string]any{"expression": "document.getElementById('" + id + "').click()"})
	}
	b.do("Page.enable", nil)
	b.do("Page.addScriptToEvaluateOnNewDocument", map[string]any{"source": `
		const look = () => document.readyState === 'complete' && report((document.getElementById('state')?.textContent.trim() ?? '') + ' ' + document.querySelectorAll('li').length)
		new MutationObserver(look).observe(document, { subtree: true, childList: true })
		addEventListener('load', look)`})

	b.call("Page.navigate", map[string]any{"url": app})
	await("not logged in 0")
	click("login")
	await("online 1") // from before
	order()
	await("online 2")
	b.call("Page.navigate", map[string]any{"url": "about:blank"})
	await(" 0")
	order()
	b.call("Page.navigate", map[string]any{"url": app})
	await("online 1") // the missed one alone
	click("logout")
	await("closed closed by the app 1")
}

// startTutorial runs the tutorial's backend with its page beside it, and returns where.
func startTutorial(t *testing.T, h *closedHub) (address string) {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		if os.Getenv("WSHUB_REQUIRE_NODE") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	_, text, _ := strings.Cut(read(t, readme), "\n## Tutorial")
	page, _ := strings.CutSuffix(h.public, "/notification")
	swap := strings.NewReplacer("ws://127.0.0.1:3000", page, "http://127.0.0.1:3000", strings.Replace(page, "ws", "http", 1),
		"http://127.0.0.1:3001", h.control, "listen(8000, '127.0.0.1')", "listen(0, '127.0.0.1', function () { console.log(this.address().port) })")
	dir := t.TempDir()
	write(t, filepath.Join(dir, "app.mjs"), swap.Replace(block(t, text, "js")))
	write(t, filepath.Join(dir, "page.html"), swap.Replace(block(t, text, "html")))
	cmd := exec.CommandContext(t.Context(), node, "app.mjs")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "HUB_JWT_SECRET="+secret, "HUB_API_KEY="+apiKey)
	port := make(chan string, 1)
	runClients(t, cmd, func(line []byte) { port <- string(line) })
	select {
	case p := <-port:
		return "http://127.0.0.1:" + p
	case <-time.After(patience):
		t.Fatal("the tutorial's backend does not start")
		return ""
	}
}
