package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"wshub/engine"
	"wshub/pubsub"
	"wshub/session"
	"wshub/session/fleet"
	"wshub/session/sse"
)

// liveLimit is how long a loop may take for one turn before the process is called dead: a hundred times
// the time between two turns of an idle one.
const liveLimit = 10 * time.Second

// serve runs the hub until a signal comes and its clients are gone, or until ctx ends, which cuts them.
func serve(ctx context.Context, s *settings, stderr io.Writer, sent signals) error {
	lines := newLogQueue(stderr)
	log, person := newLogger(s.cfg, lines)
	return around(ctx, func(ctx context.Context) error { return lines.Run(ctx, log) }, func(ctx context.Context) error {
		return s.serve(ctx, lines, log, person, sent)
	})
}

func (s *settings) serve(ctx context.Context, lines *logQueue, log zerolog.Logger, person bool, sent signals) error {
	c := s.cfg
	pubsub.LogClient(log.With().Str("part", "redis").Logger())
	if c.MemoryLimit > 0 {
		debug.SetMemoryLimit(int64(c.MemoryLimit))
	}

	times := newTimings()
	listener := &listener{roundTrip: times.watchRedis}
	broker, err := newBroker(c, log, listener)
	if err != nil {
		return fmt.Errorf("broker: %w", err)
	}
	sessionConfig, err := c.session(log)
	if err != nil {
		return fmt.Errorf("session: %w", err)
	}
	times.watchSession(&sessionConfig)
	hub, err := session.NewHub(sessionConfig, broker)
	if err != nil {
		return fmt.Errorf("session: %w", err)
	}
	apps, err := c.serve(hub)
	if err != nil {
		return fmt.Errorf("session: %w", err)
	}
	others := fleet.New(c.Node, broker)
	listener.hub, listener.fleet = hub, others
	engineConfig, err := c.engine(log)
	if err != nil {
		return fmt.Errorf("engine: %w", err)
	}
	secure, err := c.publicTLS(log)
	if err != nil {
		return err
	}
	if secure != nil {
		engineConfig.TLS = secure.config
	}
	engineConfig.OnRefused, engineConfig.OnFull, engineConfig.PostError = hub.Refused, hub.Full, sse.ErrorBody
	times.watchEngine(&engineConfig)
	var handler engine.Handler = hub
	if isLoopback(c.Addr) && !c.Open && c.isOpen() {
		handler = localOnly{hub}
	}
	var door *pusherDoor
	if c.PusherAPI == pusherPublic && len(c.PusherApp) > 0 {
		door = newPusherDoor(&engineConfig, handler)
		handler = door
	}
	server, err := engine.New(engineConfig, handler)
	if err != nil {
		return listenError("--addr", err)
	}
	defer server.StopAccepting() // gives the port back if it is never served
	hub.Attach(server)

	posting, err := c.posting(log, times.watchTry)
	if err != nil {
		return err
	}

	standing := &standing{tell: broker.SetState}
	elsewhere := &elsewhere{others: others.Others, log: log}
	ending := &drainer{announce: standing.look, elsewhere: elsewhere, hub: hub, stopAccepting: server.StopAccepting, awaitClosing: server.AwaitClosing, grace: c.DrainGrace, window: c.DrainWindow, signals: sent, log: log, begun: make(chan struct{})}
	sealing, err := newResumeKey(c, broker, hub, secure, log)
	if err != nil {
		return err
	}
	keysReady := func() error { return nil }
	ready := func() error {
		return ending.ready(func() error { return cmp.Or(hub.Ready(), keysReady(), sealing.ready()) })
	}
	live := func() error { return server.Live(liveLimit) }
	standing.draining, standing.ready = ending.Draining, ready
	rebalancing := &rebalancer{hub: hub, draining: ending.Draining, elsewhere: elsewhere, log: log, begun: make(chan *session.Rebalance, 1)}
	makeRoom(c.Pollers)
	var control *control
	memory := &memoryKeeper{headroom: int64(c.GCHeadroom)}
	reload := &reloader{signals: sent.reload, log: log, verifier: sessionConfig.Verifier, useSealer: hub.UseSealer, useKeys: func(_, _ []string) {}, certificates: func() { secure.again(); control.again() }, useTickets: secure.useTicketKeys, useHooks: posting.use, started: s, now: s}
	nested := []runner{sent.ignore(log), reload.Run, memory.Run, server.Run, hub.Run, sealing.Run, others.Run, standing.Run, rebalancing.Run, ending.Run, posting.run(broker)} // the hub's last words need the server's loops
	if v := sessionConfig.Verifier; v != nil {
		keysReady = v.Ready
		nested = append([]runner{v.Run}, nested...) // it fetches keys for the hub's sessions
	}
	start := started{public: server.Addr().String()}
	dropped := func() map[string]uint64 { return control.callers.Dropped() }
	from := sources{
		engine: server.Stats, session: hub.Stats, broker: broker.Stats, ready: ready, draining: ending.Draining,
		lost: lines.Lost, callers: dropped, fleet: others.Dropped, reloads: reload.counts, certs: func() certificateState { return stateOf(secure.certificates(), control.certificates()) }, times: times, webhooks: posting.stats, calls: door.counts,
		limits: limits{c.MaxConnections, int64(c.MaxPartial), int64(c.MaxBacklog)},
	}
	sampler := newSampler(from)
	looks := newLooks(c.Node, others, hub, from)
	looks.add(s, sampler, nodeState{ready, ending.Draining, c.RedisURL != "", c.MaxConnections, time.Now(), s.shown().mark()}, broker.Channel, hub.Reasons().List)
	looks.addRebalance(rebalancing.begin)
	pushers := newPusherAPI(c, log, hub, newChannelLister(looks, hub), newPublishAPI(c, hub.Publish)) // which answers other hubs, too
	if door != nil {
		door.api = pushers
	}
	apps.api = pushers
	reload.useApps = apps.use
	nested = append(append([]runner{sampler.Run}, nested...), door.Run)
	if !c.controlOff() {
		control, err = listenControl(ctx, c, log, controlled{
			live:      live,
			ready:     ready,
			hub:       hub,
			channel:   broker.Channel,
			lifecycle: broker.LifecycleStreams,
			rebalance: rebalancing.begin,
			registry:  newRegistry(from),
			console:   console(start.public, c),
			looks:     looks,
			pushers:   pushers,
		})
		if err != nil {
			return err
		}
		start.control, reload.useKeys = control.addr(), control.guard.use
		nested = append([]runner{control.Run}, nested...)
	}
	nested = append([]runner{s.env.manager().run(live, ending.begun, c.drainTime()+closeTime+logPatience, log)}, nested...)
	start.announce(s, lines, log, person)
	if err := nest(ctx, nested...); err != nil {
		return err
	}
	log.Info().Msg("ended")
	return nil
}

// listenError is err, why the address of this setting could not be opened.
func listenError(setting string, err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%s: %w: another program has this port, perhaps another hub; end it, or choose another port", setting, err)
	}
	return fmt.Errorf("%s: %w", setting, err)
}
