package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"wshub/bench/fleet"
)

// outgoing is one event on its way to the server.
type outgoing struct {
	topic int
	name  string
	data  []byte
	key   string // makes it safe to send again; empty where it is sent once only
	done  bool   // accepted
}

// publisher hands batches of events to the server.
type publisher interface {
	// publish returns when the whole batch is accepted, those of one topic in order. After an error it
	// may be called again with the same batch: what is done is left out. The data is not kept.
	publish(ctx context.Context, batch []outgoing) error
	io.Closer
}

// open returns the publisher that the settings ask for, having seen that it can be reached.
func (p *Publishing) open(ctx context.Context, topology fleet.Topology) (publisher, error) {
	if p.Publish == "http" {
		return newPoster(p), nil
	}
	return dialRedis(ctx, p.Redis, topology)
}

// redisPublisher publishes with raw PUBLISHes, a pipeline for each batch.
type redisPublisher struct {
	client   *redis.Client
	topology fleet.Topology
	heard    bool // some event had a subscriber
	sent     int
}

// errUnheard tells of a server that listens to another Redis, or to none.
var errUnheard = errors.New("no server subscribes to what is published: does it use the same Redis (--redis)?")

func dialRedis(ctx context.Context, address string, topology fleet.Topology) (*redisPublisher, error) {
	opts, err := redis.ParseURL(address)
	if err != nil {
		return nil, usagef("--redis: %w", err)
	}
	opts.MaxRetries = -1 // a repeated PUBLISH would be a repeated event
	opts.Protocol = 2
	opts.DisableIdentity = true
	opts.PoolSize = 1
	opts.ReadTimeout = 30 * time.Second // a server under load is measured, not given up
	client := redis.NewClient(opts)
	if err := client.Ping(ctx).Err(); err != nil {
		_ = client.Close() // nothing was sent
		return nil, fmt.Errorf("redis at %s: %w", opts.Addr, err)
	}
	return &redisPublisher{client: client, topology: topology}, nil
}

func (r *redisPublisher) publish(ctx context.Context, batch []outgoing) error {
	pipe := r.client.Pipeline()
	for _, o := range batch {
		channel, message := r.address(o)
		pipe.Publish(ctx, channel, message)
	}
	replies, err := pipe.Exec(ctx)
	if err != nil {
		return fmt.Errorf("redis PUBLISH: %w", err)
	}
	if r.heard {
		return nil
	}
	for _, reply := range replies {
		if n, ok := reply.(*redis.IntCmd); ok && n.Val() > 0 {
			r.heard = true
		}
	}
	if r.sent += len(batch); !r.heard && r.sent >= 100 {
		return errUnheard
	}
	return nil
}

// address says how an event reaches its topic: the broadcast topic and named topics have a Redis channel
// each, users are addressed on a channel for all.
func (r *redisPublisher) address(o outgoing) (channel string, message []byte) {
	switch {
	case r.topology.Default:
		return r.topology.Topic, o.data
	case r.topology.Topic == "":
		user := strings.TrimPrefix(o.name, "user:")
		return "hub:to", fmt.Appendf(nil, `{"to":{"user":%q},"data":%s}`, user, o.data)
	}
	return "hub:t:" + o.name, o.data
}

func (r *redisPublisher) Close() error { return r.client.Close() }

// poster publishes with POST /api/publish.
type poster struct {
	url    string
	key    string
	lanes  int // each posts one event after the other
	client *http.Client
}

func newPoster(p *Publishing) *poster {
	return &poster{
		url: strings.TrimSuffix(p.Control, "/") + "/api/publish", key: p.APIKey, lanes: p.Posters,
		client: &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: p.Posters}},
	}
}

func (p *poster) publish(ctx context.Context, batch []outgoing) error {
	var group errgroup.Group
	for lane := range p.lanes {
		group.Go(func() error {
			for i := range batch {
				o := &batch[i]
				if o.topic%p.lanes != lane || o.done {
					continue
				}
				if err := p.post(ctx, o); err != nil {
					return err
				}
				o.done = true
			}
			return nil
		})
	}
	return group.Wait()
}

func (p *poster) post(ctx context.Context, o *outgoing) error {
	body := fmt.Appendf(nil, `{"topic":%s,"data":%s`, strconv.Quote(o.name), o.data)
	if o.key != "" {
		body = fmt.Appendf(body, `,"key":%q`, o.key)
	}
	body = append(body, '}')
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	if p.key != "" {
		req.Header.Set("X-API-Key", p.key)
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // read to its end below
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return answerError{resp.StatusCode, fmt.Sprintf("POST %s: %s: %.200s", p.url, resp.Status, answer)}
	}
	return nil
}

func (p *poster) Close() error {
	p.client.CloseIdleConnections()
	return nil
}

// answerError is an answer other than 2xx.
type answerError struct {
	status int
	text   string
}

func (e answerError) Error() string { return e.text }

// away reports whether err means that the server is not there, or not yet: the key that goes with each
// event lets it be sent again.
func away(err error) bool {
	var answer answerError
	return !errors.As(err, &answer) || answer.status/100 == 5
}
