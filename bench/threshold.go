package bench

import (
	"cmp"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// threshold is a condition of --fail-if.
type threshold struct {
	text, figure, op string
	value            float64 // in the figure's unit
}

// Checked is a threshold held against the median of its figure.
type Checked struct {
	If     string  `json:"if"`
	Figure string  `json:"figure"`
	Unit   string  `json:"unit"`
	Median float64 `json:"median"`
	Failed bool    `json:"failed"`
}

var thresholdForm = regexp.MustCompile(`^\s*([A-Za-z][A-Za-z0-9 ._-]*?)\s*(<=|>=|<|>)\s*([^\s<>=].*?)\s*$`)

// parseThreshold reads text such as "p99>50ms".
func parseThreshold(text string) (threshold, error) {
	part := thresholdForm.FindStringSubmatch(text)
	if part == nil {
		return threshold{}, usagef("--fail-if=%q: want a figure, one of < <= > >= and a value, such as 'p99>50ms'", text)
	}
	f, err := figureNamed(part[1])
	if err != nil {
		return threshold{}, usagef("--fail-if=%q: %w", text, err)
	}
	value, err := parseValue(part[3], f.unit)
	if err != nil {
		return threshold{}, usagef("--fail-if=%q: %w", text, err)
	}
	return threshold{text: text, figure: f.name, op: part[2], value: value}, nil
}

func parseThresholds(texts []string) ([]threshold, error) {
	var all []threshold
	for _, text := range texts {
		t, err := parseThreshold(text)
		if err != nil {
			return nil, err
		}
		all = append(all, t)
	}
	return all, nil
}

// judge holds the threshold against a figure.
func (t threshold) judge(s Summary) Checked {
	failed := map[string]bool{"<": s.Median < t.value, "<=": s.Median <= t.value, ">": s.Median > t.value, ">=": s.Median >= t.value}
	return Checked{If: t.text, Figure: s.Name, Unit: s.Unit, Median: s.Median, Failed: failed[t.op]}
}

// String says how it went.
func (c Checked) String() string {
	return fmt.Sprintf("%s is %s (--fail-if '%s')", c.Figure, format(c.Median, c.Unit), c.If)
}

// checkThresholds judges those whose figures the result has.
func (r *Result) checkThresholds(all []threshold) {
	for _, t := range all {
		if s, ok := r.figure(t.figure); ok {
			r.Thresholds = append(r.Thresholds, t.judge(s))
		}
	}
}

// slug is the name of a figure on a command line: "latency p99.9" is latency-p99.9.
func slug(name string) string {
	words := strings.FieldsFunc(strings.ToLower(name), func(r rune) bool { return strings.ContainsRune(" ,_-", r) })
	return strings.Join(words, "-")
}

var quantiles = []string{"p50", "p90", "p99", "p99.9", "max"}

// figureNamed finds a figure by its slug. p50 to max alone are those of the latency.
func figureNamed(name string) (figure, error) {
	wanted := slug(name)
	if slices.Contains(quantiles, wanted) {
		wanted = "latency-" + wanted
	}
	var near []string
	for _, f := range everyFigure() {
		s := slug(f.name)
		if s == wanted {
			return f, nil
		}
		near = append(near, s)
	}
	near = nearest(slug(name), append(near, quantiles...))
	return figure{}, fmt.Errorf("there is no figure %q; did you mean %s? Figures: %s", name, strings.Join(near, ", "), figureList())
}

// everyFigure lists the figures of all scenarios.
func everyFigure() []figure {
	l := Latency{Count: 1}
	r := Run{
		Connect: &Connects{Handshake: l}, Load: &LoadPart{Latency: l, ServerCPU: 1}, Idle: &Idle{Watched: 1, Events: 1},
		Churn: &Churned{Handshake: l}, Storm: &Stormed{}, Max: &Maximum{Best: &Trial{}}, Drift: &Drift{},
		Server: ServerPart{PIDs: []int{0}}, Client: ClientPart{Machine: 1},
	}
	return r.figures()
}

// figureList names every figure, the quantiles of one together.
func figureList() string {
	var all []string
	for _, f := range everyFigure() {
		name := slug(f.name)
		all = append(all, name)
		if base, ok := strings.CutSuffix(name, "-max"); ok { // the last of its quantiles
			all = append(all[:len(all)-len(quantiles)], base+"-{"+strings.Join(quantiles, "|")+"}")
		}
	}
	return strings.Join(all, ", ")
}

// nearest returns the up to three names that are most like one.
func nearest(one string, names []string) []string {
	names = slices.Clone(names)
	slices.SortStableFunc(names, func(a, b string) int { return cmp.Compare(distance(one, a), distance(one, b)) })
	return names[:min(3, len(names))]
}

// distance is the number of letters to insert, delete or replace; a name that holds the other is near.
func distance(a, b string) int {
	if strings.Contains(b, a) {
		return 1
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

var valueForm = regexp.MustCompile(`^(-?[0-9]*\.?[0-9]+)\s*([A-Za-zµ%/]*)$`)

// parseValue reads a value of a figure in its unit: durations as 50ms, memory as 10MiB, rates as 1.5M or 900/s.
func parseValue(text, unit string) (float64, error) {
	if d, err := time.ParseDuration(text); err == nil {
		switch unit {
		case "s":
			return d.Seconds(), nil
		case "ms":
			return ms(d), nil
		case "µs":
			return ms(d) * 1000, nil
		}
	}
	part := valueForm.FindStringSubmatch(text)
	if part == nil {
		return 0, fmt.Errorf("%q is no value", text)
	}
	n, err := strconv.ParseFloat(part[1], 64)
	if err != nil || math.IsInf(n, 0) {
		return 0, fmt.Errorf("%q is no value", text)
	}
	factor, ok := factors(unit)[part[2]]
	if !ok {
		return 0, fmt.Errorf("%q: want a value in %s", text, cmp.Or(unit, "plain numbers"))
	}
	return n * factor, nil
}

// factors are the endings that a value of unit may have.
func factors(unit string) map[string]float64 {
	switch unit {
	case "s", "ms", "µs":
		return map[string]float64{"": 1}
	case "B", "B/h":
		rest := strings.TrimPrefix(unit, "B")
		all := map[string]float64{"": 1}
		for name, n := range map[string]float64{"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30} {
			all[name], all[name+rest] = n, n
		}
		return all
	case "%", "% of a core":
		return map[string]float64{"": 1, "%": 1}
	}
	all := map[string]float64{unit: 1}
	for name, n := range map[string]float64{"": 1, "k": 1e3, "M": 1e6} {
		all[name] = n
		if strings.HasSuffix(unit, "/s") {
			all[name+"/s"] = n
		}
	}
	return all
}
