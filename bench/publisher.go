package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"

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
func (p *Publishing) open(ctx context.Context, c *Common, topology fleet.Topology) (publisher, error) {
	switch p.Publish {
	case "http":
		return newPoster(p), nil
	case "nchan":
		return newPipeliner(p)
	case "pusher":
		app, err := c.app()
		return newPusherPublisher(p.Control, app), err
	}
	return dialRedis(ctx, p, topology)
}

// reach sees whether the Redis is there that open will need, before many clients connect in vain.
func (p *Publishing) reach(ctx context.Context, topology fleet.Topology) error {
	if !p.byRedis() {
		return nil
	}
	r, err := dialRedis(ctx, p, topology)
	if err != nil {
		return err
	}
	return r.Close()
}

// redisPublisher publishes with raw PUBLISHes, a pipeline for each batch.
type redisPublisher struct {
	client     *redis.Client
	topology   fleet.Topology
	prefix     string
	centrifugo bool      // publish as Centrifugo's nodes do
	heard      bool      // some event had a subscriber
	began      time.Time // with the first event; zero before
	sent       int
}

// defaultPrefix is the hub's own --redis-prefix, with which the broadcast topic's channel has no prefix.
const defaultPrefix = "hub"

// unheardAfter and unheardTime bound how much is published before a missing subscriber is an error. Before that a
// subscription may be on its way.
const (
	unheardAfter = 100
	unheardTime  = 3 * time.Second
)

// errUnheard tells of a server that listens to another Redis, or to none.
var errUnheard = errors.New("nobody subscribes at this Redis to the published topics\nhint: --redis and --redis-prefix must be those of the hub, and a hub without Redis hears nothing of it (--publish=http or ws), nor a Pusher application that is not in --pusher-share (--publish=pusher)")

// The library's own log goes nowhere: its errors are returned, too. It is one for the process, and is read without a lock.
func init() { redis.SetLogger(&logging.VoidLogger{}) }

func dialRedis(ctx context.Context, p *Publishing, topology fleet.Topology) (*redisPublisher, error) {
	opts, err := redisOptions(p.Redis)
	if err != nil {
		return nil, err
	}
	opts.MaxRetries = -1 // a repeated PUBLISH would be a repeated event
	opts.Protocol = 2
	opts.DisableIdentity = true
	opts.PoolSize = 1
	opts.ReadTimeout = 30 * time.Second // a server under load is measured, not given up
	client := redis.NewClient(opts)
	if err := client.Ping(ctx).Err(); err != nil {
		_ = client.Close() // nothing was sent
		return nil, redisHint(fmt.Errorf("redis at %s: %w", opts.Addr, err))
	}
	return &redisPublisher{client: client, topology: topology, prefix: p.RedisPrefix, centrifugo: p.Publish == "centrifugo"}, nil
}

// redisOptions reads the URL of a Redis. Its errors repeat nothing of it: a URL that cannot be read may be all password.
func redisOptions(address string) (*redis.Options, error) {
	if scheme, _, _ := strings.Cut(address, "://"); strings.Contains(scheme, "+") {
		return nil, usagef("--redis: raw events are published to one server here; hubs on Sentinels or a cluster are measured with --publish=http or ws")
	}
	opts, err := redis.ParseURL(address)
	if err != nil || strings.Contains(address, "#") {
		return nil, usagef("--redis: want redis://user:password@host:port/db, with #, /, ? and @ in a password written as %%23, %%2F, %%3F and %%40")
	}
	return opts, nil
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
	if r.began.IsZero() {
		r.began = time.Now()
	}
	if r.sent += len(batch); !r.heard && (r.sent >= unheardAfter || time.Since(r.began) > unheardTime) {
		return errUnheard
	}
	return nil
}

// address says how an event reaches its topic: the broadcast topic and named topics have a Redis channel
// each, users are addressed on a channel for all, but for those who have signed in: their topics are named ones.
func (r *redisPublisher) address(o outgoing) (channel string, message []byte) {
	switch {
	case r.centrifugo:
		return "centrifugo.client." + o.name, fleet.Publication(o.data)
	case r.topology.Default && r.prefix == defaultPrefix:
		return r.topology.Topic, o.data
	case r.topology.Default:
		return r.prefix + ":" + r.topology.Topic, o.data
	case r.topology.Topic == "" && !r.topology.SignedIn:
		user := strings.TrimPrefix(o.name, "user:")
		return r.prefix + ":to", fmt.Appendf(nil, `{"to":{"user":%q},"data":%s}`, user, o.data)
	}
	return r.prefix + ":t:" + o.name, o.data
}

func (r *redisPublisher) Close() error { return r.client.Close() }

// poster publishes with POST /api/publish, one request after the other.
type poster struct {
	url    string
	key    string
	client *http.Client
}

// postEvents and postBytes bound one request; the hub takes twice as much.
const postEvents, postBytes = 500, 512 << 10

func newPoster(p *Publishing) *poster {
	return &poster{
		url: strings.TrimSuffix(p.Control, "/") + "/api/publish", key: p.APIKey,
		client: &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{}},
	}
}

func (p *poster) publish(ctx context.Context, batch []outgoing) error {
	var part []*outgoing
	size := 0
	for i := range batch {
		o := &batch[i]
		if o.done {
			continue
		}
		if len(part) == postEvents || len(part) > 0 && size+len(o.data) > postBytes {
			if err := p.post(ctx, part); err != nil {
				return publishHint(err)
			}
			part, size = part[:0], 0
		}
		part, size = append(part, o), size+len(o.data)
	}
	if len(part) == 0 {
		return nil
	}
	return publishHint(p.post(ctx, part))
}

// post sends part as one request, and marks what of it was accepted.
func (p *poster) post(ctx context.Context, part []*outgoing) error {
	body := []byte("[")
	for _, o := range part {
		if len(body) > 1 {
			body = append(body, ',')
		}
		body = fmt.Appendf(body, `{"topic":%s,"data":%s`, strconv.Quote(o.name), o.data)
		if o.key != "" {
			body = fmt.Appendf(body, `,"key":%q`, o.key)
		}
		body = append(body, '}')
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, bytes.NewReader(append(body, ']')))
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
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return err
	}
	ok := resp.StatusCode/100 == 2
	var answers []struct{ Error json.RawMessage }
	if err := json.Unmarshal(text, &answers); ok && (err != nil || len(answers) != len(part)) {
		return answerError{resp.StatusCode, fmt.Sprintf("POST %s: want %d answers: %.200s", p.url, len(part), text)}
	}
	if len(answers) == len(part) {
		for i, o := range part {
			o.done = answers[i].Error == nil
		}
	}
	if !ok {
		return answerError{resp.StatusCode, fmt.Sprintf("POST %s: %s: %.200s", p.url, resp.Status, bytes.TrimSpace(text))}
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
