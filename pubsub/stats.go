package pubsub

import (
	"sync/atomic"
	"time"
)

// Drop is why a message from Redis, or a publication, was thrown away.
type Drop uint8

// The reasons.
const (
	BadUTF8     Drop = iota // not UTF-8
	BadJSON                 // not one JSON value
	TooBig                  // longer than MaxMessage
	BadEnvelope             // on a topic's channel, starting like an envelope or attributes, but none
	BadAddress              // on hub:to, but not {"to":{"user":…}|{"topic":…},"data":…}
	BadControl              // between nodes, but none that is known
	BadEntry                // in a log, but not written by a hub
	NotInLog                // it has a position, and its log does not know it: forged, or the log has lost it
	HistoryFull             // an event of a history in memory that had no room any more
	RecordsFull             // a topic's last position in memory, of which there were too many
	KeysFull                // the result of a publication with a key, in memory, likewise
	Overrun                 // too much arrived while the log was read; what has a position is read from there
	numDrops
)

var dropNames = [numDrops]string{"bad_utf8", "bad_json", "too_big", "bad_envelope", "bad_address", "bad_control", "bad_entry", "not_in_log", "history_full", "records_full", "keys_full", "overrun"}

// String is the drop's name in metrics and logs.
func (d Drop) String() string { return dropNames[d] }

// stats counts what a broker did. Any goroutine may count.
type stats struct {
	received, delivered, gaps, reconnects atomic.Uint64
	torn, caughtUp                        atomic.Uint64
	replaysMemory, replaysRedis           atomic.Uint64
	drops                                 [numDrops]atomic.Uint64
	unavailable, unknown, refused         atomic.Uint64
	layouts                               [numTriggers]atomic.Uint64
}

// Snapshot is a broker's state and counters at one moment. Counters start at zero with the broker.
type Snapshot struct {
	// Received counts messages taken from Redis, probes among them.
	Received uint64
	// Delivered counts events handed to the Sink, Gaps the calls of Sink.Gap.
	Delivered, Gaps uint64
	// Torn counts links that did not fit, CaughtUp the events that were read from the log for it or
	// for a reconnect.
	Torn, CaughtUp uint64
	// ReplaysFromMemory and ReplaysFromRedis count answers to Replay, by where they came from.
	ReplaysFromMemory, ReplaysFromRedis uint64
	// Drops counts what was thrown away, by Drop.String.
	Drops map[string]uint64
	// Reconnects counts the subscriber's connections that ended, and attempts that came to none.
	Reconnects uint64
	// Followed is the number of topics in the table, lingering ones among them.
	Followed int
	// HistoryBytes is how much a Memory keeps. Always 0 in Redis.
	HistoryBytes uint64
	// ProbeAge is the time since a probe last came back, or since the broker started.
	// Always 0 in Memory.
	ProbeAge time.Duration
	// ClockDifference is how far the server's clock is ahead of this machine's, PositionLead how far the
	// last published position was ahead of the server's clock. Always 0 in Memory.
	ClockDifference, PositionLead time.Duration
	// Masters is the number of servers that serve partitions, Unowned that of partitions that nobody serves. Always 0
	// in Memory.
	Masters, Unowned int
	// Topologies counts changes of the layout, by the trigger of the discovery that found them.
	Topologies map[string]uint64
	// Silences is how long it took, each time that a connection to a master ended or partitions moved, until all that
	// is published to their topics was sure to arrive again.
	Silences Distribution
	// PublishErrors counts publications that failed: unavailable, unknown_outcome, refused.
	PublishErrors map[string]uint64
	// Presence counts members of dead nodes that were taken off (swept), differences to this node's members that were mended
	// (repaired), how often this node was taken for dead (fenced), and changes that failed: unavailable, unknown_outcome,
	// refused. Nil in Memory.
	Presence map[string]uint64
	// Lifecycle counts what this node has written of the lifecycle.
	Lifecycle LifecycleStats
}

func (s *stats) snapshot() Snapshot {
	drops := make(map[string]uint64, numDrops)
	for d := range s.drops {
		drops[dropNames[d]] = s.drops[d].Load()
	}
	topologies := make(map[string]uint64, numTriggers)
	for t := range s.layouts {
		topologies[triggerNames[t]] = s.layouts[t].Load()
	}
	return Snapshot{
		Topologies: topologies,

		Received:  s.received.Load(),
		Delivered: s.delivered.Load(),
		Gaps:      s.gaps.Load(),
		Torn:      s.torn.Load(),
		CaughtUp:  s.caughtUp.Load(),

		ReplaysFromMemory: s.replaysMemory.Load(),
		ReplaysFromRedis:  s.replaysRedis.Load(),

		Drops:      drops,
		Reconnects: s.reconnects.Load(),
		PublishErrors: map[string]uint64{
			"unavailable":     s.unavailable.Load(),
			"unknown_outcome": s.unknown.Load(),
			"refused":         s.refused.Load(),
		},
	}
}
