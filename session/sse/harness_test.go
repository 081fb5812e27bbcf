package sse_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"wshub/engine"
	"wshub/pubsub"
	"wshub/session"
	"wshub/session/hubv1"
	"wshub/session/plain"
	"wshub/session/sessiontest"
	"wshub/session/sse"
	"wshub/session/token"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	path   = "/notification"
	secret = sessiontest.Secret
)

var history = pubsub.History{{Prefix: "raw"}, {Count: 1000}}

// node is a hub that speaks all protocols of its path, running until the test ends.
type node struct {
	t      testing.TB
	hub    *session.Hub
	server *engine.Server
}

func start(t testing.TB, cfg session.Config, ecfg engine.Config) *node {
	t.Helper()
	return startWith(t, cfg, ecfg, func(b session.Broker) session.Broker { return b })
}

// startWith is start with a broker of the test's own, made of one that works.
func startWith(t testing.TB, cfg session.Config, ecfg engine.Config, wrap func(session.Broker) session.Broker) *node {
	t.Helper()
	var n *node
	broker := wrap(pubsub.NewMemory(pubsub.MemoryConfig{History: history, OnControl: func(message []byte) { n.hub.Control(message) }}))
	cfg.History = history
	hub, err := session.NewHub(cfg, broker)
	if err != nil {
		t.Fatal(err)
	}
	if err := hub.Serve(path, hubv1.Protocol{}, plain.Protocol{}, sse.Protocol{}); err != nil {
		t.Fatal(err)
	}
	ecfg.Paths, ecfg.HTTPPaths, ecfg.PostError = []string{path}, []string{path}, sse.ErrorBody
	n = &node{t: t, hub: hub}
	n.server = sessiontest.Run(t, hub, ecfg)
	return n
}

// startClosed is a hub that wants tokens.
func startClosed(t testing.TB, cfg session.Config) *node {
	t.Helper()
	v, err := token.NewVerifier(token.Config{Secrets: []string{secret}})
	if err != nil {
		t.Fatal(err)
	}
	cfg.Verifier = v
	return start(t, cfg, engine.Config{})
}

// mint makes a token of a user.
func mint(t testing.TB, g token.Grant) string {
	t.Helper()
	key, err := token.SecretSigner(secret)
	if err != nil {
		t.Fatal(err)
	}
	if g.TTL == 0 {
		g.TTL = time.Hour
	}
	raw, err := token.Mint(key, g)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func (n *node) eventually(what string, ok func() bool) {
	n.t.Helper()
	sessiontest.Eventually(n.t, what, ok)
}

func (n *node) publish(topic string, data ...string) {
	n.t.Helper()
	sessiontest.PublishData(n.t, n.hub, topic, data...)
}

// event is one block of a stream, as EventSource hands it to a page.
type event struct {
	kind string // "" for a message
	data string
	id   string // the last id so far
}

// stream is a client that reads as HTML, 9.2.6 has it.
type stream struct {
	t     testing.TB
	conn  net.Conn
	head  *http.Response
	in    *bufio.Reader
	last  string // lastEventId
	retry int
	early []event // came before all topics were followed
}

// request sends a request by hand, and reads the head of its answer.
func (n *node) request(method, query, body string, lines ...string) *stream {
	n.t.Helper()
	conn, err := net.Dial("tcp", n.server.Addr().String())
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	lines = append([]string{method + " " + path + query + " HTTP/1.1", "Host: hub"}, lines...)
	if method == "POST" {
		lines = append(lines, "Content-Length: "+strconv.Itoa(len(body)))
	}
	if _, err := io.WriteString(conn, strings.Join(lines, "\r\n")+"\r\n\r\n"+body); err != nil {
		n.t.Fatal(err)
	}
	in := bufio.NewReader(conn)
	head, err := http.ReadResponse(in, nil)
	if err != nil {
		n.t.Fatal(err)
	}
	return &stream{t: n.t, conn: conn, head: head, in: bufio.NewReader(head.Body)}
}

// get asks for a stream.
func (n *node) get(query string, lines ...string) *stream {
	n.t.Helper()
	return n.request("GET", query, "", append([]string{"Accept: text/event-stream"}, lines...)...)
}

// open opens a stream whose first words are that each of its topics is followed.
func (n *node) open(query string, lines ...string) *stream {
	n.t.Helper()
	s := n.get(query, lines...)
	if s.head.StatusCode != 200 || s.head.Header.Get("Content-Type") != "text/event-stream" {
		n.t.Fatalf("%v", s.head)
	}
	return s
}

// back comes back with the last id, as EventSource does.
func (s *stream) back(n *node, query string, lines ...string) *stream {
	s.t.Helper()
	_ = s.conn.Close()
	if s.last != "" {
		lines = append(lines, "Last-Event-ID: "+s.last)
	}
	next := n.open(query, lines...)
	next.last = s.last
	return next
}

// read reads up to the next event; io.EOF at the end.
func (s *stream) read() (ev event, err error) {
	var data []string
	for {
		line, err := s.in.ReadString('\n')
		if err != nil {
			return ev, err
		}
		line = strings.TrimSuffix(line, "\n")
		if line == "" {
			if data == nil {
				ev = event{}
				continue
			}
			ev.data, ev.id = strings.Join(data, "\n"), s.last
			return ev, nil
		}
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "":
		case "data":
			data = append(data, value)
		case "event":
			ev.kind = value
		case "id":
			s.last = value
		case "retry":
			if s.retry, err = strconv.Atoi(value); err != nil {
				return ev, err
			}
		default:
			return ev, fmt.Errorf("a line %q", line)
		}
	}
}

func (s *stream) next() event {
	s.t.Helper()
	if len(s.early) > 0 {
		ev := s.early[0]
		s.early = s.early[1:]
		return ev
	}
	ev, err := s.read()
	if err != nil {
		s.t.Fatal(err)
	}
	return ev
}

// want reads the next event, which must be a message with that data.
func (s *stream) want(data string) event {
	s.t.Helper()
	ev := s.next()
	if ev.kind != "" || ev.data != data {
		s.t.Fatalf("got %+v, want %s", ev, data)
	}
	return ev
}

// told is a message of the hub itself.
type told struct {
	Type, Topic, Position, Code, Reason, Message string
	Recovered                                    *bool
	After                                        int `json:"after_ms"`
}

// hears reads the next event, which must be of the hub itself and of this type.
func (s *stream) hears(kind string) (m told) {
	s.t.Helper()
	ev := s.next()
	var any struct {
		told
		Code any
	}
	if err := json.Unmarshal([]byte(ev.data), &any); err != nil || ev.kind != "hub" || any.Type != kind {
		s.t.Fatalf("got %+v, %v; want the hub's %s", ev, err, kind)
	}
	any.told.Code = fmt.Sprint(any.Code)
	return any.told
}

// follows reads that so many topics are followed, and whether all of each was recovered.
func (s *stream) follows(recovered map[string]bool) {
	s.t.Helper()
	var early []event
	for range recovered {
		ev := s.next()
		for ; ev.kind == ""; ev = s.next() {
			early = append(early, ev)
		}
		var m told
		_ = json.Unmarshal([]byte(ev.data), &m)
		want, ok := recovered[m.Topic]
		if !ok || m.Type != "subscribed" || m.Recovered == nil || *m.Recovered != want {
			s.t.Fatalf("got %+v, want one of %v", ev, recovered)
		}
	}
	s.early = early
}

// fresh reads that so many topics are followed from now on.
func (s *stream) fresh(topics int) *stream {
	s.t.Helper()
	for range topics {
		if m := s.hears("subscribed"); m.Recovered != nil {
			s.t.Fatalf("got %+v", m)
		}
	}
	return s
}

// wantEnd reads the end of the stream.
func (s *stream) wantEnd() {
	s.t.Helper()
	if ev, err := s.read(); err != io.EOF {
		s.t.Fatalf("got %+v, %v; want the end", ev, err)
	}
}

// body reads a whole answer.
func (s *stream) body() string {
	s.t.Helper()
	b, err := io.ReadAll(s.in)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(b)
}

// post publishes, and returns the status and the answer.
func (n *node) post(query, body string, lines ...string) (status int, answer string) {
	n.t.Helper()
	s := n.request("POST", query, body, append([]string{"Content-Type: application/json"}, lines...)...)
	return s.head.StatusCode, s.body()
}
