package bench

import (
	"fmt"
	"html/template"
	"math"
)

// line is one line of a chart.
type line struct {
	name string
	of   func(Point) float64 // NaN: nothing to show
}

// chart is what a page shows of a series.
type chart struct {
	Title  string
	SVG    template.HTML
	Legend []legend
}

// legend names one line; Class is that of its colour.
type legend struct{ Name, Class string }

// charts draws what a run has: its distribution, its trials and its series. Lines without a value other than 0 are
// left out.
func charts(r *Run) []chart {
	var all []chart
	if r.Max != nil {
		if c, ok := trialChart(r.Max); ok {
			all = append(all, c)
		}
	}
	if r.Load != nil && len(r.Load.Curve) > 1 {
		all = append(all, curveChart(r.Load.Curve))
	}
	if len(r.Series) < 2 {
		return all // a point is no line
	}
	for _, c := range []struct {
		title string
		lines []line
	}{
		{"Latency from the intended send time, ms", []line{
			{"p50", latencyAt(func(l Latency) float64 { return l.P50 })},
			{"p90", latencyAt(func(l Latency) float64 { return l.P90 })},
			{"p99", latencyAt(func(l Latency) float64 { return l.P99 })},
			{"max", latencyAt(func(l Latency) float64 { return l.Max })},
		}},
		{"Deliveries per second", []line{{"delivered", func(p Point) float64 { return p.Delivered }}}},
		{"Events published per second", []line{{"sent", func(p Point) float64 { return p.Sent }}}},
		{"Connections", []line{{"open", func(p Point) float64 { return float64(p.Open) }}}},
		{"Connects per second", []line{{"connects", func(p Point) float64 { return p.Opened }}}},
		{"Memory, MiB", []line{
			{"server RSS", func(p Point) float64 { return float64(p.RSS) / (1 << 20) }},
			{"kernel socket buffers", func(p Point) float64 { return float64(p.Buffers) / (1 << 20) }},
		}},
		{"CPU, cores", []line{
			{"server", func(p Point) float64 { return p.ServerCPU }},
			{"hubbench", func(p Point) float64 { return p.ClientCPU }},
			{"everything else", func(p Point) float64 { return p.OtherCPU }},
		}},
	} {
		if top := highest(r.Series, c.lines); top > 0 {
			all = append(all, seriesChart(c.title, r.Series, c.lines, top))
		}
	}
	return all
}

// latencyAt is a gap where no event was timed, as in the warm-up.
func latencyAt(of func(Latency) float64) func(Point) float64 {
	return func(p Point) float64 {
		if p.Latency.Count == 0 {
			return math.NaN()
		}
		return of(p.Latency)
	}
}

func highest(series []Point, lines []line) (top float64) {
	for _, p := range series {
		for _, l := range lines {
			if v := l.of(p); v > top { // false for NaN
				top = v
			}
		}
	}
	return top
}

func seriesChart(title string, series []Point, lines []line, top float64) chart {
	x := axis{low: series[0].T, high: series[len(series)-1].T, label: "seconds"}
	d := newDrawing(x, axis{high: top * 1.05})
	c := chart{Title: title}
	for i, l := range lines {
		points := make([][2]float64, len(series))
		for j, p := range series {
			points[j] = [2]float64{p.T, l.of(p)}
		}
		d.line(i, points)
		if len(lines) > 1 {
			c.Legend = append(c.Legend, legend{l.name, fmt.Sprintf("c%d", i)})
		}
	}
	c.SVG = d.end()
	return c
}

// curveChart draws a distribution over its nines: each step to the right is a tenth of the events.
func curveChart(curve []Share) chart {
	nines := func(percent float64) float64 { return -math.Log10(1 - percent/100) }
	last := curve[len(curve)-1]
	x := axis{high: nines(last.Percent), label: "of all deliveries took no longer"}
	for _, p := range []string{"50", "90", "99", "99.9", "99.99"} {
		var percent float64
		_, _ = fmt.Sscan(p, &percent) // they are numbers
		if at := nines(percent); at <= x.high+1e-9 {
			x.ticks = append(x.ticks, mark{at, p + "%"})
		}
	}
	d := newDrawing(x, axis{high: last.Value * 1.05})
	points := make([][2]float64, len(curve))
	for i, s := range curve {
		points[i] = [2]float64{nines(s.Percent), s.Value}
	}
	d.line(0, points)
	return chart{Title: "Latency by percentile, ms", SVG: d.end()}
}

// trialChart draws the rates that max tried against their p99; false where there are none.
func trialChart(m *Maximum) (chart, bool) {
	x, y := axis{log: true, low: math.Inf(1), label: "events per second"}, axis{log: true, low: math.Inf(1)}
	if m.Bound > 0 {
		y.low, y.high = m.Bound, m.Bound
	}
	for _, t := range m.Trials {
		if p99 := t.Load.Latency.P99; p99 > 0 && t.Rate > 0 {
			x.low, x.high = min(x.low, t.Rate), max(x.high, t.Rate)
			y.low, y.high = min(y.low, p99), max(y.high, p99)
		}
	}
	if math.IsInf(x.low, 1) {
		return chart{}, false
	}
	const room = 1.3 // beside the outermost points
	x.low, x.high, y.low, y.high = x.low/room, x.high*room, y.low/room, y.high*room
	d := newDrawing(x, y)
	if m.Bound > 0 {
		d.level(m.Bound, "bound "+short(m.Bound)+" ms")
	}
	for _, t := range m.Trials {
		class := "dot bad"
		if t.Kept {
			class = "dot good"
		}
		if p99 := t.Load.Latency.P99; p99 > 0 {
			d.dot(class, t.Rate, p99, fmt.Sprintf("%s events/s, p99 %s ms: %s", si(t.Rate), short(p99), t.verdict()))
		}
	}
	return chart{Title: "Rates tried: p99, ms", SVG: d.end(), Legend: []legend{{"kept up", "good"}, {"too much", "bad"}}}, true
}
