package bench

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
)

// pipeliner publishes with an HTTP request for each event, as Nchan wants it. Requests are pipelined
// (RFC 9112, 9.3.2), so that many leave in one write. Those of one topic share a connection, and so stay in order.
type pipeliner struct {
	url   *url.URL
	lanes [8]lane // more would only split the batches further: a server reads them on its cores at once
}

// lane is one connection and its share of a batch.
type lane struct {
	conn net.Conn // nil before the first event and after an error
	in   *bufio.Reader
	out  []byte
	part []*outgoing
}

const (
	// laneDepth is how many requests are on their way in one connection. Their answers fit its socket buffers: a
	// server that could not write them would read no more requests.
	laneDepth = 64
	laneLimit = 30 * time.Second // a server under load is measured, not given up
)

func newPipeliner(p *Publishing) (*pipeliner, error) {
	u, err := url.Parse(p.Control)
	if err != nil {
		return nil, usagef("--control=%q: want http://host:port/path", guarded(p.Control))
	}
	return &pipeliner{url: u}, nil
}

// request appends that of one event: the topic in the query and the event as body, for a publisher endpoint of Nchan whose
// channel is $arg_topic. nginx does not decode that, so a colon has to stay one.
func (p *pipeliner) request(dst []byte, o *outgoing) []byte {
	return fmt.Appendf(dst, "POST %s?topic=%s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		p.url.Path, url.PathEscape(o.name), p.url.Host, len(o.data), o.data)
}

func (p *pipeliner) publish(ctx context.Context, batch []outgoing) error {
	for i := range p.lanes {
		p.lanes[i].part = p.lanes[i].part[:0]
	}
	for i := range batch {
		if o := &batch[i]; !o.done {
			l := &p.lanes[o.topic%len(p.lanes)]
			l.part = append(l.part, o)
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	for i := range p.lanes {
		if l := &p.lanes[i]; len(l.part) > 0 {
			group.Go(func() error { return l.send(ctx, p) })
		}
	}
	return group.Wait()
}

// send publishes the lane's part, and leaves no half-used connection behind.
func (l *lane) send(ctx context.Context, p *pipeliner) (err error) {
	if l.conn == nil {
		dialer := net.Dialer{Timeout: laneLimit}
		if l.conn, err = dialer.DialContext(ctx, "tcp", address(p.url)); err != nil {
			l.conn = nil // not a nil pointer in an interface
			return err
		}
		l.in = bufio.NewReader(l.conn)
	}
	defer func() {
		if err != nil {
			_ = l.conn.Close() // the error before it counts
			l.conn = nil
		}
	}()
	for part := l.part; len(part) > 0; {
		n := min(len(part), laneDepth)
		if err := l.exchange(p, part[:n]); err != nil {
			return err
		}
		part = part[n:]
	}
	return nil
}

// exchange writes requests and reads their answers.
func (l *lane) exchange(p *pipeliner, part []*outgoing) error {
	l.out = l.out[:0]
	for _, o := range part {
		l.out = p.request(l.out, o)
	}
	if err := l.conn.SetDeadline(time.Now().Add(laneLimit)); err != nil {
		return err
	}
	if _, err := l.conn.Write(l.out); err != nil {
		return err
	}
	for _, o := range part {
		if err := l.answer(p, o); err != nil {
			return err
		}
	}
	return nil
}

func (l *lane) answer(p *pipeliner, o *outgoing) error {
	resp, err := http.ReadResponse(l.in, nil)
	if err != nil {
		return fmt.Errorf("POST %s: %w", p.url.Redacted(), err)
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return answerError{resp.StatusCode, fmt.Sprintf("POST %s: %s: %.200s", p.url.Redacted(), resp.Status, text)}
	}
	o.done = true
	return nil
}

// address is what to dial for a URL.
func address(u *url.URL) string {
	if u.Port() != "" {
		return u.Host
	}
	return net.JoinHostPort(u.Hostname(), strconv.Itoa(80))
}

func (p *pipeliner) Close() error {
	for i := range p.lanes {
		if l := &p.lanes[i]; l.conn != nil {
			_ = l.conn.Close() // everything was answered
			l.conn = nil
		}
	}
	return nil
}
