package webhook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/rs/zerolog"

	"wshub/pubsub"
)

const (
	// tryTime bounds a try, from the dial to the end of the answer.
	tryTime = 10 * time.Second
	// maxAnswer bounds the bytes that are read of an answer's head, and of its body.
	maxAnswer = 64 << 10
	// Bounds of the wait before the next try, which doubles. A random part of up to the half is taken off.
	firstWait, longestWait = time.Second, time.Minute
	// maxConnections bounds the connections to one endpoint: as many as batches are under way at a time.
	maxConnections = 8
)

// hook posts to one URL.
type hook struct {
	// Fixed at birth.
	url     string
	host    string
	name    string // of its reader
	retry   time.Duration
	tryTime time.Duration
	form    Form
	onTry   func(time.Duration)
	reader  *pubsub.LifecycleReader
	to      *http.Transport // and no http.Client, which reads the Location of redirects
	log     zerolog.Logger
	dead    zerolog.Logger // sampled on its own

	stats  stats
	health health
}

func newHook(cfg *Config, to Endpoint) *hook {
	u := to.URL
	h := &hook{
		url: u.String(), host: u.Host, name: readerName(to), retry: cfg.Retry, tryTime: tryTime, form: to.Form, onTry: cfg.OnTry,
		log: cfg.Log.With().Str("webhook", u.Host).Logger(),
	}
	h.dead = h.log.Sample(&zerolog.BurstSampler{Burst: 3, Period: time.Minute})
	h.reader = &pubsub.LifecycleReader{Name: h.name, Handle: h.handle}
	h.to = &http.Transport{
		Proxy:                  nil, // none of the environment
		DialContext:            dialer(cfg.AllowPrivate, u.Scheme == "http"),
		TLSClientConfig:        cfg.TLS.Clone(),
		TLSHandshakeTimeout:    dialTime,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true,
		MaxConnsPerHost:        maxConnections,
		MaxIdleConnsPerHost:    maxConnections,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: maxAnswer,
	}
	return h
}

// handle tries to post a batch. See pubsub.LifecycleReader.
func (h *hook) handle(ctx context.Context, b *pubsub.LifecycleBatch) (again time.Duration) {
	text, events := h.form.Body(b)
	if text == nil {
		h.stats.lost.Add(b.Lost)
		return 0
	}
	began := time.Now()
	failure := h.try(ctx, b, text)
	if failure != nil && ctx.Err() != nil {
		h.stats.tries[canceled].Add(1)
		return firstWait // whoever reads on tries it
	}
	if h.onTry != nil {
		h.onTry(time.Since(began))
	}
	if failure == nil {
		h.stats.tries[delivered].Add(1)
		h.stats.delivered.Add(uint64(events))
		h.stats.lost.Add(b.Lost)
		h.health.recovered(h.log)
		return 0
	}
	h.stats.tries[failure.kind].Add(1)
	h.health.failed(h.log, failure, b)
	h.to.CloseIdleConnections() // the next try dials anew: a connection of HTTP/2 that went dead would stay
	left := h.retry - time.Since(b.Since)
	if left <= 0 {
		h.stats.dead.Add(uint64(events))
		h.stats.lost.Add(b.Lost)
		h.dead.Warn().Err(failure).Str("stream", b.Stream).Str("first", b.Entries[0].ID).Str("last", b.Entries[len(b.Entries)-1].ID).
			Int("events", events).Dur("tried", time.Since(b.Since)).
			Msg("webhook: events were given up; XRANGE on the stream from first to last still has them for a while")
		return 0
	}
	return min(max(backoff(b.Tries), failure.wait), max(left, time.Millisecond))
}

// backoff is the wait behind a try, of which 0 is the first.
func backoff(try int) time.Duration {
	wait := longestWait
	if try < 6 {
		wait = firstWait << try
	}
	return wait - rand.N(wait/2+1)
}

// try posts text, of a batch, once. A nil failure means that the endpoint has taken it.
func (h *hook) try(ctx context.Context, b *pubsub.LifecycleBatch, text []byte) *failure {
	ctx, cancel := context.WithTimeout(ctx, h.tryTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.url, bytes.NewReader(text))
	if err != nil {
		return &failure{kind: connection, err: errors.New("the URL can't be requested")}
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "wshub")
	req.Header.Set("Webhook-Id", b.ID)
	req.Header.Set("Webhook-Fence", strconv.FormatUint(b.Fence, 10))
	h.form.Sign(req.Header, text, time.Now())
	req.Header["Idempotency-Key"] = nil // not sent: the transport may try another connection where the endpoint has closed an idle one
	answer, err := h.to.RoundTrip(req)
	if err != nil {
		return failureOf(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusSwitchingProtocols { // whose body is the connection, and ctx does not end a read of that
		_, _ = io.CopyN(io.Discard, answer.Body, maxAnswer) // so that the connection can be used again; the status is all that counts
	}
	switch {
	case answer.StatusCode >= 200 && answer.StatusCode < 300:
		return nil
	case answer.StatusCode >= 300 && answer.StatusCode < 400:
		return &failure{kind: redirected, err: fmt.Errorf("the endpoint answered %d; redirects are not followed", answer.StatusCode)}
	}
	return &failure{kind: status, err: fmt.Errorf("the endpoint answered %d", answer.StatusCode), wait: retryAfter(answer)}
}

// retryAfter is how long an endpoint wants to be left alone: seconds of Retry-After (RFC 9110, 10.2.3), the longest wait at most.
func retryAfter(answer *http.Response) time.Duration {
	seconds, err := strconv.ParseUint(answer.Header.Get("Retry-After"), 10, 16)
	if err != nil || answer.StatusCode != http.StatusTooManyRequests && answer.StatusCode != http.StatusServiceUnavailable {
		return 0
	}
	return min(time.Duration(seconds)*time.Second, longestWait)
}
