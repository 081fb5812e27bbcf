package main

import (
	"math"
	"runtime"
	"slices"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"wshub/engine"
	"wshub/pubsub"
	"wshub/session"
	"wshub/session/centrifugo"
	"wshub/session/pusher"
	"wshub/session/webhook"
)

// sources are where the numbers come from.
type sources struct {
	engine   func() engine.Stats
	session  func() session.Stats
	broker   func() pubsub.Snapshot
	ready    func() error
	draining func() bool
	lost     func() uint64            // log lines that could not be written
	callers  func() map[string]uint64 // connections to the control port that were dropped, by reason
	reloads  func() map[string]uint64 // by outcome
	times    *timings
	certs    func() certificateState  // of both ports
	fleet    func() map[string]uint64 // questions between hubs, and answers, that were dropped, by reason
	webhooks func() webhook.Stats
	calls    func() map[string]uint64 // of Pusher's API on the public port, by outcome
	limits   limits
}

// limits are bounds of the settings that other numbers may come close to.
type limits struct {
	connections      int
	partial, backlog int64 // bytes
}

// snapshot is all numbers at one moment.
type snapshot struct {
	engine          engine.Stats
	session         session.Stats
	broker          pubsub.Snapshot
	ready, draining bool
	lost            uint64
	callers, fleet  map[string]uint64
	reloads         map[string]uint64
	certs           certificateState
	times           *timings
	webhooks        webhook.Stats
	calls           map[string]uint64
	limits          limits
}

// family is one metric: a single number, or one per reason. A reason is never a topic, a user or a session.
type family struct {
	name, help string
	kind       prometheus.ValueType
	one        func(*snapshot) float64 // NaN: there is none to show

	label string // the reason's label
	many  func(*snapshot) map[string]uint64
	known []string // reasons that are always shown; what is none of them counts as "other". nil: many's

	lengths func(*snapshot) pubsub.Distribution // of a histogram, in seconds
}

func gauge(name, help string, one func(*snapshot) float64) family {
	return family{name: name, help: help, kind: prometheus.GaugeValue, one: one}
}

func counter(name, help string, one func(*snapshot) uint64) family {
	return family{name: name, help: help, kind: prometheus.CounterValue, one: func(s *snapshot) float64 { return float64(one(s)) }}
}

func counters(name, label, help string, known []string, many func(*snapshot) map[string]uint64) family {
	return family{name: name, help: help, kind: prometheus.CounterValue, label: label, known: known, many: many}
}

func split(name, label, help string, many func(*snapshot) map[string]uint64) family {
	return family{name: name, help: help, kind: prometheus.GaugeValue, label: label, many: many}
}

func histogram(name, help string, lengths func(*snapshot) pubsub.Distribution) family {
	return family{name: name, help: help, lengths: lengths}
}

// timing is a histogram of timings.
func timing(name, help string, of func(*timings) prometheus.Histogram) family {
	return histogram(name, help, func(s *snapshot) pubsub.Distribution { return distribution(of(s.times)) })
}

// families are the hub's own metrics.
var families = []family{
	gauge("wshub_ready", "1 while clients should be sent here.", func(s *snapshot) float64 { return number(s.ready) }),
	gauge("wshub_draining", "1 while the hub sends its clients away.", func(s *snapshot) float64 { return number(s.draining) }),

	gauge("wshub_connections", "Open connections; of a hub that drains, those that are left.", func(s *snapshot) float64 { return float64(s.engine.Open) }),
	gauge("wshub_sockets", "All client sockets, those in handshake or closing included.", func(s *snapshot) float64 { return float64(s.engine.Sockets) }),
	gauge("wshub_partial_bytes", "Bytes of half-received messages.", func(s *snapshot) float64 { return float64(s.engine.Partial) }),
	gauge("wshub_backlog_bytes", "Bytes that wait for slow readers.", func(s *snapshot) float64 { return float64(s.engine.Backlog) }),
	gauge("wshub_connections_limit", "--max-connections, or as many as the open-file limit allows.", func(s *snapshot) float64 { return float64(s.limits.connections) }),
	gauge("wshub_partial_limit_bytes", "--max-partial; over it the clients with the largest half-received messages are cut.", func(s *snapshot) float64 { return float64(s.limits.partial) }),
	gauge("wshub_backlog_limit_bytes", "--max-backlog; over it the slowest clients are cut.", func(s *snapshot) float64 { return float64(s.limits.backlog) }),
	counter("wshub_accepted_total", "Accepted sockets.", func(s *snapshot) uint64 { return s.engine.Accepted }),
	counter("wshub_pages_total", "Plain GETs of the public port that were answered with a file, as /hub.js.", func(s *snapshot) uint64 { return s.engine.Pages }),
	counter("wshub_upgraded_total", "Handshakes that became connections.", func(s *snapshot) uint64 { return s.engine.Upgraded }),
	counter("wshub_received_bytes_total", "Bytes from clients.", func(s *snapshot) uint64 { return s.engine.BytesIn }),
	counter("wshub_sent_bytes_total", "Bytes to clients, handed to the kernel or queued.", func(s *snapshot) uint64 { return s.engine.BytesOut }),
	counter("wshub_received_frames_total", "Whole messages and control frames from clients.", func(s *snapshot) uint64 { return s.engine.FramesIn }),
	counter("wshub_pings_total", "Heartbeats sent.", func(s *snapshot) uint64 { return s.engine.Pings }),
	gauge("wshub_compressed_connections", "Connections that agreed on permessage-deflate.", func(s *snapshot) float64 { return float64(s.engine.Deflates) }),
	counter("wshub_compressed_messages_total", "Frames of events that were compressed, each once for all who get it; those are counted, too, that did not become smaller by a tenth and go out as they are.", func(s *snapshot) uint64 { return s.engine.Deflated }),
	counter("wshub_compressed_input_bytes_total", "Bytes of events before compression, each once for all who get it.", func(s *snapshot) uint64 { return s.engine.DeflateIn }),
	counter("wshub_compressed_output_bytes_total", "Bytes of the same events after it.", func(s *snapshot) uint64 { return s.engine.DeflateOut }),
	counter("wshub_compression_skipped_total", "Frames of events left as they were because an event loop had compressed for 3 ms in its turn.", func(s *snapshot) uint64 { return s.engine.NotDeflated }),
	counter("wshub_inflated_messages_total", "Compressed messages from clients.", func(s *snapshot) uint64 { return s.engine.Inflated }),
	counter("wshub_inflated_input_bytes_total", "Bytes of compressed messages from clients.", func(s *snapshot) uint64 { return s.engine.InflateIn }),
	counter("wshub_inflated_output_bytes_total", "Bytes that they inflated to.", func(s *snapshot) uint64 { return s.engine.InflateOut }),
	counter("wshub_panics_total", "Panics on loops; each cost one connection at most.", func(s *snapshot) uint64 { return s.engine.Panics }),
	counters("wshub_sockets_dropped_total", "reason", "Sockets dropped before they became connections, or while closing.",
		[]string{"half_open", "closing", "flood", "file_limit", "accept_error", "register_error"},
		func(s *snapshot) map[string]uint64 { return s.engine.Dropped }),
	counters("wshub_handshakes_refused_total", "status", "Handshakes and posts answered with an HTTP error; a stream that may come back later sees 200 instead of 429 or 503.",
		[]string{"400", "401", "403", "404", "405", "408", "411", "413", "415", "426", "429", "431", "502", "503", "504"},
		func(s *snapshot) map[string]uint64 { return byStatus(s.engine.Refused) }),
	counters("wshub_address_refusals_total", "reason", "Handshakes refused for the address that they come from: it has too many connections or handshakes (address_…), comes past the proxies (untrusted_proxy), or without a good head of the PROXY protocol (proxy_head).",
		[]string{"address_connections", "address_rate", "address_table_full", "untrusted_proxy", "proxy_head"},
		func(s *snapshot) map[string]uint64 { return s.engine.Sources }),
	counters("wshub_tls_handshakes_total", "outcome", "TLS handshakes of the public port: ok, resumed with a ticket, or the reason why there was none.",
		[]string{"ok", "resumed", "plain_text", "bad_hello", "too_big", "version", "protocol", "client_certificate", "rejected", "failed", "gone", "timeout", "dropped_full"},
		func(s *snapshot) map[string]uint64 { return s.engine.TLS }),
	gauge("wshub_tls_handshakes", "TLS handshakes at work.", func(s *snapshot) float64 { return float64(s.engine.Handshaking) }),
	timing("wshub_handshake_seconds", "Time from the acceptance of a socket to the answer that makes it a connection, the client's part included.",
		func(t *timings) prometheus.Histogram { return t.handshake }),
	counters("wshub_connections_closed_total", "cause", "Ended connections.", closeCauses(),
		func(s *snapshot) map[string]uint64 { return s.engine.Closed }),

	split("wshub_sessions", "mode", "Sessions.", func(s *snapshot) map[string]uint64 {
		sessions := make(map[string]uint64)
		for protocol, n := range s.session.Sessions {
			sessions[protocol] = uint64(n)
		}
		return sessions
	}),
	gauge("wshub_topics", "Topics that sessions follow, each once per loop.", func(s *snapshot) float64 { return float64(s.session.Topics) }),
	gauge("wshub_subscriptions", "Subscriptions of all sessions.", func(s *snapshot) float64 { return float64(s.session.Subscriptions) }),
	counter("wshub_messages_total", "Messages from clients.", func(s *snapshot) uint64 { return s.session.Messages }),
	counter("wshub_published_total", "Messages from clients that the broker took.", func(s *snapshot) uint64 { return s.session.Published }),
	counter("wshub_deliveries_total", "Events handed to followers.", func(s *snapshot) uint64 { return s.session.Deliveries }),
	timing("wshub_fanout_seconds", "Time from the arrival of an event to the write to the last follower of a loop that had room for it.",
		func(t *timings) prometheus.Histogram { return t.fanout }),
	timing("wshub_delivery_seconds", "Time from the publication of an event of a topic with history, by the clock of Redis to within some ms, to the write to the last follower of a loop that had room for it.",
		func(t *timings) prometheus.Histogram { return t.delivery }),
	timing("wshub_publish_seconds", "The broker's time for a batch of publications of clients or a backend, failed ones included.",
		func(t *timings) prometheus.Histogram { return t.publish }),
	counter("wshub_batches_total", "Batches written: the waiting events of one topic, to its followers.", func(s *snapshot) uint64 { return s.session.Batches }),
	gauge("wshub_members", "Memberships of topics with presence by clients of this node, those of clients that have just disconnected included.", func(s *snapshot) float64 { return float64(s.session.Members) }),
	gauge("wshub_presence_watches", "Topics whose presence clients watch, each once per event loop.", func(s *snapshot) float64 { return float64(s.session.Watches) }),
	gauge("wshub_presence_changes", "Changes of presence that wait for the broker or are under way.", func(s *snapshot) float64 { return float64(s.session.PresenceQueued) }),
	gauge("wshub_history_reads", "Reads of histories and presences for clients that wait or are under way.", func(s *snapshot) float64 { return float64(s.session.Reads) }),
	counters("wshub_resumes_total", "outcome", "Topics that clients came back to: recovered, or lost and reported as such.", nil, func(s *snapshot) map[string]uint64 {
		return map[string]uint64{"recovered": s.session.Recovered, "lost": s.session.Unrecovered}
	}),
	counters("wshub_errors_total", "code", "Errors told to clients.", errorCodes(),
		func(s *snapshot) map[string]uint64 { return s.session.Errors }),
	counters("wshub_dropped_total", "reason", "Clients, events and requests that were dropped or refused, by the reason.",
		[]string{"inbox_full", "hold_full", "rate_limit", "worker_queue_full", "history_queue_full", "early_full", "node_topics", "draining", "handshake_rate", "key_wait_full", "subscribe_refused", "presence_queue_full", "presence_grace_full", "presence_hold_full"},
		func(s *snapshot) map[string]uint64 { return s.session.Dropped }),

	counters("wshub_control_dropped_total", "reason", "Connections to the control port that were closed for lack of room.", nil,
		func(s *snapshot) map[string]uint64 { return s.callers }),
	counters("wshub_pusher_calls_total", "outcome", "Requests to the API of Pusher's applications on the public port: answered, refused, without a good signature, or turned away because too many were there.",
		[]string{"answered", "refused", "unsigned", "busy"}, func(s *snapshot) map[string]uint64 { return s.calls }),
	counters("wshub_fleet_dropped_total", "reason", "Questions between hubs, and answers to them, that were thrown away.", nil,
		func(s *snapshot) map[string]uint64 { return s.fleet }),
	counters("wshub_reloads_total", "outcome", "Times that keys and secrets were read again; after a failed one those from before hold.", []string{"done", "failed"},
		func(s *snapshot) map[string]uint64 { return s.reloads }),
	gauge("wshub_certificate_expiry_seconds", "Time until the first certificate of the public or the control port expires, negative once it has; absent without TLS.",
		func(s *snapshot) float64 { return s.certs.untilExpiry }),
	counter("wshub_certificate_failures_total", "Times that new files of certificates could not be used; the old certificates are kept.", func(s *snapshot) uint64 { return s.certs.failed }),
	counter("wshub_log_lines_lost_total", "Log lines that could not be written, or for which the log's reader was too slow.", func(s *snapshot) uint64 { return s.lost }),

	gauge("wshub_broker_topics", "Topics that this node follows at the broker, lingering ones included.", func(s *snapshot) float64 { return float64(s.broker.Followed) }),
	gauge("wshub_broker_history_bytes", "Bytes that the embedded broker keeps of histories; see --history-bytes.", func(s *snapshot) float64 { return float64(s.broker.HistoryBytes) }),
	gauge("wshub_broker_probe_age_seconds", "Time since the last answer of the broker; of several servers, the longest.", func(s *snapshot) float64 { return s.broker.ProbeAge.Seconds() }),
	gauge("wshub_broker_clock_difference_seconds", "How far the broker's clock is ahead of this machine's; more than 30 either way is an error.", func(s *snapshot) float64 { return s.broker.ClockDifference.Seconds() }),
	gauge("wshub_broker_position_lead_seconds", "How far the last published position was ahead of the broker's clock: up to 60 for a minute after the broker moved or restarted.", func(s *snapshot) float64 { return s.broker.PositionLead.Seconds() }),
	counter("wshub_broker_received_total", "Messages from the broker, probes included.", func(s *snapshot) uint64 { return s.broker.Received }),
	counter("wshub_broker_delivered_total", "Events handed on to sessions' loops.", func(s *snapshot) uint64 { return s.broker.Delivered }),
	counter("wshub_broker_gaps_total", "Times that events of a topic may have been lost.", func(s *snapshot) uint64 { return s.broker.Gaps }),
	counter("wshub_broker_torn_total", "Events that did not link to the one before them.", func(s *snapshot) uint64 { return s.broker.Torn }),
	counter("wshub_broker_caught_up_total", "Events read from the history for a torn link or after a reconnect.", func(s *snapshot) uint64 { return s.broker.CaughtUp }),
	counters("wshub_broker_replays_total", "from", "Answers to clients that asked for missed events, by source.", nil, func(s *snapshot) map[string]uint64 {
		return map[string]uint64{"memory": s.broker.ReplaysFromMemory, "redis": s.broker.ReplaysFromRedis}
	}),
	counter("wshub_broker_reconnects_total", "Subscriber connections that ended, and failed attempts.", func(s *snapshot) uint64 { return s.broker.Reconnects }),
	gauge("wshub_broker_masters", "Redis servers that serve partitions.", func(s *snapshot) float64 { return float64(s.broker.Masters) }),
	gauge("wshub_broker_partitions_without_owner", "Partitions of 256 that no Redis server serves; their topics wait.", func(s *snapshot) float64 { return float64(s.broker.Unowned) }),
	counters("wshub_broker_topology_changes_total", "trigger", "Changes of which Redis server serves which partitions, by the trigger of the discovery.", nil,
		func(s *snapshot) map[string]uint64 { return s.broker.Topologies }),
	timing("wshub_broker_round_trip_seconds", "Round trips to Redis that publish, read or notify other hubs, one pipeline each; without those that failed.",
		func(t *timings) prometheus.Histogram { return t.roundTrip }),
	histogram("wshub_broker_silence_seconds", "Time in which events of topics may have been missed, each time that a connection to Redis ended or partitions moved.",
		func(s *snapshot) pubsub.Distribution { return s.broker.Silences }),
	counters("wshub_broker_dropped_total", "reason", "Messages and publications thrown away.", nil,
		func(s *snapshot) map[string]uint64 { return s.broker.Drops }),
	counters("wshub_broker_publish_errors_total", "error", "Publications that failed.", nil,
		func(s *snapshot) map[string]uint64 { return s.broker.PublishErrors }),
	counters("wshub_broker_presence_total", "outcome", "Members of dead hubs that were taken off (swept), differences between Redis and this hub that were mended (repaired), times that this hub was taken for dead (fenced), and changes that failed.", nil,
		func(s *snapshot) map[string]uint64 { return s.broker.Presence }),
	counter("wshub_lifecycle_entries_total", "Entries that this hub has written to streams of the lifecycle.", func(s *snapshot) uint64 { return s.broker.Lifecycle.Entries }),
	counter("wshub_lifecycle_resets_total", "Resets among them: the stream began, or another Redis came to hold it.", func(s *snapshot) uint64 { return s.broker.Lifecycle.Resets }),

	counters("wshub_webhook_events_total", "outcome", "Events of the lifecycle that an endpoint has taken (delivered), that were given up (dead), or that were trimmed from their stream before they could be posted (lost).", []string{"delivered", "dead", "lost"},
		func(s *snapshot) map[string]uint64 { return s.webhooks.Events }),
	counters("wshub_webhook_tries_total", "outcome", "Requests to webhooks' endpoints; canceled are those of a hub that ended or whose stream another hub took over.", webhook.Results(),
		func(s *snapshot) map[string]uint64 { return s.webhooks.Tries }),
	timing("wshub_webhook_try_seconds", "Time for a request to a webhook's endpoint, failed ones included.",
		func(t *timings) prometheus.Histogram { return t.try }),
	split("wshub_webhook_lag_seconds", "host", "Age of the oldest event that this hub has read and that the endpoint has not taken, by the host of its URL.", func(s *snapshot) map[string]uint64 {
		lags := make(map[string]uint64)
		for host, lag := range s.webhooks.Lag {
			lags[host] = uint64(lag.Seconds())
		}
		return lags
	}),
	split("wshub_webhook_streams", "host", "Streams that this hub posts from, by the host of the URL: 1 for all hubs together, in a cluster 256, for each URL.", func(s *snapshot) map[string]uint64 {
		streams := make(map[string]uint64)
		for host, n := range s.webhooks.Streams {
			streams[host] = uint64(n)
		}
		return streams
	}),
}

// errorCodes are all codes that a client can be told.
func errorCodes() []string {
	return []string{
		string(session.BadJSON), string(session.BadRequest), string(session.UnknownType), string(session.BadTopic),
		string(session.Forbidden), string(session.TooManyTopics), string(session.NotSubscribed), string(session.AlreadyFollows), string(session.Unsubscribed),
		string(session.RateLimited), string(session.Busy), string(session.Unavailable), string(session.UnknownOutcome),
		string(session.NoPresence), string(session.Refused), string(session.TooLarge), string(session.BadToken), string(session.ExpiredToken), string(session.Internal),
	}
}

// closeCauses are the names of all causes that engine and session know.
func closeCauses() []string {
	var names []string
	for _, c := range []*engine.Cause{
		engine.ByPeer, engine.PeerGone, engine.HeartbeatMissed, engine.ProtocolError, engine.InvalidText, engine.TooBig, engine.InflateBomb, engine.InvalidDeflate,
		engine.MessageTimeout, engine.SlowConsumer, engine.PartialLimit, engine.BacklogLimit, engine.Panicked, engine.Shutdown, engine.TLSBroken,
		session.Drained, session.Rebalanced, session.BinaryFrame, session.RateExceeded, session.Unidentified, session.TokenExpired, session.Disconnected,
		session.Replaced, session.TooManySessions, session.LobbyFull,
	} {
		names = append(names, c.Name)
	}
	return slices.Concat(names, centrifugo.Causes(), pusher.Causes())
}

func byStatus(refused map[int]uint64) map[string]uint64 {
	names := make(map[string]uint64, len(refused))
	for status, n := range refused {
		names[strconv.Itoa(status)] = n
	}
	return names
}

func number(fact bool) float64 {
	if fact {
		return 1
	}
	return 0
}

// collector shows families to Prometheus.
type collector struct {
	from  sources
	descs []*prometheus.Desc // of families, in their order
}

// newRegistry holds the hub's metrics and those of the Go runtime and the process.
func newRegistry(from sources) *prometheus.Registry {
	c := &collector{from: from}
	for _, f := range families {
		var labels []string
		if f.label != "" {
			labels = []string{f.label}
		}
		c.descs = append(c.descs, prometheus.NewDesc(f.name, f.help, labels, nil))
	}
	v := readVersion()
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "wshub_build_info", Help: "1; the labels say which build this is.",
		ConstLabels: prometheus.Labels{"version": v.version, "revision": v.revision, "goversion": runtime.Version()},
	})
	build.Set(1)
	r := prometheus.NewRegistry()
	r.MustRegister(c, build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	from := &c.from
	s := &snapshot{
		engine: from.engine(), session: from.session(), broker: from.broker(), ready: from.ready() == nil, draining: from.draining(),
		lost: from.lost(), callers: from.callers(), fleet: from.fleet(), reloads: from.reloads(), certs: from.certs(), times: from.times, limits: from.limits, webhooks: from.webhooks(), calls: from.calls(),
	}
	c.from.times.ahead.Store(int64(s.broker.ClockDifference))
	for i, f := range families {
		if f.lengths != nil {
			d := f.lengths(s)
			ch <- prometheus.MustNewConstHistogram(c.descs[i], d.Count, d.Sum.Seconds(), d.Buckets)
			continue
		}
		if f.one != nil {
			if v := f.one(s); !math.IsNaN(v) {
				ch <- prometheus.MustNewConstMetric(c.descs[i], f.kind, v)
			}
			continue
		}
		for reason, n := range f.reasons(s) {
			ch <- prometheus.MustNewConstMetric(c.descs[i], f.kind, float64(n), reason)
		}
	}
}

// reasons returns f's numbers by reason, each known one among them.
func (f *family) reasons(s *snapshot) map[string]uint64 {
	counted := f.many(s)
	if f.known == nil {
		return counted
	}
	shown := make(map[string]uint64, len(f.known))
	for _, reason := range f.known {
		shown[reason] = counted[reason]
	}
	for reason, n := range counted {
		if _, ok := shown[reason]; !ok {
			shown["other"] += n
		}
	}
	return shown
}
