package bench

import (
	"fmt"
	"slices"
	"strings"
)

// judge decides whether the server held, and says why in one sentence. allowed are the findings of --allow.
func (r *Result) judge(allowed []string) {
	r.Held, r.Verdict = true, ""
	if why := r.whyNot(allowed); why != "" {
		r.Held, r.Verdict = false, "Not held: "+why+"."
	}
	for _, run := range r.Runs {
		if run.Error != "" {
			why, _, _ := strings.Cut(run.Error, "\n")
			r.Held, r.Verdict = false, "Not measured to the end: "+strings.TrimRight(why, ".:")+"."
		}
	}
	if r.Held {
		r.Verdict = "Held: " + r.achieved() + "."
	}
}

func (r *Result) whyNot(allowed []string) string {
	var found []string
	for _, name := range findings {
		n := uint64(0)
		for _, run := range r.Runs {
			n += run.finding(name)
		}
		if n > 0 && !slices.Contains(allowed, name) {
			found = append(found, fmt.Sprintf("%d %s", n, name))
		}
	}
	for _, run := range r.Runs {
		if why := run.nothing(); why != "" {
			found = append([]string{why}, found...)
			break
		}
	}
	for _, c := range r.Thresholds {
		if c.Failed {
			found = append(found, c.String())
		}
	}
	return strings.Join(found, ", ")
}

// nothing says why a run that went to its end shows nothing of a server that works.
func (r *Run) nothing() string {
	switch {
	case r.Error != "":
		return ""
	case r.Max != nil && r.Max.Best == nil && len(r.Max.Trials) > 0:
		return "no rate was kept up with (" + r.Max.Trials[0].Why + ")"
	case r.Load != nil && r.Load.Wanted > 0 && r.Counts.Delivered == 0:
		return "nothing was delivered"
	}
	return ""
}

// achieved says what the server did, by the scenario's foremost figures.
func (r *Result) achieved() string {
	value := func(name string) string {
		s, _ := r.figure(name)
		return format(s.Median, s.Unit)
	}
	run := r.Runs[0]
	var said []string
	switch {
	case run.Max != nil:
		said = append(said, fmt.Sprintf("%s, %s, with p99 at %s", value("best rate"), value("delivered"), value("latency p99")))
		return said[0]
	case run.Idle != nil && len(run.Idle.Steps) > 0:
		said = append(said, fmt.Sprintf("%d connections stayed open", run.Idle.Steps[len(run.Idle.Steps)-1].Connections))
		if len(run.Server.PIDs) > 0 && len(run.Idle.Steps) > 1 {
			said = append(said, value("RSS per connection")+" each")
		}
		if run.Idle.Events > 0 {
			said = append(said, fmt.Sprintf("all reached by each of %d events", run.Idle.Events))
		}
	case run.Load == nil && run.Connect != nil:
		said = append(said, fmt.Sprintf("all %d clients came in, %s a second", run.Connect.Ready, strings.TrimSuffix(value("connects"), " 1/s")))
	}
	if run.Storm != nil {
		said = append(said, "all clients back after "+value("all back after"))
	}
	if run.Load != nil {
		if !slices.ContainsFunc(findings, func(name string) bool { return run.finding(name) > 0 }) {
			said = append(said, fmt.Sprintf("every one of %d deliveries came once, in order and whole", r.delivered()))
		}
		if _, ok := r.figure("latency p99"); ok {
			said = append(said, "p99 at "+value("latency p99"))
		}
		if !run.Load.kept() {
			said = append(said, fmt.Sprintf("but only %.0f%% of the offered rate in time", 100*run.Load.Delivered/run.Load.Wanted))
		}
	}
	if len(said) == 0 {
		return "nothing was found"
	}
	return strings.Join(said, ", ")
}

func (r *Result) delivered() (n uint64) {
	for _, run := range r.Runs {
		n += run.Counts.Delivered
	}
	return n
}
