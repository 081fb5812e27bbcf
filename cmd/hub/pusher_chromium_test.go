package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"

	pusherhttp "github.com/pusher/pusher-http-go/v5"

	"wshub/pubsub/redistest"
	"wshub/pubsub/redistest/drills"
)

// pusherBundle is pusher-js as pages load it.
const pusherBundle = "testdata/node_modules/pusher-js/dist/web/pusher.min.js"

// TestPusherJSInChromium has pusher-js in a page lose its hub, and go on at another one.
func TestPusherJSInChromium(t *testing.T) {
	drills.Programs(t)
	t.Parallel()
	chromium := findChromium()
	err := error(nil)
	if chromium == "" {
		err = errors.New("no Chromium")
	} else {
		_, err = os.Stat(pusherBundle)
	}
	if err != nil {
		if os.Getenv("WSHUB_REQUIRE_CHROMIUM") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	path, redis := buildHub(t), redistest.Start(t)
	first, second := startHub(t, path, redis.URL(), "--pusher-app="+pusherApp), startHub(t, path, redis.URL(), "--pusher-app="+pusherApp)
	for _, h := range []*process{first, second} {
		(&threeHubs{t: t}).awaitReady(h)
	}
	door := redistest.NewProxy(t, first.addr())
	backend := second.pusherBackend()
	site := servePusherSite(t, backend, door.Addr())
	p := openConsole(t, chromium)
	p.open(site)
	p.until("it is subscribed", `channels.every((c) => c.subscribed) && channel('presence-room').members.me.id === 'ada'`)
	id := p.value(`pusher.connection.socket_id`)

	b, socket := second.dialPusher("bob")
	subscribePusher(t, b, backend, socket, "presence-room", "bob")
	p.until("it sees who comes", `channel('presence-room').members.count === 2 && channel('presence-room').members.get('bob').info.name === 'user bob'`)
	triggerPusher(t, backend, "before")
	p.until("events come on each channel", `got.length === 3`)

	door.Next(unserved)
	first.signal(syscall.SIGKILL)
	p.until("it notices", `pusher.connection.state !== 'connected'`)
	door.Next(second.addr())
	p.until("it is back on each channel", `pusher.connection.state === 'connected' && channels.every((c) => c.subscribed)`)
	if p.value(`pusher.connection.socket_id`) == id {
		t.Error("the connection has the name of the one before")
	}
	p.until("both are there", `channel('presence-room').members.count === 2`)
	triggerPusher(t, backend, "after")
	p.until("events come again", `got.length >= 6`)
	want := `"news before/private-news before/presence-room before/news after/private-news after/presence-room after"`
	if got := p.value(`got.join('/')`); got != want {
		t.Errorf("it heard %s", got)
	}
}

// servePusherSite serves a page whose pusher-js connects at addr, with an endpoint that signs its subscriptions.
func servePusherSite(t *testing.T, backend *pusherhttp.Client, addr string) (url string) {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/pusher.js":
			http.ServeFile(w, r, pusherBundle)
		case "/pusher/auth":
			body, _ := io.ReadAll(r.Body) // what is not whole is not signed
			signed, err := backend.AuthorizePrivateChannel(body)
			if strings.Contains(string(body), "presence-") {
				signed, err = backend.AuthorizePresenceChannel(body, pusherhttp.MemberData{UserID: "ada", UserInfo: map[string]string{"name": "Ada"}})
			}
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			_, _ = w.Write(signed)
		case "/":
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprintf(w, `<link rel="icon" href="data:,"><script src="/pusher.js"></script><script>
				const pusher = new Pusher('app-key', {
					cluster: 'mt1', wsHost: '%s', wsPort: %s, forceTLS: false, enabledTransports: ['ws'],
					channelAuthorization: { endpoint: '/pusher/auth', transport: 'ajax' },
				})
				const got = []
				const channels = ['news', 'private-news', 'presence-room'].map((name) => pusher.subscribe(name))
				const channel = (name) => pusher.channel(name)
				for (const c of channels) c.bind('happened', (data) => got.push(c.name + ' ' + data.when))
			</script><h1>pusher-js</h1>`, host, port)
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(site.Close)
	return site.URL
}

// triggerPusher publishes an event on each channel of the page, one after the other.
func triggerPusher(t *testing.T, backend *pusherhttp.Client, when string) {
	t.Helper()
	for _, channel := range []string{"news", "private-news", "presence-room"} {
		if err := backend.Trigger(channel, "happened", map[string]string{"when": when}); err != nil {
			t.Fatal(err)
		}
	}
}
