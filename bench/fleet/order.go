package fleet

import (
	"context"
	"time"
)

// Fleet is a number of clients that carry out orders. Do is not for use by several goroutines at once.
type Fleet interface {
	// Do carries out one order and reports. Connecting, closing and sending only begin with it: later
	// reports (Sample) tell how far they are.
	Do(ctx context.Context, o Order) (Report, error)
	// Close drops every connection without a word and ends what the fleet has started.
	Close() error
}

// Op names an order.
type Op string

const (
	// Connect: clients From to To-1 that have no connection begin to dial, Rate a second together
	// (0: as fast as Inflight allows), at most Inflight at a time.
	Connect Op = "connect"
	// Cut: clients From to To-1 reset their connections.
	Cut Op = "cut"
	// Return: from now on clients that lose a connection dial again, after a random part of Window.
	Return Op = "return"
	// Churn: from now on clients From to To-1 leave in turn, Rate a second together.
	Churn Op = "churn"
	// Send: for each topic its first follower publishes in turn, Rate a second together, events of Size
	// bytes, until Hush.
	Send Op = "send"
	// Hush ends Send. Its report tells Sent.
	Hush Op = "hush"
	// Measure: latencies of events with an intended time of At or later are recorded.
	Measure Op = "measure"
	// Sample reports counts, and the histograms since the last Sample.
	Sample Op = "sample"
	// Count reports counts.
	Count Op = "count"
	// Behind reports how many connected clients have not received everything up to Sent.
	Behind Op = "behind"
	// WriteOff counts the events that are missing up to Sent as lost; the next event of each topic follows Sent.
	WriteOff Op = "write-off"
)

// Order is one order to all clients of a fleet.
type Order struct {
	Op       Op            `json:"op"`
	From     int           `json:"from,omitempty"`
	To       int           `json:"to,omitempty"`
	Rate     float64       `json:"rate,omitempty"`
	Inflight int           `json:"inflight,omitempty"`
	First    bool          `json:"first,omitempty"` // Connect: events count from each topic's first on
	Window   time.Duration `json:"window,omitempty"`
	Size     int           `json:"size,omitempty"`
	At       int64         `json:"at,omitempty"`
	Sent     []uint64      `json:"sent,omitempty"` // per topic, its last sequence number
}

// Report is what a fleet answers.
type Report struct {
	Counts    Counts   `json:"counts"`
	Latency   *Hist    `json:"latency,omitempty"`   // of deliveries, from the intended send time
	Handshake *Hist    `json:"handshake,omitempty"` // from the intended dial time to the 101
	Ready     *Hist    `json:"ready,omitempty"`     // from the intended dial time until topics are followed
	Behind    int      `json:"behind,omitempty"`
	Sent      []uint64 `json:"sent,omitempty"`
	Use       []Use    `json:"use,omitempty"`
	Error     string   `json:"error,omitempty"` // a shard could not carry the order out
}

// Use tells how busy one loop has been since it began.
type Use struct {
	Busy time.Duration `json:"busy"` // not waiting for events
	Wall time.Duration `json:"wall"`
}

// Counts are totals since the fleet began, except the two that say otherwise.
type Counts struct {
	Open    int64 `json:"open"`    // now: handshake done
	Ready   int64 `json:"ready"`   // now: topics followed
	Pending int64 `json:"pending"` // now: dialing, or about to

	Opened uint64 `json:"opened"`
	Failed uint64 `json:"failed"` // dials and handshakes
	Closed uint64 `json:"closed"` // by the server, or by an error of it
	Left   uint64 `json:"left"`   // by us

	Sent   uint64 `json:"sent"`
	Unsent uint64 `json:"unsent"` // due, but the socket had not taken the ones before
	Acked  uint64 `json:"acked"`

	Delivered  uint64 `json:"delivered"` // events, each once
	Messages   uint64 `json:"messages"`
	Compressed uint64 `json:"compressed,omitempty"` // messages of WebSocket that came so
	Bytes      uint64 `json:"bytes"`
	Reads      uint64 `json:"reads"`
	Pings      uint64 `json:"pings"`

	Lost      uint64 `json:"lost"`      // a later event came, or nothing; and the connection lived
	Repeated  uint64 `json:"repeated"`  // came before
	Reordered uint64 `json:"reordered"` // came after a later one
	Foreign   uint64 `json:"foreign"`   // of no topic that the client follows, or not of this run
	Corrupt   uint64 `json:"corrupt"`   // changed on the way, or no such frame, JSON or UTF-8 may be sent

	Missed uint64 `json:"missed"` // published while the client was away, and never promised
	Gaps   uint64 `json:"gaps"`   // the server told that events are lost for good

	Failures map[string]uint64 `json:"failures,omitempty"` // why dials failed
	Closes   map[string]uint64 `json:"closes,omitempty"`   // why the server's closes came
	Errors   map[string]uint64 `json:"errors,omitempty"`   // error messages of the server, by code
	Examples []string          `json:"examples,omitempty"` // the first few foreign or corrupt ones
}

const maxExamples = 8

func (c *Counts) add(o Counts) {
	c.Open += o.Open
	c.Ready += o.Ready
	c.Pending += o.Pending
	for _, pair := range [][2]*uint64{
		{&c.Opened, &o.Opened}, {&c.Failed, &o.Failed}, {&c.Closed, &o.Closed}, {&c.Left, &o.Left},
		{&c.Sent, &o.Sent}, {&c.Unsent, &o.Unsent}, {&c.Acked, &o.Acked},
		{&c.Delivered, &o.Delivered}, {&c.Messages, &o.Messages}, {&c.Compressed, &o.Compressed}, {&c.Bytes, &o.Bytes},
		{&c.Reads, &o.Reads}, {&c.Pings, &o.Pings},
		{&c.Lost, &o.Lost}, {&c.Repeated, &o.Repeated}, {&c.Reordered, &o.Reordered},
		{&c.Foreign, &o.Foreign}, {&c.Corrupt, &o.Corrupt}, {&c.Missed, &o.Missed}, {&c.Gaps, &o.Gaps},
	} {
		*pair[0] += *pair[1]
	}
	addAll(&c.Failures, o.Failures)
	addAll(&c.Closes, o.Closes)
	addAll(&c.Errors, o.Errors)
	c.Examples = append(c.Examples, o.Examples...)
	c.Examples = c.Examples[:min(len(c.Examples), maxExamples)]
}

func addAll(to *map[string]uint64, from map[string]uint64) {
	for key, n := range from {
		count(to, key, n)
	}
}

func count(to *map[string]uint64, key string, n uint64) {
	if *to == nil {
		*to = map[string]uint64{}
	}
	(*to)[key] += n
}

// add joins the reports of several loops, or several processes.
func (r *Report) add(o Report) {
	r.Counts.add(o.Counts)
	r.Latency = r.Latency.plus(o.Latency)
	r.Handshake = r.Handshake.plus(o.Handshake)
	r.Ready = r.Ready.plus(o.Ready)
	r.Behind += o.Behind
	r.Use = append(r.Use, o.Use...)
	for i, n := range o.Sent {
		if i == len(r.Sent) {
			r.Sent = append(r.Sent, n)
		}
		r.Sent[i] = max(r.Sent[i], n)
	}
	if r.Error == "" {
		r.Error = o.Error
	}
}
