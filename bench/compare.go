package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
)

type compareCommand struct {
	A string `arg:"" help:"Report, or several joined by commas: their runs are taken together."`
	B string `arg:"" help:"Report to hold against it."`
}

func (c *compareCommand) run(_ context.Context, a *app) (int, error) {
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
	return exitOK, nil
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
	for _, ra := range a.Results {
		rb := b.result(ra.Scenario)
		if rb == nil {
			continue
		}
		common++
		if _, err := fmt.Fprintf(w, "\n%s: A %d runs, B %d runs\n", ra.Scenario, len(ra.Runs), len(rb.Runs)); err != nil {
			return err
		}
		if err := compareResults(w, ra, rb); err != nil {
			return err
		}
	}
	if common == 0 {
		return fmt.Errorf("the reports have no scenario in common")
	}
	if a.Environment.Kernel != b.Environment.Kernel || a.Environment.CPU != b.Environment.CPU || a.Environment.Cores != b.Environment.Cores {
		_, err := fmt.Fprintf(w, "\nnote: the machines differ: %s, %d cores, %s; %s, %d cores, %s\n",
			a.Environment.CPU, a.Environment.Cores, a.Environment.Kernel, b.Environment.CPU, b.Environment.Cores, b.Environment.Kernel)
		return err
	}
	return nil
}

func compareResults(w io.Writer, a, b *Result) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if _, err := fmt.Fprintln(tw, "  \tA\tB\tB/A\t"); err != nil {
		return err
	}
	for _, sa := range a.Summary {
		sb, ok := b.figure(sa.Name)
		if !ok || sa.Max == 0 && sb.Max == 0 {
			continue
		}
		ratio := "-"
		if sa.Median != 0 {
			ratio = "×" + short(sb.Median/sa.Median)
		}
		if _, err := fmt.Fprintf(tw, "  %s\t%s\t%s\t%s\t%s\n", sa.Name, sa.text(), sb.text(), ratio, verdict(sa, sb)); err != nil {
			return err
		}
	}
	return tw.Flush()
}

func (r *Result) figure(name string) (Summary, bool) {
	for _, s := range r.Summary {
		if s.Name == name {
			return s, true
		}
	}
	return Summary{}, false
}

func (s Summary) text() string {
	text := format(s.Median, s.Unit)
	if s.Runs > 1 {
		text += fmt.Sprintf(" (%s … %s)", format(s.Min, s.Unit), format(s.Max, s.Unit))
	}
	return text
}

// verdict says which is better where every run of one is beyond every run of the other; where they
// overlap, or one run tells nothing of its spread, it claims nothing.
func verdict(a, b Summary) string {
	switch {
	case a.Better == "":
		return ""
	case a.Runs < 2 || b.Runs < 2:
		return "no verdict: one run has no spread (--repeat)"
	case a.Min <= b.Max && b.Min <= a.Max:
		return "within the runs' spread"
	case (b.Median < a.Median) == (a.Better == "less"):
		return "B is better"
	}
	return "B is worse"
}
