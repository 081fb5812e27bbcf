package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/gobwas/ws"
)

// follower is a client as one should be: it keeps its position in each topic, comes back to any hub when
// its connection ends, and asks for what it missed. It checks that each event comes once and in order.
type follower struct {
	d      *drill
	number int
	// byResume says how it comes back: by resume with its token, or by subscribing each topic since its
	// position.
	byResume bool

	// Owned by run.
	token string
	next  string // the token of this connection's session, until it resumed another
	hub   int    // the first it tries; -1: any
	after time.Duration
	came  int // times that a hub let it in

	mu     sync.Mutex
	places []*place
	conn   net.Conn // nil between connections
	ended  bool
}

// place is where a follower stands in one topic. mu of the follower guards it.
type place struct {
	topic    int
	last     int    // the newest event's number
	position string // where the hub said that is
	live     bool   // followed on the present connection
	told     bool   // a loss was told since the last event
	passed   map[int]bool
}

// heard is whatever a hub says.
type heard struct {
	Type, Topic, Position, Token, Code string
	ID                                 *int
	Recovered                          *bool
	Retry                              bool
	AfterMS                            int `json:"after_ms"`
	Topics                             map[string]struct {
		Recovered       bool
		Position, Error string
		Retry           bool
	}
	Data struct {
		N  int
		At int64
	}
}

// idResume is the resume request's number; those of subscribe are the places'.
const idResume = 1_000_000

func newFollower(d *drill, number, hub int, topics []int) *follower {
	f := &follower{d: d, number: number, byResume: number%4 != 3, hub: hub}
	for _, topic := range topics {
		f.places = append(f.places, &place{topic: topic, position: "0", passed: map[int]bool{}})
	}
	return f
}

// run connects, and comes back for ever, until ctx or the follower ends.
func (f *follower) run(ctx context.Context) {
	for failures := 0; ; failures++ {
		select {
		case <-ctx.Done():
			return
		case <-f.d.gate.passing():
		}
		if f.connected(ctx) {
			failures = 0
		}
		f.mu.Lock()
		ended := f.ended
		f.mu.Unlock()
		if ended {
			return
		}
		wait := f.after + rand.N(10*time.Millisecond<<min(failures, 6))
		f.after = 0
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// connected is one connection from dial to end. It returns whether the hub let it in.
func (f *follower) connected(ctx context.Context) bool {
	hub := f.d.hub(f.hub)
	f.hub = -1
	dialer := ws.Dialer{Protocols: []string{"hub.v1.json"}, Timeout: 10 * time.Second}
	conn, buffered, _, err := dialer.Dial(ctx, hub.public+f.d.query)
	if err != nil {
		return false
	}
	if buffered == nil {
		buffered = bufio.NewReader(conn)
	}
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	f.mu.Lock()
	f.conn = conn
	if f.ended {
		_ = conn.Close()
	}
	f.mu.Unlock()
	code := f.read(buffered)
	_ = conn.Close()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.conn = nil
	for _, p := range f.places {
		p.live = false
	}
	if !f.ended {
		f.d.counted(func(c *drillCount) { c.closes[code]++ })
	}
	return true
}

// readFrame reads one frame of at most 16 MiB.
func readFrame(from io.Reader) (ws.OpCode, []byte, error) {
	head, err := ws.ReadHeader(from)
	if err != nil || head.Length > 16<<20 {
		return 0, nil, errors.Join(err, fmt.Errorf("a frame of %d bytes", head.Length))
	}
	payload := make([]byte, head.Length)
	_, err = io.ReadFull(from, payload)
	return head.OpCode, payload, err
}

// read hears what the hub says until the connection ends, and returns the code of that.
func (f *follower) read(from io.Reader) ws.StatusCode {
	for {
		op, payload, err := readFrame(from) // a hub does not fragment
		if err != nil {
			return ws.StatusAbnormalClosure
		}
		f.mu.Lock()
		switch op {
		case ws.OpText:
			var h heard
			if err := json.Unmarshal(payload, &h); err != nil {
				f.d.oddity("client %d hears %q", f.number, payload)
			}
			f.hear(&h, payload)
		case ws.OpPing:
			f.write(ws.NewPongFrame(payload))
		case ws.OpClose:
			f.write(ws.NewCloseFrame(nil))
			f.mu.Unlock()
			code, _ := ws.ParseCloseFrameData(payload)
			return code
		}
		f.mu.Unlock()
	}
}

func (f *follower) hear(h *heard, text []byte) {
	switch h.Type {
	case "welcome":
		f.next = h.Token
		if f.came++; f.came > 1 {
			f.d.counted(func(c *drillCount) { c.reconnects++ })
		}
		if f.byResume && f.token != "" {
			f.resume()
			return
		}
		f.subscribeAll()
	case "event":
		if p := f.place(h.Topic); p != nil {
			f.event(p, h)
		}
	case "gap":
		if p := f.place(h.Topic); p != nil {
			f.d.counted(func(c *drillCount) { c.gaps++ })
			f.told(p, h.Position)
		}
	case "subscribed":
		if p := f.place(h.Topic); p != nil {
			p.live = true
			f.count(*h.Recovered)
			if !*h.Recovered {
				f.told(p, h.Position)
			}
		}
	case "resumed":
		f.resumed(h)
	case "error":
		f.failed(h, text)
	case "goodbye":
		f.after = time.Duration(h.AfterMS) * time.Millisecond
	default:
		f.d.oddity("client %d hears %s", f.number, text)
	}
}

// event checks that h is what follows at p.
func (f *follower) event(p *place, h *heard) {
	n := h.Data.N
	late := time.Since(time.Unix(0, h.Data.At))
	f.d.counted(func(c *drillCount) {
		c.deliveries++
		c.late = append(c.late, late)
		switch {
		case n == p.last+1:
		case n > p.last && p.told:
			c.told += n - p.last - 1
		case n > p.last:
			c.lost += n - p.last - 1
		case p.passed[n]:
			c.reordered++
		case n == p.last && p.told && f.d.topics[p.topic].doubted(n):
			c.unsureTwice++
		default:
			c.repeated++
		}
	})
	if n != p.last+1 && !p.told {
		f.d.oddity("client %d gets event %d of %s behind %d", f.number, n, h.Topic, p.last)
	}
	for passed := p.last + 1; passed < n; passed++ {
		p.passed[passed] = true
	}
	if h.Position == "" {
		f.d.oddity("event %d of %s has no position", n, h.Topic)
	}
	p.last, p.position, p.told = max(p.last, n), h.Position, false
}

// told notes a loss that is admitted; p goes on behind position.
func (f *follower) told(p *place, position string) {
	if position == "" {
		f.d.oddity("a loss in %s is told without a position", f.d.topics[p.topic].name)
		return
	}
	p.told, p.position = true, position
}

// count counts an answer to since, those at the beginning left out.
func (f *follower) count(recovered bool) {
	f.d.counted(func(c *drillCount) {
		switch {
		case !recovered:
			c.unrecovered++
		case f.came > 1:
			c.recovered++
		}
	})
}

func (f *follower) subscribeAll() {
	f.token = f.next
	for i := range f.places {
		f.subscribe(i)
	}
}

func (f *follower) subscribe(i int) {
	p := f.places[i]
	f.say(map[string]any{"type": "subscribe", "id": i, "topic": f.d.topics[p.topic].name, "since": p.position})
}

func (f *follower) resume() {
	positions := map[string]string{}
	for _, p := range f.places {
		positions[f.d.topics[p.topic].name] = p.position
	}
	f.say(map[string]any{"type": "resume", "id": idResume, "token": f.token, "positions": positions})
}

func (f *follower) resumed(h *heard) {
	f.token = h.Token
	f.d.counted(func(c *drillCount) { c.resumes++ })
	for i, p := range f.places {
		switch r, ok := h.Topics[f.d.topics[p.topic].name]; {
		case !ok:
			f.d.oddity("client %d: resumed without one of its topics", f.number)
		case r.Error != "":
			if !r.Retry {
				f.d.oddity("client %d: resumed with %s", f.number, r.Error)
			}
			f.again(func() { f.subscribe(i) })
		default:
			p.live = true
			f.count(r.Recovered)
			if !r.Recovered {
				f.told(p, r.Position)
			}
		}
	}
}

// failed retries what may be.
func (f *follower) failed(h *heard, text []byte) {
	switch {
	case h.ID == nil || !h.Retry && *h.ID != idResume:
		f.d.oddity("client %d hears %s", f.number, text)
	case *h.ID != idResume:
		f.again(func() { f.subscribe(*h.ID) })
	case h.Retry:
		f.again(f.resume)
	default:
		f.d.oddity("client %d can't resume: %s", f.number, text)
		f.subscribeAll()
	}
}

// again asks once more in a moment, if the connection still stands.
func (f *follower) again(ask func()) {
	conn := f.conn
	time.AfterFunc(100*time.Millisecond+rand.N(100*time.Millisecond), func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.conn == conn {
			ask()
		}
	})
}

// say sends one request.
func (f *follower) say(request map[string]any) {
	b, _ := json.Marshal(request) // plain values can always be written
	f.write(ws.NewTextFrame(b))
}

// write writes one frame. If it fails, the next read does.
func (f *follower) write(frame ws.Frame) {
	b, _ := ws.CompileFrame(ws.MaskFrameInPlace(frame)) // in memory
	_, _ = f.conn.Write(b)
}

func (f *follower) place(topic string) *place {
	for _, p := range f.places {
		if f.d.topics[p.topic].name == topic {
			return p
		}
	}
	return nil // its user's own
}

// follows tells whether all topics are followed.
func (f *follower) follows() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range f.places {
		if !p.live {
			return false
		}
	}
	return true
}

// missing is for each place how many acknowledged events have not come yet.
func (f *follower) missing() []int {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := make([]int, len(f.places))
	for i, p := range f.places {
		list[i] = max(int(f.d.topics[p.topic].acked.Load())-p.last, 0)
	}
	return list
}

// cut breaks the connection, if there is one.
func (f *follower) cut() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.conn != nil {
		_ = f.conn.Close()
	}
}

// end breaks the connection for good.
func (f *follower) end() {
	f.mu.Lock()
	f.ended = true
	f.mu.Unlock()
	f.cut()
}
