package bench

import (
	"math"
	"time"

	"wshub/bench/fleet"
)

// Schema names the form of a Report's JSON. It changes when a field changes its meaning or goes.
const Schema = "wshub.hubbench/1"

// Report is what hubbench writes down: REPORT.md explains its JSON.
type Report struct {
	Schema      string      `json:"schema"`
	Started     time.Time   `json:"started"`
	Seconds     float64     `json:"seconds"`
	Interrupted bool        `json:"interrupted,omitempty"`
	Environment Environment `json:"environment"`
	Results     []*Result   `json:"results"`
}

// Result is one scenario, run as often as asked.
type Result struct {
	Scenario   string    `json:"scenario"`
	Server     string    `json:"of,omitempty"` // its name, where several were measured side by side
	Settings   any       `json:"settings"`
	Held       bool      `json:"held"`    // nothing was found but what is allowed, and no threshold failed
	Verdict    string    `json:"verdict"` // the same as a sentence, with the reason
	Runs       []*Run    `json:"runs"`
	Summary    []Summary `json:"summary"`
	Thresholds []Checked `json:"thresholds,omitempty"`
}

// Run is one run of a scenario. Parts that a scenario does not measure are nil.
type Run struct {
	ID      string    `json:"id"`
	Started time.Time `json:"started"`
	Seconds float64   `json:"seconds"`
	Error   string    `json:"error,omitempty"` // why it ended early

	Connect *Connects `json:"connect,omitempty"`
	Load    *LoadPart `json:"load,omitempty"`
	Idle    *Idle     `json:"idle,omitempty"`
	Churn   *Churned  `json:"churn,omitempty"`
	Storm   *Stormed  `json:"storm,omitempty"`
	Max     *Maximum  `json:"max,omitempty"`
	Drift   *Drift    `json:"drift,omitempty"`

	Counts fleet.Counts `json:"counts"` // at the end
	Server ServerPart   `json:"server"`
	Client ClientPart   `json:"client"`
	Notes  []string     `json:"notes,omitempty"` // what a reader should know before believing figures

	Series []Point `json:"series,omitempty"`
}

// Latency are quantiles in milliseconds.
type Latency struct {
	Count int64   `json:"count"`
	P50   float64 `json:"p50"`
	P90   float64 `json:"p90"`
	P99   float64 `json:"p99"`
	P999  float64 `json:"p99_9"`
	Max   float64 `json:"max"`
}

func latencyOf(h *fleet.Hist) Latency {
	return Latency{
		Count: h.Count(),
		P50:   ms(h.At(50)), P90: ms(h.At(90)), P99: ms(h.At(99)), P999: ms(h.At(99.9)), Max: ms(h.Max()),
	}
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// Connects tells how the clients came in.
type Connects struct {
	Asked     int     `json:"asked"`
	Ready     int     `json:"ready"`
	Seconds   float64 `json:"seconds"`
	Rate      float64 `json:"rate"`       // ready per second
	Handshake Latency `json:"handshake"`  // from the intended dial time to the 101
	Usable    Latency `json:"usable"`     // … until the topics are followed
	ServerCPU float64 `json:"server_cpu"` // µs per client
}

// LoadPart tells of events published and delivered.
type LoadPart struct {
	Seconds   float64 `json:"seconds"`
	Offered   float64 `json:"offered"`    // events a second
	Sent      float64 `json:"sent"`       // events a second that the publisher got rid of
	Wanted    float64 `json:"wanted"`     // deliveries a second that the offered rate means
	Delivered float64 `json:"delivered"`  // deliveries a second
	Latency   Latency `json:"latency"`    // from the intended send time
	Curve     []Share `json:"curve"`      // of the same, for a chart
	Lag       float64 `json:"lag"`        // p99 in ms of how late events left for the publisher
	Bytes     float64 `json:"bytes"`      // read from the sockets, per delivery
	ServerCPU float64 `json:"server_cpu"` // CPU seconds per million deliveries
	ClientCPU float64 `json:"client_cpu"` // the same of hubbench, publishing included
}

// Share is one point of a distribution: so many percent took no longer than Value ms.
type Share struct {
	Percent float64 `json:"percent"`
	Value   float64 `json:"value"`
}

// curveOf is the distribution in steps that lie evenly on a scale of nines, up to 99.99 % or as far as the number of
// values reaches.
func curveOf(h *fleet.Hist) []Share {
	const nines, steps = 4, 8 // steps for each nine
	var curve []Share
	for i := range nines*steps + 1 {
		above := math.Pow(10, -float64(i)/steps) // the share that took longer
		if above*float64(h.Count()) < 1 {
			break
		}
		percent := 100 * (1 - above)
		curve = append(curve, Share{percent, ms(h.At(percent))})
	}
	return curve
}

// ServerPart is what the server's processes used.
type ServerPart struct {
	PIDs      []int     `json:"pids,omitempty"`
	RSSBefore int64     `json:"rss_before"`
	RSSPeak   int64     `json:"rss_peak"`
	RSSAfter  int64     `json:"rss_after"`
	PSSAfter  int64     `json:"pss_after"`
	CPU       float64   `json:"cpu"` // seconds
	Kernel    kernelUse `json:"kernel"`
}

// ClientPart is what hubbench itself used, and whether it was what held the server back.
type ClientPart struct {
	CPU     float64 `json:"cpu"`             // seconds, of all shards
	Busy    float64 `json:"busy"`            // share of its time that the busiest loop was busy, while measuring
	Other   float64 `json:"other"`           // cores that everything else on the machine took, while measuring
	Machine float64 `json:"machine"`         // share of all cores that was busy or stolen, while measuring
	Stolen  float64 `json:"stolen"`          // share of all cores that the hypervisor gave to other guests meanwhile
	Limit   string  `json:"limit,omitempty"` // why the client, or the machine, was the limit
}

// Point is one interval of a run.
type Point struct {
	T         float64 `json:"t"` // seconds since the run began
	Open      int64   `json:"open"`
	Opened    float64 `json:"opened"`    // a second
	Sent      float64 `json:"sent"`      // a second
	Delivered float64 `json:"delivered"` // a second
	Latency   Latency `json:"latency"`
	RSS       int64   `json:"rss"` // of the server
	Buffers   int64   `json:"buffers"`
	ServerCPU float64 `json:"server_cpu"` // cores
	ClientCPU float64 `json:"client_cpu"` // cores
	OtherCPU  float64 `json:"other_cpu"`  // cores, of everything else on the machine
}

// Idle tells what connections weigh that do nothing.
type Idle struct {
	Steps     []Step  `json:"steps"`
	RSSSlope  float64 `json:"rss_per_connection"` // bytes
	PSSSlope  float64 `json:"pss_per_connection"`
	SlabSlope float64 `json:"slab_per_connection"`   // of both ends where both are on this machine
	Client    float64 `json:"client_per_connection"` // RSS of hubbench
	CPU       float64 `json:"cpu"`                   // share of a core over Watched
	Pings     float64 `json:"pings"`                 // a second
	Watched   float64 `json:"watched"`               // seconds
	Events    int     `json:"events,omitempty"`      // published to all connections at the end
	Reached   float64 `json:"reached,omitempty"`     // seconds until the slowest of them had come everywhere
}

// Step is one weighing.
type Step struct {
	Connections int64     `json:"connections"`
	Client      int64     `json:"client"` // RSS of hubbench
	RSS         int64     `json:"rss"`
	PSS         int64     `json:"pss"`
	Kernel      kernelUse `json:"kernel"`
}

// Churned tells of clients that come and go.
type Churned struct {
	Rate      float64 `json:"rate"` // a second, left and come back
	Handshake Latency `json:"handshake"`
	Failed    uint64  `json:"failed"`
	RSSGrowth int64   `json:"rss_growth"` // bytes, from the first quarter's median to the last's
}

// Stormed tells how long a crowd took to come back.
type Stormed struct {
	Kind     string  `json:"kind"`
	Away     int64   `json:"away"`     // clients that lost their connection
	Back     float64 `json:"back"`     // seconds until all are connected again
	CaughtUp float64 `json:"caughtup"` // seconds until all have what was published meanwhile
	Attempts uint64  `json:"attempts"` // handshakes, failed ones too
	Missed   uint64  `json:"missed"`
	Gaps     uint64  `json:"gaps"`
}

// Maximum is the highest rate that the server kept up with.
type Maximum struct {
	Bound  float64 `json:"bound"` // of the p99, ms
	Trials []Trial `json:"trials"`
	Best   *Trial  `json:"best,omitempty"`
}

// Trial is one rate tried.
type Trial struct {
	Rate  float64  `json:"rate"`
	Load  LoadPart `json:"load"`
	Kept  bool     `json:"kept"`
	Why   string   `json:"why,omitempty"` // why not
	Limit string   `json:"limit,omitempty"`
}

// Drift is what changed over a long run: medians of its first and last quarter.
type Drift struct {
	RSSFirst int64   `json:"rss_first"`
	RSSLast  int64   `json:"rss_last"`
	RSSHour  float64 `json:"rss_per_hour"` // bytes, by the line of least squares
	P99First float64 `json:"p99_first"`
	P99Last  float64 `json:"p99_last"`
}
