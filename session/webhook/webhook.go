package webhook

import (
	"cmp"
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
	// URLs are the endpoints that get batches in the form of Standard Webhooks. See ParseURL. All instances must have the same, and the
	// same Others.
	URLs []*url.URL
	// Others are those of other forms. There must be one endpoint at least.
	Others []Endpoint
	// Secrets sign the requests to URLs, each with a signature of its own. Required for URLs.
	Secrets []Secret
	// Retry is how long a batch is tried, from its first try on. Default DefaultRetry.
	Retry time.Duration
	// Events are the types of the entries that are posted to URLs; Reset always is. Default: all.
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
	// MaxURLs bounds the URLs, and MaxOthers the endpoints of other forms.
	MaxURLs, MaxOthers = 16, 32
	// Reset is the type of the entry that begins a stream anew: whoever counts must begin anew, too.
	Reset = "reset"
)

// Events are the types that entries have.
var Events = []string{"session_opened", "session_closed", "user_online", "user_offline", "topic_occupied", "topic_vacated", "user_joined", "user_left", Reset}

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
	case len(cfg.URLs) > MaxURLs || len(cfg.Others) > MaxOthers || len(cfg.URLs)+len(cfg.Others) == 0:
		return nil, fmt.Errorf("URLs: want 1 to %d, or 1 to %d of other forms", MaxURLs, MaxOthers)
	case len(cfg.URLs) > 0 && len(cfg.Secrets) == 0:
		return nil, errors.New("secrets: want one at least")
	}
	for _, name := range cfg.Events {
		if !slices.Contains(Events, name) {
			return nil, fmt.Errorf("events: %q is none; there are %s", name, strings.Join(Events, ", "))
		}
	}
	w := &Webhooks{}
	w.UseSecrets(cfg.Secrets)
	form := standard{cfg.Events, func() []Secret { return *w.secrets.Load() }}
	urls := make([]Endpoint, len(cfg.URLs))
	for i, u := range cfg.URLs {
		urls[i] = Endpoint{u, form}
	}
	if err := cmp.Or(w.add(&cfg, urls), w.add(&cfg, cfg.Others)); err != nil {
		return nil, err
	}
	return w, nil
}

// add makes a hook for each of list. The error counts from 1 on in list.
func (w *Webhooks) add(cfg *Config, list []Endpoint) error {
	for i, to := range list {
		if err := judgeHost(to.URL, cfg.AllowPrivate); err != nil {
			return fmt.Errorf("URL %d: %w", i+1, err)
		}
		h := newHook(cfg, to)
		if slices.ContainsFunc(w.hooks, func(other *hook) bool { return other.name == h.name }) {
			return fmt.Errorf("URL %d: another one has the same host and path; positions are kept by these", i+1)
		}
		w.hooks = append(w.hooks, h)
	}
	return nil
}

// UseSecrets has requests to Config.URLs signed with these from now on. There must be one at least.
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

// readerName is under which name the position of an endpoint is kept. Its query may be changed as a password is, and the position stays.
func readerName(to Endpoint) string {
	u := to.URL
	sum := sha256.Sum256([]byte(to.Form.Reader() + u.Scheme + "://" + strings.ToLower(u.Host) + u.EscapedPath()))
	return "webhook-" + hex.EncodeToString(sum[:8])
}
