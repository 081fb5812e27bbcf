package bench

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"
)

type tuneCommand struct {
	maxScenario `embed:"" json:"max"`
	Pollers     []int `help:"Values of the hub's --pollers to try." default:"1,2" group:"Tuning"`
	Workers     []int `help:"Values of the hub's --workers to try; none: the hub's own." group:"Tuning"`
}

// tuning is one combination and what it reached.
type tuning struct {
	flags  string
	result *Result
}

// run tries each combination with the max scenario and writes a table, best first told below it.
func (c *tuneCommand) run(ctx context.Context, a *app) (int, error) {
	if c.Server == "" {
		return exitUsage, errors.New("tune: --server is the command that starts the hub, such as --server='./hub --addr=127.0.0.1:3000'")
	}
	combinations, err := c.combinations()
	if err != nil {
		return exitUsage, err
	}
	if err := errors.Join(c.Common.validate(), c.maxScenario.validate()); err != nil {
		return exitUsage, fmt.Errorf("tune: %w", err)
	}
	files, err := openOutputs(&c.Common, a.stdout)
	if err != nil {
		return exitUsage, err
	}
	makeRoom(c.Loops)
	report := newReport(a.args)
	var tried []tuning
	var failed error
	command := c.Server
	for _, flags := range combinations {
		one := c.maxScenario
		one.Server = command + guarded(flags)
		result, err := a.repeat(ctx, &one)
		result.Scenario = "max" + flags
		report.Results = append(report.Results, result)
		tried = append(tried, tuning{flags, result})
		if err != nil {
			failed = fmt.Errorf("tune%s: %w", flags, err)
			break
		}
	}
	report.Interrupted = ctx.Err() != nil
	return a.finish(report, repeated(&c.maxScenario, len(tried)), files, failed, a.writeTunings(tried))
}

func (c *tuneCommand) combinations() ([]string, error) {
	workers := c.Workers
	if len(workers) == 0 {
		workers = []int{0}
	}
	var all []string
	for _, p := range c.Pollers {
		for _, w := range workers {
			if p < 1 || w < 0 {
				return nil, errors.New("tune: --pollers and --workers: want numbers from 1 on")
			}
			flags := fmt.Sprintf(" --pollers=%d", p)
			if w > 0 {
				flags += fmt.Sprintf(" --workers=%d", w)
			}
			all = append(all, flags)
		}
	}
	return all, nil
}

func (a *app) writeTunings(tried []tuning) error {
	tw := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	rows := []string{"hub flags\tbest events/s\tdeliveries/s\tp50 ms\tp99 ms\tserver CPU-s/M\tRSS peak\t"}
	for _, t := range tried {
		cell := func(name string) string {
			s, ok := t.result.figure(name)
			if !ok {
				return "-"
			}
			return si(s.Median)
		}
		rss, _ := t.result.figure("server RSS peak")
		rows = append(rows, fmt.Sprintf("%s\t%s\t%s\t%s\t%s\t%s\t%s\t", t.flags,
			cell("best rate"), cell("delivered"), cell("latency p50"), cell("latency p99"),
			cell("server CPU per million"), size(rss.Median)))
	}
	for _, row := range rows {
		if _, err := fmt.Fprintln(tw, row); err != nil {
			return err
		}
	}
	return tw.Flush()
}

func repeated(s scenario, n int) []scenario {
	all := make([]scenario, n)
	for i := range all {
		all[i] = s
	}
	return all
}
