package engine

import (
	"container/list"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"time"
)

// A handshake of crypto/tls can't be left in the middle, so it runs on a goroutine of its own, which ends with it. It begins
// when the whole ClientHello is there: who sends none costs no goroutine. The number of handshakes is bounded, in all and by
// address; over that those go first whose client has been silent for longest. A semaphore bounds how many compute at once.

// tlsHandshake is one handshake. Its goroutine reads and writes; the loop feeds it, and sends what it writes.
type tlsHandshake struct {
	// Fixed at birth.
	conn *Conn
	from netip.Addr // see limitedBy
	cpu  chan struct{}

	// Owned by the loop.
	ofAll, ofAddr *list.Element // in tlsHandshakes; nil once it is over for the loop
	fed           int           // bytes

	// Guarded by mu.
	mu     sync.Mutex
	came   sync.Cond
	in     []byte // not read yet
	left   int    // bytes of the record that is being read
	silent bool   // it waits for the client
	err    error  // the loop has given it up
}

// Results of handshakes, besides those of failure.
const (
	tlsOK      = "ok"
	tlsResumed = "resumed"
	tlsTimeout = "timeout"
	tlsDropped = "dropped_full"
	tlsGone    = "gone"
	tlsPlain   = "plain_text"
	tlsHello   = "bad_hello"
	tlsTooBig  = "too_big"
	tlsFailed  = "failed"
)

const (
	// maxHandshakeBytes bounds what a client may send for a handshake itself: a chain of certificates at most.
	maxHandshakeBytes = 64 << 10
	// silentWithin is among how many of the oldest handshakes one is looked for whose client is silent.
	silentWithin = 64
	// handshakeCost is the price of a handshake for the loop, which does little of it itself.
	handshakeCost = 20 * time.Microsecond
)

var errGivenUp = errors.New("the handshake was given up")

// tlsHandshakes are those of one loop, the oldest first.
type tlsHandshakes struct {
	all    list.List
	byAddr map[netip.Addr]*list.List
}

func (q *tlsHandshakes) push(h *tlsHandshake) {
	if q.byAddr == nil {
		q.byAddr = make(map[netip.Addr]*list.List)
	}
	same := q.byAddr[h.from]
	if same == nil {
		same = list.New()
		q.byAddr[h.from] = same
	}
	h.ofAll, h.ofAddr = q.all.PushBack(h), same.PushBack(h)
}

func (q *tlsHandshakes) remove(h *tlsHandshake) {
	if h.ofAll == nil {
		return
	}
	q.all.Remove(h.ofAll)
	same := q.byAddr[h.from]
	same.Remove(h.ofAddr)
	if same.Len() == 0 {
		delete(q.byAddr, h.from)
	}
	h.ofAll, h.ofAddr = nil, nil
}

// oldestSilent is a handshake of which whose client is silent, or nil.
func oldestSilent(which *list.List) *tlsHandshake {
	e := which.Front()
	for range silentWithin {
		if e == nil {
			break
		}
		if h := e.Value.(*tlsHandshake); h.isSilent() {
			return h
		}
		e = e.Next()
	}
	return nil
}

// limitedBy is the address that a client's handshakes are counted by: of IPv6 the network that one customer has.
func limitedBy(addr netip.Addr) netip.Addr {
	addr = addr.Unmap().WithZone("")
	if addr.Is6() {
		if p, err := addr.Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return addr
}

// firstState is the state of a connection whose first bytes are the client's own. A head of a proxy, where there is one,
// stands before it: c moves here with the bytes behind that head, which go to receiveWire or receive.
func (s *Server) firstState() state {
	if s.cfg.TLS != nil {
		return hailing
	}
	return arriving
}

// receiveHello collects the ClientHello.
func (c *Conn) receiveHello(data []byte) {
	t := c.transit
	whole, fits := t.hello.next(data)
	had := len(t.buf)
	t.buf = gather(t.buf, data[:min(len(data), maxHello-had)], maxHello)
	switch {
	case !fits && t.buf[0] != handshakeRecord && !isAlertOrHigh(t.buf[0]):
		c.countTLS(tlsPlain)
		c.refuse(foreign(t.buf, refusePlain))
	case !fits:
		c.refuseHello(tlsHello)
	case had+len(data) > maxHello:
		c.refuseHello(tlsTooBig)
	case whole:
		c.beginHandshake()
	default:
		c.countHeld(false)
	}
}

// isAlertOrHigh reports whether b begins no text: a record of TLS, or a hello of SSL 2.
func isAlertOrHigh(b byte) bool { return b >= 0x14 && b <= 0x18 || b >= 0x80 }

// refuseHello ends c by an alert, in a record that needs no keys.
func (c *Conn) refuseHello(result string) {
	c.countTLS(result)
	c.answer([]byte{alertRecord, 3, 1, 0, 2, 2, unexpectedMessage})
}

// beginHandshake starts the goroutine, if there is room for it.
func (c *Conn) beginHandshake() {
	l, s := c.loop, c.loop.srv
	h := &tlsHandshake{conn: c, from: limitedBy(c.RemoteAddr().Addr()), cpu: s.tlsCPU}
	h.came.L = &h.mu
	if !l.makeRoomFor(h) {
		c.countTLS(tlsDropped)
		c.cut()
		return
	}
	l.spend(handshakeCost)
	t := &tlsLayer{conn: c, handshake: h}
	t.tls = tls.Server(t, s.cfg.TLS)
	h.in, h.fed = c.transit.buf, len(c.transit.buf)
	c.transit.buf = nil
	l.layers[c] = t
	l.handshakes.push(h)
	c.move(shaking)
	c.countHeld(false)
	s.shaking.Add(1)
	l.count.shaking.Add(1)
	go t.shake(h)
}

// makeRoomFor gives up silent handshakes until there is room for h, or returns false.
func (l *Loop) makeRoomFor(h *tlsHandshake) bool {
	q, cfg := &l.handshakes, &l.srv.cfg
	for _, of := range []struct {
		which *list.List
		limit int64
	}{{q.byAddr[h.from], int64(cfg.MaxTLSHandshakesPerAddr)}, {&q.all, int64(cfg.MaxTLSHandshakes)}} {
		for of.which != nil && int64(of.which.Len()) >= max(l.share(of.limit), 1) {
			oldest := oldestSilent(of.which)
			if oldest == nil {
				return false
			}
			oldest.conn.endHandshake(tlsDropped)
			oldest.conn.cut()
		}
	}
	return true
}

// shake runs on a goroutine of its own.
func (t *tlsLayer) shake(h *tlsHandshake) {
	l := t.conn.loop
	defer l.srv.shaking.Done()
	h.cpu <- struct{}{}
	err := t.runHandshake()
	<-h.cpu
	l.Post(func() { l.guard(t.conn, func() { t.shaken(err) }) })
}

// runHandshake has crypto/tls do its part, and what it calls: a panic there is an error here.
func (t *tlsLayer) runHandshake() (err error) {
	defer func() {
		if r := recover(); r != nil {
			l := t.conn.loop
			l.count.panics.Add(1)
			l.srv.log.Error().Interface("panic", r).Bytes("stack", debug.Stack()).Msg("a panic in a TLS handshake; its connection is closed")
			err = errors.New("a panic in the handshake")
		}
	}()
	return t.tls.Handshake()
}

// shaken goes on on the loop when the handshake is over.
func (t *tlsLayer) shaken(err error) {
	c, h := t.conn, t.handshake
	l := c.loop
	l.count.shaking.Add(-1)
	if c.state != shaking {
		return
	}
	l.handshakes.remove(h)
	if err != nil {
		c.countTLS(tlsReason(err))
		l.srv.log.Debug().Err(err).Msg("a TLS handshake failed")
		delete(l.layers, c)
		c.move(departing) // the alert was sent before
		c.countHeld(false)
		c.leave()
		return
	}
	rest := h.in // the goroutine has ended
	t.handshake = nil
	letGo(t.tls)
	if t.tls.ConnectionState().DidResume {
		c.countTLS(tlsResumed)
	} else {
		c.countTLS(tlsOK)
	}
	c.move(arriving)
	c.countHeld(true)
	for len(rest) > 0 {
		n := min(len(rest), len(l.buf))
		c.receiveWire(rest[:n])
		rest = rest[n:]
	}
}

// feedHandshake hands data to the goroutine.
func (c *Conn) feedHandshake(data []byte) {
	h := c.loop.layers[c].handshake
	if h.fed += len(data); h.fed > c.loop.srv.mayComeShaking() {
		c.endHandshake(tlsTooBig)
		c.cut()
		return
	}
	h.mu.Lock()
	h.in = append(h.in, data...)
	h.mu.Unlock()
	h.came.Signal()
	c.countHeld(false)
}

// mayComeShaking bounds what may come while a handshake is at work, in bytes: a client sends its request right behind its
// Finished, and the handshake may wait for a processor meanwhile.
func (s *Server) mayComeShaking() int {
	request, body := s.cfg.MaxHead, 0
	if len(s.cfg.HTTPPaths) > 0 {
		body = s.cfg.MaxMessage + postRoom
	}
	if s.cfg.Calls.Folder != "" {
		body = max(body, s.cfg.Calls.MaxBody)
	}
	request += body
	return maxHandshakeBytes + request + request/16 // a record of 1.4 KB, as some clients begin with, has 22 bytes besides its text
}

// dropLayer forgets the TLS of c, which has ended.
func (c *Conn) dropLayer() {
	c.endHandshake(tlsGone)
	delete(c.loop.layers, c)
}

// endHandshake ends c's handshake, if it is not over, with that result.
func (c *Conn) endHandshake(result string) {
	if t := c.loop.layers[c]; t != nil && t.handshake != nil && t.handshake.ofAll != nil {
		c.countTLS(result)
		c.loop.handshakes.remove(t.handshake)
		t.handshake.giveUp()
	}
}

// lateHello ends c, whose handshake takes too long. A socket from which nothing came is no client: load balancers look so.
func (c *Conn) lateHello() {
	if c.state == hailing && len(c.transit.buf) > 0 {
		c.countTLS(tlsTimeout)
	}
	c.endHandshake(tlsTimeout)
	c.cut()
}

// read waits for the next bytes of a record. It never returns bytes of two records: crypto/tls would keep those of the
// second one when the handshake is over.
func (h *tlsHandshake) read(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.err == nil && len(h.in) < h.needs() {
		h.wait()
	}
	if h.err != nil {
		return 0, h.err
	}
	if h.left == 0 {
		h.left = recordSize(h.in)
	}
	n := copy(b, h.in[:min(len(h.in), h.left)])
	h.in = h.in[n:]
	h.left -= n
	return n, nil
}

// needs is how many bytes must be there to go on.
func (h *tlsHandshake) needs() int {
	if h.left > 0 {
		return 1
	}
	return recordHeader
}

// wait returns when there are enough bytes, or an error. Others compute meanwhile.
func (h *tlsHandshake) wait() {
	<-h.cpu
	h.silent = true
	for h.err == nil && len(h.in) < h.needs() {
		h.came.Wait()
	}
	h.silent = false
	h.mu.Unlock()
	h.cpu <- struct{}{}
	h.mu.Lock()
}

// write has the loop send b.
func (h *tlsHandshake) write(b []byte) (int, error) {
	out := append([]byte(nil), b...)
	h.conn.loop.Post(func() {
		if h.conn.state == shaking {
			h.conn.sendRaw(out)
		}
	})
	return len(b), nil
}

// isSilent reports whether it can't go on before the client sends more, be it the rest of a header.
func (h *tlsHandshake) isSilent() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.silent && len(h.in) < h.needs()
}

// giveUp ends the goroutine.
func (h *tlsHandshake) giveUp() {
	h.mu.Lock()
	h.err = errGivenUp
	h.mu.Unlock()
	h.came.Signal()
}

// tlsReason is a short name for why a handshake failed.
func tlsReason(err error) string {
	var certificate *tls.CertificateVerificationError
	var remote *net.OpError
	text := err.Error()
	switch {
	case errors.As(err, &certificate), strings.Contains(text, "didn't provide a certificate"):
		return "client_certificate"
	case errors.As(err, &remote) && remote.Op == "remote error":
		return "rejected" // by the client: it does not trust our certificate, most often
	case strings.Contains(text, "unsupported versions"):
		return "version"
	case strings.Contains(text, "application protocol"):
		return "protocol"
	case errors.Is(err, io.EOF):
		return tlsGone
	}
	return tlsFailed
}

// countTLS counts how a handshake ended, or that none began.
func (c *Conn) countTLS(result string) { c.loop.count.handshakes.Add(result) }

// tlsComputing is how many handshakes compute at once: one processor is left to the loops.
func tlsComputing() int { return max(runtime.GOMAXPROCS(0)-1, 1) }
