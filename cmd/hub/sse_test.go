package main

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"wshub/pubsub/redistest"
	"wshub/pubsub/redistest/drills"
)

// sseReader is a client of a stream.
type sseReader struct {
	t     testing.TB
	lines *bufio.Scanner
	last  string // the last id
	retry string
}

// readStream opens a stream at url, that of a WebSocket, with a query.
func readStream(t testing.TB, url, query string, header ...string) *sseReader {
	t.Helper()
	return readStreamBy(t, http.DefaultTransport, url, query, header...)
}

func readStreamBy(t testing.TB, by http.RoundTripper, url, query string, header ...string) *sseReader {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, "GET", "http"+strings.TrimPrefix(url, "ws")+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "text/event-stream")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	res, err := by.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("the stream is answered %s, %v", res.Status, res.Header)
	}
	return &sseReader{t: t, lines: bufio.NewScanner(res.Body)}
}

// want reads the next event, whose data must begin so, and returns it.
func (s *sseReader) want(prefix string) string {
	s.t.Helper()
	for s.lines.Scan() {
		field, value, _ := strings.Cut(s.lines.Text(), ": ")
		switch field {
		case "id":
			s.last = value
		case "retry":
			s.retry = value
		case "data":
			if !strings.HasPrefix(value, prefix) {
				s.t.Fatalf("got %s, want %s…", value, prefix)
			}
			return value
		}
	}
	s.t.Fatalf("the stream ended with %v", s.lines.Err())
	return ""
}

// A stream gets through each of the load balancers as it is: nothing waits in a buffer, and nothing is cut between two
// heartbeats. So does a post.
func TestStreamsGetThroughTheLoadBalancers(t *testing.T) {
	drills.Programs(t)
	t.Parallel()
	path := buildHub(t)
	behindEach(t, func(t *testing.T, net *hubNet) {
		// A heartbeat is longer than a balancer waits for the answer to a handshake.
		redis := redistest.Start(t)
		for i := 1; i <= 3; i++ {
			net.startHub(path, i, "--redis-url="+redis.URL(), "--history=news*=100,10m", "--heartbeat=20s")
		}
		net.balance(nil)
		net.awaitHubs(1, 2, 3)

		s := readStream(t, net.url, "?topic=news")
		s.want(`{"type":"subscribed"`)
		quiet := time.NewTimer(22 * time.Second)
		for n := range 100 {
			if n == 99 {
				<-quiet.C // a heartbeat has to keep the stream
			}
			post := fmt.Sprintf(`{"topic":"news","data":{"n":%d}}`, n)
			if status, answer, _ := ask(t, "POST", "http"+strings.TrimPrefix(net.url, "ws"), post, asJSON...); status != 200 || !strings.Contains(answer, "position") {
				t.Fatalf("a post is answered %d %s", status, answer)
			}
			s.want(fmt.Sprintf(`{"n":%d}`, n)) // each before the next is sent
		}
		large := `"` + strings.Repeat("x", 60<<10) + `"`
		if status, answer, _ := ask(t, "POST", "http"+strings.TrimPrefix(net.url, "ws"), `{"topic":"big","data":`+large+`}`, asJSON...); status != 200 {
			t.Errorf("a large post is answered %d %s", status, answer)
		}
		back := readStream(t, net.url, "?topic=news", "Last-Event-ID", s.last)
		back.want(`{"type":"subscribed","topic":"news","position":"` + s.last + `","recovered":true}`)
	})
}

func TestAnOpenLocalHubServesStreamsToLocalPagesOnly(t *testing.T) {
	h := startInside(t, "--control=off")
	s := readStream(t, h.public, "?topic=news", "Origin", "http://localhost:5")
	s.want(`{"type":"subscribed"`)
	for _, method := range []string{"GET", "POST"} {
		r, err := http.NewRequestWithContext(t.Context(), method, "http"+strings.TrimPrefix(h.public, "ws"), strings.NewReader(""))
		if err != nil {
			t.Fatal(err)
		}
		r.Host, r.Header = "rebound.example", http.Header{"Accept": {"text/event-stream"}, "Content-Type": {"application/json"}, "Origin": {"http://rebound.example"}}
		res, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %s", method, res.Status)
		}
	}
}
