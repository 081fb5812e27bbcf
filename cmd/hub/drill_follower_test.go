package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"sync"
	"syscall"
	"time"

	"github.com/gobwas/ws"
)

// follower is a client as session/PROTOCOL.md wants one: it keeps the position of every answer and every event, comes
// back to any hub when its connection ends, and asks for what it missed. It checks that each event comes
// once and in order, and that each of its requests is answered once.
type follower struct {
	manner
	d      *drill
	number int

	// Owned by run.
	hub   int // the first it tries; -1: any
	after time.Duration
	hold  func() // is called once, between the next welcome and what the client asks then

	mu          sync.Mutex
	places      []*place
	conn        net.Conn // nil between connections
	at          string   // the hub that it is or was connected to
	came        int      // times that a hub let it in
	token       string
	next        string               // the token of this connection's session, until it resumed another
	established bool                 // the session is the one that it stays
	asked       map[int]drillRequest // those without an answer on this connection
	lastID      int
	answers     int             // to what it asked for its topics, on this connection
	events      int             // behind the first of them
	broken      int             // connections in a row that it broke in haste
	trap        *trap           // stops it, once
	jwt         string          // "" for the drill's
	denied      map[string]bool // topics that the present token does not allow
	also        func()          // asks something once, in the write with which the client comes back
	out         *bytes.Buffer   // gathers frames for one write; nil otherwise
	far         bool            // it comes back through the drill's gate of that name
	ended       bool
	rivals      bool // others may take its session
	replaced    bool // one did
}

// manner is how a client comes back, and what else it does.
type manner struct {
	way       way
	hasty     bool // it breaks off when it has just come back: see stays
	publishes bool // it publishes the events of its topics by itself
	window    int  // bytes that the kernel keeps for it; 0: as many as it likes
	rate      int  // bytes that it reads in a second; 0: all
}

// way is how a client says where it left off.
type way int

const (
	resumes    way = iota // by resume with its token
	subscribes            // by subscribing each topic since its position
	positions             // as a plain client, by a URL with the position of each topic
	verbatim              // as a plain client that has no positions: what it misses is lost to it
)

// manners of the clients, in turn.
var manners = []manner{
	{way: resumes},
	{way: resumes, hasty: true},
	{way: resumes, publishes: true},
	{way: subscribes},
	{way: subscribes, hasty: true},
	{way: positions},
	{way: positions, hasty: true},
	{way: verbatim},
}

// newFollower returns client number of a drill, which begins at a hub and follows topics from their beginning.
func newFollower(d *drill, number, hub int, topics []int) *follower {
	f := &follower{d: d, number: number, manner: manners[number%len(manners)], hub: hub, asked: map[int]drillRequest{}}
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
		case <-f.gate().passing():
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

func (f *follower) gate() *gate {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.far {
		return &f.d.far
	}
	return &f.d.gate
}

// goFar breaks the connection; the client stays away while the gate for that is shut.
func (f *follower) goFar() {
	f.mu.Lock()
	f.far = true
	f.mu.Unlock()
	f.cut()
}

// comeFromFar has the client wait for events from now on.
func (f *follower) comeFromFar() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.far = false
	for _, p := range f.places {
		p.heard = time.Now()
	}
}

// connected is one connection from dial to end. It returns whether the hub let it in.
func (f *follower) connected(ctx context.Context) bool {
	conn, from, err := f.dial(ctx)
	if err != nil {
		return false
	}
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	f.mu.Lock()
	f.conn, f.denied = conn, nil
	if f.came++; f.came > 1 {
		f.d.counted(func(c *drillCount) { c.reconnects++ })
	}
	if f.ended {
		_ = conn.Close()
	}
	if f.way == verbatim {
		f.begins()
	}
	f.mu.Unlock()
	code := f.read(from)
	_ = conn.Close()

	f.mu.Lock()
	defer f.mu.Unlock()
	if code == broke {
		f.broken++
	} else {
		f.broken = 0
	}
	if code == replacedCode {
		if !f.rivals {
			f.d.oddity("client %d is replaced, and by nobody", f.number)
		}
		f.ended, f.replaced = true, true
	}
	f.conn, f.established, f.answers, f.events = nil, false, 0, 0
	for _, p := range f.places {
		p.live = false
	}
	for _, r := range f.asked {
		r.answer(nil, nil)
	}
	clear(f.asked)
	if !f.ended {
		f.d.counted(func(c *drillCount) { c.closes[code]++ })
	}
	return true
}

func (f *follower) dial(ctx context.Context) (net.Conn, io.Reader, error) {
	hub := f.d.hub(f.hub)
	f.hub = -1
	f.mu.Lock()
	f.at = hub.public
	f.mu.Unlock()
	dialer := ws.Dialer{Timeout: 10 * time.Second, TLSConfig: &tls.Config{InsecureSkipVerify: true}}
	if f.speaksV1() {
		dialer.Protocols = []string{"hub.v1.json"}
	}
	if f.window > 0 {
		dialer.NetDial = dialNarrow(f.window)
	}
	conn, buffered, _, err := dialer.Dial(ctx, f.url(hub))
	if err != nil {
		return nil, nil, err
	}
	if buffered == nil {
		buffered = bufio.NewReader(conn)
	}
	if f.rate > 0 {
		return conn, &slowly{from: buffered, rate: f.rate}, nil
	}
	return conn, buffered, nil
}

func (f *follower) url(hub *process) string {
	query := url.Values{}
	if jwt := cmp.Or(f.jwt, f.d.token); jwt != "" {
		query.Set("token", jwt)
	}
	if f.speaksV1() {
		return hub.public + "?" + query.Encode()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.way == verbatim {
		query.Add("topic", f.echoTopic())
	} else {
		query.Set("positions", "1")
	}
	for _, p := range f.places {
		query.Add("topic", f.d.topics[p.topic].name)
		if f.way == positions {
			query.Add("since", p.position)
		}
	}
	return hub.public + "?" + query.Encode()
}

func (f *follower) speaksV1() bool { return f.way == resumes || f.way == subscribes }

// dialNarrow dials connections for which the kernel keeps few bytes that were not read.
func dialNarrow(window int) func(ctx context.Context, network, addr string) (net.Conn, error) {
	control := func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) { _ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, window) })
	}
	return (&net.Dialer{Control: control}).DialContext
}

// slowly reads no faster than at a rate, in bytes per second.
type slowly struct {
	from io.Reader
	rate int
}

func (s *slowly) Read(b []byte) (int, error) {
	n, err := s.from.Read(b[:min(len(b), 4<<10)])
	<-time.After(time.Duration(n) * time.Second / time.Duration(s.rate))
	return n, err
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
	if f.way == positions && !f.stays(waiting) {
		return broke
	}
	for {
		op, payload, err := readFrame(from) // a hub does not fragment
		if err != nil {
			return ws.StatusAbnormalClosure
		}
		switch op {
		case ws.OpText:
			if !f.stays(f.hears(payload)) {
				return broke
			}
		case ws.OpPing:
			f.mu.Lock()
			f.write(ws.NewPongFrame(payload))
			f.mu.Unlock()
		case ws.OpClose:
			f.mu.Lock()
			f.write(ws.NewCloseFrame(nil))
			f.mu.Unlock()
			code, _ := ws.ParseCloseFrameData(payload)
			return code
		}
	}
}

// hears takes one message and returns the stage that the client has come to by it.
func (f *follower) hears(payload []byte) stage {
	var h heard
	if err := json.Unmarshal(payload, &h); err != nil {
		f.d.oddity("client %d hears %q", f.number, payload)
	}
	if h.Type == "welcome" && f.hold != nil {
		f.hold()
		f.hold = nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.hear(&h, payload)
}

func (f *follower) place(topic string) *place {
	for _, p := range f.places {
		if f.d.topics[p.topic].name == topic {
			return p
		}
	}
	return nil // its user's own
}

// follows reports whether all topics are followed, if the client still has its session.
func (f *follower) follows() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.replaced {
		return true
	}
	for _, p := range f.places {
		if !p.live {
			return false
		}
	}
	return true
}

// connectedNow reports whether there is a connection.
func (f *follower) connectedNow() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.conn != nil
}

// missing is for each place how many acknowledged events have not come yet.
func (f *follower) missing() []int {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := make([]int, len(f.places))
	for i, p := range f.places {
		if f.replaced {
			break
		}
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
