package engine

import (
	"bytes"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// calling answers each Call with its method, path and body.
type calling struct {
	echoing
	late chan *Handshake
}

func (c *calling) Handshake(h *Handshake) {
	switch {
	case c.late != nil:
		c.late <- h
	case h.Kind == Call:
		h.Answer(200, []byte(h.Method+" "+h.URL.EscapedPath()+" "+string(h.Body())))
	default:
		c.echoing.Handshake(h)
	}
}

func caller(t testing.TB, cfg Config, h *calling) *Server {
	cfg.Calls.Folder = "/apps/"
	return running(t, cfg, h)
}

// callHTTP is a request, target and all.
func callHTTP(method, target, body string, more ...string) string {
	lines := append([]string{method + " " + target + " HTTP/1.1", "Host: hub.example.com"}, more...)
	if method == http.MethodPost && len(more) == 0 {
		lines = append(lines, "Content-Length: "+strconv.Itoa(len(body)))
	}
	return strings.Join(lines, "\r\n") + "\r\n\r\n" + body
}

func TestACallIsAnsweredWhereverItsFolderStands(t *testing.T) {
	s := caller(t, Config{}, &calling{})
	for _, next := range []func() int{whole, func() int { return 1 }} {
		for request, want := range map[string]string{
			callHTTP("GET", "/apps/1/channels?info=x", ""):                        "GET /apps/1/channels ",
			callHTTP("POST", "/apps/1/events", `{"a":1}`):                         `POST /apps/1/events {"a":1}`,
			callHTTP("POST", "/behind/a/proxy/apps/1/events", "x"):                "POST /behind/a/proxy/apps/1/events x",
			callHTTP("POST", "/apps/1/users/a%2Fb/terminate_connections", ""):     "POST /apps/1/users/a%2Fb/terminate_connections ",
			callHTTP("POST", "/apps/1/events", "x", "Content-Length: 1", "A: b"):  "POST /apps/1/events x",
			callHTTP("GET", "/apps/1/channels", "", "Content-Length: 0", "A: b:"): "GET /apps/1/channels ",
		} {
			r, body := roundTrip(t, s, request, next)
			if r.StatusCode != 200 || body != want || !r.Close || r.Header.Get("Content-Type") != "application/json" {
				t.Errorf("%q: %d %q, want %q", request, r.StatusCode, body, want)
			}
		}
	}
}

func TestACallThatIsNoneIsRefused(t *testing.T) {
	s := caller(t, Config{Calls: CallConfig{MaxBody: 10}, PostError: func(r *Refusal) []byte { return []byte("told: " + r.Reason) }}, &calling{})
	for request, want := range map[string]int{
		callHTTP("POST", "/apps/1/events", strings.Repeat("x", 11)):                                         413,
		callHTTP("POST", "/apps/1/events", "", "Transfer-Encoding: chunked"):                                411,
		callHTTP("POST", "/apps/1/events", "", "X: y"):                                                      411,
		callHTTP("GET", "/apps/1/channels", "x", "Content-Length: 1"):                                       413,
		callHTTP("PUT", "/apps/1/events", ""):                                                               405,
		callHTTP("OPTIONS", "/apps/1/events", ""):                                                           405,
		callHTTP("POST", "/app/1/events", "x"):                                                              405,
		callHTTP("GET", "/appsx/1", ""):                                                                     426,
		callHTTP("GET", "/apps/1/channels", "", "Origin: http://elsewhere.example.org"):                     403,
		callHTTP("GET", "/apps/1/channels", "", "Upgrade: websocket", "Connection: Upgrade"):                404,
		"POST /apps/1/events HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx":        400,
		"POST /apps/1/events HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999\r\n\r\nx":          400,
		"POST /apps/1/events HTTP/1.1\r\nContent-Length: 1\r\n\r\nx":                                        400,
		"POST http://elsewhere.example.org/apps/1/events HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx": 400,
	} {
		if r, body := roundTrip(t, s, request, whole); r.StatusCode != want {
			t.Errorf("%q: %d %q, want %d", request, r.StatusCode, body, want)
		}
	}
	if _, body := roundTrip(t, s, callHTTP("POST", "/apps/1/events", "", "X: y"), whole); !strings.HasPrefix(body, "told: ") {
		t.Errorf("a refusal has not the form of the API: %q", body)
	}
	for _, cfg := range []CallConfig{{Folder: "apps/"}, {Folder: "/apps"}, {Folder: "/"}, {Folder: "//"}, {MaxBody: -1}, {MaxBody: 17 << 20}} {
		if _, err := New(Config{Calls: cfg}, &echoing{}); err == nil || !strings.Contains(err.Error(), "calls: ") {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
}

// A call that is refused by its head is so before its body has come, and none of it is kept.
func TestTheHeadOfACallIsJudgedBeforeItsBody(t *testing.T) {
	t.Parallel()
	judge := func(c *Conn, r *Request) *Refusal {
		if !c.RemoteAddr().Addr().IsLoopback() || r.Header.Get("Key") != "right" {
			return &Refusal{Status: 401, Reason: "no"}
		}
		return nil
	}
	refused := make(chan int, 10)
	s := caller(t, Config{Calls: CallConfig{MaxBody: 1 << 20, Judge: judge}, OnRefused: func(_ *Conn, r *Refusal) { refused <- r.Status }}, &calling{})
	request := callHTTP("POST", "/apps/1/events", "half", "Content-Length: 1000000", "Key: wrong")
	if r, _ := roundTrip(t, s, request, whole); r.StatusCode != 401 || <-refused != 401 {
		t.Errorf("refused with %d", r.StatusCode)
	}
	body := strings.Repeat("y", 1<<20)
	if r, got := roundTrip(t, s, callHTTP("POST", "/apps/1/events", body, "Content-Length: "+strconv.Itoa(len(body)), "Key: right"), whole); r.StatusCode != 200 || !strings.HasSuffix(got, body) {
		t.Errorf("%d, %d bytes", r.StatusCode, len(got))
	}
	if held := s.Stats().Partial; held != 0 {
		t.Errorf("%d bytes are held", held)
	}
}

func TestACallThatIsNotAnsweredInTimeSaysWhetherItMayHaveBeenDone(t *testing.T) {
	h := &calling{late: make(chan *Handshake, 2)}
	s := caller(t, Config{HandshakeTimeout: 100 * time.Millisecond}, h)
	for _, test := range []struct {
		begins bool
		want   int
	}{{false, 503}, {true, 504}} {
		c := connect(t, s)
		send(c, []byte(callHTTP("POST", "/apps/1/events", "x")), whole)
		call := <-h.late
		done := make(chan struct{})
		call.Conn().Loop().Post(func() {
			if test.begins {
				call.Begin()
			}
			if string(call.Body()) != "x" || call.Accept("", nil, nil) {
				t.Error("the call has no body, or is let in")
			}
			close(done)
		})
		<-done
		text, _ := io.ReadAll(c)
		if !bytes.HasPrefix(text, []byte("HTTP/1.1 "+strconv.Itoa(test.want))) {
			t.Errorf("got %q", text)
		}
		call.Conn().Loop().Post(func() { call.Answer(200, nil) }) // too late: nothing happens
	}
}
