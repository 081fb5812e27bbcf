package centrifugo_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	pb "github.com/centrifugal/protocol"

	"wshub/session/centrifugo"
	"wshub/session/sessiontest"
)

// streamed is a client's stream, and where its requests go.
type streamed struct {
	emulation     string
	session, node string
	sse           bool
	body          io.Closer
	in            *bufio.Reader
}

// opens are the ways to open a stream.
var opens = map[string]func(base string, connect []byte) (*http.Request, error){
	"sse": func(base string, connect []byte) (*http.Request, error) {
		r, err := http.NewRequest("GET", base+centrifugo.SSEPath+"?cf_connect="+url.QueryEscape(string(connect)), nil)
		if err == nil {
			r.Header.Set("Accept", "text/event-stream")
		}
		return r, err
	},
	"http_stream": func(base string, connect []byte) (*http.Request, error) {
		r, err := http.NewRequest("POST", base+centrifugo.HTTPStreamPath, bytes.NewReader(connect))
		if err == nil {
			r.Header.Set("Content-Type", "application/json")
		}
		return r, err
	},
}

// streams runs a test for each way.
func streams(t *testing.T, f func(t *testing.T, way string)) {
	for way := range opens {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			f(t, way)
		})
	}
}

func (n *node) base() string { return "http://" + n.server.Addr().String() }

// turn returns when the loops have done what waited for them.
func (n *node) turn() {
	for _, l := range n.server.Loops() {
		done := make(chan struct{})
		l.Post(func() { close(done) })
		<-done
	}
}

// open opens a stream by commands in one frame. Their answers are the first on it.
func (n *node) open(way string, commands ...*pb.Command) *client {
	n.t.Helper()
	c := &client{t: n.t, stream: &streamed{emulation: n.base() + centrifugo.EmulationPath, sse: way == "sse"}}
	frame, _ := c.encode(commands...)
	res := n.tryOpen(way, frame)
	wantType := map[string]string{"sse": "text/event-stream", "http_stream": "application/json"}[way]
	if h := res.Header; res.StatusCode != 200 || h.Get("Content-Type") != wantType || h.Get("X-Accel-Buffering") != "no" || !strings.Contains(h.Get("Cache-Control"), "no-transform") {
		n.t.Fatalf("opened by %s %v", res.Status, h)
	}
	c.stream.in = bufio.NewReader(res.Body)
	c.stream.body = res.Body
	return c
}

// tryOpen asks for a stream.
func (n *node) tryOpen(way string, frame []byte) *http.Response {
	n.t.Helper()
	r, err := opens[way](n.base(), frame)
	if err != nil {
		n.t.Fatal(err)
	}
	res, err := web.Do(r)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = res.Body.Close() })
	return res
}

// web keeps no connections.
var web = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: sessiontest.Patience}

// connectStream opens a stream, and connects.
func (n *node) connectStream(way, token string) (*client, *pb.ConnectResult) {
	n.t.Helper()
	c := n.open(way, &pb.Command{Connect: &pb.ConnectRequest{Token: token}})
	r := c.hear()
	if r.Connect == nil {
		n.t.Fatalf("no connect result but %+v", r)
	}
	c.stream.session, c.stream.node = r.Connect.Session, r.Connect.Node
	return c, r.Connect
}

// send sends commands by a request of their own.
func (s *streamed) send(frame []byte) error {
	status, answer, err := s.post(s.request(string(frame)))
	if err == nil && (status != 204 || answer != "") {
		err = fmt.Errorf("answered by %d %s", status, answer)
	}
	return err
}

// request is the body of a request, as centrifuge-js has it.
func (s *streamed) request(commands string) string {
	body, _ := json.Marshal(map[string]string{"session": s.session, "node": s.node, "data": commands}) // strings can be marshalled
	return string(body)
}

func (s *streamed) post(body string) (status int, answer string, err error) {
	res, err := web.Post(s.emulation, "application/json", strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return res.StatusCode, string(b), err
}

// wantStatus sends a request, which must be answered by this status.
func (c *client) wantStatus(want int, body string) {
	c.t.Helper()
	if status, answer, err := c.stream.post(body); status != want || err != nil {
		c.t.Errorf("%.200q is answered by %d %s, %v; want %d", body, status, answer, err, want)
	}
}

// read reads the next reply: a line, or the one line of an event.
func (s *streamed) read() (*pb.Reply, error) {
	line, err := s.in.ReadString('\n')
	if err != nil {
		return nil, err
	}
	text := strings.TrimSuffix(line, "\n")
	if s.sse {
		var ok bool
		if text, ok = strings.CutPrefix(text, "data: "); !ok || strings.Contains(text, "\r") {
			return nil, fmt.Errorf("no event's data: %q", line)
		}
		if end, err := s.in.ReadString('\n'); err != nil || end != "\n" {
			return nil, fmt.Errorf("an event goes on: %q, %v", end, err)
		}
	}
	if !json.Valid([]byte(text)) {
		return nil, fmt.Errorf("not JSON: %q", text)
	}
	r, err := pb.NewJSONReplyDecoder([]byte(text)).Decode()
	if err == io.EOF && r != nil {
		err = nil
	}
	return r, err
}

// wantFarewell reads until the last reply, a push with this code, and the stream's end.
func (c *client) wantFarewell(code uint32) {
	c.t.Helper()
	var last *pb.Reply
	for {
		r, err := c.read()
		if err == nil {
			last = r
			continue
		}
		if err != io.EOF || last == nil || last.Push == nil || last.Push.Disconnect == nil || last.Push.Disconnect.Code != code || last.Push.Disconnect.Reason == "" {
			c.t.Errorf("ended by %v behind %+v, want %d", err, last, code)
		}
		return
	}
}
