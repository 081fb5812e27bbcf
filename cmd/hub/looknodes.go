package main

import (
	"context"
	"math"
	"os"
	"runtime/metrics"
	"strconv"
	"strings"
	"time"
)

// nodeShown is a hub at one moment.
type nodeShown struct {
	Node           string           `json:"node"`
	Version        string           `json:"version"`
	Revision       string           `json:"revision,omitempty"`
	State          string           `json:"state"` // ready, draining or not ready
	Reason         string           `json:"reason,omitempty"`
	UptimeMs       int64            `json:"uptime_ms"`
	Connections    int64            `json:"connections"`
	Sockets        int64            `json:"sockets"`
	MaxConnections int              `json:"max_connections"`
	Sessions       map[string]int64 `json:"sessions"`
	Topics         int64            `json:"topics"` // each once per loop
	Subscriptions  int64            `json:"subscriptions"`
	BacklogBytes   int64            `json:"backlog_bytes"`
	Rates          ratesShown       `json:"rates"`
	FanoutP99Ms    *float64         `json:"fanout_p99_ms,omitempty"` // of the last minute, none if there were no events
	ProbeAgeMs     *int64           `json:"probe_age_ms,omitempty"`
	Memory         memoryShown      `json:"memory"`
	Lately         latelyShown      `json:"lately"`
	Settings       string           `json:"settings"` // the same on hubs whose settings are the same; see settingsShown.mark
}

// latelyShown is why clients went within the last minute, by cause.
type latelyShown struct {
	Closed  map[string]uint64 `json:"closed"`
	Refused map[string]uint64 `json:"refused"`
	Dropped map[string]uint64 `json:"dropped"`
	Errors  map[string]uint64 `json:"errors"` // told to clients, by code
	OverMs  int64             `json:"over_ms"`
}

// memoryShown is the memory of a hub's process, in bytes.
type memoryShown struct {
	Heap   uint64 `json:"heap_bytes"`            // objects of the Go heap
	System uint64 `json:"system_bytes"`          // that the Go runtime holds
	RSS    uint64 `json:"rss_bytes,omitempty"`   // of the process, on Linux
	Limit  uint64 `json:"limit_bytes,omitempty"` // that the Go runtime tries to stay below
}

// nodeState is what looks need of the hub's process.
type nodeState struct {
	ready          func() error
	draining       func() bool
	redis          bool
	maxConnections int
	born           time.Time
	settings       string // the settings' mark
}

func (l *looks) addNodes(of nodeState, s *sampler) {
	handle(l, "node", func(context.Context, struct{}) (nodeShown, error) { return l.nodeHere(of, s), nil })
	get(l, "/api/nodes", func(*query) struct{} { return struct{}{} }, func(ctx context.Context, nodes []string, q struct{}) (any, error) {
		replies, of, err := askAll[nodeShown](ctx, l, nodes, "node", q)
		if err != nil {
			return nil, err
		}
		all := struct {
			Nodes []nodeShown `json:"nodes"`
			unheard
		}{[]nodeShown{}, of}
		for _, r := range replies {
			r.answer.Node = r.node
			all.Nodes = append(all.Nodes, r.answer)
		}
		return all, nil
	})
}

func (l *looks) nodeHere(of nodeState, s *sampler) nodeShown {
	e, hub, broker, v, causes := s.from.engine(), s.from.session(), s.from.broker(), readVersion(), s.causes()
	n := nodeShown{
		Node: l.node, Version: v.version, Revision: v.revision, State: "ready", UptimeMs: time.Since(of.born).Milliseconds(),
		Connections: e.Open, Sockets: e.Sockets, MaxConnections: of.maxConnections, Sessions: hub.Sessions,
		Topics: hub.Topics, Subscriptions: hub.Subscriptions, BacklogBytes: e.Backlog, Rates: s.rates(), Memory: readMemory(),
		Lately: latelyShown{causes.ClosedLately, causes.RefusedLately, causes.DroppedLately, causes.ErrorsLately, causes.LatelyMs}, Settings: of.settings,
	}
	if err := of.ready(); err != nil {
		n.State, n.Reason = "not ready", err.Error()
	}
	if of.draining() {
		n.State = "draining"
	}
	if p99, ok := s.fanout(); ok {
		ms := math.Round(p99.Seconds()*1e6) / 1e3
		n.FanoutP99Ms = &ms
	}
	if of.redis {
		age := broker.ProbeAge.Milliseconds()
		n.ProbeAgeMs = &age
	}
	return n
}

// readMemory asks the runtime and the system.
func readMemory() memoryShown {
	s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}, {Name: "/gc/gomemlimit:bytes"}}
	metrics.Read(s)
	m := memoryShown{Heap: s[0].Value.Uint64(), System: s[1].Value.Uint64() - s[2].Value.Uint64(), Limit: s[3].Value.Uint64()}
	if m.Limit == 1<<63-1 {
		m.Limit = 0
	}
	if statm, err := os.ReadFile("/proc/self/statm"); err == nil {
		if fields := strings.Fields(string(statm)); len(fields) > 1 {
			pages, _ := strconv.ParseUint(fields[1], 10, 64)
			m.RSS = pages * uint64(os.Getpagesize())
		}
	}
	return m
}
