package main

import (
	"context"
	"errors"
	"fmt"
	stdlog "log"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/rs/zerolog"

	"wshub/pubsub"
	"wshub/session"
)

const (
	// controlTime bounds reading and answering one request; a longer profile extends it.
	controlTime = 15 * time.Second
	// idleTime is how long a connection is kept for the next request: longer than balancers keep one, mostly 60 s, so that
	// none is closed while a request is on its way.
	idleTime = 120 * time.Second
	// controlHeader bounds a request's header in bytes.
	controlHeader = 16 << 10
	// closeTime is how long open requests may take when the hub ends.
	closeTime = 2 * time.Second
)

// control is the second listener, for those who run the hub: probes, metrics, API, profiles.
type control struct {
	callers *callers
	server  *http.Server
	guard   guard
	tls     bool
	certs   *certificates // nil: no TLS
}

// certificates are those of the port, nil without TLS, or without a port.
func (c *control) certificates() *certificates {
	if c == nil {
		return nil
	}
	return c.certs
}

// again has the port's certificates read again.
func (c *control) again() {
	if certs := c.certificates(); certs != nil {
		certs.again()
	}
}

// controlled is what the control port needs of the hub.
type controlled struct {
	live      func() error // nil while every loop turns
	ready     func() error // nil while clients should be sent here
	hub       backendHub
	channel   func(topic string) (channel string, sharded bool) // as the broker's
	lifecycle func() (streams []string)                         // as the broker's
	rebalance func(ctx context.Context, percent int, over time.Duration) (chosen int, refusal *apiError)
	registry  *prometheus.Registry
	console   http.Handler // at / and /console/
	looks     *looks       // nil in tests that look at nothing
	pushers   *pusherAPI   // nil without applications
}

// backendHub is what backends may have done by the API. session.Hub is one.
type backendHub interface {
	Publish(ctx context.Context, batch []pubsub.Publication) ([]pubsub.Result, error)
	Disconnect(ctx context.Context, target session.Target) error
	Revoke(ctx context.Context, target session.Target, before time.Time) error
	Subscribe(ctx context.Context, target session.Target, f session.Following) error
	Unsubscribe(ctx context.Context, target session.Target, topic string) error
	Refresh(ctx context.Context, target session.Target, expires time.Time) error
	Keeps(topic string) bool
	Replay(ctx context.Context, topic string, since pubsub.Position, limit pubsub.Limit) (pubsub.Replay, error)
	RemoveHistory(ctx context.Context, topic string) error
	Presence(ctx context.Context, topic, after string, limit int) (pubsub.Presence, error)
	Topics(ctx context.Context, match func(topic string) bool, most int) (followers map[string]int, few bool, err error)
	Census(ctx context.Context) (users, topics int, err error)
	Followers(topics []string) (await func(ctx context.Context) (followers []int, ok bool))
	Sessions(ctx context.Context, target session.Target) (int, error)
	DisconnectFollowers(ctx context.Context, topic string) error
	Stats() session.Stats
}

// listenControl opens the control port. Nothing is answered before Run, which closes it.
func listenControl(ctx context.Context, c *config, log zerolog.Logger, of controlled) (*control, error) {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", c.Control)
	if err != nil {
		return nil, listenError("--control", err)
	}
	control := newControl(newCallers(ln, maxCallers()), c, log, of)
	if c.ControlTLSCert == "" {
		return control, nil
	}
	if control.server.TLSConfig, control.certs, err = newServerTLS(c.ControlTLSCert, c.ControlTLSKey, log); err != nil {
		_ = ln.Close()
		return nil, err
	}
	control.tls = true
	return control, nil
}

func newControl(from *callers, c *config, log zerolog.Logger, of controlled) *control {
	log = sampled(log.With().Str("part", "control").Logger())
	g := newGuard(c.APIKey, c.ConsoleKey, c.isOpen())
	mux, pushers, end := controlMux(c, log, g, of)
	server := &http.Server{
		Handler:           from.count(pushers(hinting(mux))),
		ConnContext:       from.connContext,
		ErrorLog:          stdlog.New(log, "", 0),
		ReadHeaderTimeout: controlTime,
		ReadTimeout:       controlTime,
		WriteTimeout:      controlTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    controlHeader,
		Protocols:         new(http.Protocols),
	}
	server.Protocols.SetHTTP1(true) // callers has one request at a time on a connection
	server.RegisterOnShutdown(end)
	return &control{callers: from, server: server, guard: g}
}

// Run serves until ctx ends.
func (c *control) Run(ctx context.Context) error {
	return around(ctx, func(context.Context) error {
		serve := c.server.Serve
		if c.tls {
			serve = func(ln net.Listener) error { return c.server.ServeTLS(ln, "", "") }
		}
		if err := serve(c.callers); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("control port: %w", err)
		}
		return nil
	}, func(ctx context.Context) error {
		<-ctx.Done()
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTime)
		defer cancel()
		if c.server.Shutdown(late) != nil {
			_ = c.server.Close() // whoever is left is cut
		}
		return nil
	})
}

// addr is where the port is, without "tcp:".
func (c *control) addr() string { return c.callers.Addr().String() }

// endpoints is what / shows to programs.
const endpoints = `wshub control port

GET  /livez            200 while every event loop turns
GET  /readyz           200 while clients should be sent here, else the reason
GET  /metrics          for Prometheus
GET  /                 the console, in a browser; /try is its client to connect with
GET  /hub.js           the client for browsers and Node; the public port has it, too
GET  /openapi.yaml     this port, for programs: what to send, what is answered
POST /api/publish      {"topic":"news","data":{"any":"json"},"key":"optional, makes a retry safe"}, or an array of these
POST /api/broadcast    {"topics":["news","sport"],"data":…,"key":…}: one event for several topics
POST /api/subscribe    {"user":"42","topic":"news"} or {"session":"s_…","topic":…}: have its connections follow, on every node
POST /api/unsubscribe  the same: have them leave the topic
POST /api/refresh      {"user":"42","expire_at":1735689600} or {…,"expired":true}: when the tokens of its connections end
POST /api/disconnect   {"user":"42"} or {"session":"s_…"}: close its connections, on every node; tells how many were on this one
POST /api/revoke       the same, and refuse its tokens issued until now, or before "before" (seconds, as iat)
POST /api/rebalance    {"percent":20,"over":"60s"}: send a part of this hub's clients, or of "node", to the others, at an even pace
GET  /api/nodes        every hub that shares this one's Redis: connections, rates, memory
GET  /api/user         ?id=42: the sessions of a user, on all hubs; /api/session?id=s_… one of them
GET  /api/topic        ?name=news: its followers, rate and last events; /api/topics?prefix=… those with most followers
GET  /api/slow         the clients for which most bytes wait
GET  /api/busy         the users that send or connect most
GET  /api/reasons      why clients were refused, cut, or lost something
GET  /api/settings     what the settings come to, secrets masked; ?changed=true for those that are not the default
GET  /api/tail         ?topic=news or ?user=42: a live stream, one JSON object a line
POST /api/trace        {"user":"42","for":"10m"}: log all that happens to a user's sessions, on all hubs
GET  /api/presence     ?topic=room:1&limit=100: who follows a topic; next of the answer is after of the next page
GET  /api/presence_stats ?topic=room:1: how many
GET  /api/channel      ?topic=news: the Redis channel for raw events of a topic, and the command to publish there
GET  /api/lifecycle    the Redis streams that say who comes and goes (--lifecycle)
*    /apps/{id}/       events, batch_events, channels …: as Pusher's API, for its backend libraries (--pusher-app)
POST /centrifugo/api/  publish, broadcast, history …: as Centrifugo's server API, for its backend libraries
GET  /debug/pprof/     profiles
`

// controlMux is what the port answers; before, what Pusher's applications answer before a handler. end ends the answers that
// have no end of their own.
func controlMux(c *config, log zerolog.Logger, g guard, of controlled) (mux *http.ServeMux, before func(http.Handler) http.Handler, end func()) {
	answers := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "wshub_api_answers_total", Help: "Answers to requests for /api and /debug, by HTTP status.",
	}, []string{"code"})
	of.registry.MustRegister(answers)
	protect := func(h http.Handler) http.Handler {
		return promhttp.InstrumentHandlerCounter(answers, guarded(g.refusal, log, h))
	}
	publish := newPublishAPI(c, of.hub.Publish)
	publish.followers = of.hub.Followers
	centrifugo := promhttp.InstrumentHandlerCounter(answers, newCentrifugoAPI(c, log, g, of.hub, publish))

	before = func(next http.Handler) http.Handler {
		return of.pushers.before(next, promhttp.InstrumentHandlerCounter(answers, of.pushers))
	}

	mux, end = http.NewServeMux(), func() {}
	mux.Handle("GET /livez", probe(of.live))
	mux.Handle("GET /readyz", probe(of.ready))
	mux.Handle("GET /metrics", promhttp.HandlerFor(of.registry, promhttp.HandlerOpts{}))
	mux.Handle("GET /console/", of.console)
	mux.Handle("GET /try", http.RedirectHandler("/#/try", http.StatusFound))
	mux.Handle("GET "+hubJS.Path, servePage(hubJS))
	mux.Handle("GET "+openAPI.Path, servePage(openAPI))
	mux.Handle("POST /api/publish", protect(publish))
	mux.Handle("POST /api/broadcast", protect(broadcastAPI{publish}))
	mux.Handle("POST /api/subscribe", protect(subscribeAPI{of.hub.Subscribe}))
	mux.Handle("POST /api/unsubscribe", protect(unsubscribeAPI{of.hub.Unsubscribe}))
	mux.Handle("POST /api/refresh", protect(refreshAPI{of.hub.Refresh}))
	mux.Handle("POST /api/disconnect", protect(disconnectAPI{of.hub.Disconnect, of.hub.Sessions}))
	mux.Handle("POST /api/revoke", protect(revokeAPI{of.hub.Revoke}))
	mux.Handle("POST /api/rebalance", protect(rebalanceAPI{of.rebalance, of.looks}))
	looked := func(h http.Handler) http.Handler {
		return promhttp.InstrumentHandlerCounter(answers, guarded(g.looking, log, g.markLooker(h)))
	}
	mux.Handle("GET /api/presence", looked(presenceAPI{of.hub.Presence}))
	mux.Handle("GET /api/presence_stats", looked(presenceStatsAPI{of.hub.Presence}))
	mux.Handle("GET /api/channel", protect(channelAPI{of.channel}))
	mux.Handle("GET /api/lifecycle", protect(lifecycleAPI{c.lifecycle(), of.lifecycle}))
	if of.looks != nil {
		look := func(path string) http.Handler { return looked(of.looks.routes[path]) }
		mux.Handle("GET /api/nodes", look("/api/nodes"))
		mux.Handle("GET /api/user", look("/api/user"))
		mux.Handle("GET /api/session", look("/api/session"))
		mux.Handle("GET /api/topic", look("/api/topic"))
		mux.Handle("GET /api/topics", look("/api/topics"))
		mux.Handle("GET /api/slow", look("/api/slow"))
		mux.Handle("GET /api/busy", look("/api/busy"))
		mux.Handle("GET /api/reasons", look("/api/reasons"))
		mux.Handle("GET /api/settings", look("/api/settings"))
		tails := newTails(of.looks)
		mux.Handle("GET /api/tail", protect(tails))
		mux.Handle("POST /api/trace", protect(traceAPI{of.looks}))
		end = tails.end
	}
	mux.Handle("POST /centrifugo/api", centrifugo)
	mux.Handle("POST /centrifugo/api/{method...}", centrifugo)
	mux.Handle("GET /debug/pprof/", protect(http.HandlerFunc(pprof.Index)))
	mux.Handle("GET /debug/pprof/profile", protect(http.HandlerFunc(pprof.Profile)))
	mux.Handle("GET /debug/pprof/trace", protect(http.HandlerFunc(pprof.Trace)))
	mux.Handle("GET /debug/pprof/symbol", protect(http.HandlerFunc(pprof.Symbol)))
	mux.Handle("GET /{$}", serveRoot(of.console))
	return mux, before, end
}

// hinting adds to the answers of mux to a path or method that it does not have where those that it has are listed.
func hinting(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, pattern := mux.Handler(r)
		mux.ServeHTTP(w, r)
		if pattern == "" {
			fmt.Fprintln(w, "curl this port's / for the list of its paths")
		}
	})
}

// probe answers 200 ok or 503 and the reason, as JSON to those who ask for it.
func probe(state func() error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status, reason := http.StatusOK, "ok"
		if err := state(); err != nil {
			status, reason = http.StatusServiceUnavailable, err.Error()
		}
		w.Header().Set("Cache-Control", "no-store")
		if strings.Contains(r.Header.Get("Accept"), "application/json") {
			writeJSON(w, status, map[string]any{"ok": status == http.StatusOK, "reason": reason})
			return
		}
		w.WriteHeader(status)
		fmt.Fprintln(w, reason)
	})
}

// guarded lets by to next who is not refused.
func guarded(judge func(*http.Request) *apiError, log zerolog.Logger, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if refusal := judge(r); refusal != nil {
			log.Warn().Str("peer", r.RemoteAddr).Str("path", r.URL.Path).Int("status", refusal.status).Msg("control request refused")
			refusal.write(w)
			return
		}
		next.ServeHTTP(w, r)
	})
}
