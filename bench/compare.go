package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
)

type compareCommand struct {
	A           string   `arg:"" help:"Report, or several joined by commas: their runs are taken together."`
	B           string   `arg:"" help:"Report to hold against it."`
	FailIfWorse string   `help:"Exit status 4 where a figure of B is worse than that of A by more than this share, such as 10%. Where both have several runs, every run of B must be worse than every run of A, too." placeholder:"PERCENT"`
	Only        []string `help:"Figures that --fail-if-worse looks at, such as p99,delivered. Default: all of which one can say that less or more is better, but single worst cases (max)." placeholder:"FIGURE"`
}

func (c *compareCommand) run(_ context.Context, a *app) (int, error) {
	limit, only, err := c.check()
	if err != nil {
		return exitUsage, err
	}
	first, err := readReports(c.A)
	if err != nil {
		return exitUsage, err
	}
	second, err := readReports(c.B)
	if err != nil {
		return exitUsage, err
	}
	if err := compare(a.stdout, first, second); err != nil {
		return exitUsage, err
	}
	if c.FailIfWorse == "" {
		return exitOK, nil
	}
	if worse := worseFigures(first, second, limit, only); len(worse) > 0 {
		return exitThreshold, fmt.Errorf("worse by more than %s: %s", c.FailIfWorse, strings.Join(worse, ", "))
	}
	return exitOK, nil
}

// check returns the share of --fail-if-worse and the names of the figures that it looks at; nil: the usual ones.
func (c *compareCommand) check() (limit float64, only map[string]bool, err error) {
	if c.FailIfWorse != "" {
		limit, err = strconv.ParseFloat(strings.TrimSuffix(c.FailIfWorse, "%"), 64)
		if err != nil || limit < 0 || math.IsNaN(limit) || math.IsInf(limit, 0) {
			return 0, nil, fmt.Errorf("--fail-if-worse=%q: want a percentage, such as 10%%", c.FailIfWorse)
		}
	} else if len(c.Only) > 0 {
		return 0, nil, errors.New("--only: goes with --fail-if-worse")
	}
	for _, name := range c.Only {
		f, err := figureNamed(name)
		if err != nil {
			return 0, nil, fmt.Errorf("--only: %w", err)
		}
		if f.better == "" {
			return 0, nil, fmt.Errorf("--only=%s: of this figure neither less nor more is better", name)
		}
		if only == nil {
			only = map[string]bool{}
		}
		only[f.name] = true
	}
	return limit / 100, only, nil
}

// readReports reads reports and joins the runs of equally named scenarios.
func readReports(paths string) (*Report, error) {
	var all *Report
	for path := range strings.SplitSeq(paths, ",") {
		r, err := readReport(path)
		if err != nil {
			return nil, err
		}
		if all == nil {
			all = r
			continue
		}
		for _, result := range r.Results {
			if same := all.result(result.Scenario); same != nil {
				same.Runs = append(same.Runs, result.Runs...)
			} else {
				all.Results = append(all.Results, result)
			}
		}
	}
	for _, result := range all.Results {
		result.Summary = summarize(result.Runs)
	}
	return all, nil
}

func readReport(path string) (*Report, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var r Report
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if r.Schema != Schema {
		return nil, fmt.Errorf("%s: schema %q, want %q", path, r.Schema, Schema)
	}
	return &r, nil
}

func (r *Report) result(scenario string) *Result {
	for _, result := range r.Results {
		if result.Scenario == scenario {
			return result
		}
	}
	return nil
}

// compare writes the scenarios that both reports have side by side.
func compare(w io.Writer, a, b *Report) error {
	common := 0
	var out strings.Builder
	for _, ra := range a.Results {
		rb := b.result(ra.Scenario)
		if rb == nil {
			continue
		}
		common++
		fmt.Fprintf(&out, "\n%s: A %s, B %s\n", ra.Scenario, runs(len(ra.Runs)), runs(len(rb.Runs)))
		if differ := differences(ra.Settings, rb.Settings); len(differ) > 0 {
			fmt.Fprintln(&out, wrap("warning: the settings differ: "+strings.Join(differ, "; "), "  "))
		}
		if early := unfinished(ra, rb); early != "" {
			fmt.Fprintln(&out, wrap("warning: "+early, "  "))
		}
		compareResults(&out, ra, rb)
	}
	if common == 0 {
		return fmt.Errorf("the reports have no scenario in common")
	}
	if a.Environment.Kernel != b.Environment.Kernel || a.Environment.CPU != b.Environment.CPU || a.Environment.Cores != b.Environment.Cores {
		fmt.Fprintln(&out, "\n"+wrap(fmt.Sprintf("warning: the machines differ: %s, %d cores, %s; %s, %d cores, %s",
			a.Environment.CPU, a.Environment.Cores, a.Environment.Kernel, b.Environment.CPU, b.Environment.Cores, b.Environment.Kernel), ""))
	}
	_, err := io.WriteString(w, out.String())
	return err
}

func runs(n int) string {
	if n == 1 {
		return "one run"
	}
	return fmt.Sprintf("%d runs", n)
}

// compareResults writes a table that fits 80 columns: medians, and below them the spread where there is one.
func compareResults(w io.Writer, a, b *Result) {
	const row = "  %-26s %15s %15s %7s  %s\n"
	fmt.Fprint(w, strings.TrimRight(fmt.Sprintf(row, "", "A", "B", "B/A", ""), " \n"), "\n")
	used := map[string]bool{}
	for _, sa := range a.Summary {
		sb, ok := b.figure(sa.Name)
		if !ok || sa.Max == 0 && sb.Max == 0 {
			continue
		}
		ratio := "-"
		if sa.Median != 0 {
			ratio = "×" + short(sb.Median/sa.Median)
		}
		said := verdict(sa, sb)
		used[said] = true
		fmt.Fprint(w, strings.TrimRight(fmt.Sprintf(row, sa.Name, brief(sa.Median, sa.Unit), brief(sb.Median, sb.Unit), ratio, said), " \n"), "\n")
		if sa.Runs > 1 || sb.Runs > 1 {
			fmt.Fprint(w, strings.TrimRight(fmt.Sprintf(row, "", sa.narrow(), sb.narrow(), "", ""), " \n"), "\n")
		}
	}
	for _, said := range []string{withinSpread, noSpread} {
		if used[said] {
			fmt.Fprintln(w, wrap(said+": "+verdictMeans[said], "  "))
		}
	}
}

// brief is format with a shorter unit.
func brief(v float64, unit string) string {
	return strings.NewReplacer(" deliveries/s", "/s", " events/s", "/s", " % of a core", " %", " 1/s", "/s", " clients/s", "/s").Replace(format(v, unit))
}

// narrow is the spread of the runs for a narrow column, empty for one run.
func (s Summary) narrow() string {
	if s.Runs < 2 {
		return ""
	}
	return strings.ReplaceAll(strings.ReplaceAll(s.spread(), " … ", "…"), " ", "")
}

func (r *Result) figure(name string) (Summary, bool) {
	for _, s := range r.Summary {
		if s.Name == name {
			return s, true
		}
	}
	return Summary{}, false
}

const (
	betterThan   = "B better"
	worseThan    = "B worse"
	withinSpread = "in spread"
	noSpread     = "one run"
)

var verdictMeans = map[string]string{
	withinSpread: "some run of A is as good as some run of B and the other way round",
	noSpread:     "one run has no spread, so there is no verdict (--repeat)",
}

// verdict says which is better where every run of one is beyond every run of the other; where they
// overlap, or one run tells nothing of its spread, it claims nothing.
func verdict(a, b Summary) string {
	switch {
	case a.Better == "":
		return ""
	case a.Runs < 2 || b.Runs < 2:
		return noSpread
	case a.Min <= b.Max && b.Min <= a.Max:
		return withinSpread
	case (b.Median < a.Median) == (a.Better == "less"):
		return betterThan
	}
	return worseThan
}

// unfinished says which report has a run that ended early.
func unfinished(a, b *Result) string {
	for i, r := range []*Result{a, b} {
		for _, run := range r.Runs {
			if run.Error != "" {
				return fmt.Sprintf("a run of %c ended early: %s", 'A'+i, run.Error)
			}
		}
	}
	return ""
}
