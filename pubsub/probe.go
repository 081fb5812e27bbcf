package pubsub

import (
	"context"
	"strconv"
	"time"
)

// ask loads what a new connection has to, then begins a round of probing every ProbeEvery, until ctx ends. A round is a PING, which shows that
// the subscriber's connection works both ways, and a message to this node's own channel, which shows
// that what is published arrives here: a demoted master still answers pings.
func (s *subscriber) ask(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-s.ready:
	}
	if err := s.loadRevoked(ctx); err != nil {
		return err
	}
	tick := time.NewTicker(s.cfg.ProbeEvery)
	defer tick.Stop()
	for {
		round := strconv.FormatUint(s.round.Add(1), 10)
		if err := s.ps.Ping(ctx, round); err != nil {
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

// publishProbe sends round to this node's channel. An error shows itself: the probe will be late.
func (s *subscriber) publishProbe(ctx context.Context, round string) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.ProbeEvery)
	defer cancel()
	if err := s.prober.Publish(ctx, s.nodeChannel, string(probeMark)+round).Err(); err != nil && ctx.Err() == nil {
		s.trouble.Warn().Err(err).Msg("publish a probe to redis")
	}
}

// roundTrip grants the connection another ProbeDeadline if a further round has come back both ways.
func (s *subscriber) roundTrip() {
	if back := min(s.pong, s.probe); back > s.returned {
		s.returned = back
		s.probed.Store(time.Now().UnixNano())
		if !s.connected.Swap(true) {
			s.cfg.Log.Info().Str("redis", s.opt.Addr).Int("topics", s.follows.len()).Msg("connected to redis")
		}
		s.doomed.Reset(s.cfg.ProbeDeadline)
	}
}
