package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
)

// roller is a client of the topic news in a rolling restart. It comes back as the protocol says: after the time that it is
// told, and with full jitter where that fails. It checks that the topic's events, which are numbered, come once and in order.
type roller struct {
	entry  chan struct{}
	stream bool // it reads server-sent events as EventSource does, in place of hub.v1
	in     atomic.Bool
	last   atomic.Int64 // number of the last event

	// Owned by run.
	lost  time.Time // when its last connection ended, zero before the first
	token string
	at    string // its position in the topic
	leave func() // makes room for others that come for the first time

	mu   sync.Mutex
	away []time.Duration
	odd  []string
}

func (r *roller) absences() []time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.away)
}

func (r *roller) oddities() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.odd)
}

// oddity notes what must not be. The first few are kept.
func (r *roller) oddity(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.odd) < 3 {
		r.odd = append(r.odd, fmt.Sprintf(format, args...))
	}
}

func (r *roller) run(ctx context.Context, url string) {
	visit := r.visit
	if r.stream {
		visit = r.visitStream
	}
	for failures := 0; ctx.Err() == nil; {
		r.leave = func() {}
		if r.lost.IsZero() {
			r.entry <- struct{}{}
			r.leave = sync.OnceFunc(func() { <-r.entry })
		}
		wait := rand.N(500 * time.Millisecond << min(failures, 5))
		after := visit(ctx, url)
		r.leave()
		if r.in.Swap(false) {
			failures, r.lost, wait = 0, time.Now(), rand.N(500*time.Millisecond)
		} else {
			failures++
		}
		if after >= 0 {
			wait = after
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// comesIn notes that a hub has let it in.
func (r *roller) comesIn() {
	r.leave()
	if !r.lost.IsZero() {
		r.mu.Lock()
		r.away = append(r.away, time.Since(r.lost))
		r.mu.Unlock()
	}
	r.in.Store(true)
}

// event takes an event of the topic.
func (r *roller) event(data json.RawMessage, position string) {
	var e struct{ N int64 }
	if err := json.Unmarshal(data, &e); err != nil || position == "" {
		r.oddity("event %s at %q", data, position)
	}
	if last := r.last.Load(); e.N != last+1 {
		r.oddity("event %d behind %d", e.N, last)
	}
	r.last.Store(e.N)
	r.at = position
}

// rollerMessage is what a hub says to a roller.
type rollerMessage struct {
	Type, Token, Position string
	Data                  json.RawMessage
	Recovered             *bool
	Topics                map[string]struct{ Recovered bool }
	AfterMS               *int64 `json:"after_ms"`
	Retry                 bool
}

// order is what it asks of a hub of hub.v1: its earlier session, or just the topic where it was given no token.
func (r *roller) order() string {
	switch {
	case r.at == "":
		return `{"type":"subscribe","id":1,"topic":"news"}`
	case r.token == "":
		return `{"type":"subscribe","id":1,"topic":"news","since":"` + r.at + `"}`
	default:
		return `{"type":"resume","id":1,"token":"` + r.token + `","positions":{"news":"` + r.at + `"}}`
	}
}

// follows takes the answer that it follows the topic, since where it was.
func (r *roller) follows(m rollerMessage) {
	switch {
	case r.at == "":
		r.at = m.Position
	case m.Recovered == nil || !*m.Recovered:
		r.oddity("not recovered: %s behind %s", m.Position, r.at)
	}
}

// visit is one connection of hub.v1. after is when to come back as the hub told it, or -1.
func (r *roller) visit(ctx context.Context, url string) (after time.Duration) {
	dialing, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	c, _, err := websocket.Dial(dialing, url, &websocket.DialOptions{Subprotocols: []string{"hub.v1.json"}})
	if err != nil {
		return -1
	}
	defer func() { _ = c.CloseNow() }()
	after = -1
	fresh := "" // the token of this connection's session
	for {
		_, text, err := c.Read(ctx)
		if err != nil {
			return after
		}
		var m rollerMessage
		if json.Unmarshal(text, &m) != nil {
			r.oddity("no message: %s", text)
			return after
		}
		switch m.Type {
		case "welcome":
			r.comesIn()
			fresh = m.Token
			_ = c.Write(ctx, websocket.MessageText, []byte(r.order()))
		case "resumed":
			r.token = cmp.Or(m.Token, fresh)
			if !m.Topics["news"].Recovered {
				r.oddity("not recovered: %s", text)
			}
		case "subscribed":
			r.token = fresh
			r.follows(m)
		case "error":
			if !m.Retry {
				r.oddity("%s", text)
			}
			return after // a hub that has just started may have no resume key yet
		case "event":
			r.event(m.Data, m.Position)
		case "goodbye":
			if m.AfterMS != nil {
				after = time.Duration(*m.AfterMS) * time.Millisecond
			}
		default:
			r.oddity("%s", text)
		}
	}
}

// visitStream is one stream. after is its retry, or -1.
func (r *roller) visitStream(ctx context.Context, url string) (after time.Duration) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	slow := time.AfterFunc(5*time.Second, cancel)
	defer slow.Stop()
	req, err := http.NewRequestWithContext(ctx, "GET", "http"+strings.TrimPrefix(url, "ws")+"?topic=news", nil)
	if err != nil {
		r.oddity("%v", err)
		return -1
	}
	req.Header.Set("Accept", "text/event-stream")
	if r.at != "" {
		req.Header.Set("Last-Event-ID", r.at)
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return -1
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		r.oddity("%s, and EventSource never comes back", res.Status)
		return -1
	}
	after = -1
	var kind, id string
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		field, value, _ := strings.Cut(lines.Text(), ": ")
		switch field {
		case "retry":
			if ms, err := strconv.Atoi(value); err == nil {
				after = time.Duration(ms) * time.Millisecond
			}
		case "event":
			kind = value
		case "id":
			id = value
		case "data":
			if kind == "hub" {
				slow.Stop()
				r.hubSays(value)
			} else {
				r.event(json.RawMessage(value), id)
			}
		case "":
			kind, id = "", ""
		}
	}
	return after
}

// hubSays takes a message of the hub in a stream.
func (r *roller) hubSays(text string) {
	var m rollerMessage
	_ = json.Unmarshal([]byte(text), &m)
	switch {
	case m.Type == "subscribed":
		r.follows(m)
		r.comesIn()
	case m.Type != "goodbye":
		r.oddity("%s", text)
	}
}
