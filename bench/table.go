package bench

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// writeTable writes a result for people.
func writeTable(w io.Writer, r *Result) error {
	if _, err := fmt.Fprintf(w, "\n%s\n%s\n", headline(r), wrap(r.Verdict, "  ")); err != nil {
		return err
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	several := len(r.Runs) > 1
	for _, s := range r.Summary {
		if s.Max == 0 && s.Unit == "" {
			continue // nothing found: told in one line below
		}
		row := "  " + s.Name + "\t" + format(s.Median, s.Unit)
		if several {
			row += "\t" + s.spread()
		}
		if _, err := fmt.Fprintln(tw, row); err != nil {
			return err
		}
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	for i, run := range r.Runs {
		if err := writeRun(w, run, i, several); err != nil {
			return err
		}
	}
	return nil
}

func headline(r *Result) string {
	text := r.Scenario
	if n := len(r.Runs); n > 1 {
		text += fmt.Sprintf(", median of %d runs (minimum … maximum)", n)
	}
	return text
}

func writeRun(w io.Writer, run *Run, i int, several bool) error {
	mark := "  "
	if several {
		mark = fmt.Sprintf("  run %d: ", i+1)
	}
	lines := run.remarks()
	if several && run.Error != "" { // of one alone the verdict tells it
		lines = append(lines, "ended early: "+run.Error)
	}
	for _, line := range lines {
		if _, err := fmt.Fprintln(w, wrap(line, mark)); err != nil {
			return err
		}
	}
	return writeParts(w, run)
}

// remarks says in words what was found, and what one should know before believing the figures.
func (r *Run) remarks() []string {
	var out []string
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	var found []string
	for _, name := range findings {
		if n := r.finding(name); n > 0 {
			found = append(found, fmt.Sprintf("%d %s", n, name))
		}
	}
	if len(found) > 0 {
		say("found: %s", strings.Join(found, ", "))
		if why := reasons(r.Counts); why != "" {
			say("why: %s", why)
		}
		if r.Error == "" { // else it has them
			for _, h := range hintsFor(r.Counts) {
				say("hint: %s", h)
			}
		}
	} else if r.Counts.Delivered > 0 {
		say("every one of %d deliveries came once, in order and whole", r.Counts.Delivered)
	}
	if r.Counts.Gaps > 0 {
		say("%d times the server told of a gap", r.Counts.Gaps)
	}
	for _, example := range r.Counts.Examples {
		say("  %s", example)
	}
	if r.Client.Limit != "" {
		say("note: %s", r.Client.Limit)
	}
	for _, note := range r.Notes {
		say("note: %s", note)
	}
	return out
}

// writeParts writes the tables that some scenarios have of their own.
func writeParts(w io.Writer, run *Run) error {
	if run.Idle != nil && len(run.Server.PIDs) > 0 {
		rows := []string{"  connections\tRSS\tPSS\tsocket buffers\tkernel slab\tclient RSS\t"}
		for _, s := range run.Idle.Steps {
			rows = append(rows, fmt.Sprintf("%d\t%s\t%s\t%s\t%s\t%s\t", s.Connections,
				size(float64(s.RSS)), size(float64(s.PSS)), size(float64(s.Kernel.Buffers)), size(float64(s.Kernel.Slab)), size(float64(s.Client))))
		}
		if err := writeRows(w, rows); err != nil {
			return err
		}
	}
	if run.Max == nil {
		return nil
	}
	const whyWidth = 26 // beside the numbers in 80 columns; the report has all of it
	rows := []string{"  events/s\tdeliveries/s\tp50 ms\tp99 ms\tCPU-s/M\t"}
	for _, t := range run.Max.Trials {
		rows = append(rows, fmt.Sprintf("%s\t%s\t%s\t%s\t%s\t  %s", si(t.Rate), si(t.Load.Delivered),
			short(t.Load.Latency.P50), short(t.Load.Latency.P99), short(t.Load.ServerCPU), clip(t.verdict(), whyWidth)))
	}
	return writeRows(w, rows)
}

// writeRows writes a table of numbers. A cell that no tab ends stands as it is.
func writeRows(w io.Writer, rows []string) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, row := range rows {
		if _, err := fmt.Fprintln(tw, row); err != nil {
			return err
		}
	}
	return tw.Flush()
}
