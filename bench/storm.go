package bench

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"time"

	"wshub/bench/fleet"
)

// stormScenario: a crowd loses its connections and comes back, while events go on.
type stormScenario struct {
	Common  `embed:"" json:"common"`
	Load    `kong:"embed,set='rate=20',set='duration=30s'" json:"load"`
	Clients int           `help:"Clients." default:"1000" json:"clients"`
	Kind    string        `help:"cut: half of the clients reset their connections; restart: the server is stopped and started; kill: the same with SIGKILL." enum:"cut,restart,kill" default:"cut" json:"kind"`
	Restart guarded       `help:"Command that restarts a server which --server has not started, for --kind=restart." placeholder:"COMMAND" json:"restart,omitempty"`
	Window  time.Duration `help:"Clients come back spread over this time." default:"1s" json:"window_ns"`
}

func (s *stormScenario) common() *Common { return &s.Common }

func (s *stormScenario) validate() error {
	switch {
	case s.Window < 0:
		return usagef("--window=%s: want 0 or more", s.Window)
	case s.Kind == "restart" && s.Server == "" && s.Restart == "":
		return usagef("--kind=restart: needs --server (hubbench starts it) or --restart (a command)")
	case s.Kind == "kill" && s.Server == "":
		return usagef("--kind=kill: needs --server: hubbench kills only a server that it started")
	case s.Restart != "" && s.Kind != "restart":
		return usagef("--restart: goes with --kind=restart only")
	case s.Publish == "ws":
		return usagef("--publish=ws: the client that publishes may be one of those cut off; use redis or http")
	case s.Publish == "pusher":
		return usagef("--publish=pusher: its API cannot be sent an event again for sure; use redis or http")
	}
	return errors.Join(validateClients(s.Clients), s.Load.validate(&s.Common, false))
}

func (s *stormScenario) measure(ctx context.Context, run *Run, p progress) (err error) {
	t, err := openTrial(ctx, &s.Common, s.broadcastTopology(), s.Clients, s.Warmup+s.Duration, run, p)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	defer t.finish()
	if err := t.connect(ctx, 0, s.Clients, true); err != nil {
		return err
	}
	if err := t.hold(ctx, "settle", s.Settle); err != nil {
		return err
	}
	if _, err := t.fleet.Do(ctx, fleet.Order{Op: fleet.Return, Window: s.Window}); err != nil {
		return err
	}
	pub, err := s.open(ctx, t.c, t.topology)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, pub.Close()) }()
	if r, ok := pub.(*redisPublisher); ok {
		r.heard = true // while the server is away nobody hears
	}
	driver := newDriver(pub, t.topology, s.Clients, t.id, s.Size)
	driver.patient = true
	t.sentBy = func() uint64 { _, n := driver.sentSoFar(); return n }
	run.Load, run.Storm = &LoadPart{}, &Stormed{Kind: s.Kind}
	err = t.drive(ctx, driver, s.Warmup, s.Rate, s.Duration, run.Load, func(ctx context.Context) error {
		return s.storm(ctx, t, driver)
	})
	sent, _ := driver.sentSoFar()
	if err == nil {
		err = t.drain(ctx, sent)
	}
	run.Storm.Missed, run.Storm.Gaps = t.run.Counts.Missed, t.run.Counts.Gaps
	t.finishLoad(run.Load)
	return err
}

// storm breaks the connections and times the return of their clients.
func (s *stormScenario) storm(ctx context.Context, t *trial, driver *driver) error {
	stormed := t.run.Storm
	before := t.run.Counts
	begin := time.Now()
	broken := make(chan error, 1)
	if s.Kind == "cut" {
		_, err := t.fleet.Do(ctx, fleet.Order{Op: fleet.Cut, From: 0, To: (s.Clients + 1) / 2})
		broken <- err
	} else {
		go func() { broken <- s.strike(ctx, t) }()
	}
	var struck bool
	lost := func(c fleet.Counts) int64 { return int64(c.Closed + c.Left - before.Closed - before.Left) }
	err := t.watch(ctx, s.Duration, func(c fleet.Counts) bool {
		select {
		case err := <-broken:
			struck = true
			broken <- err
		default:
		}
		return struck && lost(c) > 0 && c.Ready == int64(s.Clients)
	})
	if struckErr := <-broken; struckErr != nil {
		return struckErr
	}
	t.newServers()
	counts := t.run.Counts
	stormed.Away = lost(counts)
	stormed.Attempts = counts.Opened + counts.Failed - before.Opened - before.Failed
	if err != nil {
		return err
	}
	if counts.Ready < int64(s.Clients) || stormed.Away == 0 {
		return fmt.Errorf("%d of %d clients are connected %s after the storm: %s", counts.Ready, s.Clients, time.Since(begin).Round(time.Second), reasons(counts))
	}
	stormed.Back = time.Since(begin).Seconds()
	sent, _ := driver.sentSoFar()
	if err := t.catchUp(ctx, sent, s.Duration); err != nil {
		return err
	}
	stormed.CaughtUp = time.Since(begin).Seconds()
	// The rest of the time shows that the load is carried as before.
	return t.watch(ctx, max(time.Second, s.Duration-time.Since(begin)), nil)
}

// strike restarts the server. It runs beside the watching, and touches nothing that is watched.
func (s *stormScenario) strike(ctx context.Context, t *trial) error {
	switch {
	case s.Restart != "":
		words, err := splitWords(string(s.Restart))
		if err != nil || len(words) == 0 {
			return usagef("--restart=%q: not a command", s.Restart)
		}
		if out, err := exec.CommandContext(ctx, words[0], words[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("restart the server: %w: %.500s", err, out)
		}
		return nil
	case s.Kind == "kill":
		t.server.kill()
	default:
		if err := t.server.stop(); err != nil {
			return err
		}
	}
	return t.server.start(ctx)
}

// catchUp waits until every client has what was sent by now.
func (t *trial) catchUp(ctx context.Context, sent []uint64, limit time.Duration) error {
	for end := time.Now().Add(limit); ; {
		r, err := t.carryOut(ctx, fleet.Order{Op: fleet.Behind, Sent: sent})
		if err != nil {
			return err
		}
		if r.report.Behind == 0 && r.report.Counts.Ready == int64(t.clients) {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("%d clients have not caught up after %s", r.report.Behind, limit)
		}
		if err := t.watch(ctx, pollEvery, nil); err != nil {
			return err
		}
	}
}
