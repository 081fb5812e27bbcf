package main

import (
	"context"
	"encoding/json"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"wshub/engine"
)

// pusherFolder begins the paths of the API of Pusher's applications, behind whatever a proxy has put before it.
const pusherFolder = "/apps/"

const (
	// pusherWorkers do what the API is asked for on the public port.
	pusherWorkers = 16
	// pusherQueue bounds the requests that wait for them, and pusherRoom the bytes of those that wait or are worked on, one of any size apart.
	pusherQueue, pusherRoom = 256, 16 << 20
	// unsignedRate is how many requests of one address whose signatures are bad are told why, in a second, on each loop. Whoever mends a
	// backend needs a few.
	unsignedRate = 10
	// unsignedAddresses bounds the addresses that are remembered for a second, on each loop.
	unsignedAddresses = 10_000
)

// pusherDoor is the API of Pusher's applications on the public port (--pusher-api). Loops judge the signature of a request by its head;
// requests whose signature is good wait in one queue for a few workers, as they wait for the broker. All else goes on to the Handler.
type pusherDoor struct {
	engine.Handler
	// Set before the server runs.
	api     *pusherAPI
	timeout time.Duration
	queue   chan *pusherVisit

	held     atomic.Int64
	unsigned []unsigned // one for each loop, which owns it

	answered, refused, badly, busy atomic.Uint64
}

// pusherVisit is a request that waits.
type pusherVisit struct {
	*engine.Handshake
	body []byte
	due  time.Time
}

// unsigned counts requests with a bad signature by address. It forgets all in each second.
type unsigned struct {
	second int64
	of     map[netip.Addr]int
}

// newPusherDoor makes the door before next, and has cfg open it.
func newPusherDoor(cfg *engine.Config, next engine.Handler) *pusherDoor {
	timeout := min(pusherTime, cfg.HandshakeTimeout*9/10) // an answer comes before the engine gives it up
	d := &pusherDoor{Handler: next, timeout: timeout, queue: make(chan *pusherVisit, pusherQueue), unsigned: make([]unsigned, engine.MaxPollers)}
	cfg.Calls = engine.CallConfig{Folder: pusherFolder, MaxBody: pusherBody, Judge: d.judge}
	return d
}

// spend counts one more of addr, and reports whether that is told why.
func (u *unsigned) spend(addr netip.Addr, second int64) bool {
	if u.of == nil || second != u.second {
		u.second, u.of = second, make(map[netip.Addr]int)
	}
	if addr = network(addr); u.of[addr] == 0 && len(u.of) == unsignedAddresses {
		return false
	}
	u.of[addr]++
	return u.of[addr] <= unsignedRate
}

// network is addr, or of IPv6 its /64.
func network(addr netip.Addr) netip.Addr {
	if addr = addr.Unmap(); addr.Is6() {
		if prefix, err := addr.Prefix(64); err == nil {
			return prefix.Addr()
		}
	}
	return addr
}

// judge refuses on the loop a request that no backend has signed. A good one is never refused for the bad ones of others.
func (d *pusherDoor) judge(c *engine.Conn, r *engine.Request) *engine.Refusal {
	_, refusal := d.api.verify(r.Method, r.URL)
	if refusal == nil {
		return nil
	}
	d.badly.Add(1)
	if !d.unsigned[c.Loop().Index].spend(c.RemoteAddr().Addr(), d.api.now().Unix()) {
		return &engine.Refusal{Status: http.StatusTooManyRequests, Name: "pusher_signature", Reason: "too many requests without a good signature", Header: http.Header{"Retry-After": {"1"}}}
	}
	told := refusalOf(refusal)
	told.Name = "pusher_signature"
	return told
}

// refusalOf is the API's answer as the engine gives it.
func refusalOf(e *apiError) *engine.Refusal {
	r := &engine.Refusal{Status: e.status, Code: string(e.code), Reason: e.message}
	if e.status == http.StatusServiceUnavailable {
		r.Header = http.Header{"Retry-After": {"1"}}
	}
	return r
}

// Handshake implements engine.Handler.
func (d *pusherDoor) Handshake(h *engine.Handshake) {
	if h.Kind != engine.Call {
		d.Handler.Handshake(h)
		return
	}
	v := &pusherVisit{h, h.Body(), time.Now().Add(d.timeout)}
	if held := d.held.Add(v.size()); held <= pusherRoom || held == v.size() {
		select {
		case d.queue <- v:
			if h.Method == http.MethodPost {
				h.Begin()
			}
			return
		default:
		}
	}
	d.held.Add(-v.size())
	d.busy.Add(1)
	h.Refuse(&engine.Refusal{Status: http.StatusServiceUnavailable, Code: "busy", Reason: "too many requests at once; nothing was done", Header: http.Header{"Retry-After": {"1"}}})
}

// size is what a visit costs, in bytes.
func (v *pusherVisit) size() int64 { return int64(len(v.body)) + 4<<10 }

// Run works until ctx ends.
func (d *pusherDoor) Run(ctx context.Context) error {
	if d == nil {
		<-ctx.Done()
		return nil
	}
	var workers errgroup.Group
	for range pusherWorkers {
		workers.Go(func() error {
			for {
				select {
				case v := <-d.queue:
					d.serve(ctx, v)
				case <-ctx.Done():
					return nil
				}
			}
		})
	}
	return workers.Wait()
}

// serve does what a visit asks for, and has it answered on its loop.
func (d *pusherDoor) serve(ctx context.Context, v *pusherVisit) {
	defer d.held.Add(-v.size())
	ctx, cancel := context.WithDeadline(ctx, v.due)
	defer cancel()
	if ctx.Err() != nil {
		return // the client has heard that nobody came to it
	}
	head, refusal := d.api.verify(v.Method, v.URL) // again: secrets may have changed
	var text []byte
	if refusal == nil {
		var answer any
		if answer, refusal = d.api.answer(ctx, head, v.body); refusal == nil {
			text, _ = json.Marshal(answer) // maps, texts and numbers
		}
	}
	v.Conn().Loop().Post(func() {
		if refusal != nil {
			d.refused.Add(1)
			v.Refuse(refusalOf(refusal))
			return
		}
		d.answered.Add(1)
		v.Answer(http.StatusOK, append(text, '\n'))
	})
}

// counts are the requests by outcome; nil without a door.
func (d *pusherDoor) counts() map[string]uint64 {
	if d == nil {
		return nil
	}
	return map[string]uint64{"answered": d.answered.Load(), "refused": d.refused.Load(), "unsigned": d.badly.Load(), "busy": d.busy.Load()}
}
