package bench

import (
	"context"

	"wshub/bench/fleet"
)

// scenario is one thing to measure. Each has a file of its own.
type scenario interface {
	common() *Common
	// validate returns a usageError for settings that do not go together.
	validate() error
	// measure carries out one run and fills run as it goes: after an error, what it holds still counts.
	measure(ctx context.Context, run *Run, p progress) error
}

// scenarios are the subcommands of run. The embedded flags and defaults of each are its own.
type scenarios struct {
	Idle    idleScenario    `cmd:"" help:"Memory of idle connections, and CPU of their heartbeats."`
	Connect connectScenario `cmd:"" help:"Speed at which clients connect."`
	Churn   churnScenario   `cmd:"" help:"Clients that come and go while others listen."`
	Fanout  fanoutScenario  `cmd:"" help:"Many followers of one topic."`
	Rooms   roomsScenario   `cmd:"" help:"Many topics with a few followers each."`
	Unicast unicastScenario `cmd:"" help:"Events addressed to single users."`
	Inbound inboundScenario `cmd:"" help:"Clients publish, each to a topic that it follows."`
	Storm   stormScenario   `cmd:"" help:"A crowd loses its connections and comes back."`
	Max     maxScenario     `cmd:"" help:"The highest rate that the server keeps up with."`
	Soak    soakScenario    `cmd:"" help:"A load for hours: does memory or latency drift?"`
}

// broadcastTopology has every client follow one topic: the server's own one in plain mode, so that no URL
// names it.
func (c *Common) broadcastTopology() fleet.Topology {
	return fleet.Topology{Topic: c.Broadcast, Default: true}
}
