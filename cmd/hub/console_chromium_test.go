package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"wshub/pubsub/redistest"
	"wshub/pubsub/redistest/drills"
)

const (
	consoleAPIKey  = "0123456789abcdef"
	consoleLookKey = "fedcba9876543210"
	markup         = `<img src="x" onerror="alert(1)">` // as a name
)

// TestTheConsoleInChromium drives the console of one of three hubs, as an operator would.
func TestTheConsoleInChromium(t *testing.T) {
	drills.Programs(t)
	t.Parallel()
	chromium := findChromium()
	if chromium == "" {
		if os.Getenv("WSHUB_REQUIRE_CHROMIUM") == "1" {
			t.Fatal("no Chromium")
		}
		t.Skip("no Chromium")
	}
	c := &consoleTest{}
	var starting sync.WaitGroup
	starting.Go(func() { c.page = openConsole(t, chromium) })
	starting.Go(func() { c.other = openConsole(t, chromium) })
	path, redis := buildHub(t), redistest.Start(t)
	for _, name := range []string{"a", "b", "c"} {
		own := "--max-topics=" + map[string]string{"a": "128", "b": "128", "c": "127"}[name]
		c.hubs = append(c.hubs, startHub(t, path, redis.URL(), own, "--node=hub-"+name, "--api-key="+consoleAPIKey, "--console-key="+consoleLookKey,
			"--history=*=100", "--presence=*", "--log-level=info"))
	}
	for _, h := range c.hubs {
		(&threeHubs{t: t}).awaitReady(h)
	}
	starting.Wait()
	defer c.load(t)()
	for _, one := range []struct {
		name string
		run  func(t *testing.T)
	}{
		{"key", c.asksForAKeyOnce},
		{"fleet", c.showsTheFleet},
		{"clients", c.showsWhoComesAgain},
		{"looker", c.saysWhyALookerMayNotAct},
		{"user", c.disconnectsAUser},
		{"rebalance", c.rebalancesAnotherHub},
		{"topic", c.showsMarkupAsText},
		{"tail", c.tails},
		{"reasons", c.showsWhyAHandshakeWasRefused},
		{"settings", c.showsWhereHubsDiffer},
		{"try", c.triesEachProtocol},
		{"silent", c.showsAFrozenHub},
	} {
		if !t.Run(one.name, one.run) {
			t.Fatal("the console shows:\n" + c.page.text())
		}
	}
	c.page.in(t).wantNoTrouble()
	c.other.in(t).wantNoTrouble()
}

// consoleTest is a fleet with some load, and two consoles.
type consoleTest struct {
	hubs        []*process
	users       []*client // sessions of user 42, one on each hub
	page, other *consolePage
}

// load has clients on each hub, and publishes events until it is told to stop.
func (c *consoleTest) load(t *testing.T) (stop func()) {
	t.Helper()
	topic, _ := json.Marshal(markup)
	for i, h := range c.hubs {
		for j := range 12 {
			user := "u" + strconv.Itoa(i*100+j)
			if j == 0 {
				user = "42"
			}
			one := dial(t, "v1", h.public+"?user="+user, "hub.v1.json")
			one.want(`{"type":"welcome"`)
			one.say(`{"type":"subscribe","id":1,"topic":"news"}`)
			one.want(`{"type":"subscribed","id":1`)
			if j == 0 {
				one.say(fmt.Sprintf(`{"type":"subscribe","id":2,"topic":%s}`, topic))
				one.want(`{"type":"subscribed","id":2`)
				c.users = append(c.users, one)
			}
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var publishing sync.WaitGroup
	publishing.Go(func() {
		again := time.NewTicker(50 * time.Millisecond)
		defer again.Stop()
		for n := 0; ctx.Err() == nil; n++ {
			event := fmt.Sprintf(`[{"topic":"news","data":{"n":%d,"text":%s}},{"topic":%s,"data":%d},{"topic":"user:42","data":%d}]`, n, topic, topic, n, n)
			ask(t, "POST", c.hubs[n%2].control+"/api/publish", event, append([]string{"X-API-Key", consoleAPIKey}, asJSON...)...)
			<-again.C
		}
	})
	return func() {
		cancel()
		publishing.Wait()
	}
}

func (c *consoleTest) asksForAKeyOnce(t *testing.T) {
	p := c.page.in(t)
	p.open(c.hubs[0].control + "/")
	p.until("it asks for a key", `shown('dialog', 'a valid key is required')`)
	p.enterKey("wrong-key-wrong-key")
	p.until("it asks again", `shown('dialog', 'not accepted')`)
	p.enterKey(consoleAPIKey)
	p.until("it shows the fleet", `shown('td', 'hub-a')`)
	p.until("it asks no more", `!document.querySelector('dialog') && byId('key').textContent === 'Forget the key'`)
	if kept := p.value(`document.cookie + location.href + JSON.stringify({...localStorage, ...sessionStorage}) + document.documentElement.outerHTML`); strings.Contains(kept, consoleAPIKey) {
		t.Error("the key is in the page, its address or its storage")
	}
	c.other.in(t).open(c.hubs[1].control + "/#/slow")
	c.other.until("it asks, too", `shown('dialog', 'a valid key is required')`)
	c.other.enterKey(consoleLookKey)
	c.other.until("it looks", `shown('.empty', 'No client is slow') || shown('td', 's_')`)
}

func (c *consoleTest) showsTheFleet(t *testing.T) {
	p := c.page.in(t)
	p.until("three hubs are ready", `shown('.tile', '3 of 3') && ['hub-a', 'hub-b', 'hub-c'].every((n) => shown('tr', n)) && all('.state.good').length === 3`)
	p.until("their connections add up", `shown('.tile', 'connections36')`)
	p.until("events are delivered", `parseFloat(shown('.tile', 'deliveries/s').querySelector('dd').textContent.replace(',', '')) > 50`)
	p.until("one differs", `shown('.alerts li', 'Settings differ')?.textContent.match(/hub-./g).join() === 'hub-c' && !shown('.alerts', 'Versions differ') && !shown('.alerts', 'refused')`)
	p.press("td a", "hub-b")
	p.until("one hub has its own address", `location.hash === '#/fleet/hub-b' && shown('dt', 'subscriptions')`)
}

// rebalancesAnotherHub has the first hub order it, of one client.
func (c *consoleTest) rebalancesAnotherHub(t *testing.T) {
	p := c.page.in(t)
	p.visit("#/fleet/hub-b")
	p.press("summary", "Rebalance")
	p.do(`const [percent, over] = all('details.card input'); percent.value = 1; over.value = '24h1s'`)
	p.press("details button", "Rebalance")
	p.press("dialog button", "Rebalance")
	p.until("nonsense is refused", `shown('.outcome.bad', 'over: want a time')`)
	p.do(`all('details.card input')[1].value = '24h'`)
	p.press("details button", "Rebalance")
	p.until("it says of what", `shown('dialog', '1 percent of the clients of hub-b')`)
	p.press("dialog button", "Rebalance")
	p.until("it is done", `/Done. \d+ clients? w\w+ chosen/.test(shown('.outcome', 'Done')?.textContent)`)
}

func (c *consoleTest) showsWhoComesAgain(t *testing.T) {
	for range 3 {
		one := dial(t, "v1", c.hubs[2].public+"?user=again", "hub.v1.json")
		one.want(`{"type":"welcome"`)
	}
	p := c.page.in(t)
	p.visit("#/slow")
	p.until("the user that came again is first", `shown('section', 'Most connects')?.querySelector('tbody tr').textContent.startsWith('againhub-c')`)
	p.until("so is who sends", `shown('section', 'Most messages')?.querySelector('tbody tr')`)
}

func (c *consoleTest) saysWhyALookerMayNotAct(t *testing.T) {
	p := c.other.in(t)
	p.visit("#/user/42")
	p.until("buttons are off", `shown('button[aria-disabled=true]', 'Disconnect all') && shown('.hint', 'may look, but not act')`)
	p.press("button", "Disconnect all")
	p.until("a press says why", `shown('.outcome.bad', 'may look, but not act') && !document.querySelector('dialog')`)
	p.visit("#/tail?topic=news")
	p.until("it can't tail", `shown('.notice', 'may look, but not act or tail')`)
}

func (c *consoleTest) disconnectsAUser(t *testing.T) {
	p := c.page.in(t)
	p.visit("#/user")
	p.do(`document.querySelector('input[type=search]').value = '42'`)
	p.press("button", "Find")
	p.until("the user has a session on each hub", `all('section.card').length === 3 && ['hub-a', 'hub-b', 'hub-c'].every((n) => shown('section.card', n))`)
	p.press("button", "Trace 10 minutes")
	p.until("the user is traced", `shown('.outcome', 'Traced until')`)
	p.press("section.card button", "Disconnect this session")
	p.press("dialog button", "Cancel")
	p.press("button", "Disconnect all")
	p.press("dialog button", "Disconnect all")
	p.until("it is done", `shown('.outcome', 'Done. 1 of them')`)
	for _, one := range c.users {
		if code := one.wantEnd(); code != 4003 {
			t.Errorf("closed with %d", code)
		}
	}
	p.until("nobody is left", `shown('.hint', 'no session') && all('section.card').length === 0`)
}

func (c *consoleTest) showsMarkupAsText(t *testing.T) {
	again := dial(t, "v1", c.hubs[2].public+"?user=42", "hub.v1.json")
	again.want(`{"type":"welcome"`)
	topic, _ := json.Marshal(markup)
	again.say(fmt.Sprintf(`{"type":"subscribe","id":1,"topic":%s}`, topic))
	p := c.page.in(t)
	p.visit("#/topic?prefix=" + url.QueryEscape("<"))
	p.until("the topic is in the list", `shown('td a', markup)`)
	p.press("td a", markup)
	p.until("the topic and its events are text", `shown('h1', markup) && shown('td', 'hub-c') && all('details.event').length > 0 && all('img').length === 0`)
	p.until("it is seen who is there", `shown('h2', 'Who is there') && shown('td a', '42') && shown('td a', 's_')`)
	p.press("summary", "Publish")
	p.do(`document.querySelector('textarea').value = JSON.stringify({ html: markup })`)
	p.press("button", "Publish")
	p.until("it is published", `shown('.outcome', 'Published at')`)
	again.wantEvent(markup, `{"html":"`+strings.ReplaceAll(markup, `"`, `\"`)+`"}`)
}

func (c *consoleTest) tails(t *testing.T) {
	p := c.page.in(t)
	p.visit("#/tail?topic=news&rate=10")
	p.until("events come, more than may be shown are counted", `all('.event').length > 5 && shown('.event code', '"n":') && shown('.hint', 'skipped')`)
	p.press("button", "Pause")
	p.until("they wait", `shown('.hint', 'held')`)
	p.press("button", "Go on")
	p.do(`const filter = document.querySelector('[name=filter]'); filter.value = 'skipped'; filter.oninput()`)
	p.until("the filter hides the others", `all('.log > :not([hidden])').every((el) => el.textContent.includes('skipped')) && shown('.log > [hidden]', '"n":')`)
	p.visit("#/tail?user=42")
	p.until("the user's events come", `shown('.event', 'event')`)
	one := dial(t, "v1", c.hubs[1].public+"?user=42", "hub.v1.json")
	one.want(`{"type":"welcome"`)
	p.until("and what happens on another hub", `shown('.event.trace .kind', 'hub-b')`)
}

func (c *consoleTest) showsWhyAHandshakeWasRefused(t *testing.T) {
	ask(t, "GET", "http"+strings.TrimPrefix(c.hubs[2].public, "ws"), "", "Origin", "https://evil.example", "Connection", "Upgrade", "Upgrade", "websocket",
		"Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "MDEyMzQ1Njc4OWFiY2RlZg==")
	p := c.page.in(t)
	p.visit("#/reasons")
	p.until("its rule is summed up", `shown('tr', 'origin')?.textContent.includes('hub-c 1')`)
	p.until("the reason is there", `shown('tr', 'origin') && shown('tr', 'https://evil.example') && shown('section', 'Refused handshakes')?.textContent.includes('403')`)
}

func (c *consoleTest) showsWhereHubsDiffer(t *testing.T) {
	p := c.page.in(t)
	p.visit("#/settings")
	p.until("what differs is there, without secrets", `shown('tr', '--api-key')?.textContent.includes('***') && shown('tr', '--node') && !shown('tr', '--heartbeat')`)
	p.do(`document.querySelector('[type=checkbox]').click()`)
	p.until("and all", `shown('tr', '--heartbeat')`)
	p.visit("#/settings?differ=1")
	p.until("and what hubs do not share", `all('tbody tr').length === 1 && shown('tr', '--max-topics')?.textContent.includes('127 hub-c')`)
}

func (c *consoleTest) triesEachProtocol(t *testing.T) {
	p := c.page.in(t)
	p.visit("#/try")
	const resumable = `!all('button').find(b => b.textContent === 'Reconnect and resume').disabled`
	p.until("there is no session to take up", "!("+resumable+")")
	p.press("button.primary", "Connect")
	p.until("it is welcome", `shown('.frame.in', '"welcome"')`)
	p.until("there is one", resumable)
	p.press("button", "Send")
	p.until("events come", `shown('.frame.in', '"subscribed"') && shown('.frame.in', '"event"')`)
	p.press("button", "Break off")
	p.press("button", "Reconnect and resume")
	p.until("it is the same session", `shown('.frame.in', '"resumed"') && shown('.frame.in', '"recovered": true')`)
	p.press("button", "Disconnect")
	p.until("it is closed", `shown('.frame.note', 'closed in order')`)

	p.do(`const which = document.querySelector('[name=protocol]'); which.value = 'plain'; which.onchange()`)
	p.press("button", "Clear")
	p.press("button.primary", "Connect")
	p.until("plain events come", `shown('.frame.in', '"n":')`)

	p.do(`const which = document.querySelector('[name=protocol]'); which.value = 'centrifugo'; which.onchange()`)
	p.press("button", "Clear")
	p.press("button.primary", "Connect")
	p.until("it is connected", `shown('.frame.in', '"client"')`)
	p.press("button", "Send")
	p.until("publications come", `shown('.frame.in', '"epoch"') && shown('.frame.in', '"push"')`)
	p.press("button", "Break off")
	p.press("button", "Clear")
	p.press("button", "Reconnect and resume")
	p.until("it recovers", `shown('.frame.out', '"recover": true') && shown('.frame.in', '"recovered": true')`)
	p.visit("#/fleet") // the client goes with its view
}

func (c *consoleTest) showsAFrozenHub(t *testing.T) {
	p := c.page.in(t)
	p.until("the fleet is whole", `shown('.tile', '3 of 3')`)
	c.hubs[2].signal(syscall.SIGSTOP)
	defer c.hubs[2].signal(syscall.SIGCONT)
	c.other.in(t).visit("#/fleet")
	p.until("the hub is silent", `shown('tr.silent', 'hub-c') && shown('tr.silent', 'last answer') && shown('.notice.bad', 'hub-c') && shown('.alerts', 'No answer') && shown('.tile', '2 of 3')`)
	c.other.until("the other console sees it", `shown('tr.silent', 'hub-c') || shown('.tile', '2 of 2')`)
	c.hubs[2].signal(syscall.SIGCONT)
	p.until("it is back", `shown('.tile', '3 of 3') && all('tr.silent').length === 0`)
}

// consolePage is a page of a Chromium of its own.
type consolePage struct {
	t       *testing.T
	browser *browser
	answers chan string // of the last question

	mu      sync.Mutex
	trouble []string // what the browser logged as an error
}

// consoleHelpers find elements by selector and text.
const consoleHelpers = `
	var all = (selector) => [...document.querySelectorAll(selector)]
	var shown = (selector, text) => all(selector).find((el) => el.textContent.includes(text))
	var byId = (id) => document.getElementById(id)
	var markup = '<img src="x" onerror="alert(1)">'
	var alert = () => console.error('markup became a script')`

func openConsole(t *testing.T, chromium string) *consolePage {
	t.Helper()
	p := &consolePage{t: t, answers: make(chan string, 1)}
	p.browser = startBrowser(t, chromium, func(line string) { p.answers <- line })
	p.browser.log = func(text string) {
		// It asks for a key then, or shows that an order made no sense.
		if !strings.Contains(text, "the server responded with a status of 401") && !strings.Contains(text, "the server responded with a status of 400") {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.trouble = append(p.trouble, text)
		}
	}
	p.browser.call("Runtime.enable", nil)
	p.browser.call("Log.enable", nil)
	p.browser.call("Page.enable", nil)
	p.browser.call("Runtime.addBinding", map[string]any{"name": "report"})
	p.browser.call("Page.addScriptToEvaluateOnNewDocument", map[string]any{"source": consoleHelpers})
	return p
}

// in has p fail that test from now on.
func (p *consolePage) in(t *testing.T) *consolePage {
	p.t = t
	return p
}

func (p *consolePage) open(url string) {
	p.browser.call("Page.navigate", map[string]any{"url": url})
	p.until("the page is there", `location.href.startsWith('http') && document.querySelector('h1')`)
}

func (p *consolePage) visit(hash string) {
	p.do(fmt.Sprintf("location.hash = %q", hash))
}

// do has the page run a script.
func (p *consolePage) do(script string) {
	p.t.Helper()
	p.value(fmt.Sprintf("(() => { %s })()", script))
}

// value is that of an expression, as JSON.
func (p *consolePage) value(expression string) string {
	p.t.Helper()
	p.browser.call("Runtime.evaluate", map[string]any{"expression": fmt.Sprintf("report(String(JSON.stringify(%s)))", expression)})
	select {
	case answer := <-p.answers:
		return answer
	case <-time.After(patience):
		p.t.Fatalf("no answer to %s", expression)
		return ""
	}
}

// until waits for an expression to be true.
func (p *consolePage) until(what, expression string) {
	p.t.Helper()
	eventually(p.t, func() error {
		if p.value(fmt.Sprintf("!!(%s)", expression)) != "true" {
			return fmt.Errorf("not: %s; the page:\n%s", what, p.text())
		}
		return nil
	})
}

// press clicks on the first element with that text, once it is there and can be pressed.
func (p *consolePage) press(selector, text string) {
	p.t.Helper()
	find := fmt.Sprintf("shown(%q, %q)", selector, text)
	p.until("there is "+selector+" "+text, find+" && !"+find+".disabled")
	p.do(find + ".click()")
}

func (p *consolePage) enterKey(key string) {
	p.t.Helper()
	p.do(fmt.Sprintf(`const dialog = all('dialog').pop(); dialog.querySelector('input').value = %q; dialog.querySelector('form').requestSubmit()`, key))
}

func (p *consolePage) text() string {
	var text string
	_ = json.Unmarshal([]byte(p.value("document.body?.innerText ?? ''")), &text)
	return text
}

// wantNoTrouble wants no error in the browser's log: no fault in a script, no file that is not there, nothing that the
// policy had to stop.
func (p *consolePage) wantNoTrouble() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, text := range p.trouble {
		p.t.Error("the browser says: " + text)
	}
}
