package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// measure runs scenarios as often as each asks, and writes what came of it.
func (a *app) measure(ctx context.Context, all []scenario) (int, error) {
	for _, s := range all {
		if err := errors.Join(s.common().validate(), s.validate()); err != nil {
			return exitUsage, fmt.Errorf("%s: %w", nameOf(s), err)
		}
	}
	out := all[0].common()
	files, err := openOutputs(out, a.stdout)
	if err != nil {
		return exitUsage, err
	}
	makeRoom(out.Loops)
	table := a.stdout
	if out.JSON == "-" || out.HTML == "-" {
		table = a.stderr
	}
	report := newReport(a.args)
	var failed, writing error
	for _, s := range all {
		result, err := a.repeat(ctx, s)
		report.Results = append(report.Results, result)
		writing = errors.Join(writing, writeTable(table, result))
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", result.Scenario, err))
		}
		if report.Interrupted = ctx.Err() != nil; report.Interrupted {
			break
		}
	}
	return a.finish(report, all, files, failed, writing)
}

// finish leaves the report where the settings ask for it, and returns the exit status.
func (a *app) finish(report *Report, all []scenario, files *outputs, failed, writing error) (int, error) {
	report.Seconds = time.Since(report.Started).Seconds()
	if err := errors.Join(writing, files.write(report), files.close()); err != nil {
		return exitFailed, errors.Join(failed, err)
	}
	if status := statusOf(report, all, failed); status != exitOK {
		return status, failed
	}
	if err := report.checkThresholds(all); err != nil {
		return exitThreshold, err
	}
	return exitOK, nil
}

func newReport(args []string) *Report {
	return &Report{Schema: Schema, Started: time.Now().UTC(), Environment: readEnvironment(args)}
}

// repeat runs s and stops at the first run that fails.
func (a *app) repeat(ctx context.Context, s scenario) (*Result, error) {
	result := &Result{Scenario: nameOf(s), Settings: s}
	p := newProgress(a.stderr)
	var err error
	for range s.common().Repeat {
		run := &Run{ID: newRunID(), Started: time.Now()}
		result.Runs = append(result.Runs, run)
		if err = s.measure(ctx, run, p); ctx.Err() != nil {
			err = errInterrupted
		}
		if err != nil {
			run.Error = mask(err.Error())
			break
		}
	}
	result.Summary = summarize(result.Runs)
	thresholds, wrong := parseThresholds(s.common().FailIf)
	result.checkThresholds(thresholds)
	result.judge(s.common().Allow)
	return result, errors.Join(err, wrong)
}

// newRunID marks the events of one run: those of another are foreign to it.
func newRunID() string { return "r" + strconv.FormatUint(rand.Uint64()%(36*36*36*36*36), 36) }

// nameOf is the name under which a scenario is run.
func nameOf(s scenario) string {
	return strings.ToLower(strings.TrimSuffix(reflect.TypeOf(s).Elem().Name(), "Scenario"))
}

func statusOf(report *Report, all []scenario, failed error) int {
	var usage usageError
	switch {
	case report.Interrupted:
		return exitInterrupted
	case errors.As(failed, &usage):
		return exitUsage
	case failed != nil:
		return exitFailed
	}
	for i, result := range report.Results {
		for _, run := range result.Runs {
			if !run.clean(all[i].common().Allow) {
				return exitFound
			}
		}
	}
	return exitOK
}

// clean reports whether something was delivered, and nothing found but what is allowed.
func (r *Run) clean(allowed []string) bool {
	for _, name := range findings {
		if r.finding(name) > 0 && !slices.Contains(allowed, name) {
			return false
		}
	}
	return r.nothing() == ""
}

// checkThresholds returns an error that names the thresholds that failed, and those that no scenario has measured.
func (r *Report) checkThresholds(all []scenario) error {
	var errs []error
	measured := map[string]bool{}
	for _, result := range r.Results {
		for _, c := range result.Thresholds {
			measured[c.If] = true
			if c.Failed {
				errs = append(errs, fmt.Errorf("%s: %s", result.Scenario, c))
			}
		}
	}
	for _, s := range all {
		for _, text := range s.common().FailIf {
			if !measured[text] {
				measured[text] = true
				errs = append(errs, fmt.Errorf("--fail-if '%s': no scenario measured it", text))
			}
		}
	}
	return errors.Join(errs...)
}

func (r *Report) writeJSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", " ")
	return encoder.Encode(r)
}

// makeRoom gives the runtime a processor for each loop, which sits in the kernel most of its time, and some
// for the rest: else a loop's processor would have to be taken from it for each batch to publish.
func makeRoom(loops int) {
	const rest = 3
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(max(runtime.NumCPU(), loops) + rest)
	}
}
