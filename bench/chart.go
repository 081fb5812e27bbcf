package bench

import (
	"bytes"
	"fmt"
	"html/template"
	"image/color"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

// line is one line of a chart.
type line struct {
	name string
	of   func(Point) float64
}

// chart is what a page shows of a series.
type chart struct {
	Title  string
	SVG    template.HTML
	Legend []legend
}

type legend struct {
	Name  string
	Color template.CSS
}

// palette keeps its order in every chart, and apart for those who see few colours.
var palette = []color.RGBA{
	{0x1b, 0x6e, 0xc2, 0xff}, {0xd9, 0x5f, 0x02, 0xff}, {0x2a, 0x9d, 0x6f, 0xff}, {0x8e, 0x44, 0xad, 0xff}, {0x6b, 0x72, 0x80, 0xff},
}

// charts draws what the series of a run has. Charts without a value other than 0 are left out.
func charts(r *Run) ([]chart, error) {
	var all []chart
	if len(r.Series) < 2 {
		return nil, nil // a point is no line
	}
	for _, c := range []struct {
		title, unit string
		lines       []line
	}{
		{"Latency from the intended send time", "ms", []line{
			{"p50", func(p Point) float64 { return p.Latency.P50 }},
			{"p90", func(p Point) float64 { return p.Latency.P90 }},
			{"p99", func(p Point) float64 { return p.Latency.P99 }},
			{"max", func(p Point) float64 { return p.Latency.Max }},
		}},
		{"Deliveries", "per second", []line{{"delivered", func(p Point) float64 { return p.Delivered }}}},
		{"Events published", "per second", []line{{"sent", func(p Point) float64 { return p.Sent }}}},
		{"Connections", "open", []line{{"open", func(p Point) float64 { return float64(p.Open) }}}},
		{"Connects", "per second", []line{{"connects", func(p Point) float64 { return p.Opened }}}},
		{"Memory", "MiB", []line{
			{"server RSS", func(p Point) float64 { return float64(p.RSS) / (1 << 20) }},
			{"kernel socket buffers", func(p Point) float64 { return float64(p.Buffers) / (1 << 20) }},
		}},
		{"CPU", "cores", []line{
			{"server", func(p Point) float64 { return p.ServerCPU }},
			{"hubbench", func(p Point) float64 { return p.ClientCPU }},
			{"everything else", func(p Point) float64 { return p.OtherCPU }},
		}},
	} {
		if !somewhere(r.Series, c.lines) {
			continue
		}
		svg, err := draw(r.Series, c.lines)
		if err != nil {
			return nil, fmt.Errorf("chart %q: %w", c.title, err)
		}
		one := chart{Title: c.title + ", " + c.unit, SVG: svg}
		for i, l := range c.lines {
			if len(c.lines) > 1 {
				k := palette[i]
				one.Legend = append(one.Legend, legend{l.name, template.CSS(fmt.Sprintf("#%02x%02x%02x", k.R, k.G, k.B))})
			}
		}
		all = append(all, one)
	}
	return all, nil
}

// ticks are the usual ones with short labels.
type ticks struct{}

func (ticks) Ticks(low, high float64) []plot.Tick {
	all := plot.DefaultTicks{}.Ticks(low, high)
	for i := range all {
		if all[i].Label != "" {
			all[i].Label = tickLabel(all[i].Value)
		}
	}
	return all
}

func tickLabel(v float64) string {
	unit := ""
	switch {
	case v >= 1e6:
		v, unit = v/1e6, "M"
	case v >= 1e4:
		v, unit = v/1e3, "k"
	}
	return strconv.FormatFloat(v, 'g', 4, 64) + unit
}

func somewhere(series []Point, lines []line) bool {
	for _, p := range series {
		for _, l := range lines {
			if l.of(p) != 0 {
				return true
			}
		}
	}
	return false
}

func draw(series []Point, lines []line) (template.HTML, error) {
	p := plot.New()
	p.X.Label.Text = "seconds"
	p.X.Tick.Marker, p.Y.Tick.Marker = ticks{}, ticks{}
	p.X.Padding, p.Y.Padding = 0, 0
	grid := plotter.NewGrid()
	grid.Vertical.Color, grid.Horizontal.Color = color.Gray{0xe6}, color.Gray{0xe6}
	p.Add(grid)
	for i, l := range lines {
		points := make(plotter.XYs, len(series))
		for j, s := range series {
			points[j] = plotter.XY{X: s.T, Y: l.of(s)}
		}
		drawn, err := plotter.NewLine(points)
		if err != nil {
			return "", err
		}
		drawn.Color, drawn.Width = palette[i], vg.Points(1.4)
		p.Add(drawn)
	}
	p.Y.Min, p.Y.Max = 0, p.Y.Max*1.05
	canvas, err := p.WriterTo(6.4*vg.Inch, 2.4*vg.Inch, "svg")
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	if _, err := canvas.WriteTo(&b); err != nil {
		return "", err
	}
	// From the <svg> on: what stands before it is for files.
	svg := b.Bytes()
	return template.HTML(svg[max(0, bytes.Index(svg, []byte("<svg"))):]), nil // made of numbers and of our own words
}
