package engine

import (
	"bytes"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Plain HTTP on the public port, at Config.HTTPPaths: a GET that accepts EventStream opens a stream, as does any GET where
// there is no WebSocket; a POST brings a body and gets one answer or a stream of JSON; and a browser's preflight for either
// is answered here. Calls are apart, in call.go.
//
// A stream is a Conn whose output is the bytes of an endless response. Its body ends with the connection: chunks would
// cost each event their size, and an event that was cut off is not complete without its blank line anyway. The client
// has nothing more to say. What it sends is thrown away, and counts as control frames do.

// Kind is what a client asks for.
type Kind uint8

// The kinds of requests.
const (
	WebSocket Kind = iota // a connection (RFC 6455)
	Stream                // a response that does not end, of type EventStream
	Post                  // an answer to what it sent, or a stream of type JSONStream
	Call                  // an answer from an API: see CallConfig
	preflight             // the leave to send a Post, or to read a Stream
)

// httpMethods are those of plain HTTP.
const httpMethods = "GET, POST, OPTIONS"

const (
	// EventStream is the media type of a Stream.
	EventStream = "text/event-stream"
	// JSONStream is the media type of the stream that answers a Post.
	JSONStream = "application/json"
)

const (
	// postRoom is what a Post may have more bytes than Config.MaxMessage: what stands around a message.
	postRoom = 4 << 10
	// fieldSize is about what a field of a head costs besides its text, in bytes.
	fieldSize = 100
	// preflightAge is how long a browser may keep the answer to a preflight.
	preflightAge = 10 * time.Minute
	// comeback is when the client of a stream that there is no room for comes back where the Refusal does not say, and
	// the least time at random besides.
	comeback = 5 * time.Second
)

var (
	refuseNoLength = refuse(http.StatusLengthRequired, "Content-Length is required: a body in chunks is not taken")
	refuseLate     = refuse(http.StatusRequestTimeout, "request not completed in time")
	refuseNoAnswer = refuse(http.StatusServiceUnavailable, "no decision in time, try again")
	refuseUnknown  = refuse(http.StatusGatewayTimeout, "not answered in time: it may or may not have been done")
)

// exchange is what a socket in transit has of a plain HTTP request, until that is answered.
type exchange struct {
	request *Request
	origin  string // whose page asks, "" for no browser's; it is allowed
	size    int    // of the request, about, in bytes
	length  int    // of the body, in bytes
	begun   bool   // see Handshake.Begin
}

// answered reports whether the kind brings a body, perhaps, and gets one answer.
func (k Kind) answered() bool { return k == Post || k == Call }

// kindOf is what a request asks for, WebSocket if nothing else. plain are the paths where plain HTTP is spoken, upgraded those
// where WebSocket is.
func kindOf(r *http.Request, plain, upgraded []string, calls *CallConfig) Kind {
	switch {
	case hasToken(r.Header["Upgrade"], "websocket"):
		return WebSocket
	case len(plain) == 0 || !isPath(r.URL, plain):
		if calls.isCall(r.Method, r.URL) {
			return Call
		}
		return WebSocket
	}
	switch r.Method {
	case http.MethodGet:
		if acceptsStream(r.Header["Accept"]) || !isPath(r.URL, upgraded) {
			return Stream
		}
	case http.MethodPost:
		return Post
	case http.MethodOptions:
		return preflight
	}
	return WebSocket
}

// acceptsStream reports whether EventStream is in the list of media types. Ranges do not count: all programs accept */*.
func acceptsStream(accept []string) bool {
	for e := range elements(accept) {
		name, params, _ := strings.Cut(e, ";")
		if foldsTo(trim(name), EventStream) && !unwanted(params) {
			return true
		}
	}
	return false
}

// unwanted reports whether among the parameters of a media type is the weight 0 (RFC 9110, 12.4.2).
func unwanted(params string) bool {
	for param := range strings.SplitSeq(params, ";") {
		name, weight, _ := strings.Cut(param, "=")
		if weight = trim(weight); foldsTo(trim(name), "q") && weight != "" && strings.Trim(weight, "0.") == "" {
			return true
		}
	}
	return false
}

// sizeUp is why a Post's body is not taken, nil if it is: one of up to limit bytes.
func (r *Request) sizeUp(limit int) *Refusal {
	switch {
	case len(r.TransferEncoding) > 0 || r.Header.Get("Content-Length") == "":
		return refuseNoLength
	case r.ContentLength < 0 || r.ContentLength > int64(limit):
		return refuse(http.StatusRequestEntityTooLarge, "the body may have "+inBytes(limit))
	}
	return nil
}

// begin goes on with a plain HTTP request whose head, of so many bytes, is there. behind is what came after it.
func (c *Conn) begin(r *Request, head int, behind []byte) {
	x := &exchange{request: r, origin: r.Header.Get("Origin"), size: 2*head + fieldSize*len(r.Header)}
	c.transit.exchange = x
	c.transit.buf = nil
	switch r.Kind {
	case preflight:
		c.answer(appendPreflight(nil, x.origin))
	case Post, Call:
		cfg := &c.loop.srv.cfg
		var refusal *Refusal
		if r.Kind == Call {
			refusal = c.judgeCall(r)
		} else {
			refusal = r.sizeUp(cfg.MaxMessage + postRoom)
		}
		if refusal != nil {
			c.refuse(refusal)
			return
		}
		x.length = max(int(r.ContentLength), 0)
		c.loop.conns.set(c, c.loop.due(ticks(cfg.MessageTimeout)))
		if len(behind) < x.length && hasToken(r.Header["Expect"], "100-continue") {
			if c.send([]byte("HTTP/1.1 100 Continue\r\n\r\n")); c.state != arriving {
				return
			}
		}
		c.receiveBody(behind)
	default:
		c.ask(r, behind)
	}
}

// receiveBody collects the body of a Post or Call.
func (c *Conn) receiveBody(data []byte) {
	t := c.transit
	x := t.exchange
	n := min(len(data), x.length-len(t.buf))
	t.buf = gather(t.buf, data[:n], x.length)
	c.countHeld(false)
	if c.state == arriving && len(t.buf) == x.length {
		c.loop.conns.set(c, c.loop.due(ticks(c.loop.srv.cfg.HandshakeTimeout)))
		c.ask(x.request, data[n:])
	}
}

// Body is what a Post or Call sent, nil once it is answered. It is never changed.
func (h *Handshake) Body() []byte {
	if !h.Kind.answered() || h.conn.state != deciding {
		return nil
	}
	return h.conn.transit.buf
}

// Begin says that what a Post or Call asks for is under way and can't be called back. If no answer comes in Config.HandshakeTimeout,
// the client hears by 504 that it may have been done; without Begin it hears by 503 that nothing was.
func (h *Handshake) Begin() {
	if h.Kind.answered() && h.conn.state == deciding {
		h.conn.transit.exchange.begun = true
	}
}

// undecided is why c, which waits for its Handler's answer, is refused when its time is over.
func (c *Conn) undecided() *Refusal {
	if x := c.transit.exchange; x != nil && x.begun {
		return refuseUnknown
	}
	return refuseNoAnswer
}

// Answer answers a Post or Call with a JSON body, or with http.StatusNoContent without any, and ends the connection.
func (h *Handshake) Answer(status int, body []byte) {
	if h.conn.state == deciding {
		h.conn.answer(h.conn.transit.exchange.appendAnswer(nil, status, nil, "application/json", body))
	}
}

// appendAnswer appends a whole response, behind which the connection is closed.
func (x *exchange) appendAnswer(dst []byte, status int, more http.Header, kind string, body []byte) []byte {
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(status), 10)
	dst = append(append(dst, ' '), http.StatusText(status)...)
	dst = append(dst, "\r\nConnection: close\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"...)
	if status != http.StatusNoContent { // RFC 9110, 8.6
		dst = append(append(dst, "Content-Type: "...), kind...)
		dst = append(dst, "\r\nContent-Length: "...)
		dst = append(strconv.AppendInt(dst, int64(len(body)), 10), "\r\n"...)
	}
	dst = appendOrigin(dst, x.origin)
	if len(more) > 0 {
		b := bytes.NewBuffer(dst)
		_ = more.Write(b) // a Buffer takes all
		dst = b.Bytes()
	}
	return append(append(dst, "\r\n"...), body...)
}

// appendOrigin appends the header lines that let a page of that origin read the answer.
func appendOrigin(dst []byte, origin string) []byte {
	if origin == "" {
		return dst
	}
	dst = append(append(dst, "Access-Control-Allow-Origin: "...), origin...)
	return append(dst, "\r\nAccess-Control-Allow-Credentials: true\r\nVary: Origin\r\n"...)
}

func appendPreflight(dst []byte, origin string) []byte {
	dst = append(dst, "HTTP/1.1 204 No Content\r\nConnection: close\r\nAllow: "+httpMethods+"\r\n"...)
	dst = appendOrigin(dst, origin)
	if origin != "" {
		dst = append(dst, "Access-Control-Allow-Methods: GET, POST\r\nAccess-Control-Allow-Headers: Authorization, Cache-Control, Content-Type, Last-Event-ID\r\nAccess-Control-Max-Age: "...)
		dst = append(strconv.AppendInt(dst, int64(preflightAge/time.Second), 10), "\r\n"...)
	}
	return append(dst, "\r\n"...)
}

// appendStreamHead appends the head of a stream's response. Proxies neither keep it nor change it, nor hold it back.
func appendStreamHead(dst []byte, kind, origin string) []byte {
	dst = append(append(dst, "HTTP/1.1 200 OK\r\nContent-Type: "...), kind...)
	dst = append(dst, "\r\nCache-Control: no-store, no-transform\r\nX-Accel-Buffering: no\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n"...)
	return append(appendOrigin(dst, origin), "\r\n"...)
}

// appendRefusal appends r as the answer to x. The client of a stream gives up for ever on any status but 200: where it may
// be let in later, it gets that, the time after which to come back, and the end.
func (x *exchange) appendRefusal(dst []byte, r *Refusal, write func(*Refusal) []byte) []byte {
	switch {
	case x.request.Kind == Stream && (r.Status == http.StatusServiceUnavailable || r.Status == http.StatusTooManyRequests):
		dst = appendStreamHead(dst, EventStream, x.origin)
		dst = append(dst, "retry: "...)
		dst = strconv.AppendInt(dst, r.after().Milliseconds(), 10)
		return append(append(append(dst, "\n: "...), r.Reason...), "\n\n"...)
	case x.request.Kind.answered() && write != nil:
		return x.appendAnswer(dst, r.Status, r.Header, "application/json", write(r))
	}
	return x.appendAnswer(dst, r.Status, r.Header, "text/plain; charset=utf-8", append([]byte(r.Reason), '\n'))
}

// after is when a client that was refused may come back: once to three times what the refusal says, because others were
// refused at the same moment.
func (r *Refusal) after() time.Duration {
	d := comeback
	if seconds, err := strconv.Atoi(r.Header.Get("Retry-After")); err == nil && seconds > 0 {
		d = time.Duration(min(seconds, 3600)) * time.Second
	}
	return d + rand.N(2*d)
}

// Farewell is a Peer that has last words for the client of a Stream, which knows no Close frames.
type Farewell interface {
	// Farewell is what leaves before the end, nil for nothing.
	Farewell(cause *Cause) []byte
}

// endStream ends a stream for cause, as Close has it.
func (c *Conn) endStream(cause *Cause) {
	if cause.Code == codeCut || c.queued > 0 && (cause == SlowConsumer || cause == BacklogLimit) {
		c.finish(cause)
		c.cut()
		return
	}
	var last []byte
	if p, ok := c.peer.(Farewell); ok {
		last = p.Farewell(cause)
	}
	c.part(cause, last, departing)
}

// ignore throws away what a stream's client sends.
func (c *Conn) ignore(data []byte) {
	if len(data) > 0 {
		c.countChatter(1 + len(data)/lateFrame)
	}
	c.countHeld(true) // of TLS a record may be held
}
