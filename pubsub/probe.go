package pubsub

import (
	"context"
	_ "embed"
	"errors"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// ask begins a round of probing every ProbeEvery, until ctx ends. A round is a PING, which shows that the
// subscriber's connection works both ways, and a message to a channel of this node, which shows that what is
// published arrives here: a demoted master still answers pings.
func (s *subscriber) ask(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-s.ready:
	}
	tick := time.NewTicker(s.cfg.ProbeEvery)
	defer tick.Stop()
	for {
		if s.sharded {
			if err := s.follow(); err != nil {
				return err
			}
		}
		round := strconv.FormatUint(s.round.Add(1), 10)
		if err := s.feed.send("PING", round); err != nil {
			return err
		}
		if s.hearsTopics() {
			s.publishProbe(ctx, round)
			s.warnOfServer(ctx, s.master)
		} else {
			s.publishClassicProbe(ctx, round)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			s.follows.again(s.line)
		case <-s.again:
		}
	}
}

// follow has the channels of this node heard that are the server's now.
func (s *subscriber) follow() error {
	strange := s.estranged.Swap(false)
	if p := s.trialPartition(); p != s.trial || strange {
		s.trial = p
		if err := s.feed.send("SSUBSCRIBE", s.names.node(p, s.cfg.Node)); err != nil {
			return err
		}
	}
	return nil
}

//go:embed probe.lua
var probeSource string

// publishProbe sends round through a script, as events are published. An error shows itself: the probe will be
// late. It also asks whether the server takes writes and lets us, what time it is there, and, where it has the list of
// revocations, whether that is whole.
func (s *subscriber) publishProbe(ctx context.Context, round string) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.ProbeEvery)
	defer cancel()
	m, p, keeps := s.master, s.trial, len(s.cfg.History) > 0
	pipe := m.prober.Pipeline()
	sent := pipe.Eval(ctx, s.probeSource, []string{s.names.alive(p, s.cfg.Node)},
		leaseTime.Milliseconds(), commandsOf(s.needs(m, p)), s.names.node(p, s.cfg.Node), string(probeMark)+round)
	if err := exec(ctx, pipe); err != nil {
		sent.SetErr(err)
	}
	if ctx.Err() != nil {
		return
	}
	reply, err := sent.Slice()
	switch {
	case isAstray(err):
		s.triggers.pull(onMoved)
	case redis.IsClusterDownError(err):
		s.spare()
	case redis.IsReadOnlyError(err):
		m.replica.Store(true)
		s.triggers.pull(onReplica)
	}
	sentOut := err == nil
	if text := str(reply, 1); text != "" {
		err = refusalError(text)
	}
	switch {
	case err == nil:
		m.replica.Store(false) // it may have become a master again
	case isPermission(err):
		err = s.denied(ctx, m, err)
		s.trouble.Error().Func(Because(err)).Str("redis", m.addr).Msg("the hub's user lacks rights on redis")
	case !sentOut:
		s.trouble.Warn().Func(Because(err)).Str("redis", m.addr).Msg("publish a probe to redis")
	}
	m.refusal.tried(err, keeps)
	if seconds, err := strconv.ParseInt(str(at(reply, 0), 0), 10, 64); err == nil {
		micros, _ := strconv.ParseInt(str(at(reply, 0), 1), 10, 64)
		m.clock.set(time.Unix(seconds, micros*1000))
		s.warnOfClocks(m)
	}
	if s.routes[common].Load() == m {
		s.probeCommon(ctx, m)
	}
}

// refusalError is an error that a script has caught, as the server would have answered it.
type refusalError string

// Error implements error.
func (e refusalError) Error() string { return string(e) }

// RedisError implements redis.Error.
func (e refusalError) RedisError() {}

// probeCommon asks whether the list of revocations is whole.
func (s *subscriber) probeCommon(ctx context.Context, m *master) {
	if s.cfg.HeldRevocations == nil {
		return
	}
	mark, err := m.prober.ZScore(ctx, s.names.revoked(), wholeMark).Result()
	if (err == nil || errors.Is(err, redis.Nil)) && uint64(mark) != s.list.mark.Load() {
		wake(s.list.work) // the list was lost
	}
}

// publishClassicProbe sends round over the cluster's bus, at another server than the one where it should arrive.
func (s *subscriber) publishClassicProbe(ctx context.Context, round string) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.ProbeEvery)
	defer cancel()
	m := s.master
	for _, other := range s.allMasters() {
		if other != m && other.connected.Load() {
			m = other
			break
		}
	}
	if err := m.prober.Publish(ctx, s.names.classicNode(s.cfg.Node), string(probeMark)+round).Err(); err != nil && ctx.Err() == nil {
		s.trouble.Warn().Func(Because(err)).Str("redis", m.addr).Msg("publish a classic probe to redis")
	}
}

// warnOfClocks logs an error if the clocks are further apart than leaps allow for.
func (r *Redis) warnOfClocks(m *master) {
	if d := m.clock.difference(); d.Abs() > maxClockDifference {
		r.clocks.Error().Int64("redis_is_ahead_ms", d.Milliseconds()).Str("redis", m.addr).Msg("the clocks of redis and of this machine differ: a failover may give positions twice, or lead to gaps")
	}
	if lead := time.Duration(r.ids.lead.Load()); lead > maxLead {
		r.clocks.Error().Int64("ahead_ms", lead.Milliseconds()).Msg("positions are ahead of redis's clock: it was set back, or redis moved often")
	}
}

// spare grants the connection as long as if a round had come back when it last answered a PING: slots without a master
// have all of the cluster refuse to publish, wherever this connection goes.
func (s *subscriber) spare() {
	if left := s.cfg.ProbeDeadline - time.Duration(s.stopwatch.now()-s.answered.Load()); left > 0 {
		s.doomed.Reset(left)
	}
}

// roundTrip grants the connection another ProbeDeadline if a further round has come back both ways.
func (s *subscriber) roundTrip() {
	if back := min(s.pong, s.probe); back > s.returned {
		s.returned = back
		s.probed.Store(s.stopwatch.now())
		if !s.connected.Swap(true) {
			s.cfg.Log.Info().Str("redis", s.master.addr).Int("topics", s.follows.len()).Msg("connected to redis")
		}
		s.doomed.Reset(s.cfg.ProbeDeadline)
	}
}
