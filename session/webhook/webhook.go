package webhook

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"wshub/pubsub"
)

// Source hands batches of lifecycle entries to readers: pubsub's brokers.
type Source interface {
	Deliver(ctx context.Context, reader *pubsub.LifecycleReader) error
}

// Config is how webhooks are set up. Zero fields get the default.
type Config struct {
	// URLs are the endpoints, at least one. See ParseURL. All instances must have the same.
	URLs []*url.URL
	// Secrets sign the requests, each with a signature of its own. Required.
	Secrets []Secret
	// Retry is how long a batch is tried, from its first try on. Default DefaultRetry.
	Retry time.Duration
	// Events are the types of the entries that are posted; Reset always is. Default: all.
	Events []string
	// AllowPrivate lets requests go to addresses that are none of the public Internet: loopback, private, link-local and the like.
	// Danger: where strangers choose the URLs, they then reach the services of this network.
	AllowPrivate bool
	// TLS is how to talk TLS. Default: the machine's authorities.
	TLS *tls.Config
	// OnTry, where not nil, is told how long a try took, from any goroutine.
	OnTry func(took time.Duration)
	// Log gets what an operator should know. Default: nothing.
	Log zerolog.Logger
}

const (
	// DefaultRetry outlasts a deployment of the endpoint, and most of its failures.
	DefaultRetry = time.Hour
	// MaxURLs bounds the endpoints.
	MaxURLs = 16
	// Reset is the type of the entry that begins a stream anew: whoever counts must begin anew, too.
	Reset = "reset"
)

// Events are the types that entries have.
var Events = []string{"session_opened", "session_closed", "user_online", "user_offline", "topic_occupied", "topic_vacated", Reset}

// Webhooks post entries to each URL, independently of the others.
type Webhooks struct {
	hooks   []*hook
	secrets atomic.Pointer[[]Secret]
}

// ParseURL reads an endpoint's URL. An http one, in place of https, only leads to private addresses. The error repeats nothing of it.
func ParseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Opaque != "" || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http":
		return nil, errors.New("want a URL, as in https://example.com/hook")
	case u.User != nil:
		return nil, errors.New("want a URL without user and password: the endpoint verifies the signature")
	case strings.Contains(text, "#"):
		return nil, errors.New("want a URL without a fragment")
	}
	return u, nil
}

// New makes webhooks, which Run has post. The error names the bad field of cfg, and repeats no secret.
func New(cfg Config) (*Webhooks, error) {
	if cfg.Retry == 0 {
		cfg.Retry = DefaultRetry
	}
	switch {
	case len(cfg.URLs) == 0 || len(cfg.URLs) > MaxURLs:
		return nil, fmt.Errorf("URLs: want 1 to %d", MaxURLs)
	case len(cfg.Secrets) == 0:
		return nil, errors.New("secrets: want one at least")
	}
	for _, name := range cfg.Events {
		if !slices.Contains(Events, name) {
			return nil, fmt.Errorf("events: %q is none; there are %s", name, strings.Join(Events, ", "))
		}
	}
	for i, u := range cfg.URLs {
		if err := judgeHost(u, cfg.AllowPrivate); err != nil {
			return nil, fmt.Errorf("URL %d: %w", i+1, err)
		}
	}
	w := &Webhooks{}
	w.UseSecrets(cfg.Secrets)
	names := map[string]bool{}
	for i, u := range cfg.URLs {
		h := newHook(&cfg, u, w)
		if names[h.name] {
			return nil, fmt.Errorf("URL %d: another one has the same host and path; positions are kept by these", i+1)
		}
		names[h.name] = true
		w.hooks = append(w.hooks, h)
	}
	return w, nil
}

// UseSecrets has requests signed with these from now on. There must be one at least.
func (w *Webhooks) UseSecrets(secrets []Secret) { w.secrets.Store(&secrets) }

// Run posts what source hands over until ctx ends, and returns when all requests have ended.
func (w *Webhooks) Run(ctx context.Context, source Source) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, h := range w.hooks {
		g.Go(func() error {
			defer h.to.CloseIdleConnections()
			return source.Deliver(ctx, h.reader)
		})
	}
	return g.Wait()
}

// readerName is under which name the position of a URL is kept. Its query may be changed as a password is, and the position stays.
func readerName(u *url.URL) string {
	sum := sha256.Sum256([]byte(u.Scheme + "://" + strings.ToLower(u.Host) + u.EscapedPath()))
	return "webhook-" + hex.EncodeToString(sum[:8])
}
