package pubsub

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/singleflight"
)

// RedisConfig is how a Redis broker is set up. Zero fields get the default.
type RedisConfig struct {
	// URL says where Redis is, in one of the forms that ParseAddress takes. Required.
	URL string
	// TLS holds the authorities that sign the servers' certificates, and this node's own one, for a URL of
	// rediss. Its ServerName is replaced by each server's host. Default: the machine's authorities.
	TLS *tls.Config
	// Prefix begins the name of every key and every channel but Broadcast's: deployments that share a server
	// need one each, since channels know no database. See ValidPrefix. All instances must have the same.
	// Default DefaultPrefix.
	Prefix string
	// Wait is how many replicas must have a publication before Publish confirms it; where they have not in time,
	// it is an ErrUnknownOutcome. Default 0.
	Wait int
	// Node names this instance. Two instances of one name hear each other's probes and what is
	// meant for the other. Default: random.
	Node string
	// Broadcast is the topic of the raw events that backends publish on the Redis channel of that name, or,
	// with another Prefix than the default, on <prefix>:<broadcast>. See ValidBroadcast. Default
	// "channel".
	Broadcast string
	// MaxMessage bounds an event's data, in bytes. Longer ones are dropped and counted.
	// Default DefaultMaxMessage.
	MaxMessage int
	// History says which events are kept. All instances must have the same. Default: none.
	History History
	// RecordLife is how long a topic's last position is remembered after its events are gone.
	// Default DefaultRecordLife.
	RecordLife time.Duration
	// Presence says which topics have one. Default: none.
	Presence PresenceConfig
	// Lifecycle says whether streams are written. Default: none.
	Lifecycle LifecycleConfig
	// RecentBytes bounds the recent events kept in memory, of all followed topics with history, from
	// which a Replay is answered without Redis. Default 32 MiB.
	RecentBytes int
	// Gather is how long messages gather before they are read and delivered together, while more than 4,000 a second
	// come: each is later by that at most, and costs less. Default 0: they are read as they come.
	Gather time.Duration
	// FollowTimeout is how long Follow waits for Redis before it answers ErrUnavailable. Default 5 s.
	FollowTimeout time.Duration
	// Linger is how long a topic stays subscribed after its last follower left. Default 10 s.
	Linger time.Duration
	// ProbeEvery is the time between two probes, ProbeDeadline the age of the last one that came
	// back at which the connection is given up. A deadline shorter than the slowest script on the
	// server drops healthy connections. Default 2 s and 4 s: a frozen connection is noticed in 4 s.
	ProbeEvery, ProbeDeadline time.Duration
	// Backoff is the wait before the first reconnect; it doubles up to 2 s, less a random part of
	// up to the half. Default 50 ms.
	Backoff time.Duration
	// PoolSize bounds the connections that publish and read. Default 10.
	PoolSize int
	// OnControl gets the messages that Notify sends here. It is called by the goroutine that calls the Sink, and
	// must not block. Default: it is dropped.
	OnControl func(message []byte)
	// OnRevoked gets the revocations that hold: all of them at every connection, before Ready, and
	// each that is new. One may come twice, from two goroutines at a time. It must not block.
	// Default: they are not read.
	OnRevoked func([]Revocation)
	// HeldRevocations calls yield for all that OnRevoked got and that still hold: should the server have
	// lost some, they are written back. Yield may take long. Default: nothing is written back.
	HeldRevocations func(yield func(Revocation) bool)
	// OnRoundTrip, where not nil, is told how long a pipeline took that publishes, reads or tells, from any goroutine; of
	// those that failed nothing is told.
	OnRoundTrip func(took time.Duration)
	// Log gets what an operator should know. Default: nothing.
	Log zerolog.Logger
}

// hasMembers reports whether anybody can be a member: of a topic, or as a session of the lifecycle.
func (c *RedisConfig) hasMembers() bool { return c.Presence.on() || c.Lifecycle.On }

// maxBackoff keeps a node from being blind much longer than the server is away.
const maxBackoff = 2 * time.Second

// ioTimeout bounds a dial, a write and the wait for an answer.
const ioTimeout = 2 * time.Second

func (c *RedisConfig) setDefaults() {
	setDefault(&c.Node, fmt.Sprintf("%016x", rand.Uint64()))
	setDefault(&c.Broadcast, "channel")
	setDefault(&c.Prefix, DefaultPrefix)
	setDefault(&c.MaxMessage, DefaultMaxMessage)
	setDefault(&c.RecordLife, DefaultRecordLife)
	setDefault(&c.RecentBytes, 32<<20)
	c.Presence.setDefaults()
	c.Lifecycle.setDefaults()
	setDefault(&c.FollowTimeout, 5*time.Second)
	setDefault(&c.Linger, 10*time.Second)
	setDefault(&c.ProbeEvery, 2*time.Second)
	setDefault(&c.ProbeDeadline, 4*time.Second)
	setDefault(&c.Backoff, 50*time.Millisecond)
	setDefault(&c.PoolSize, 10)
}

func setDefault[T comparable](field *T, value T) {
	var unset T
	if *field == unset {
		*field = value
	}
}

// Redis is the Broker for several instances: they meet at one Redis server, at the master that Sentinels name, or
// in a Redis Cluster, 7.0 or newer. doc.go lists its channels and keys.
type Redis struct {
	// Fixed at birth.
	cfg      RedisConfig
	address  Address
	opt      *redis.Options // what the clients of all masters share
	names    names
	topology topology
	follows  *follows
	flood    zerolog.Logger // sampled, for what a stranger can cause at any rate
	trouble  zerolog.Logger // sampled on its own, for what goes wrong with the server
	refused  zerolog.Logger // sampled on its own, for publications that the server refuses
	clocks   zerolog.Logger // sampled on its own
	// mailbox is the channel of messages to this node, home its partition; broadcastChannel is the topic
	// channel of the broadcast topic.
	mailbox          string
	home             byte
	broadcastChannel string
	nameless         *scripts // without the name of a server: they have none, or it forbids INFO
	probeSource      string
	own              map[string]bool // channels of this node, all of which end in ownSuffix
	ownSuffix        string

	triggers triggers
	stats    stats
	delivery delivery
	ids      givenIDs
	list     revokedList
	reads    singleflight.Group // of Replay
	readings readings           // of Replay
	removals atomic.Uint64      // histories that were removed, as far as this node has heard
	// stopwatch is that of the probes.
	stopwatch stopwatch
	layout    atomic.Pointer[layout]
	routes    [partitions]atomic.Pointer[master] // nil where nobody serves the partition, for all that is known
	formatOK  atomic.Bool
	others    nodeList
	lease     lease
	presence  presences
	lifecycle lifecycle
	// readerTimes are fixed at birth.
	readerTimes readerTimes

	mu      sync.Mutex
	masters map[string]*master // by address
	bus     *link              // hears a cluster's classic channels; else nil
}

var _ Broker = (*Redis)(nil)

// NewRedis makes a broker without connecting: Run does. The error names the bad field of cfg; it
// never holds the URL, which may hold a password.
func NewRedis(cfg RedisConfig) (*Redis, error) {
	cfg.setDefaults()
	if !ValidPrefix(cfg.Prefix) {
		return nil, fmt.Errorf("prefix %q: want 1 to 64 of letters, digits, and - _ . : within", clip(cfg.Prefix))
	}
	if !ValidBroadcast(cfg.Prefix, cfg.Broadcast) {
		return nil, fmt.Errorf("broadcast channel %q: want a topic name that is no other channel's", clip(cfg.Broadcast))
	}
	address, err := ParseAddress(cfg.URL)
	if err != nil {
		return nil, fmt.Errorf("redis URL: %w", err)
	}
	sampled := func(lines uint32, period time.Duration) zerolog.Logger {
		return cfg.Log.Sample(&zerolog.BurstSampler{Burst: lines, Period: period})
	}
	r := &Redis{
		cfg:     cfg,
		address: address,
		opt:     clientOptions(&cfg, &address),
		names:   newNames(&cfg, address.Kind == Cluster),
		flood:   sampled(5, 10*time.Second),
		trouble: sampled(5, 10*time.Second),
		refused: sampled(5, 10*time.Second),
		clocks:  sampled(4, time.Minute),

		triggers: triggers{work: make(chan struct{}, 1)},

		readerTimes: usualReaderTimes,
		stopwatch:   newStopwatch(),
		masters:     map[string]*master{},
	}
	r.follows = newFollows(&r.names, cfg.FollowTimeout, cfg.Linger, cfg.History)
	r.home = partition(cfg.Node)
	r.mailbox = r.names.mailbox(cfg.Node)
	r.nameless = newScripts("", r.names.sharded)
	r.probeSource = strings.ReplaceAll(probeSource, "%PUBLISH%", r.names.publishCommand())
	r.own, r.ownSuffix = r.names.own(cfg.Node), ":n:"+cfg.Node
	r.broadcastChannel = r.names.topic(cfg.Broadcast)
	r.delivery.recent.limit = cfg.RecentBytes
	r.list.work = make(chan struct{}, 1)
	r.lease.changed = make(chan struct{}, 1)
	r.presence.init(&r.cfg)
	r.list.setUnread("the list was not read yet")
	r.topology = r.newTopology()
	if address.Kind == Cluster {
		r.bus = r.newLink()
	}
	if one, ok := r.topology.(single); ok {
		r.arrange(one.layout())
	}
	return r, nil
}

// clientOptions are what go-redis needs to know of a server, but for its address.
func clientOptions(cfg *RedisConfig, address *Address) *redis.Options {
	opt := &redis.Options{
		Network: address.Network, Username: address.User, Password: address.Password, DB: address.DB,

		Protocol:      2,  // RESP3 costs a fifth more per message
		MaxRetries:    -1, // a retry would publish twice
		DialerRetries: 1,
		DialTimeout:   ioTimeout, ReadTimeout: ioTimeout, WriteTimeout: ioTimeout, PoolTimeout: ioTimeout,

		ContextTimeoutEnabled:    true,
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	if address.TLS {
		opt.TLSConfig = cmp.Or(cfg.TLS, &tls.Config{})
	}
	return opt
}

// newTopology finds who serves what as the address says.
func (r *Redis) newTopology() topology {
	switch r.address.Kind {
	case Sentinel:
		return r.newSentinels()
	case Cluster:
		return r.newCluster()
	}
	return single{r.address.Hosts[0]}
}

// Run connects, and reconnects for ever, until ctx ends. See Broker. It ends before that, with ErrFormat, if Redis
// holds keys of another format.
func (r *Redis) Run(ctx context.Context, sink Sink) error {
	r.delivery.begin(sink)
	lines := newCrew(ctx)
	g, ctx := errgroup.WithContext(ctx)
	defer func() {
		lines.end()
		r.follows.close()
		r.closeMasters()
	}()
	g.Go(func() error { return r.follows.keepTime(ctx, r.delivery.forget) })
	g.Go(func() error { return r.keepRevoked(ctx) })
	g.Go(func() error { return r.keepLease(ctx) })
	g.Go(func() error {
		return r.topology.watch(ctx, &r.triggers, func(l layout, why trigger) { r.apply(lines, l, why) })
	})
	g.Go(func() error { return r.keepFormat(ctx) })
	if r.cfg.hasMembers() {
		g.Go(func() error { return r.keepBoot(ctx) })
		g.Go(func() error { return r.keepSwept(ctx) })
		g.Go(func() error { return r.keepMembers(ctx) })
	}
	return g.Wait()
}

// Follow implements Broker.
func (r *Redis) Follow(topic string, loop int, done func(error)) { r.follows.add(topic, loop, done) }

// Unfollow implements Broker.
func (r *Redis) Unfollow(topic string, loop int) { r.follows.remove(topic, loop) }

// Ready is nil while every partition has a master, a probe came back from each within ProbeDeadline, all
// revocations are known and the servers take writes, else an ErrUnavailable or ErrRefused that says why not.
func (r *Redis) Ready() error {
	l := r.layout.Load()
	if l == nil {
		return fmt.Errorf("%w: the masters of redis are not known yet", ErrUnavailable)
	}
	var errs []error
	for _, m := range r.allMasters() {
		errs = append(errs, m.ready(r))
	}
	err := errors.Join(errs...) // an operator wants to know of all of them
	if r.bus != nil && err == nil {
		err = r.bus.ready(r, "for what is classic")
	}
	if missing := l.unowned(); missing > 0 && err == nil {
		err = fmt.Errorf("%w: no redis serves %d of %d partitions", ErrUnavailable, missing, partitions)
	}
	if err == nil && !r.formatOK.Load() {
		err = fmt.Errorf("%w: the format of the data in redis is unknown, or is another one", ErrUnavailable)
	}
	if err == nil && r.cfg.hasMembers() && r.presence.boot() == "" {
		err = fmt.Errorf("%w: %w", ErrUnavailable, errNoBoot)
	}
	return cmp.Or(err, r.list.err())
}

// Stats is what happened so far. It takes the table's lock for a moment.
func (r *Redis) Stats() Snapshot {
	s := r.stats.snapshot()
	s.Followed = r.follows.len()
	s.Silences = r.follows.silences.snapshot()
	for _, m := range r.allMasters() {
		s.Masters++
		s.ProbeAge = max(s.ProbeAge, m.age(r))
		if d := m.clock.difference(); d.Abs() > s.ClockDifference.Abs() {
			s.ClockDifference = d
		}
	}
	if r.bus != nil {
		s.ProbeAge = max(s.ProbeAge, r.bus.age(r))
	}
	s.Unowned = partitions
	if l := r.layout.Load(); l != nil {
		s.Unowned = l.unowned()
	}
	s.Presence = r.presence.snapshot()
	s.Lifecycle = r.lifecycle.snapshot()
	s.PositionLead = time.Duration(r.ids.lead.Load())
	return s
}

// backoff is the wait before the attempt'th reconnect, from 0 on.
func (r *Redis) backoff(attempt int) time.Duration {
	wait := maxBackoff
	if attempt < 16 && r.cfg.Backoff<<attempt < maxBackoff {
		wait = r.cfg.Backoff << attempt
	}
	return wait - rand.N(wait/2+1)
}
