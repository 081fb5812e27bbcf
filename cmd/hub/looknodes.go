package main

import (
	"cmp"
	"context"
	"maps"
	"os"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"time"

	"wshub/session"
	"wshub/session/reasons"
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
	ProbeAgeMs     *int64           `json:"probe_age_ms,omitempty"`
	Memory         memoryShown      `json:"memory"`
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
	e, hub, broker, v := s.from.engine(), s.from.session(), s.from.broker(), readVersion()
	n := nodeShown{
		Node: l.node, Version: v.version, Revision: v.revision, State: "ready", UptimeMs: time.Since(of.born).Milliseconds(),
		Connections: e.Open, Sockets: e.Sockets, MaxConnections: of.maxConnections, Sessions: hub.Sessions,
		Topics: hub.Topics, Subscriptions: hub.Subscriptions, BacklogBytes: e.Backlog, Rates: s.rates(), Memory: readMemory(),
	}
	if err := of.ready(); err != nil {
		n.State, n.Reason = "not ready", err.Error()
	}
	if of.draining() {
		n.State = "draining"
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

// shownReasons bounds the reasons of one answer, of all hubs.
const shownReasons = 1000

// reasonHere is a reason and where it was.
type reasonHere struct {
	Node string `json:"node"`
	reasons.Reason
}

// reasonsQuestion leaves those of one user, or of one kind.
type reasonsQuestion struct {
	User  string       `json:"user,omitempty"`
	Kind  reasons.Kind `json:"kind,omitempty"`
	limit int
}

// reasonsAnswer is one hub's.
type reasonsAnswer struct {
	Reasons []reasons.Reason `json:"reasons"`
	Counts  causesShown      `json:"counts"`
}

func (l *looks) addReasons(list func() []reasons.Reason, s *sampler) {
	handle(l, "reasons", func(_ context.Context, q reasonsQuestion) (reasonsAnswer, error) {
		all := slices.DeleteFunc(list(), func(r reasons.Reason) bool {
			return q.User != "" && r.User != q.User || q.Kind != "" && r.Kind != q.Kind
		})
		return reasonsAnswer{all, s.causes()}, nil // 200 of up to 1 KiB, and never as long with each byte escaped
	})
	get(l, "/api/reasons", func(q *query) reasonsQuestion {
		kinds := []string{string(reasons.Handshake), string(reasons.Token), string(reasons.Topic), string(reasons.Cut), string(reasons.Drop)}
		return reasonsQuestion{q.text("user", ""), reasons.Kind(q.oneOf("kind", kinds...)), q.number("limit", 200, 0, shownReasons)}
	}, l.reasons)
}

func (l *looks) reasons(ctx context.Context, nodes []string, q reasonsQuestion) (any, error) {
	replies, of, err := askAll[reasonsAnswer](ctx, l, nodes, "reasons", q)
	if err != nil {
		return nil, err
	}
	all := struct {
		Reasons []reasonHere  `json:"reasons"`
		Nodes   []causesShown `json:"nodes"`
		unheard
	}{[]reasonHere{}, []causesShown{}, of}
	for _, r := range replies {
		for _, reason := range r.answer.Reasons {
			all.Reasons = append(all.Reasons, reasonHere{r.node, reason})
		}
		r.answer.Counts.Node = r.node
		all.Nodes = append(all.Nodes, r.answer.Counts)
	}
	slices.SortStableFunc(all.Reasons, func(a, b reasonHere) int { return b.Time.Compare(a.Time) })
	all.Reasons = all.Reasons[:min(len(all.Reasons), q.limit)]
	return all, nil
}

// settingsShown are a hub's settings as hub check prints them.
type settingsShown struct {
	Node     string         `json:"node"`
	Settings []settingShown `json:"settings"`
	Notes    []string       `json:"notes"`
}

type settingShown struct {
	Name    string `json:"name"`
	Group   string `json:"group"`
	Value   string `json:"value"`
	Default string `json:"default,omitempty"`
	From    string `json:"from"`
	Changed bool   `json:"changed"`
}

// settingsQuestion asks for all settings, or for those that are not the default.
type settingsQuestion struct {
	Changed bool `json:"changed"`
}

func (l *looks) addSettings(s *settings) {
	own := s.shown()
	handle(l, "settings", func(_ context.Context, q settingsQuestion) (settingsShown, error) {
		a := own
		if q.Changed {
			a.Settings = slices.DeleteFunc(slices.Clone(own.Settings), func(s settingShown) bool { return !s.Changed })
		}
		return a, nil
	})
	get(l, "/api/settings", func(q *query) settingsQuestion {
		return settingsQuestion{q.oneOf("changed", "true", "false") == "true"}
	}, func(ctx context.Context, nodes []string, q settingsQuestion) (any, error) {
		replies, of, err := askAll[settingsShown](ctx, l, nodes, "settings", q)
		if err != nil {
			return nil, err
		}
		all := struct {
			Nodes []settingsShown `json:"nodes"`
			unheard
		}{[]settingsShown{}, of}
		for _, r := range replies {
			r.answer.Node = r.node
			all.Nodes = append(all.Nodes, r.answer)
		}
		return all, nil
	})
}

// shown are the settings without any secret.
func (s *settings) shown() settingsShown {
	shown := settingsShown{Settings: []settingShown{}, Notes: []string{}}
	clean := newRedactor(s.cfg.secrets()...)
	for _, f := range s.flags {
		if f.Group == nil {
			continue
		}
		value := clean.text(s.value(f))
		shown.Settings = append(shown.Settings, settingShown{
			f.Name, f.Group.Key, value, f.Default, cmp.Or(s.follows[f.Name], s.source[f.Name], "default"), s.source[f.Name] != "" && value != f.Default,
		})
	}
	for _, note := range s.notes() {
		shown.Notes = append(shown.Notes, clean.text(note))
	}
	return shown
}

// less is how much more of each reason there is in now than in then.
func less[K comparable](now, then map[K]uint64) map[K]uint64 {
	diff := make(map[K]uint64)
	for reason, n := range now {
		if more := n - then[reason]; more > 0 {
			diff[reason] = more
		}
	}
	return diff
}

// without drops what never came.
func without[K comparable](counted map[K]uint64) map[K]uint64 {
	counted = maps.Clone(counted)
	maps.DeleteFunc(counted, func(_ K, n uint64) bool { return n == 0 })
	return counted
}

var _ lookedAt = (*session.Hub)(nil)
