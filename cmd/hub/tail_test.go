package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"wshub/engine"
	"wshub/pubsub"
	"wshub/pubsub/redistest"
	"wshub/pubsub/redistest/drills"
	"wshub/session"
	"wshub/session/fleet"
)

// tailing is a reader of a tail.
type tailing struct {
	t     *testing.T
	lines chan tailed
	end   context.CancelFunc
}

// tailed is a line as a reader has it.
type tailed struct {
	Kind, Node, Topic, User, Position, What, Session, Reason string
	Data                                                     json.RawMessage
	Events                                                   uint64
	Bytes                                                    int
	Fields                                                   map[string]any
	Nodes                                                    []string
}

// tail opens a tail and takes its first line.
func tail(t *testing.T, control, query string) *tailing {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, "GET", control+"/api/tail?"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := new(http.Transport).RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "application/x-ndjson" {
		t.Fatalf("a tail is answered %d, %v", res.StatusCode, res.Header)
	}
	tl := &tailing{t, make(chan tailed, 100_000), cancel}
	var reading sync.WaitGroup
	reading.Go(func() {
		defer close(tl.lines)
		for scan := bufio.NewScanner(res.Body); scan.Scan(); {
			var l tailed
			if err := json.Unmarshal(scan.Bytes(), &l); err != nil {
				t.Errorf("line %s: %v", scan.Bytes(), err)
			}
			tl.lines <- l
		}
	})
	t.Cleanup(func() { cancel(); res.Body.Close(); reading.Wait() })
	tl.want("begin")
	return tl
}

// want returns the next line of a kind.
func (tl *tailing) want(kind string) tailed {
	tl.t.Helper()
	return tl.find(func(l tailed) bool { return l.Kind == kind })
}

func (tl *tailing) find(ok func(tailed) bool) tailed {
	tl.t.Helper()
	late := time.After(patience)
	for {
		select {
		case l, more := <-tl.lines:
			if !more {
				tl.t.Fatal("the tail has ended")
			}
			if ok(l) {
				return l
			}
		case <-late:
			tl.t.Fatal("no such line")
		}
	}
}

func publishOne(t *testing.T, control, topic, data string) {
	t.Helper()
	if status, body, _ := ask(t, "POST", control+"/api/publish", fmt.Sprintf(`{"topic":%q,"data":%s}`, topic, data), asJSON...); status != 200 {
		t.Fatalf("publish: %d %s", status, body)
	}
}

// untilHeard publishes to topic until the tail, which is told by no answer when it follows, has one of it.
func (tl *tailing) untilHeard(control, topic string) {
	tl.t.Helper()
	eventually(tl.t, func() error {
		publishOne(tl.t, control, topic, `"try"`)
		for {
			select {
			case l := <-tl.lines:
				if l.Kind == "event" {
					return nil
				}
			default:
				return fmt.Errorf("nothing of %s is heard", topic)
			}
		}
	})
}

func TestATailOfAFloodIsCappedAndTold(t *testing.T) {
	t.Parallel()
	h := startInside(t, "--history=flood*=10")
	fast, slow := tail(t, h.control, "topic=flood&rate=1000"), tail(t, h.control, "topic=flood&rate=5")
	fast.untilHeard(h.control, "flood")
	const flood = 400
	batch := `[{"topic":"flood","data":{"n":0}}` + strings.Repeat(`,{"topic":"flood","data":{"n":1}}`, flood-1) + `]`
	if status, body, _ := ask(t, "POST", h.control+"/api/publish", batch, asJSON...); status != 200 {
		t.Fatalf("%d %s", status, body)
	}
	publishOne(t, h.control, "flood", `"`+strings.Repeat("x", shownData)+`"`)
	heard := 0
	fast.find(func(l tailed) bool {
		if l.Kind == "event" && strings.HasPrefix(string(l.Data), `{"n"`) {
			heard++
		}
		if l.Position == "" && l.Kind == "event" {
			t.Errorf("line %+v", l)
		}
		return l.Bytes == shownData+2 && l.Data == nil
	})
	if heard != flood {
		t.Errorf("of %d events %d were shown", flood, heard)
	}
	skipped := uint64(0)
	slow.find(func(l tailed) bool {
		if l.Kind == "skipped" {
			skipped += l.Events
		}
		return skipped >= flood-20
	})
	if status, _, _ := ask(t, "GET", h.control+"/livez", ""); status != 200 {
		t.Errorf("beside tails a probe is answered %d", status)
	}
	h.stop <- syscall.SIGTERM
	if l := fast.want("end"); l.Reason == "" {
		t.Errorf("the last line is %+v", l)
	}
	if err := <-h.ended; err != nil {
		t.Error(err)
	}
}

func TestTailsAreBoundedAndEndWithTheirReader(t *testing.T) {
	t.Parallel()
	h := startInside(t)
	var all []*tailing
	for i := range maxTails {
		all = append(all, tail(t, h.control, fmt.Sprint("topic=t", i)))
	}
	status, body, _ := ask(t, "GET", h.control+"/api/tail?topic=one-more", "")
	if code, _ := errorOf(t, body); status != 429 || code != "too_many" {
		t.Errorf("one more is answered %d %s", status, body)
	}
	for _, tl := range all {
		tl.end()
	}
	eventually(t, func() error {
		if _, text, _ := ask(t, "GET", h.control+"/metrics", ""); !strings.Contains(text, "\nwshub_topics 0\n") {
			return fmt.Errorf("topics are still followed")
		}
		return nil
	})
	tail(t, h.control, "topic=again").end()
}

func TestATailOfAUserShowsWhatHappensOnAllHubs(t *testing.T) {
	drills.Programs(t)
	t.Parallel()
	redis := redistest.Start(t)
	path := buildHub(t)
	a, b := startHub(t, path, redis.URL(), "--node=a"), startHub(t, path, redis.URL(), "--node=b")
	for _, h := range []*process{a, b} {
		eventually(t, func() error {
			var l looked
			if look(t, h.control, "/api/nodes", &l); len(l.Nodes) != 2 {
				return fmt.Errorf("hubs: %+v", l)
			}
			return nil
		})
	}
	tl := tail(t, a.control, "user=42")
	tl.untilHeard(b.control, "user:42")
	var session string
	eventually(t, func() error { // the other hub keeps lines from when it was first asked
		c := dial(t, "v1", b.public+"?user=42", "hub.v1.json")
		c.want(`{"type":"welcome"`)
		c.say(`{"type":"subscribe","id":1,"topic":"news"}`)
		c.want(`{"type":"subscribed","id":1`)
		ask(t, "POST", a.control+"/api/disconnect", `{"user":"42"}`, asJSON...)
		again := time.After(3 * time.Second)
		for {
			select {
			case l := <-tl.lines:
				if l.Kind == "trace" && l.What == "open" && l.Node == "b" {
					session = l.Session
				}
				if l.Kind == "trace" && l.What == "cut" && l.Session == session && session != "" && l.Fields["rule"] == "disconnect" {
					return nil
				}
			case <-again:
				return fmt.Errorf("no end is told")
			}
		}
	})
	b.signal(syscall.SIGSTOP)
	defer b.signal(syscall.SIGCONT)
	if l := tl.find(func(l tailed) bool { return l.Kind == "silent" && len(l.Nodes) > 0 }); l.Nodes[0] != "b" {
		t.Errorf("silent are %v", l.Nodes)
	}
}

// watchable is a hub alone, and its server.
func watchable(t *testing.T) *session.Hub {
	t.Helper()
	hub, err := session.NewHub(session.Config{Node: "a"}, pubsub.NewMemory(pubsub.MemoryConfig{Node: "a"}))
	if err != nil {
		t.Fatal(err)
	}
	server, err := engine.New(engine.Config{Addr: "127.0.0.1:0", Paths: []string{"/"}, Log: zerolog.Nop()}, hub)
	if err != nil {
		t.Fatal(err)
	}
	hub.Attach(server)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = nest(ctx, server.Run, hub.Run) })
	t.Cleanup(func() { cancel(); running.Wait() })
	return hub
}

// A reader that takes nothing more is cut, and nothing grows meanwhile.
func TestATailsReaderThatStopsReadingIsCut(t *testing.T) {
	t.Parallel()
	hub := watchable(t)
	tails := newTails(newLooks("a", fleet.New("a", pubsub.NewMemory(pubsub.MemoryConfig{Node: "a"})), hub, sources{}))
	tails.write = 200 * time.Millisecond
	ended := make(chan struct{})
	port := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(ended)
		tails.ServeHTTP(w, r)
	}))
	callers := newCallers(port.Listener, 4)
	port.Listener, port.Config.ConnContext = callers, callers.connContext
	port.Start()
	defer port.Close()
	conn, err := net.Dial("tcp", strings.TrimPrefix(port.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.(*net.TCPConn).SetReadBuffer(4 << 10)
	fmt.Fprintf(conn, "GET /api/tail?topic=flood&rate=1000 HTTP/1.1\r\nHost: x\r\n\r\n")
	big := []byte(`"` + strings.Repeat("x", shownData-2) + `"`)
	published := 0
	eventually(t, func() error {
		if published++; published < 50 { // 800 KiB: the kernel would hold as much by itself
			if _, err := hub.Publish(t.Context(), []pubsub.Publication{{Topic: "flood", Data: big}}); err != nil {
				t.Fatal(err)
			}
		}
		select {
		case <-ended:
			return nil
		default:
			return fmt.Errorf("the reader is not cut")
		}
	})
	eventually(t, func() error {
		if n := hub.Stats().Topics; n != 0 {
			return fmt.Errorf("%d topics are followed", n)
		}
		return nil
	})
}
