package bench

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// findings are what makes the exit status 1 unless --allow names it.
var findings = []string{"lost", "repeated", "reordered", "foreign", "corrupt", "closed", "failed"}

// finding returns how often one of findings was seen.
func (r *Run) finding(name string) uint64 {
	c := r.Counts
	if r.Storm != nil && (name == "closed" || name == "failed") {
		return 0 // they are what a storm is
	}
	return map[string]uint64{
		"lost": c.Lost, "repeated": c.Repeated, "reordered": c.Reordered, "foreign": c.Foreign, "corrupt": c.Corrupt,
		"closed": c.Closed, "failed": c.Failed,
	}[name]
}

// Summary is one figure over the runs of a result.
type Summary struct {
	Name   string  `json:"name"`
	Unit   string  `json:"unit"`
	Better string  `json:"better,omitempty"` // "less" or "more"; empty: neither
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
	Runs   int     `json:"runs"`
}

// figure is one number of one run.
type figure struct {
	name, unit, better string
	value              float64
}

// figures lists what matters of a run, most important first: the one list behind table, page, summary and
// comparison.
func (r *Run) figures() []figure {
	var f []figure
	add := func(name, unit, better string, value float64) {
		f = append(f, figure{name, unit, better, value})
	}
	weighed := len(r.Server.PIDs) > 0
	if m := r.Max; m != nil && m.Best != nil {
		add("best rate", "events/s", "more", m.Best.Rate)
	}
	if i := r.Idle; i != nil && weighed {
		add("RSS per connection", "B", "less", i.RSSSlope)
		add("PSS per connection", "B", "less", i.PSSSlope)
		add("kernel slab per connection", "B", "", i.SlabSlope)
		add("client RSS per connection", "B", "", i.Client)
		if i.Watched > 0 {
			add("idle CPU", "% of a core", "less", 100*i.CPU)
			add("pings", "1/s", "", i.Pings)
		}
	}
	if i := r.Idle; i != nil && i.Events > 0 {
		add("all reached after", "s", "less", i.Reached)
	}
	if s := r.Storm; s != nil {
		add("clients away", "", "", float64(s.Away))
		add("all back after", "s", "less", s.Back)
		add("all caught up after", "s", "less", s.CaughtUp)
		add("handshakes for that", "", "less", float64(s.Attempts))
		add("missed while away", "events", "less", float64(s.Missed))
	}
	if l := r.Load; l != nil {
		add("offered", "deliveries/s", "", l.Wanted)
		add("delivered", "deliveries/s", "more", l.Delivered)
		f = append(f, latencyFigures("latency", l.Latency)...)
		add("publisher lag p99", "ms", "", l.Lag)
		add("bytes per delivery", "B", "less", l.Bytes)
		if weighed && l.ServerCPU > 0 {
			add("server CPU per million", "s", "less", l.ServerCPU)
		}
		add("client CPU per million", "s", "", l.ClientCPU)
	}
	if c := r.Churn; c != nil {
		add("churn", "clients/s", "", c.Rate)
		f = append(f, latencyFigures("handshake in churn", c.Handshake)...)
		add("RSS growth", "B", "less", float64(c.RSSGrowth))
	}
	if d := r.Drift; d != nil && weighed {
		add("RSS drift", "B/h", "less", d.RSSHour)
		add("p99, first quarter", "ms", "", d.P99First)
		add("p99, last quarter", "ms", "less", d.P99Last)
	}
	if c := r.Connect; c != nil {
		add("connects", "1/s", "more", c.Rate)
		f = append(f, latencyFigures("handshake", c.Handshake)...)
		if weighed {
			add("server CPU per connect", "µs", "less", c.ServerCPU)
		}
	}
	if weighed {
		add("server RSS peak", "B", "less", float64(r.Server.RSSPeak))
	}
	add("client loops busy", "%", "", 100*r.Client.Busy)
	if r.Client.Machine > 0 {
		add("rest of the machine", "% of a core", "", 100*r.Client.Other)
		add("stolen by the host", "%", "", 100*r.Client.Stolen)
	}
	for _, name := range findings {
		add(name, "", "less", float64(r.finding(name)))
	}
	return f
}

func latencyFigures(name string, l Latency) []figure {
	if l.Count == 0 {
		return nil
	}
	return []figure{
		{name + " p50", "ms", "less", l.P50}, {name + " p90", "ms", "less", l.P90},
		{name + " p99", "ms", "less", l.P99}, {name + " p99.9", "ms", "less", l.P999}, {name + " max", "ms", "less", l.Max},
	}
}

// summarize joins the figures of all runs, in the order of the first one that has each.
func summarize(runs []*Run) []Summary {
	var order []figure
	values := map[string][]float64{}
	for _, r := range runs {
		for _, f := range r.figures() {
			if values[f.name] == nil {
				order = append(order, f)
			}
			values[f.name] = append(values[f.name], f.value)
		}
	}
	var out []Summary
	for _, f := range order {
		v := values[f.name]
		out = append(out, Summary{
			Name: f.name, Unit: f.unit, Better: f.better,
			Median: median(v), Min: slices.Min(v), Max: slices.Max(v), Runs: len(v),
		})
	}
	return out
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	s := slices.Clone(v)
	slices.Sort(s)
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

func column(points []Point, get func(Point) float64) []float64 {
	out := make([]float64, len(points))
	for i, p := range points {
		out[i] = get(p)
	}
	return out
}

func medianOf(points []Point, get func(Point) float64) float64 { return median(column(points, get)) }

// format writes a figure for people.
func format(value float64, unit string) string {
	switch unit {
	case "B", "B/h":
		text := size(value)
		if math.Abs(value) < 10_000 {
			text = fmt.Sprintf("%.0f B", value)
		}
		return text + unit[1:]
	case "deliveries/s", "events/s":
		return si(value) + " " + unit
	case "":
		return fmt.Sprintf("%.0f", value)
	}
	return short(value) + " " + unit
}

// spread writes the minimum and the maximum without the unit, where both are written in that of the median.
func (s Summary) spread() string {
	if s.Unit != "B" && s.Unit != "B/h" {
		low, _, _ := strings.Cut(format(s.Min, s.Unit), " ")
		high, _, _ := strings.Cut(format(s.Max, s.Unit), " ")
		return low + " … " + high
	}
	return format(s.Min, s.Unit) + " … " + format(s.Max, s.Unit)
}

// short writes a number with three digits, or all of those before the point.
func short(v float64) string {
	switch a := math.Abs(v); {
	case a == 0:
		return "0"
	case a >= 100:
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// si writes a large number with k or M.
func si(v float64) string {
	switch a := math.Abs(v); {
	case a >= 999_500:
		return short(v/1e6) + "M"
	case a >= 9_995:
		return short(v/1e3) + "k"
	}
	return short(v)
}

// size writes bytes.
func size(v float64) string {
	switch a := math.Abs(v); {
	case a >= 1<<30:
		return short(v/(1<<30)) + " GiB"
	case a >= 1<<20:
		return short(v/(1<<20)) + " MiB"
	case a >= 1<<10:
		return short(v/(1<<10)) + " KiB"
	}
	return short(v) + " B"
}
