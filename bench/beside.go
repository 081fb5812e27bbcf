package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"
)

// besideCommand measures several servers by the same scenarios. Servers take turns at each scenario, so that an hour in
// which the machine is busy with something else hits all of them.
type besideCommand struct {
	Servers   string        `arg:"" help:"File of servers, one a line: a name and flags of run, among them --server."`
	Scenarios string        `arg:"" help:"File of scenarios, as 'run FILE' takes it."`
	Rounds    int           `help:"Runs of each scenario with each server; figures are medians with minimum and maximum." default:"3"`
	Limit     time.Duration `help:"Longest time of all. No round begins that would end later." default:"25m"`
	Only      []string      `help:"Servers to measure. Default: all that are here." placeholder:"NAME"`
	Ratio     []string      `help:"Servers to which ratios are taken." placeholder:"NAME"`
	JSON      string        `help:"Write the report as JSON ('-': to standard output)." placeholder:"FILE"`
}

// besides is a measurement of servers side by side under way.
type besides struct {
	*app
	*besideCommand
	servers   []contender
	left      []string // a line for each server that is not here
	lines     [][]string
	scenarios [][]scenario // by line and server
	results   [][]*Result  // the same
	once      func(ctx context.Context, line, server int) error
	rounds    int // that were measured
	began     time.Time
}

func (c *besideCommand) run(ctx context.Context, a *app) (int, error) {
	b := &besides{app: a, besideCommand: c, began: time.Now()}
	b.once = b.measureOnce
	if err := b.open(); err != nil {
		return exitUsage, err
	}
	for _, line := range b.left {
		if _, err := fmt.Fprintln(a.stderr, line); err != nil {
			return exitFailed, err
		}
	}
	files, err := openOutputs(&Common{JSON: c.JSON}, a.stdout)
	if err != nil {
		return exitUsage, err
	}
	report := newReport(a.args)
	makeRoom(b.scenarios[0][0].common().Loops)
	limited, cancel := context.WithTimeout(ctx, c.Limit)
	defer cancel()
	failed := b.measureAll(limited)
	report.Interrupted = limited.Err() != nil
	var all []scenario
	for i := range b.results {
		all = append(all, b.scenarios[i]...)
		report.Results = append(report.Results, b.results[i]...)
	}
	table := io.Writer(a.stdout)
	if c.JSON == "-" {
		table = a.stderr
	}
	return a.finish(report, all, files, failed, b.write(table, report.Environment))
}

// open reads the files and the scenarios with each server's flags.
func (b *besides) open() error {
	if b.Rounds < 1 || b.Limit <= 0 {
		return errors.New("--rounds and --limit: want at least 1, and more than 0")
	}
	text, err := os.ReadFile(b.Servers)
	if err != nil {
		return err
	}
	all, err := parseContenders(string(text))
	if err != nil {
		return fmt.Errorf("%s: %w", b.Servers, err)
	}
	for _, name := range b.Ratio {
		if !slices.ContainsFunc(all, func(c contender) bool { return c.name == name }) {
			return fmt.Errorf("--ratio=%s: no server has this name", name)
		}
	}
	if b.servers, b.left, err = present(all, b.Only); err != nil {
		return err
	}
	if text, err = os.ReadFile(b.Scenarios); err != nil {
		return err
	}
	if b.lines, err = parseScenarios(string(text)); err != nil {
		return fmt.Errorf("%s: %w", b.Scenarios, err)
	}
	for i, line := range b.lines {
		if err := b.openScenario(line); err != nil {
			return fmt.Errorf("%s, scenario %d: %w", b.Scenarios, i+1, err)
		}
	}
	return nil
}

func (b *besides) openScenario(line []string) error {
	var scenarios []scenario
	var results []*Result
	for _, server := range b.servers {
		_, parsed, _, err := b.parse(slices.Concat([]string{"run"}, line, server.flagsFor(line)))
		if err != nil {
			return fmt.Errorf("%s: %w", server.name, err)
		}
		if parsed == nil {
			return errors.New("it asks for help")
		}
		s, ok := parsed.Target().(scenario)
		if !ok {
			return fmt.Errorf("%s is none", line[0])
		}
		if err := errors.Join(s.common().validate(), s.validate()); err != nil {
			return fmt.Errorf("%s: %w", server.name, err)
		}
		scenarios = append(scenarios, s)
		results = append(results, &Result{Scenario: nameOf(s), Server: server.name, Settings: s})
	}
	b.scenarios, b.results = append(b.scenarios, scenarios), append(b.results, results)
	return nil
}

// measureAll measures round after round, as far as they fit the limit. An error tells of runs that came to no end.
func (b *besides) measureAll(ctx context.Context) error {
	var failed error
	var longest time.Duration
	for round := range b.Rounds {
		if time.Since(b.began)+longest > b.Limit {
			break
		}
		began := time.Now()
		b.rounds++
		for i := range b.lines {
			for _, k := range order(len(b.servers), round) {
				if ctx.Err() != nil {
					return failed
				}
				b.say(round, i, k)
				if err := b.once(ctx, i, k); err != nil {
					failed = errors.Join(failed, fmt.Errorf("%s: %s: %w", b.servers[k].name, b.lines[i][0], err))
				}
			}
		}
		longest = max(longest, time.Since(began))
	}
	return failed
}

// order is that of n servers in a round: each round begins with another one, and every second goes backwards.
func order(n, round int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = (i + round) % n
	}
	if round%2 == 1 {
		slices.Reverse(all)
	}
	return all
}

// say tells how far it is, on standard error. A line that can't be written stops nothing.
func (b *besides) say(round, line, server int) {
	_, _ = fmt.Fprintf(b.stderr, "round %d of %d, scenario %d of %d (%s): %s\n",
		round+1, b.Rounds, line+1, len(b.lines), b.lines[line][0], b.servers[server].name)
}

// measureOnce adds a run of one scenario with one server. A server that fails leaves the others their turns.
func (b *besides) measureOnce(ctx context.Context, line, server int) error {
	s, all := b.scenarios[line][server], b.results[line][server]
	one, err := b.repeat(ctx, s)
	all.Runs = append(all.Runs, one.Runs...)
	all.Summary = summarize(all.Runs)
	all.judge(s.common().Allow)
	return err
}
