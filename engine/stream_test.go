package engine

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

const streamPath = "/notification"

// plainHTTP is a request at the path, without a body.
func plainHTTP(method string, lines ...string) string {
	return method + " " + streamPath + " HTTP/1.1\r\nHost: hub.example.com\r\n" + strings.Join(append(lines, ""), "\r\n") + "\r\n"
}

var acceptStream = "Accept: text/html, " + EventStream + ";q=0.9"

// streaming lets everybody in, and answers each Post with its body.
type streaming struct {
	echoing
	late     chan *Handshake
	overhead chan int
}

func (s *streaming) Handshake(h *Handshake) {
	switch {
	case s.late != nil:
		s.late <- h
	case h.Kind == Post:
		h.Answer(200, bytes.Clone(h.Body()))
	default:
		s.letIn(h)
	}
}

func (s *streaming) letIn(h *Handshake) {
	h.Accept("", &streamPeer{echoingPeer{echoing: &s.echoing, conn: h.Conn()}, s}, []byte("first\n"))
}

type streamPeer struct {
	echoingPeer
	*streaming
}

func (p *streamPeer) Message(op Opcode, payload []byte) { p.echoingPeer.Message(op, payload) }
func (p *streamPeer) Closed(cause *Cause)               { p.echoingPeer.Closed(cause) }
func (p *streamPeer) Farewell(cause *Cause) []byte      { return []byte("bye " + cause.Name + "\n") }
func (p *streamPeer) Ping() []byte                      { return []byte(":\n") }

func (p *streamPeer) Overhead(n int) {
	if p.streaming.overhead != nil {
		p.streaming.overhead <- n
	}
}

func streamer(t testing.TB, cfg Config, h *streaming) *Server {
	cfg.Paths, cfg.HTTPPaths = []string{streamPath, "/other"}, []string{streamPath}
	return running(t, cfg, h)
}

// openStream opens a stream and reads its head.
func openStream(t testing.TB, s *Server) *net.TCPConn {
	t.Helper()
	c := connect(t, s)
	send(c, []byte(plainHTTP("GET", acceptStream)), whole)
	expect(t, c, append(appendStreamHead(nil, EventStream, ""), "first\n"...))
	return c
}

// streams are the open streams' connections.
func streams(s *Server) (list []*Conn) {
	for _, l := range s.loops {
		done := make(chan struct{})
		l.Post(func() { l.Each(func(c *Conn) { list = append(list, c) }); close(done) })
		<-done
	}
	return list
}

// onConn runs f with the only open stream.
func onConn(t testing.TB, s *Server, f func(*Conn)) {
	t.Helper()
	list := streams(s)
	if len(list) != 1 {
		t.Fatalf("%d streams are open, want 1", len(list))
	}
	done := make(chan struct{})
	list[0].loop.Post(func() { f(list[0]); close(done) })
	<-done
}

// roundTrip sends a request in pieces, and reads the answer up to the end of the connection.
func roundTrip(t testing.TB, s *Server, request string, next func() int) (r *http.Response, body string) {
	t.Helper()
	c := connect(t, s)
	send(c, []byte(request), next)
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("%.100q: %v", request, err)
	}
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatalf("%.100q: %v", request, err)
	}
	return r, string(b)
}

func TestAStreamIsWrittenBehindOneHead(t *testing.T) {
	s := streamer(t, Config{}, &streaming{})
	for _, next := range []func() int{whole, func() int { return 1 }} {
		c := connect(t, s)
		send(c, []byte(plainHTTP("GET", acceptStream, "Origin: http://hub.example.com")), next)
		expect(t, c, append(appendStreamHead(nil, EventStream, "http://hub.example.com"), "first\n"...))
		onConn(t, s, func(c *Conn) {
			c.Write([]byte("one\n"))
			c.Write([]byte("two\n"))
			c.Close(Shutdown)
		})
		expect(t, c, []byte("one\ntwo\nbye shutdown\n"))
		expectEnd(t, c) // and no RST
		_ = c.Close()
		until(t, "it is gone", func() bool { return s.Stats().Sockets == 0 })
	}
}

func TestAStreamThatIsAcceptedLaterIsTheSame(t *testing.T) {
	h := &streaming{late: make(chan *Handshake, 1)}
	s := streamer(t, Config{}, h)
	c := connect(t, s)
	send(c, []byte(plainHTTP("GET", acceptStream)+"GET / HTTP/1.1\r\n\r\n"), whole)
	late := <-h.late
	send(c, bytes.Repeat([]byte("x"), 64<<10), whole) // more than a WebSocket client might send before the answer
	late.conn.loop.Post(func() { h.letIn(late) })
	expect(t, c, append(appendStreamHead(nil, EventStream, ""), "first\n"...))
	onConn(t, s, func(c *Conn) { c.Write([]byte("one\n")) })
	expect(t, c, []byte("one\n"))
	onConn(t, s, func(c *Conn) {
		if c.transit != nil || c.held() != 0 {
			t.Error("an open stream holds input")
		}
	})
}

// A stream's client has nothing to say. Its bytes cost it as control frames do, so that a flood is the Peer's to end.
func TestAStreamsClientIsChargedForWhatItSends(t *testing.T) {
	h := &streaming{overhead: make(chan int, 100)}
	s := streamer(t, Config{}, h)
	c := openStream(t, s)
	send(c, []byte("\x81\x85\x00\x00\x00\x00hello\r\n"), whole) // nor is it a frame
	send(c, bytes.Repeat([]byte("x"), lateFrame*quietChatter), whole)
	if n := <-h.overhead; n < 1 || n > quietChatter+2 {
		t.Errorf("charged for %d", n)
	}
	onConn(t, s, func(c *Conn) { c.Write([]byte("still\n")) })
	expect(t, c, []byte("still\n"))
	if n := s.Stats().FramesIn; n != 0 {
		t.Errorf("%d frames came", n)
	}
}

func TestAFINEndsAStream(t *testing.T) {
	h := &streaming{echoing: echoing{gone: make(chan *Cause, 1)}}
	s := streamer(t, Config{}, h)
	c := openStream(t, s)
	_ = c.CloseWrite()
	if cause := <-h.gone; cause != PeerGone {
		t.Errorf("ended for %v", cause)
	}
}

// EventSource gives up for ever on any status but 200.
func TestAStreamThereIsNoRoomForIsAskedToComeBack(t *testing.T) {
	s := streamer(t, Config{MaxConnections: 1}, &streaming{})
	openStream(t, s)
	r, body := roundTrip(t, s, plainHTTP("GET", acceptStream, "Origin: http://localhost"), whole)
	var after int
	if _, err := fmt.Sscanf(body, "retry: %d\n: node is full, try again later\n\n", &after); err != nil || after < 5000 || after >= 15000 {
		t.Errorf("%q: %v", body, err)
	}
	if r.StatusCode != 200 || r.Header.Get("Content-Type") != EventStream || r.Header.Get("Access-Control-Allow-Origin") != "http://localhost" {
		t.Errorf("%v", r)
	}
	if n := s.Stats().Refused[503]; n != 1 {
		t.Errorf("%d refusals counted", n)
	}
	if r, body := roundTrip(t, s, plainHTTP("POST", "Content-Length: 0"), whole); r.StatusCode != 503 || r.Header.Get("Retry-After") != "5" || !strings.Contains(body, "full") {
		t.Errorf("a post: %v, %q", r, body)
	}
}

func TestAStreamWhoseAddressHasTooManyIsAskedToComeBack(t *testing.T) {
	s := streamer(t, Config{MaxPerAddress: 1}, &streaming{})
	openStream(t, s)
	r, body := roundTrip(t, s, plainHTTP("GET", acceptStream), whole)
	var after int
	if _, err := fmt.Sscanf(body, "retry: %d\n: too many connections", &after); err != nil || after < 5000 || after >= 15000 || r.StatusCode != 200 {
		t.Errorf("%v, %q: %v", r, body, err)
	}
	if n := s.Stats().Refused[429]; n != 1 {
		t.Errorf("%d refusals counted", n)
	}
	if r, _ := roundTrip(t, s, plainHTTP("POST", "Content-Length: 0"), whole); r.StatusCode != 429 {
		t.Errorf("a post: %v", r)
	}
}

// Nobody answers a stream's ping but the peer's kernel.
func TestAnIdleStreamStays(t *testing.T) {
	t.Parallel()
	s := streamer(t, Config{Heartbeat: tick}, &streaming{})
	c := openStream(t, s)
	for range 5 {
		expect(t, c, []byte(":\n"))
	}
	onConn(t, s, func(c *Conn) {
		if c.Vitals().AwaitsPong {
			t.Error("it awaits a pong")
		}
	})
}

func TestAStreamWhosePeerTakesNothingIsDead(t *testing.T) {
	t.Parallel()
	h := &streaming{echoing: echoing{gone: make(chan *Cause, 1)}}
	s := streamer(t, Config{Heartbeat: 3 * tick, SendBuffer: 256 << 10}, h)
	c := connect(t, s)
	_ = c.SetReadBuffer(4 << 10)
	send(c, []byte(plainHTTP("GET", acceptStream)), whole)
	healthy := make(chan struct{})
	until(t, "it is open", func() bool { return len(streams(s)) == 1 })
	onConn(t, s, func(c *Conn) {
		c.Write(bytes.Repeat([]byte("x"), 128<<10)) // the kernel takes it, the peer does not
		close(healthy)
	})
	<-healthy
	if cause := <-h.gone; cause != HeartbeatMissed && cause != SlowConsumer {
		t.Errorf("ended for %v", cause)
	}
}

func TestAPostIsAnsweredOnce(t *testing.T) {
	s := streamer(t, Config{MaxMessage: 1 << 10}, &streaming{})
	body := strings.Repeat("a", 5<<10)
	post := func(lines ...string) string {
		return plainHTTP("POST", append(lines, "Content-Length: "+strconv.Itoa(len(body)))...) + body
	}
	for name, next := range map[string]func() int{"whole": whole, "bytes": func() int { return 1 }, "pieces": func() int { return 700 }} {
		r, got := roundTrip(t, s, post("Origin: http://localhost:5"), next)
		if r.StatusCode != 200 || got != body || r.Header.Get("Access-Control-Allow-Origin") != "http://localhost:5" || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %v, %d bytes", name, r, len(got))
		}
	}
	if r, got := roundTrip(t, s, plainHTTP("POST", "Content-Length: 0")+"POST / HTTP/1.1\r\n\r\n", whole); r.StatusCode != 200 || got != "" {
		t.Errorf("without a body: %v, %q", r, got)
	}
	until(t, "nothing is held", func() bool { st := s.Stats(); return st.Partial == 0 && st.Open == 0 })
}

func TestAPostThatIsNotAnsweredIsToldWhetherItMayHaveBeenDone(t *testing.T) {
	t.Parallel()
	h := &streaming{late: make(chan *Handshake, 1)}
	s := streamer(t, Config{HandshakeTimeout: time.Second}, h)
	for _, c := range []struct {
		begun  bool
		status int
	}{{false, 503}, {true, 504}} {
		go func() {
			late := <-h.late
			late.conn.loop.Post(func() {
				if c.begun {
					late.Begin()
				}
			})
		}()
		if r, body := roundTrip(t, s, plainHTTP("POST", "Content-Length: 0"), whole); r.StatusCode != c.status || strings.Contains(body, "may or may not") != c.begun {
			t.Errorf("begun: %v: %v, %q", c.begun, r, body)
		}
	}
}

func TestAPostsBodyIsAskedFor(t *testing.T) {
	s := streamer(t, Config{}, &streaming{})
	c := connect(t, s)
	send(c, []byte(plainHTTP("POST", "Content-Length: 2", "Expect: 100-continue")), whole)
	expect(t, c, []byte("HTTP/1.1 100 Continue\r\n\r\n"))
	send(c, []byte("{}"), whole)
	expect(t, c, []byte("HTTP/1.1 200 OK\r\n"))
}

func TestAPostsBodyIsBounded(t *testing.T) {
	t.Parallel()
	s := streamer(t, Config{MaxMessage: 1 << 10, MessageTimeout: 3 * tick, HandshakeTimeout: 3 * tick, PostError: func(r *Refusal) []byte { return []byte("error " + r.Reason) }}, &streaming{})
	for name, c := range map[string]struct {
		request string
		status  int
	}{
		"too long":       {plainHTTP("POST", "Content-Length: 5121"), 413},
		"beyond all":     {plainHTTP("POST", "Content-Length: 99999999999999999999"), 400},
		"in chunks":      {plainHTTP("POST", "Transfer-Encoding: chunked") + "0\r\n\r\n", 411},
		"of no length":   {plainHTTP("POST"), 411},
		"two lengths":    {plainHTTP("POST", "Content-Length: 1", "Content-Length: 1"), 400},
		"never whole":    {plainHTTP("POST", "Content-Length: 5") + "{", 408},
		"foreign":        {plainHTTP("POST", "Content-Length: 2", "Origin: https://elsewhere.example") + "{}", 403},
		"two origins":    {plainHTTP("POST", "Content-Length: 2", "Origin: http://localhost", "Origin: http://localhost") + "{}", 400},
		"another path":   {strings.Replace(plainHTTP("POST", "Content-Length: 2"), streamPath, "/other", 1), 405},
		"no host":        {strings.Replace(plainHTTP("POST", "Content-Length: 2"), "Host:", "Guest:", 1), 400},
		"no HTTP":        {"POST " + streamPath + " FTP/1.1\r\n\r\n", 400},
		"old HTTP":       {strings.Replace(plainHTTP("POST", "Content-Length: 2"), "HTTP/1.1", "HTTP/1.0", 1), 400},
		"a bad line":     {plainHTTP("POST", "Content-Length : 2"), 400},
		"a long head":    {plainHTTP("POST", "Content-Length: 2", "Cookie: "+strings.Repeat("x", 17<<10)), 431},
		"a slow head":    {"POST " + streamPath, 408},
		"an upgrade":     {plainHTTP("POST", "Content-Length: 0", "Upgrade: websocket", "Connection: upgrade"), 405},
		"another method": {plainHTTP("PUT", "Content-Length: 2") + "{}", 405},
		"a GET's":        {plainHTTP("GET", acceptStream, "Content-Length: 2") + "{}", 413},
	} {
		r, body := roundTrip(t, s, c.request, whole)
		if r.StatusCode != c.status {
			t.Errorf("%s: %v %q, want %d", name, r.Status, body, c.status)
		}
		// All that is told to a POST has one form.
		json, post := r.Header.Get("Content-Type") == "application/json", strings.HasPrefix(c.request, "POST ")
		if json != strings.HasPrefix(body, "error ") || json != post {
			t.Errorf("%s: %v %q", name, r.Header, body)
		}
		if allow := r.Header.Get("Allow"); c.status == 405 && (allow == "GET, POST, OPTIONS") != (name != "another path") {
			t.Errorf("%s: allowed are %s", name, allow)
		}
		if r.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: a page may read it", name)
		}
	}
}

func TestAcceptSaysWhetherAStreamIsWanted(t *testing.T) {
	for accept, want := range map[string]bool{
		"text/event-stream": true, "TEXT/Event-Stream ; q=0.1": true, "text/html, text/event-stream;q=1.0": true,
		"text/event-stream;charset=utf-8": true, "text/event-stream;q=0.001": true, "text/event-stream;q=": true,
		"text/event-stream;q=0": false, "text/event-stream; Q = 0.000": false, "text/event-stream;a=1;q=0.": false,
		"*/*": false, "text/*": false, "text/event-streams": false, "": false,
	} {
		if got := acceptsStream([]string{accept}); got != want {
			t.Errorf("%q: %v", accept, got)
		}
	}
}

func TestALengthThatCantBeReadIsNamed(t *testing.T) {
	s := streamer(t, Config{}, &streaming{})
	for _, line := range []string{"Content-Length: 99999999999999999999", "Transfer-Encoding: gzip", "Transfer-Encoding: identity"} {
		if r, body := roundTrip(t, s, plainHTTP("POST", line), whole); r.StatusCode != 400 || body != refuseLength.Reason+"\n" {
			t.Errorf("%s: %v %q", line, r.Status, body)
		}
	}
	if r, body := roundTrip(t, s, plainHTTP("POST", "Content-Length: 0000000000000000000000002")+"{}", whole); r.StatusCode != 200 || body != "{}" {
		t.Errorf("zeros before a length: %v %q", r.Status, body)
	}
}

func TestHalfReceivedBodiesCountAgainstTheNodesMemory(t *testing.T) {
	s := streamer(t, Config{MaxPartial: 128 << 10}, &streaming{})
	for range 16 {
		c := connect(t, s)
		send(c, []byte(plainHTTP("POST", "Content-Length: 60000")+strings.Repeat("x", 40_000)), whole)
	}
	until(t, "the largest are cut", func() bool {
		st := s.Stats()
		return st.Closed["partial_limit"] > 0 && st.Partial <= 128<<10
	})
	openStream(t, s) // others come in
}

// A request waits as long as its body: it counts, too.
func TestHeadsOfHalfReceivedBodiesCountAgainstTheNodesMemory(t *testing.T) {
	s := streamer(t, Config{MaxPartial: 128 << 10}, &streaming{})
	for range 16 {
		c := connect(t, s)
		send(c, []byte(plainHTTP("POST", "Content-Length: 60000", "Cookie: "+strings.Repeat("x", 14<<10))), whole)
	}
	until(t, "the largest are cut", func() bool {
		st := s.Stats()
		return st.Closed["partial_limit"] > 0 && st.Partial <= 128<<10
	})
	openStream(t, s) // others come in
	if r, _ := roundTrip(t, s, plainHTTP("POST", "Content-Length: 0"), whole); r.StatusCode != 200 {
		t.Errorf("%v", r)
	}
}

func TestAPageIsToldBeforeWhatItMaySend(t *testing.T) {
	s := streamer(t, Config{}, &streaming{})
	r, body := roundTrip(t, s, plainHTTP("OPTIONS", "Origin: http://localhost", "Access-Control-Request-Method: POST"), whole)
	h := r.Header
	if r.StatusCode != 204 || body != "" || h.Get("Access-Control-Allow-Origin") != "http://localhost" || h.Get("Access-Control-Allow-Methods") != "GET, POST" ||
		!strings.Contains(h.Get("Access-Control-Allow-Headers"), "Authorization") || h.Get("Access-Control-Max-Age") != "600" || h.Get("Vary") != "Origin" {
		t.Errorf("%v", r)
	}
	if r, _ := roundTrip(t, s, plainHTTP("OPTIONS", "Origin: https://elsewhere.example"), whole); r.StatusCode != 403 || r.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("a foreign page: %v", r)
	}
	if n := s.Stats().Open; n != 0 {
		t.Errorf("%d are open", n)
	}
}

// A path or a client that says nothing of streams is as it was.
func TestPlainHTTPIsSpokenWhereItIsWanted(t *testing.T) {
	s := streamer(t, Config{}, &streaming{})
	for name, request := range map[string]string{
		"everything is accepted": plainHTTP("GET", "Accept: */*"),
		"nothing is accepted":    plainHTTP("GET"),
		"another path":           strings.Replace(plainHTTP("GET", acceptStream), streamPath, "/other", 1),
		"a coded path":           strings.Replace(plainHTTP("GET", acceptStream), streamPath, "/%6eotification", 1),
	} {
		if r, _ := roundTrip(t, s, request, whole); r.StatusCode != 426 {
			t.Errorf("%s: %v", name, r.Status)
		}
	}
	c := connect(t, s)
	send(c, []byte(strings.Replace(head(), "\r\n", "\r\n"+acceptStream+"\r\n", 1)), whole)
	readSwitch(t, c) // who asks for both gets a WebSocket
}

func TestAPathOfPlainHTTPAloneHasNoWebSocket(t *testing.T) {
	s := running(t, Config{Paths: []string{"/other"}, HTTPPaths: []string{streamPath}}, &streaming{})
	r, body := roundTrip(t, s, strings.Replace(head(), "/ ", streamPath+" ", 1), whole)
	if r.StatusCode != 404 || !strings.HasSuffix(body, "there is one at /other\n") {
		t.Errorf("an upgrade: %v %q", r.Status, body)
	}
	c := connect(t, s)
	send(c, []byte(plainHTTP("GET", "Accept: */*")), whole)
	expect(t, c, append(appendStreamHead(nil, EventStream, ""), "first\n"...))
}

func TestAPathBeginsWithASlash(t *testing.T) {
	for _, cfg := range []Config{{Paths: []string{"elsewhere"}}, {HTTPPaths: []string{"elsewhere"}}} {
		if _, err := New(cfg, &echoing{}); err == nil || !strings.Contains(err.Error(), "elsewhere") {
			t.Errorf("got %v", err)
		}
	}
}

// postedStreams opens a stream for each Post, which begins with the body.
type postedStreams struct{ streaming }

func (s *postedStreams) Handshake(h *Handshake) {
	if string(h.Body()) == "nothing" {
		h.Answer(204, nil)
		return
	}
	h.Accept("", &streamPeer{echoingPeer{echoing: &s.echoing, conn: h.Conn()}, &s.streaming}, bytes.Clone(h.Body()))
}

func TestAPostIsAnsweredByAStream(t *testing.T) {
	s := running(t, Config{HTTPPaths: []string{streamPath}}, &postedStreams{})
	for _, next := range []func() int{whole, func() int { return 1 }} {
		c := connect(t, s)
		send(c, []byte(plainHTTP("POST", "Content-Length: 6", "Origin: http://hub.example.com")+"first\nGET / HTTP/1.1\r\n"), next)
		expect(t, c, append(appendStreamHead(nil, JSONStream, "http://hub.example.com"), "first\n"...))
		onConn(t, s, func(c *Conn) {
			c.Write([]byte("one\n"))
			c.heartbeat()
			c.Close(Shutdown)
		})
		expect(t, c, []byte("one\n:\nbye shutdown\n"))
		expectEnd(t, c)
		_ = c.Close()
		until(t, "it is gone", func() bool { return s.Stats().Sockets == 0 })
	}
}

// The body of the Post is what opens the stream, and no input that nobody wants.
func TestAStreamsClientIsNotChargedForThePost(t *testing.T) {
	h := &postedStreams{streaming{overhead: make(chan int, 100)}}
	s := running(t, Config{HTTPPaths: []string{streamPath}}, h)
	c := connect(t, s)
	body := strings.Repeat("x", 60<<10)
	send(c, []byte(plainHTTP("POST", "Content-Length: "+strconv.Itoa(len(body)))+body), whole)
	expect(t, c, append(appendStreamHead(nil, JSONStream, ""), body...))
	onConn(t, s, func(c *Conn) {
		if c.loop.rests[c] != nil || c.held() != 0 {
			t.Errorf("%d bytes of the body are held", c.held())
		}
	})
	onConn(t, s, func(c *Conn) { c.Write([]byte("one\n")) })
	expect(t, c, []byte("one\n"))
	if len(h.overhead) > 0 {
		t.Errorf("charged for %d", <-h.overhead)
	}
}

func TestAnAnswerWithoutContentHasNoLength(t *testing.T) {
	s := running(t, Config{HTTPPaths: []string{streamPath}}, &postedStreams{})
	r, body := roundTrip(t, s, plainHTTP("POST", "Content-Length: 7", "Origin: http://hub.example.com")+"nothing", whole)
	if r.StatusCode != 204 || body != "" || r.Header.Get("Content-Length")+r.Header.Get("Content-Type") != "" || r.Header.Get("Access-Control-Allow-Origin") == "" {
		t.Errorf("%v %q", r, body)
	}
}

// A message from elsewhere is one of the connection's: a panic of its Peer ends the connection, and no other.
func TestAMessageIsDelivered(t *testing.T) {
	s := streamer(t, Config{}, &streaming{})
	c := openStream(t, s)
	onConn(t, s, func(c *Conn) {
		if !c.Deliver(OpText, []byte("hello")) {
			t.Error("it is not open")
		}
		c.Close(Shutdown)
		if c.Deliver(OpText, []byte("late")) {
			t.Error("it is open still")
		}
	})
	expect(t, c, append(AppendFrame(nil, OpText, []byte("hello")), "bye shutdown\n"...))
	d := openStream(t, s)
	onConn(t, s, func(c *Conn) {
		c.peer = panicking{c.peer}
		c.Deliver(OpText, []byte("hello"))
	})
	expect(t, d, []byte("bye panic\n"))
	if n := s.Stats().Panics; n != 1 {
		t.Errorf("%d panics", n)
	}
}

// panicking is a Peer that can't bear messages.
type panicking struct{ Peer }

func (panicking) Message(Opcode, []byte)         { panic("a message") }
func (p panicking) Farewell(cause *Cause) []byte { return p.Peer.(Farewell).Farewell(cause) }

// Whatever comes, a plain HTTP request is one of few forms, at its path, from an origin that may.
func FuzzPlainHTTP(f *testing.F) {
	for _, seed := range []string{
		plainHTTP("GET", acceptStream), plainHTTP("GET", acceptStream, "Origin: http://localhost", "Last-Event-ID: x"), plainHTTP("POST", "Content-Length: 5"),
		plainHTTP("POST", "Transfer-Encoding: chunked"), plainHTTP("OPTIONS", "Origin: http://localhost"), head(), plainHTTP("POST", "Content-Length: 18446744073709551616"),
		callHTTP("GET", "/x/apps/1/channels?a=b", ""), callHTTP("POST", "/apps/1/events", "x"),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		n := headEnd(b)
		if n < 0 {
			return
		}
		p := headParser{http: []string{streamPath}, calls: CallConfig{Folder: "/apps/", MaxBody: 100}}
		r, refusal := p.parse(b[:n], []string{streamPath, "/other"}, nil)
		if refusal != nil || r.Kind == WebSocket {
			return
		}
		if call := strings.Contains(r.URL.EscapedPath(), "/apps/"); r.Kind == Call && !call || r.Kind != Call && (r.URL.Path != streamPath || r.URL.RawPath != "") {
			t.Errorf("%q of kind %d at %q", b, r.Kind, r.URL.Path)
		}
		if origin := r.Header.Get("Origin"); origin != "" && !(*Origins)(nil).allow(origin, r.Host) {
			t.Errorf("%q from %q", b, origin)
		}
		if method := map[Kind]string{Stream: "GET", Post: "POST", preflight: "OPTIONS"}[r.Kind]; r.Method != method && (r.Kind != Call || r.Method != "GET" && r.Method != "POST") {
			t.Errorf("%q is of kind %d", b, r.Kind)
		}
		if r.Kind.answered() && r.sizeUp(100) == nil && (r.ContentLength < 0 || r.ContentLength > 100) {
			t.Errorf("%q has %d bytes", b, r.ContentLength)
		}
		if bytes.Count(appendStreamHead(nil, EventStream, r.Header.Get("Origin")), []byte("\n")) > 10 {
			t.Errorf("%q adds lines to the answer", b)
		}
	})
}

// A dead peer of a stream is found by its kernel's silence, never by a late loop.
func TestAStreamIsNotDeadForAnEventThatHasJustLeft(t *testing.T) {
	s := streamer(t, Config{Heartbeat: time.Hour}, &streaming{})
	c := openStream(t, s)
	onConn(t, s, func(c *Conn) {
		c.pinged = true
		c.Write([]byte("just now\n"))
		if c.heartbeat(); c.state != open {
			t.Error("it is cut")
		}
	})
	expect(t, c, []byte("just now\n:\n"))
}
