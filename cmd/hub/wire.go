package main

import (
	"github.com/rs/zerolog"

	"wshub/engine"
	"wshub/pubsub"
	"wshub/session"
)

// This file is what config means to the packages below.

func (c *config) engine(log zerolog.Logger) (engine.Config, error) {
	origins, err := engine.ParseOrigins(c.Origins)
	return engine.Config{
		Addr:             c.Addr,
		Path:             c.Path,
		Origins:          origins,
		Pollers:          c.Pollers,
		MaxConnections:   c.MaxConnections,
		ReadBuffer:       int(c.ReadBuffer),
		SendBuffer:       int(c.SendBuffer),
		MaxMessage:       int(c.MaxMessage),
		MaxQueued:        int(c.MaxQueued),
		MaxPartial:       int64(c.MaxPartial),
		MaxBacklog:       int64(c.MaxBacklog),
		Heartbeat:        c.Heartbeat,
		HandshakeTimeout: c.HandshakeTimeout,
		MessageTimeout:   c.MessageTimeout,
		Log:              log,
	}, err
}

func (c *config) session(log zerolog.Logger) session.Config {
	rate := c.MessageRate
	if rate == 0 {
		rate = -1 // no limit
	}
	return session.Config{
		Node:               c.Node,
		Broadcast:          c.Broadcast,
		Workers:            c.Workers,
		MaxTopics:          c.MaxTopics,
		MaxNodeTopics:      c.MaxNodeTopics,
		MessageRate:        rate,
		MessageBurst:       c.MessageBurst,
		MaxSessionsPerUser: c.MaxSessionsPerUser,
		TrustUserParam:     c.TrustUserParam || isLoopback(c.Addr),
		Log:                log,
	}
}

// broker is what the hub needs of a pubsub.Broker, and its counters.
type broker interface {
	pubsub.Broker
	Stats() pubsub.Snapshot
}

// newBroker makes the broker that c asks for: Redis where there is a URL, else one in this process.
func newBroker(c *config, log zerolog.Logger) (broker, error) {
	if c.RedisURL == "" {
		return pubsub.NewMemory(pubsub.MemoryConfig{MaxMessage: int(c.MaxMessage)}), nil
	}
	return pubsub.NewRedis(pubsub.RedisConfig{
		URL:        c.RedisURL,
		Node:       c.Node,
		Broadcast:  c.Broadcast,
		MaxMessage: int(c.MaxMessage),
		PoolSize:   c.RedisPoolSize,
		Log:        log.With().Str("part", "pubsub").Logger(),
	})
}
