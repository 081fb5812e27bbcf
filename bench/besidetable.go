package bench

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"
)

// besideFigures are the columns of a scenario's table; those of a load where it has no list of its own.
var besideFigures = map[string][]string{
	"idle":    {"RSS per connection", "PSS per connection", "idle CPU", "pings", "connects", "server CPU per connect"},
	"connect": {"connects", "server CPU per connect", "handshake p99"},
	"max":     {"best rate", "latency p99", "server CPU per million"},
	"":        {"server CPU per million", "latency p99", "latency p50", "delivered", "bytes per delivery", "rest of the machine"},
}

// besideRatios are the figures that have ratios beside them: two for each scenario are enough to read.
var besideRatios = []string{"RSS per connection", "idle CPU", "connects", "server CPU per connect", "best rate", "server CPU per million", "latency p99"}

// write writes a table in Markdown for each scenario.
func (b *besides) write(w io.Writer, e Environment) error {
	var out strings.Builder
	fmt.Fprintf(&out, "%s of each server and scenario, in turn, in %s: %s, %d cores, %d MB, Linux %s, %s. Medians (minimum to maximum).\n",
		runs(b.rounds), time.Since(b.began).Round(time.Second), e.CPU, e.Cores, e.MemoryMB, e.Kernel, e.Go)
	for i := range b.lines {
		b.writeScenario(&out, i)
	}
	for _, line := range b.left {
		fmt.Fprintf(&out, "\n%s.\n", line)
	}
	_, err := io.WriteString(w, out.String())
	return err
}

func (b *besides) writeScenario(out *strings.Builder, line int) {
	columns := b.columns(line)
	header := []string{"server"}
	for _, f := range columns {
		name := f.Name
		if f.Unit != "" {
			name += ", " + f.Unit
		}
		header = append(header, name)
		if slices.Contains(besideRatios, f.Name) {
			for _, to := range b.Ratio {
				header = append(header, "× "+to)
			}
		}
	}
	fmt.Fprintf(out, "\n`%s`\n\n", strings.Join(b.lines[line], " "))
	writeMarkdownRow(out, append(header, "lost", "reordered", "else"))
	writeMarkdownRow(out, slices.Repeat([]string{"---"}, len(header)+3))
	for _, r := range b.results[line] {
		row := []string{r.Server}
		for _, f := range columns {
			row = append(row, b.cells(line, r, f)...)
		}
		writeMarkdownRow(out, append(row, found(r)...))
	}
	b.writeLadder(out, line)
	for _, r := range b.results[line] {
		for _, remark := range besideRemarks(r) {
			fmt.Fprintf(out, "\n%s: %s.\n", r.Server, remark)
		}
	}
}

func writeMarkdownRow(out *strings.Builder, cells []string) {
	fmt.Fprintf(out, "| %s |\n", strings.Join(cells, " | "))
}

// columns are the figures that some server has, in the order of the list.
func (b *besides) columns(line int) (all []Summary) {
	names, ok := besideFigures[b.results[line][0].Scenario]
	if !ok {
		names = besideFigures[""]
	}
	for _, name := range names {
		for _, r := range b.results[line] {
			if s, ok := r.figure(name); ok {
				all = append(all, s)
				break
			}
		}
	}
	return all
}

// cells are a figure of one server, and its ratios to others if it has some.
func (b *besides) cells(line int, r *Result, f Summary) []string {
	s, ok := r.figure(f.Name)
	text := ""
	if ok {
		text = plainNumber(s.Median, s.Unit)
	}
	if ok && s.Runs > 1 {
		text += fmt.Sprintf(" (%s to %s)", plainNumber(s.Min, s.Unit), plainNumber(s.Max, s.Unit))
	}
	cells := []string{text}
	if !slices.Contains(besideRatios, f.Name) {
		return cells
	}
	for _, to := range b.Ratio {
		ratio := ""
		if other, has := b.figureOf(line, to, f.Name); ok && has && other.Median != 0 {
			ratio = short(s.Median / other.Median)
		}
		cells = append(cells, ratio)
	}
	return cells
}

func (b *besides) figureOf(line int, server, name string) (Summary, bool) {
	for _, r := range b.results[line] {
		if r.Server == server {
			return r.figure(name)
		}
	}
	return Summary{}, false
}

// plainNumber writes a figure without its unit, which the head of its column has.
func plainNumber(v float64, unit string) string {
	switch unit {
	case "B":
		return fmt.Sprintf("%.0f", v)
	case "deliveries/s", "events/s", "1/s":
		return si(v)
	}
	return short(v)
}

// found counts what came wrong in all runs: lost, reordered, and all else.
func found(r *Result) []string {
	sum := map[string]uint64{}
	for _, run := range r.Runs {
		for _, name := range findings {
			sum[name] += run.finding(name)
		}
	}
	var others []string
	for _, name := range findings {
		if n := sum[name]; n > 0 && name != "lost" && name != "reordered" {
			others = append(others, fmt.Sprintf("%d %s", n, name))
		}
	}
	return []string{fmt.Sprint(sum["lost"]), fmt.Sprint(sum["reordered"]), strings.Join(others, ", ")}
}

// besideRemarks are what a reader must know of a server's row: runs that came to no end, and why searches ended that did not
// end at the server. Of each kind there is one, with the number of its runs.
func besideRemarks(r *Result) []string {
	var all []string
	count := map[string]int{}
	add := func(kind, text string) {
		if count[kind]++; count[kind] == 1 {
			text, _, _ = strings.Cut(text, "\n")
			all = append(all, kind+": "+strings.TrimRight(text, "."))
		}
	}
	for _, run := range r.Runs {
		if run.Error != "" {
			add("no end", run.Error)
		}
		for _, note := range run.Notes {
			if run.Max != nil && strings.Contains(note, "search") {
				add("search", note)
			}
		}
	}
	for i, remark := range all {
		kind, text, _ := strings.Cut(remark, ": ")
		all[i] = fmt.Sprintf("%s in %d of %d runs: %s", map[string]string{"no end": "came to no end", "search": "its search ended early"}[kind], count[kind], len(r.Runs), text)
	}
	return all
}

// writeLadder writes how each server did at the rates of a search that all of them try: the first one, doubled again and
// again.
func (b *besides) writeLadder(out *strings.Builder, line int) {
	s, ok := b.scenarios[line][0].(*maxScenario)
	if !ok {
		return
	}
	var rates []float64
	for _, r := range b.results[line] {
		for _, run := range r.Runs {
			for _, trial := range maxTrials(run) {
				steps := math.Log2(trial.Rate / s.Start)
				if steps >= 0 && steps == math.Trunc(steps) && !slices.Contains(rates, trial.Rate) {
					rates = append(rates, trial.Rate)
				}
			}
		}
	}
	slices.Sort(rates)
	header := []string{"p99, ms, and server CPU-s per million at"}
	for _, rate := range rates {
		header = append(header, si(rate)+"/s")
	}
	out.WriteByte('\n')
	writeMarkdownRow(out, header)
	writeMarkdownRow(out, slices.Repeat([]string{"---"}, len(header)))
	for _, r := range b.results[line] {
		row := []string{r.Server}
		for _, rate := range rates {
			row = append(row, ladderCell(r, rate))
		}
		writeMarkdownRow(out, row)
	}
}

func maxTrials(run *Run) []Trial {
	if run.Max == nil {
		return nil
	}
	return run.Max.Trials
}

// ladderCell is how a server did at a rate: medians of the trials that it kept up with, or why it did not in most runs.
func ladderCell(r *Result, rate float64) string {
	var p99, cpu []float64
	failed, why := 0, ""
	for _, run := range r.Runs {
		kept := false
		reason := ""
		for _, t := range maxTrials(run) {
			if t.Rate != rate {
				continue
			}
			if reason = t.Why; t.Kept {
				kept = true
				p99, cpu = append(p99, t.Load.Latency.P99), append(cpu, t.Load.ServerCPU)
			}
		}
		if !kept && reason != "" {
			failed, why = failed+1, reason
		}
	}
	switch {
	case failed > len(p99):
		return why
	case len(p99) == 0:
		return ""
	}
	return short(median(p99)) + ", " + short(median(cpu))
}
