package main

import (
	"context"
	"errors"
	"time"

	"github.com/rs/zerolog"

	"wshub/engine"
	"wshub/engine/proxy"
	"wshub/pubsub"
	"wshub/session"
	"wshub/session/centrifugo"
	"wshub/session/fleet"
	"wshub/session/hubv1"
	"wshub/session/plain"
	"wshub/session/pusher"
	"wshub/session/sse"
)

// This file is what config means to the packages below.

// pathOff closes a path.
const pathOff = "off"

// paths are those of the public port.
func (c *config) paths() []string {
	paths := []string{c.Path}
	if c.CentrifugoPath != pathOff {
		paths = append(paths, c.CentrifugoPath)
	}
	if len(c.PusherApp) > 0 {
		paths = append(paths, pusher.Path)
	}
	return paths
}

// httpPaths are those of the public port where plain HTTP is spoken.
func (c *config) httpPaths() []string {
	if c.CentrifugoPath == pathOff {
		return []string{c.Path}
	}
	return append(centrifugo.HTTPPaths(), c.Path)
}

// serve registers the hub's protocols, each at its path.
func (c *config) serve(hub *session.Hub) (pusherInForce, error) {
	apps, err := c.servePusher(hub)
	err = errors.Join(hub.Serve(c.Path, hubv1.Protocol{}, plain.Protocol{}, plain.Protocol{Named: true}, sse.Protocol{}), err)
	if c.CentrifugoPath == pathOff {
		return apps, err
	}
	return apps, errors.Join(err, centrifugo.Serve(hub, c.CentrifugoPath, "wshub "+readVersion().version))
}

func (c *config) engine(log zerolog.Logger) (engine.Config, error) {
	origins, err1 := engine.ParseOrigins(c.Origins)
	source, err2 := proxy.ParseSource(c.ClientAddress)
	trusted, err3 := proxy.ParseNetworks(c.TrustedProxies)
	window := c.CompressionWindow
	if !c.compresses() {
		window = 0
	}
	return engine.Config{
		MaxTLSHandshakes:        c.TLSHandshakes,
		MaxTLSHandshakesPerAddr: max(c.TLSHandshakes/4, 1),
		Addr:                    c.Addr,
		Paths:                   c.paths(),
		HTTPPaths:               c.httpPaths(),
		Pages:                   []engine.Page{hubJS},
		Origins:                 origins,
		Pollers:                 c.Pollers,
		MaxConnections:          c.MaxConnections,
		ReadBuffer:              int(c.ReadBuffer),
		SendBuffer:              int(c.SendBuffer),
		MaxHead:                 int(c.MaxHead),
		MaxMessage:              int(c.MaxMessage),
		Deflate:                 window,
		MaxQueued:               int(c.MaxQueued),
		MaxPartial:              int64(c.MaxPartial),
		MaxBacklog:              int64(c.MaxBacklog),
		Heartbeat:               c.Heartbeat,
		HandshakeTimeout:        c.HandshakeTimeout,
		MessageTimeout:          c.MessageTimeout,
		Log:                     log,
		ClientAddress:           source,
		TrustedProxies:          trusted,
		MaxPerAddress:           c.MaxConnectionsPerAddress,
		AddressRate:             c.HandshakeRatePerAddress,
	}, errors.Join(err1, err2, err3)
}

func (c *config) session(log zerolog.Logger) (session.Config, error) {
	rate := c.MessageRate
	if rate == 0 {
		rate = -1 // no limit
	}
	history, err1 := c.history()
	verifier, err2 := c.verifier(log)
	rights, err3 := c.rights()
	presence, err4 := c.presence()
	presenceRights, err5 := c.presenceRights()
	exposed, err6 := c.exposed()
	return session.Config{
		Node:               c.Node,
		Broadcast:          c.Broadcast,
		Workers:            c.Workers,
		MaxTopics:          c.MaxTopics,
		MaxNodeTopics:      c.MaxNodeTopics,
		MaxInbox:           c.maxInbox(),
		MessageRate:        rate,
		MessageBurst:       c.MessageBurst,
		MaxSessionsPerUser: c.MaxSessionsPerUser,
		ReplayLimit:        c.ReplayLimit,
		History:            history,
		Presence:           presence,
		PresenceGrace:      c.PresenceGrace,
		Lifecycle:          c.lifecycle().On,
		PresenceRights:     presenceRights,
		DeflateFrom:        int(c.CompressionThreshold),
		Exposed:            exposed,
		HandshakeRate:      c.HandshakeRate,
		Verifier:           verifier,
		Rights:             rights,
		AuthGrace:          c.AuthGrace,
		TraceUsers:         c.TraceUser,
		TrustUserParam:     c.isOpen() && (c.TrustUserParam || isLoopback(c.Addr)),
		Log:                log,
	}, errors.Join(err1, err2, err3, err4, err5, err6)
}

// broker is what the hub needs of a pubsub.Memory or pubsub.Redis.
type broker interface {
	session.Broker
	fleet.Broker
	SetState(pubsub.NodeState)
	ResumeKey(ctx context.Context) ([]byte, error)
	Channel(topic string) (channel string, sharded bool)
	LifecycleStreams() []string
	Stats() pubsub.Snapshot
	Deliver(ctx context.Context, reader *pubsub.LifecycleReader) error
}

// listener hands messages between nodes on to fleet and hub. The broker, which is made before the hub, has it;
// hub and fleet are set before either runs, and nil for hub check. roundTrip, where not nil, takes how long Redis took.
type listener struct {
	hub       *session.Hub
	fleet     *fleet.Fleet
	roundTrip func(took time.Duration)
}

func (l *listener) control(message []byte) {
	if l.hub != nil && !l.fleet.Control(message) {
		l.hub.Control(message)
	}
}

func (l *listener) revoked(list []pubsub.Revocation) {
	if l.hub != nil {
		l.hub.Revoked(list)
	}
}

// members are those of this hub; of hub check, none.
func (l *listener) members(ctx context.Context, partition byte, yield func(topic string, m pubsub.Member)) error {
	if l.hub == nil {
		return nil
	}
	return l.hub.Members(ctx, partition, yield)
}

func (l *listener) held(yield func(pubsub.Revocation) bool) {
	if l.hub != nil {
		l.hub.HeldRevocations(yield)
	}
}

// newBroker makes the broker that c asks for: Redis where there is a URL, else one in this process.
func newBroker(c *config, log zerolog.Logger, to *listener) (broker, error) {
	history, err := c.history()
	if err != nil {
		return nil, err
	}
	presence, err := c.presenceConfig(to.members)
	if err != nil {
		return nil, err
	}
	if c.RedisURL == "" {
		return pubsub.NewMemory(pubsub.MemoryConfig{
			Node:         c.Node,
			MaxMessage:   int(c.MaxMessage),
			History:      history,
			HistoryBytes: int(c.HistoryBytes),
			Presence:     presence,
			Lifecycle:    c.lifecycle(),
			OnControl:    to.control,
			OnRevoked:    to.revoked,
		}), nil
	}
	tls, err := c.redisTLS()
	if err != nil {
		return nil, err
	}
	return pubsub.NewRedis(pubsub.RedisConfig{
		URL:        c.RedisURL,
		TLS:        tls,
		Prefix:     c.RedisPrefix,
		Wait:       c.RedisWait,
		Gather:     c.RedisGather,
		Node:       c.Node,
		Broadcast:  c.Broadcast,
		MaxMessage: int(c.MaxMessage),
		History:    history,
		Presence:   presence,
		Lifecycle:  c.lifecycle(),
		PoolSize:   c.RedisPoolSize,
		OnControl:  to.control,
		OnRevoked:  to.revoked,
		Log:        log.With().Str("part", "pubsub").Logger(),

		HeldRevocations: to.held,
		OnRoundTrip:     to.roundTrip,
	})
}
