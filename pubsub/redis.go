package pubsub

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
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
	// URL is redis://[user:password@]host:port[/db], rediss:// for TLS, or unix://. Required.
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
	// Broadcast is the Redis channel that backends publish raw events on; they are events of the
	// topic of that name. Not a name that begins with "hub:". Default "channel".
	Broadcast string
	// MaxMessage bounds an event's data, in bytes. Longer ones are dropped and counted.
	// Default DefaultMaxMessage.
	MaxMessage int
	// History is what is kept. All instances must have the same. Default: nothing.
	History History
	// RecordLife is how long a topic's last position is remembered after its events are gone.
	// Default DefaultRecordLife.
	RecordLife time.Duration
	// RecentBytes bounds the recent events kept in memory, of all followed topics with history, from
	// which a Replay is answered without Redis. Default 32 MiB.
	RecentBytes int
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
	// OnControl gets what Tell sends here. It is called by the goroutine that calls the Sink, and
	// must not block. Default: it is dropped.
	OnControl func(message []byte)
	// OnRevoked gets the revocations that hold: all of them at every connection, before Ready, and
	// each that is new. One may come twice, from two goroutines at a time. It must not block.
	// Default: they are not read.
	OnRevoked func([]Revocation)
	// HeldRevocations calls yield for all that OnRevoked got and that still hold: should the server have
	// lost some, they are written back. Yield may take long. Default: nothing is written back.
	HeldRevocations func(yield func(Revocation) bool)
	// Log gets what an operator should know. Default: nothing.
	Log zerolog.Logger
}

// maxBackoff keeps a node from being blind much longer than the server is away.
const maxBackoff = 2 * time.Second

// ioTimeout bounds a dial, a write and the wait for an answer.
const ioTimeout = 2 * time.Second

func (c *RedisConfig) setDefaults() {
	setDefault(&c.Node, fmt.Sprintf("%016x", rand.Uint64()))
	setDefault(&c.Broadcast, "channel")
	setDefault(&c.MaxMessage, DefaultMaxMessage)
	setDefault(&c.RecordLife, DefaultRecordLife)
	setDefault(&c.RecentBytes, 32<<20)
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

// Redis is the Broker for several instances: they meet at one Redis server, 7.0 or newer.
// doc.go tells which channels and keys it uses.
type Redis struct {
	// Fixed at birth.
	cfg     RedisConfig
	opt     *redis.Options // what all clients share
	pub     *redis.Client  // publishes and reads
	prober  *redis.Client  // one connection of its own: a full pool is no reason to doubt the server
	follows *follows
	flood   zerolog.Logger // sampled, for what a stranger can cause at any rate
	trouble zerolog.Logger // sampled on its own, for what goes wrong with the server
	refused zerolog.Logger // sampled on its own, for publications that the server refuses
	clocks  zerolog.Logger // sampled on its own
	// nodeChannel is this node's own, broadcastChannel the topic channel of the broadcast topic.
	nodeChannel, broadcastChannel string

	stats    stats
	delivery delivery
	scripts  atomic.Pointer[scripts] // nil until the server said who it is
	clock    serverClock
	ids      givenIDs
	refusal  refusal
	list     revokedList
	reads    singleflight.Group // of Replay
	readings readings           // of Replay
	removals atomic.Uint64      // histories that were removed, as far as this node has heard
	// probed is when a probe last came back, by the stopwatch; the start's time before.
	probed    atomic.Int64
	stopwatch stopwatch
	connected atomic.Bool
	// round numbers the probes, through all connections.
	round atomic.Uint64
	// checked is set once the server's version and settings were looked at.
	checked atomic.Bool
}

var _ Broker = (*Redis)(nil)

// NewRedis makes a broker without connecting: Run does. The error tells what is wrong with cfg; it
// never holds the URL, which may hold a password.
func NewRedis(cfg RedisConfig) (*Redis, error) {
	cfg.setDefaults()
	if !ValidTopic(cfg.Broadcast) || strings.HasPrefix(cfg.Broadcast, "hub:") {
		return nil, fmt.Errorf("broadcast channel %q: want a topic name that does not begin with \"hub:\"", clip(cfg.Broadcast))
	}
	opt, err := redis.ParseURL(cfg.URL)
	if err != nil {
		return nil, errors.New("redis URL: want redis://[user:password@]host:port[/db]")
	}
	if opt.TLSConfig != nil {
		opt.TLSConfig = cmp.Or(cfg.TLS, &tls.Config{})
	}
	opt.Protocol = 2    // RESP3 costs a fifth more per message
	opt.MaxRetries = -1 // a retry would publish twice
	opt.DialerRetries = 1
	opt.DialTimeout, opt.ReadTimeout, opt.WriteTimeout = ioTimeout, ioTimeout, ioTimeout
	opt.PoolTimeout = ioTimeout
	opt.ContextTimeoutEnabled = true
	opt.DisableIdentity = true
	opt.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	sampled := func(lines uint32, period time.Duration) zerolog.Logger {
		return cfg.Log.Sample(&zerolog.BurstSampler{Burst: lines, Period: period})
	}
	r := &Redis{
		cfg:     cfg,
		opt:     opt,
		follows: newFollows(cfg.FollowTimeout, cfg.Linger, cfg.History),
		flood:   sampled(5, 10*time.Second),
		trouble: sampled(5, 10*time.Second),
		refused: sampled(5, 10*time.Second),
		clocks:  sampled(4, time.Minute),

		stopwatch:        newStopwatch(),
		clock:            serverClock{stopwatch: newStopwatch()},
		nodeChannel:      nodePrefix + cfg.Node,
		broadcastChannel: topicChannel(cfg.Broadcast),
	}
	r.delivery.recent.limit = cfg.RecentBytes
	r.pub = r.newClient(cfg.PoolSize, answered(dialWith(opt.TLSConfig)))
	r.prober = r.newClient(1, answered(dialWith(opt.TLSConfig)))
	r.probed.Store(r.stopwatch.now())
	return r, nil
}

func (r *Redis) newClient(connections int, dial dialer) *redis.Client {
	opt := *r.opt
	opt.PoolSize, opt.MaxActiveConns = connections, connections
	opt.Dialer = dial
	return redis.NewClient(&opt)
}

// Run connects, and reconnects for ever, until ctx ends. See Broker.
func (r *Redis) Run(ctx context.Context, sink Sink) error {
	defer func() {
		r.follows.close()
		_ = r.pub.Close()
		_ = r.prober.Close()
	}()
	r.probed.Store(r.stopwatch.now())
	r.delivery.sink = sink
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return r.follows.keepTime(ctx, r.delivery.forget) })
	g.Go(func() error { return r.stayConnected(ctx) })
	return g.Wait()
}

// Follow implements Broker.
func (r *Redis) Follow(topic string, loop int, done func(error)) { r.follows.add(topic, loop, done) }

// Unfollow implements Broker.
func (r *Redis) Unfollow(topic string, loop int) { r.follows.remove(topic, loop) }

// Ready is nil while a probe came back within ProbeDeadline, all revocations are known and the server takes
// writes, else an ErrUnavailable
// or ErrRefused that says why not.
func (r *Redis) Ready() error {
	age := r.probeAge()
	switch {
	case !r.connected.Load():
		return fmt.Errorf("%w: not connected to redis", ErrUnavailable)
	case age > r.cfg.ProbeDeadline:
		return fmt.Errorf("%w: no probe came back from redis for %s", ErrUnavailable, age.Round(time.Millisecond))
	}
	return cmp.Or(r.list.err(), r.refusal.err())
}

func (r *Redis) probeAge() time.Duration {
	return time.Duration(r.stopwatch.now() - r.probed.Load())
}

// Stats is what happened so far. It takes the table's lock for a moment.
func (r *Redis) Stats() Snapshot {
	s := r.stats.snapshot()
	s.Followed = r.follows.len()
	s.ProbeAge = r.probeAge()
	s.ClockDifference = r.clock.difference()
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
