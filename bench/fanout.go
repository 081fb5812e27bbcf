package bench

import (
	"context"
	"errors"
	"time"

	"wshub/bench/fleet"
)

// fanoutScenario: one topic, many followers.
type fanoutScenario struct {
	Common  `embed:"" json:"common"`
	Load    `kong:"embed,set='rate=100',set='duration=10s'" json:"load"`
	Clients int    `help:"Followers." default:"1000" json:"clients"`
	Topic   string `help:"Topic to publish to. Default: the broadcast topic." json:"topic,omitempty"`
}

func (s *fanoutScenario) common() *Common { return &s.Common }

func (s *fanoutScenario) validate() error {
	if s.Topic != "" && !topicName.MatchString(s.Topic) {
		return usagef("--topic=%q: want letters, digits and :._-", s.Topic)
	}
	return errors.Join(validateClients(s.Clients), s.Load.validate(&s.Common, false))
}

func (s *fanoutScenario) topology() fleet.Topology {
	if s.Topic != "" {
		return fleet.Topology{Topic: s.Topic}
	}
	return s.broadcastTopology()
}

func (s *fanoutScenario) measure(ctx context.Context, run *Run, p progress) error {
	return measureLoad(ctx, &s.Common, &s.Load, s.topology(), s.Clients, run, p)
}

// roomsScenario: many topics.
type roomsScenario struct {
	Common    `embed:"" json:"common"`
	Load      `kong:"embed,set='rate=2000',set='duration=10s'" json:"load"`
	Topics    int `help:"Topics." default:"1000" json:"topics"`
	Followers int `help:"Followers of each." default:"10" json:"followers"`
}

func (s *roomsScenario) common() *Common { return &s.Common }

func (s *roomsScenario) validate() error {
	if s.Topics < 1 || s.Followers < 1 {
		return usagef("--topics and --followers: want at least 1")
	}
	return s.Load.validate(&s.Common, false)
}

func (s *roomsScenario) measure(ctx context.Context, run *Run, p progress) error {
	topology := fleet.Topology{Topic: "room", Topics: s.Topics}
	return measureLoad(ctx, &s.Common, &s.Load, topology, s.Topics*s.Followers, run, p)
}

// unicastScenario: every client is a user.
type unicastScenario struct {
	Common  `embed:"" json:"common"`
	Load    `kong:"embed,set='rate=2000',set='duration=10s'" json:"load"`
	Clients int `help:"Users, one connection each." default:"1000" json:"clients"`
}

func (s *unicastScenario) common() *Common { return &s.Common }

func (s *unicastScenario) validate() error {
	return errors.Join(validateClients(s.Clients), s.Load.validate(&s.Common, true))
}

func (s *unicastScenario) measure(ctx context.Context, run *Run, p progress) error {
	return measureLoad(ctx, &s.Common, &s.Load, fleet.Topology{Users: true}, s.Clients, run, p)
}

// inboundScenario: every client publishes to a topic that it alone follows.
type inboundScenario struct {
	Common  `embed:"" json:"common"`
	Clients int           `help:"Publishing clients." default:"1000" json:"clients"`
	Rate    float64       `help:"Events published a second, all clients together." default:"2000" group:"Load" json:"rate"`
	Span    time.Duration `help:"Time of measuring." name:"duration" default:"10s" group:"Load" json:"duration_ns"`
	Warmup  time.Duration `help:"Published before that, checked but not timed." default:"1s" group:"Load" json:"warmup_ns"`
	Size    int           `help:"Bytes per event." default:"128" group:"Load" json:"size"`
}

func (s *inboundScenario) common() *Common { return &s.Common }

func (s *inboundScenario) load() *Load {
	return &Load{
		Publishing: Publishing{Publish: "ws", Size: s.Size},
		Rate:       s.Rate, Duration: s.Span, Warmup: s.Warmup,
	}
}

func (s *inboundScenario) validate() error {
	return errors.Join(validateClients(s.Clients), s.load().validate(&s.Common, false))
}

func (s *inboundScenario) measure(ctx context.Context, run *Run, p progress) error {
	topology := fleet.Topology{Topic: "in", Topics: s.Clients}
	return measureLoad(ctx, &s.Common, s.load(), topology, s.Clients, run, p)
}

// measureLoad connects clients and publishes at a steady rate: what fanout, rooms, unicast and inbound do.
func measureLoad(ctx context.Context, c *Common, l *Load, topology fleet.Topology, clients int, run *Run, p progress) (err error) {
	t, err := openTrial(ctx, c, topology, clients, l.Warmup+l.Duration, run, p)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	defer t.finish()
	if err := l.reach(ctx, topology); err != nil {
		return err
	}
	if err := t.connect(ctx, 0, clients, true); err != nil {
		return err
	}
	t.steady = true
	if err := t.hold(ctx, "settle", c.Settle); err != nil {
		return err
	}
	run.Load = &LoadPart{}
	return t.load(ctx, l, l.Rate, l.Duration, run.Load)
}
