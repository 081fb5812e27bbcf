package session

import (
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"wshub/pubsub"
	"wshub/session/token"
)

// Config shapes a Hub. The zero value of each field stands for its default.
type Config struct {
	// Node names this instance in the welcome message. Default "hub".
	Node string
	// Broadcast is the topic that plain clients follow and publish to by default. Default "channel".
	Broadcast string
	// Workers is how many goroutines publish, and how many read logs, 1 to 1,024. Default 4.
	Workers int
	// WorkerQueue bounds the publications that wait for one worker, MaxPublishing those that wait for all, in bytes;
	// over either clients are told "busy". Defaults 4,096 and 64 MiB.
	WorkerQueue, MaxPublishing int
	// PublishTimeout bounds one publish or replay at the broker. Default 5 s.
	PublishTimeout time.Duration

	// MaxTopics bounds the topics that one session follows. Default 128.
	MaxTopics int
	// MaxNodeTopics bounds the subscriptions of all sessions of one loop together, times the loops.
	// Default 4,000,000.
	MaxNodeTopics int
	// MessageRate and MessageBurst bound what one session may send, in messages per second and at
	// once. A rate below 0 is no bound. Defaults 100 and 200.
	MessageRate, MessageBurst int
	// MaxSessionsPerUser bounds the sessions that one user has on this node. Default 0: no bound.
	MaxSessionsPerUser int
	// MaxInbox bounds the messages that wait for one loop to write them, in bytes. Over it they are dropped, and
	// read again from the history, or followers are told that there is a gap. Default 64 MiB.
	MaxInbox int
	// MaxHold bounds the events held for one subscriber while it waits, in bytes. Default 1 MiB.
	MaxHold int

	// ReplayLimit bounds the events that one subscription catches up on; a client that missed more is told
	// recovered:false. Default 1,000.
	ReplayLimit int

	// History says which topics the broker keeps: the broker's own configuration.
	History pubsub.History
	// Presence reports whether topic has a presence: who follows it are its members. nil: none has. It must not block, and be
	// the broker's PresenceConfig.Match; so must Hub.Members be its Members.
	Presence func(topic string) bool
	// Lifecycle: the broker is told of each session, as a member of a hidden topic (pubsub.UserSessions). It must be the broker's
	// LifecycleConfig.On; then Hub.Members must be PresenceConfig.Members. Default: it is not.
	Lifecycle bool
	// PresenceGrace is how long a client that has disconnected, but not by a backend or for its token, stays a member.
	// Default pubsub.DefaultPresenceGrace, pubsub.MaxPresenceGrace at most.
	PresenceGrace time.Duration
	// DeflateFrom is the size in bytes from which the frames of events are compressed for clients that agreed on it
	// (engine.Config.Deflate), at least 1. Default 256: smaller ones would save less than the compressing costs.
	DeflateFrom int
	// Exposed reports whether topic's events are never compressed: a secret beside another's text could be guessed from the
	// size of the two. nil: none's. It must not block.
	Exposed func(topic string) bool
	// HandshakeRate bounds the handshakes per second of this node; a quarter of it is kept for clients
	// that come back. Default 0: no bound.
	HandshakeRate int

	// Verifier checks the tokens of clients. nil: the hub is open to everybody.
	Verifier *token.Verifier
	// Rights are what a session may do whose token does not say, and every session of an open hub.
	// Default: everything in an open hub; else to follow the broadcast topic.
	Rights *token.Rights
	// PresenceRights are whose members a session may see whose token does not say by its claim presence, and every session of
	// an open hub. Default: every topic's in an open hub, else none's.
	PresenceRights *token.Rights
	// AuthGrace is the time that a client has to send another token when its own expires. Default 10 s.
	AuthGrace time.Duration
	// TokenLife is how long a token can live that Revoke is to refuse. Default 7 days.
	TokenLife time.Duration

	// TrustUserParam lets anybody name itself with ?user=. Only for an open hub.
	TrustUserParam bool

	// TraceUsers are the users of whose sessions all that happens is logged, whatever the Log's level: 1,000 lines in a
	// second at most, without events' data and tokens.
	TraceUsers []string

	// OnPublished, where not nil, is told how long the broker took for a batch of publications of clients or of a backend,
	// from any goroutine. OnFanout is told, by each loop that has followers, how long an event took from its coming to the
	// write to the last of them, as far as these have room for it.
	OnPublished func(took time.Duration)
	OnFanout    func(ev *pubsub.Event, took time.Duration)

	// Log takes what an operator should know; its zero value is silent.
	Log zerolog.Logger
}

func (cfg Config) withDefaults() (Config, error) {
	def(&cfg.Node, "hub")
	def(&cfg.Broadcast, "channel")
	def(&cfg.Workers, 4)
	def(&cfg.WorkerQueue, 4096)
	def(&cfg.MaxPublishing, 64<<20)
	def(&cfg.PublishTimeout, 5*time.Second)
	def(&cfg.MaxTopics, 128)
	def(&cfg.MaxNodeTopics, 4_000_000)
	def(&cfg.MessageRate, 100)
	def(&cfg.MessageBurst, 200)
	def(&cfg.MaxInbox, 64<<20)
	def(&cfg.MaxHold, 1<<20)
	def(&cfg.ReplayLimit, 1000)
	def(&cfg.DeflateFrom, 256)
	def(&cfg.AuthGrace, 10*time.Second)
	def(&cfg.TokenLife, 7*24*time.Hour)
	def(&cfg.PresenceGrace, pubsub.DefaultPresenceGrace)
	if cfg.Rights == nil && cfg.Verifier == nil {
		cfg.Rights = token.Everything
	}
	if cfg.PresenceRights == nil && cfg.Verifier == nil {
		cfg.PresenceRights = token.Everything
	}
	if cfg.Rights == nil {
		cfg.Rights = token.DefaultRights(cfg.Broadcast)
	}
	return cfg, errors.Join(
		validateTopic(cfg.Broadcast),
		within("workers", cfg.Workers, 1, 1024),
		within("worker queue", cfg.WorkerQueue, 1, 1<<20),
		within("max publishing", cfg.MaxPublishing, 64<<10, 1<<34),
		within("max topics", cfg.MaxTopics, 1, 65_535),
		within("max node topics", cfg.MaxNodeTopics, 1, 1<<30),
		within("message burst", cfg.MessageBurst, 1, 1<<20),
		within("max sessions per user", cfg.MaxSessionsPerUser, 0, 1<<20),
		within("max inbox", cfg.MaxInbox, 64<<10, 1<<34),
		within("deflate from", cfg.DeflateFrom, 1, 64<<20),
		within("replay limit", cfg.ReplayLimit, 1, 100_000),
		within("max hold", cfg.MaxHold, 1<<10, 1<<30),
	)
}

func def[T comparable](field *T, value T) {
	if *field == *new(T) {
		*field = value
	}
}

func within(name string, v, low, high int) error {
	if v < low || v > high {
		return fmt.Errorf("%s %d: must be %d to %d", name, v, low, high)
	}
	return nil
}
