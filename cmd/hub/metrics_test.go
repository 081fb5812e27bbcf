package main

import (
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"wshub/engine"
	"wshub/pubsub"
	"wshub/session"
	"wshub/session/webhook"
)

// counted is a hub with these numbers.
func counted(e engine.Stats, s session.Stats, b pubsub.Snapshot) sources {
	return sources{
		engine:   func() engine.Stats { return e },
		session:  func() session.Stats { return s },
		broker:   func() pubsub.Snapshot { return b },
		ready:    func() error { return errors.New("not yet") },
		draining: func() bool { return true },
		lost:     func() uint64 { return 12 },
		callers:  func() map[string]uint64 { return map[string]uint64{"idle": 13} },
		reloads:  func() map[string]uint64 { return map[string]uint64{"failed": 14} },
		times:    newTimings(),
		certs:    func() certificateState { return certificateState{18, 19} },
		fleet:    func() map[string]uint64 { return map[string]uint64{"late": 14} },
		calls:    func() map[string]uint64 { return map[string]uint64{"answered": 91, "unsigned": 92} },
		webhooks: func() webhook.Stats {
			return webhook.Stats{Events: map[string]uint64{"dead": 18}, Tries: map[string]uint64{"timeout": 19}, Lag: map[string]time.Duration{"a.example": 20 * time.Second}, Streams: map[string]int{"a.example": 21}}
		},
		limits: limits{connections: 15, partial: 16, backlog: 17},
	}
}

func TestEveryDropAndCloseReasonIsCounted(t *testing.T) {
	r := newRegistry(counted(
		engine.Stats{
			Open: 3, Accepted: 9, TLS: map[string]uint64{"ok": 20}, Handshaking: 21, Dropped: map[string]uint64{"half_open": 4}, Refused: map[int]uint64{403: 5, 599: 1}, Sources: map[string]uint64{"address_rate": 18},
			Closed: map[string]uint64{"slow_consumer": 6, "drain": 7, "new_reason": 1, "newer_reason": 1},
		},
		session.Stats{Sessions: map[string]int64{"plain": 2, "v1": 1}, Recovered: 5, Unrecovered: 4, Errors: map[string]uint64{"bad_json": 8}, Dropped: map[string]uint64{"hold_full": 2}},
		pubsub.Snapshot{Drops: map[string]uint64{"bad_utf8": 3}, PublishErrors: map[string]uint64{"refused": 2}},
	))
	for sample, value := range map[string]float64{
		`wshub_connections_closed_total{cause="slow_consumer"}`: 6,
		`wshub_connections_closed_total{cause="drain"}`:         7,
		`wshub_control_dropped_total{reason="idle"}`:            13,
		`wshub_fleet_dropped_total{reason="late"}`:              14,
		"wshub_log_lines_lost_total":                            12,
		`wshub_webhook_events_total{outcome="dead"}`:            18,
		`wshub_webhook_events_total{outcome="lost"}`:            0,
		`wshub_webhook_tries_total{outcome="timeout"}`:          19,
		`wshub_webhook_tries_total{outcome="address"}`:          0,
		`wshub_webhook_lag_seconds{host="a.example"}`:           20,
		`wshub_webhook_streams{host="a.example"}`:               21,
		"wshub_connections_limit":                               15,
		"wshub_partial_limit_bytes":                             16,
		"wshub_backlog_limit_bytes":                             17,
		`wshub_reloads_total{outcome="failed"}`:                 14,
		`wshub_reloads_total{outcome="done"}`:                   0,
		`wshub_connections_closed_total{cause="other"}`:         2,
		`wshub_connections_closed_total{cause="peer"}`:          0,
		`wshub_connections`:                                     3,
		`wshub_certificate_expiry_seconds`:                      18,
		`wshub_certificate_failures_total`:                      19,
		`wshub_tls_handshakes_total{outcome="ok"}`:              20,
		`wshub_tls_handshakes_total{outcome="version"}`:         0,
		`wshub_tls_handshakes`:                                  21,
		`wshub_ready`:                                           0,
		`wshub_draining`:                                        1,
		`wshub_accepted_total`:                                  9,
		`wshub_sockets_dropped_total{reason="half_open"}`:       4,
		`wshub_sockets_dropped_total{reason="file_limit"}`:      0,
		`wshub_handshakes_refused_total{status="403"}`:          5,
		`wshub_address_refusals_total{reason="address_rate"}`:   18,
		`wshub_address_refusals_total{reason="proxy_head"}`:     0,
		`wshub_handshakes_refused_total{status="other"}`:        1,
		`wshub_sessions{mode="plain"}`:                          2,
		`wshub_errors_total{code="bad_json"}`:                   8,
		`wshub_errors_total{code="busy"}`:                       0,
		`wshub_errors_total{code="token_expired"}`:              0,
		`wshub_resumes_total{outcome="recovered"}`:              5,
		`wshub_resumes_total{outcome="lost"}`:                   4,
		`wshub_dropped_total{reason="handshake_rate"}`:          0,
		`wshub_connections_closed_total{cause="replaced"}`:      0,
		`wshub_dropped_total{reason="hold_full"}`:               2,
		`wshub_broker_dropped_total{reason="bad_utf8"}`:         3,
		`wshub_broker_publish_errors_total{error="refused"}`:    2,
	} {
		if got, ok := sampleOf(t, r, sample); !ok || got != value {
			t.Errorf("%s is %v (%v), want %v", sample, got, ok, value)
		}
	}
}

// sampleOf finds one sample by its name and label as they are shown.
func sampleOf(t *testing.T, r *prometheus.Registry, sample string) (value float64, ok bool) {
	t.Helper()
	all, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		for _, m := range f.Metric {
			name := f.GetName()
			for _, l := range m.Label {
				name += "{" + l.GetName() + `="` + l.GetValue() + `"}`
			}
			if name == sample {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue(), true
			}
		}
	}
	return 0, false
}

func TestMetricsKeepPrometheusNames(t *testing.T) {
	r := newRegistry(counted(engine.Stats{}, session.Stats{}, pubsub.Snapshot{}))
	all, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(all).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "wshub_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
	label := regexp.MustCompile(`^(reason|status|cause|mode|code|error|from|outcome|trigger|host)?$`)
	for _, f := range families {
		if !label.MatchString(f.label) {
			t.Errorf("%s has the label %q", f.name, f.label)
		}
	}
}
