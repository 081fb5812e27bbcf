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
// subscriber's connection works both ways, and a message to this node's own channel, which shows that what is
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
		round := strconv.FormatUint(s.round.Add(1), 10)
		if err := s.feed.send("PING", round); err != nil {
			return err
		}
		s.publishProbe(ctx, round)
		s.checkServer(ctx)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

//go:embed probe.lua
var probeSource string

// publishProbe sends round to this node's channel. An error shows itself: the probe will be late. It also asks
// whether the server takes writes and lets us, what time it is there, and whether its list of revocations is whole.
func (s *subscriber) publishProbe(ctx context.Context, round string) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.ProbeEvery)
	defer cancel()
	pipe := s.prober.Pipeline()
	sent := pipe.Publish(ctx, s.nodeChannel, string(probeMark)+round)
	write := pipe.Eval(ctx, probeSource, []string{aliveKey + s.cfg.Node}, (10 * time.Second).Milliseconds(), len(s.cfg.History) > 0)
	clock := pipe.Time(ctx)
	whole := pipe.ZScore(ctx, revokedKey, wholeMark)
	if err := exec(ctx, pipe); err != nil {
		for _, command := range []redis.Cmder{sent, write, clock, whole} {
			command.SetErr(err)
		}
	}
	if ctx.Err() != nil {
		return
	}
	if err := sent.Err(); err != nil {
		s.trouble.Warn().Err(err).Msg("publish a probe to redis")
	}
	s.refusal.tried(write.Err(), len(s.cfg.History) > 0)
	if mark, err := whole.Result(); s.cfg.HeldRevocations != nil && (err == nil || errors.Is(err, redis.Nil)) && uint64(mark) != s.list.mark.Load() {
		wake(s.incomplete) // the list was lost
	}
	if clock.Err() == nil {
		s.clock.set(clock.Val())
		s.checkClocks()
	}
}

// checkClocks complains of clocks that are apart further than leaps allow for.
func (r *Redis) checkClocks() {
	if d := r.clock.difference(); d.Abs() > maxClockDifference {
		r.clocks.Error().Stringer("redis_is_ahead", d).Msg("the clocks of redis and of this machine differ: a failover may give positions twice, or lead to gaps")
	}
	if lead := time.Duration(r.ids.lead.Load()); lead > maxLead {
		r.clocks.Error().Stringer("ahead", lead).Msg("positions are ahead of redis's clock: it was set back, or redis moved often")
	}
}

// roundTrip grants the connection another ProbeDeadline if a further round has come back both ways.
func (s *subscriber) roundTrip() {
	if back := min(s.pong, s.probe); back > s.returned {
		s.returned = back
		s.probed.Store(s.stopwatch.now())
		if !s.connected.Swap(true) {
			s.cfg.Log.Info().Str("redis", s.opt.Addr).Int("topics", s.follows.len()).Msg("connected to redis")
		}
		s.doomed.Reset(s.cfg.ProbeDeadline)
	}
}
