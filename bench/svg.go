package bench

import (
	"fmt"
	"html"
	"html/template"
	"math"
	"strconv"
	"strings"
)

// Sizes of a drawing, in its own units: a page stretches it to the width that is there.
const (
	svgWidth, svgHeight      = 480, 200
	svgLeft, svgRight        = 44, 24
	svgTop, svgBottom        = 10, 34
	plotWidth, plotHeight    = svgWidth - svgLeft - svgRight, svgHeight - svgTop - svgBottom
	mostTicks                = 6
	classes                  = 5 // colours c0 to c4 of the page
	dotRadius                = 4
	labelDistance, axisBelow = 14, 30
)

// axis maps values to a share of its length.
type axis struct {
	low, high float64
	log       bool
	label     string
	ticks     []mark // nil: round numbers
}

type mark struct {
	at    float64
	label string
}

func (a axis) share(v float64) float64 {
	low, high := a.low, a.high
	if a.log {
		v, low, high = math.Log10(v), math.Log10(low), math.Log10(high)
	}
	if high <= low {
		return 0
	}
	return min(max((v-low)/(high-low), 0), 1)
}

// marks are the ticks of the axis: its own, else round numbers.
func (a axis) marks() []mark {
	if a.ticks != nil {
		return a.ticks
	}
	var all []mark
	if a.log {
		digits := []float64{1}
		if math.Log10(a.high/a.low) < 3 {
			digits = []float64{1, 2, 5}
		}
		for power := math.Floor(math.Log10(a.low)); power <= math.Log10(a.high); power++ {
			for _, d := range digits {
				if v := d * math.Pow(10, power); v >= a.low && v <= a.high {
					all = append(all, mark{v, tickLabel(v)})
				}
			}
		}
		if len(all) > 2 {
			return all
		}
		all = nil // less than a decade: evenly spaced ones say more
	}
	step := roundStep((a.high - a.low) / mostTicks)
	for i := math.Ceil(a.low / step); i*step <= a.high; i++ {
		all = append(all, mark{i * step, tickLabel(i * step)})
	}
	return all
}

// roundStep is the least of 1, 2 and 5 times a power of ten that is not below v.
func roundStep(v float64) float64 {
	if v <= 0 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, d := range []float64{1, 2, 5} {
		if d*power >= v {
			return d * power
		}
	}
	return 10 * power
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

// drawing is one picture: axes first, then what is drawn between them.
type drawing struct {
	x, y axis
	b    strings.Builder
}

func newDrawing(x, y axis) *drawing {
	d := &drawing{x: x, y: y}
	fmt.Fprintf(&d.b, `<svg viewBox="0 0 %d %d" role="img">`, svgWidth, svgHeight)
	for _, t := range y.marks() {
		at := d.atY(t.at)
		d.segment("rule", svgLeft, at, svgLeft+plotWidth, at)
		d.text(svgLeft-5, at+4, "end", t.label)
	}
	for _, t := range x.marks() {
		at := d.atX(t.at)
		d.segment("rule", at, svgTop, at, svgTop+plotHeight)
		d.text(at, svgTop+plotHeight+labelDistance, "middle", t.label)
	}
	d.text(svgLeft+plotWidth, svgTop+plotHeight+axisBelow, "end", x.label)
	return d
}

func (d *drawing) atX(v float64) float64 { return svgLeft + plotWidth*d.x.share(v) }
func (d *drawing) atY(v float64) float64 { return svgTop + plotHeight*(1-d.y.share(v)) }

func (d *drawing) segment(class string, x1, y1, x2, y2 float64) {
	fmt.Fprintf(&d.b, `<path class="%s" d="M%.1f %.1fL%.1f %.1f"/>`, class, x1, y1, x2, y2)
}

func (d *drawing) text(x, y float64, anchor, text string) {
	fmt.Fprintf(&d.b, `<text x="%.1f" y="%.1f" text-anchor="%s">%s</text>`, x, y, anchor, html.EscapeString(text))
}

// line draws through the points. A point whose y is NaN is a gap.
func (d *drawing) line(nth int, points [][2]float64) {
	var path strings.Builder
	pen := "M"
	for i, p := range points {
		if math.IsNaN(p[1]) {
			pen = "M"
			continue
		}
		fmt.Fprintf(&path, "%s%.1f %.1f", pen, d.atX(p[0]), d.atY(p[1]))
		if alone := pen == "M" && (i+1 == len(points) || math.IsNaN(points[i+1][1])); alone {
			path.WriteString("h.1") // a point between two gaps
		}
		pen = "L"
	}
	fmt.Fprintf(&d.b, `<path class="line c%d" d="%s"/>`, nth%classes, &path)
}

// dot marks one point; its title shows when one points at it.
func (d *drawing) dot(class string, x, y float64, title string) {
	fmt.Fprintf(&d.b, `<circle class="%s" cx="%.1f" cy="%.1f" r="%d"><title>%s</title></circle>`, class, d.atX(x), d.atY(y), dotRadius, html.EscapeString(title))
}

// level draws a line across at y.
func (d *drawing) level(y float64, label string) {
	d.segment("level", svgLeft, d.atY(y), svgLeft+plotWidth, d.atY(y))
	d.text(svgLeft+4, d.atY(y)-4, "start", label)
}

// end returns the picture. All text in it is escaped, and the rest is numbers and words of ours.
func (d *drawing) end() template.HTML {
	d.b.WriteString("</svg>")
	return template.HTML(d.b.String())
}
