package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/centrifugal/protocol"
	"github.com/coder/websocket"
)

// faulty is a small server of all protocols that does on purpose what no server should. Events come in by
// POST /api/publish, or from clients. Centrifugo's is in centrifugo_test.go,
// Pusher's in pusher_test.go.
type faulty struct {
	faults
	*httptest.Server

	mu      sync.Mutex
	history map[string][]string
	conns   map[*faultyConn]bool
	nth     int // connections so far
	events  int
	pongs   int // of Pusher's clients
	path    string
}

// faults say what goes wrong. Zero values: nothing. Every counts the deliveries of one connection.
type faults struct {
	dropEvery, repeatEvery, swapEvery, corruptEvery int
	spoil                                           func(event string) []byte // what a corrupted delivery becomes
	stallAt                                         int                       // event after which everyone's deliveries rest for stall
	stall                                           time.Duration
	closeEvery                                      int // connections: every nth is closed after 20 deliveries
	refuseAfter                                     int // connections: later ones get 503
	dieAt                                           int // event at which every connection is cut
	answerAfter                                     time.Duration
	subprotocol                                     string
	forgetful                                       bool   // keeps no history, and says so
	secret                                          string // Centrifugo: of tokens; empty: everybody may come in
	ping                                            bool   // Centrifugo and Pusher: before each event
}

type faultyConn struct {
	nth       int
	v1        bool
	cf        *centrifugoConn // nil for the other protocols
	ps        *pusherConn     // likewise
	user      string
	topics    map[string]bool
	queue     chan delivery
	delivered int
	held      *delivery // for a swap
}

type delivery struct {
	text  string
	after time.Duration
	event bool
}

func newFaulty(t *testing.T, f faults) *faulty {
	t.Helper()
	s := &faulty{faults: f, history: map[string][]string{}, conns: map[*faultyConn]bool{}, path: "/notification"}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

// flags are what hubbench needs to find it, with a load.
func (s *faulty) flags() []string { return s.flagsOf("fanout") }

func (s *faulty) flagsOf(scenario string) []string {
	flags := []string{"--url=ws" + strings.TrimPrefix(s.URL, "http") + s.path, "--settle=0s"}
	switch scenario {
	case "connect":
		return flags
	case "idle":
		return append(flags, "--control="+s.URL, "--publish=http")
	case "inbound":
		return append(flags, "--warmup=0s")
	}
	return append(flags, "--warmup=0s", "--control="+s.URL, "--publish=http")
}

func (s *faulty) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/api/publish":
		s.post(w, r)
		return
	case "/apps/1/batch_events":
		s.postBatch(w, r)
		return
	}
	s.mu.Lock()
	s.nth++
	nth := s.nth
	s.mu.Unlock()
	if s.refuseAfter > 0 && nth > s.refuseAfter {
		http.Error(w, "full", http.StatusServiceUnavailable)
		return
	}
	offered := r.Header.Get("Sec-WebSocket-Protocol")
	opts := &websocket.AcceptOptions{}
	if offered != "" {
		opts.Subprotocols = []string{offered}
	}
	if s.subprotocol != "" {
		opts.Subprotocols = []string{s.subprotocol}
	}
	c := &faultyConn{nth: nth, cf: centrifugoAt(r), ps: pusherAt(r, nth), user: r.URL.Query().Get("user"), topics: map[string]bool{}, queue: make(chan delivery, 1<<14)}
	c.v1 = offered != "" && c.cf == nil
	if !c.v1 && c.cf == nil && c.ps == nil {
		topic := r.URL.Query().Get("topic")
		if user := r.URL.Query().Get("user"); topic == "" && user != "" {
			topic = "user:" + user
		} else if topic == "" {
			topic = "channel"
		}
		c.topics[topic] = true
	}
	// It follows before it is told so: what is published as soon as the client is let in reaches it.
	s.mu.Lock()
	s.conns[c] = true
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
	}()
	conn, err := websocket.Accept(w, r, opts)
	if err != nil {
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	var writer sync.WaitGroup
	writer.Go(func() { s.write(ctx, cancel, conn, c) })
	switch {
	case c.v1:
		c.say(`{"type":"welcome","session":"s_1"}`)
	case c.ps != nil:
		c.say(c.ps.word("pusher:connection_established", "", `{"socket_id":"`+c.ps.socket+`","activity_timeout":120}`))
	}
	s.read(ctx, conn, c)
	cancel()
	writer.Wait()
	_ = conn.CloseNow()
}

func (c *faultyConn) say(text string) { c.queue <- delivery{text: text} }

func (s *faulty) post(w http.ResponseWriter, r *http.Request) {
	var events []struct {
		Topic string
		Data  json.RawMessage
	}
	if err := json.NewDecoder(r.Body).Decode(&events); err != nil || r.Header.Get("Content-Type") != "application/json" {
		http.Error(w, "bad request", http.StatusBadRequest)
		return
	}
	for _, ev := range events {
		s.publish(ev.Topic, string(ev.Data))
	}
	_, _ = io.WriteString(w, "[{}"+strings.Repeat(",{}", len(events)-1)+"]")
}

func (s *faulty) publish(topic, data string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.history[topic] = append(s.history[topic], data)
	s.events++
	var after time.Duration
	if s.stall > 0 && s.events == s.stallAt {
		after = s.stall
	}
	for c := range s.conns {
		if c.topics[topic] {
			s.queueEvent(c, topic, len(s.history[topic]), data, after)
		}
	}
}

func (s *faulty) queueEvent(c *faultyConn, topic string, n int, data string, after time.Duration) {
	switch {
	case c.cf != nil:
		if s.ping {
			c.cf.pings++
			c.say(c.cf.reply(&protocol.Reply{}))
		}
		data = c.cf.push(topic, n, data)
	case c.ps != nil:
		if s.ping {
			c.ps.pings++
			c.say(c.ps.word("pusher:ping", "", "{}"))
		}
		data = c.ps.word("message", topic, data)
	case c.v1:
		data = fmt.Sprintf(`{"type":"event","topic":%q,"position":"e:%d","data":%s}`, topic, n, data)
	}
	c.queue <- delivery{data, after, true}
}

func (s *faulty) read(ctx context.Context, conn *websocket.Conn, c *faultyConn) {
	for {
		_, b, err := conn.Read(ctx)
		if err != nil {
			return
		}
		if c.cf != nil || c.ps != nil {
			if c.cf != nil && !s.command(c, b) || c.ps != nil && !s.hear(c, b) {
				return
			}
			continue
		}
		if !c.v1 {
			for topic := range c.topics {
				s.publish(topic, string(b))
			}
			continue
		}
		var m struct {
			Type, Topic, Since string
			ID                 int
			Data               json.RawMessage
		}
		if json.Unmarshal(b, &m) != nil {
			return
		}
		switch m.Type {
		case "subscribe":
			s.subscribe(c, m.ID, m.Topic, m.Since)
		case "publish":
			s.publish(m.Topic, string(m.Data))
			c.queue <- delivery{text: fmt.Sprintf(`{"type":"ok","id":%d}`, m.ID), after: s.answerAfter}
		}
	}
}

func (s *faulty) subscribe(c *faultyConn, id int, topic, since string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.topics[topic] = true
	if c.user != "" && topic != "user:"+c.user {
		c.topics["user:"+c.user] = true
		defer c.say(fmt.Sprintf(`{"type":"subscribed","topic":"user:%s","position":"e:0"}`, c.user))
	}
	head := len(s.history[topic])
	from, err := strconv.Atoi(strings.TrimPrefix(since, "e:"))
	recovered := err == nil && !s.forgetful
	c.say(fmt.Sprintf(`{"type":"subscribed","id":%d,"topic":%q,"position":"e:%d","recovered":%t}`, id, topic, head, recovered))
	if recovered {
		for n := from; n < head; n++ {
			s.queueEvent(c, topic, n+1, s.history[topic][n], 0)
		}
	}
}

// frames are those of the messages: Centrifugo's are joined.
func (c *faultyConn) frames(messages [][]byte) (websocket.MessageType, [][]byte) {
	if c.cf != nil && len(messages) > 0 {
		return c.cf.kind(), [][]byte{c.cf.join(messages)}
	}
	return websocket.MessageText, messages
}

func (s *faulty) write(ctx context.Context, cancel func(), conn *websocket.Conn, c *faultyConn) {
	for {
		select {
		case <-ctx.Done():
			return
		case d := <-c.queue:
			if d.after > 0 {
				select {
				case <-time.After(d.after):
				case <-ctx.Done():
				}
			}
			kind, frames := c.frames(s.spoiled(c, d))
			for _, b := range frames {
				if conn.Write(ctx, kind, b) != nil {
					cancel()
					return
				}
			}
			if s.closes(c) {
				_ = conn.Close(websocket.StatusGoingAway, "")
				cancel()
				return
			}
		}
	}
}

func (s *faulty) closes(c *faultyConn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closeEvery > 0 && c.nth%s.closeEvery == 0 && c.delivered >= 20 || s.dieAt > 0 && s.events >= s.dieAt
}

// spoiled returns what is written in place of a delivery.
func (s *faulty) spoiled(c *faultyConn, d delivery) [][]byte {
	b := []byte(d.text)
	if !d.event {
		return [][]byte{b}
	}
	c.delivered++
	every := func(n int) bool { return n > 0 && c.delivered%n == 0 }
	switch {
	case every(s.dropEvery):
		return nil
	case every(s.repeatEvery):
		return [][]byte{b, b}
	case every(s.swapEvery):
		c.held = &d
		return nil
	case every(s.corruptEvery):
		return [][]byte{s.spoil(d.text)}
	case c.held != nil:
		late := []byte(c.held.text)
		c.held = nil
		return [][]byte{b, late}
	}
	return [][]byte{b}
}
