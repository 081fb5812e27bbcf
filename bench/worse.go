package bench

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// worseFigures names the figures of b that are worse than those of a by more than the share limit. A figure of only
// that b has not counts as worse: a comparison that did not happen must not pass.
func worseFigures(a, b *Report, limit float64, only map[string]bool) []string {
	var all []string
	seen := map[string]bool{}
	for _, ra := range a.Results {
		rb := b.result(ra.Scenario)
		if rb == nil {
			continue
		}
		for _, sa := range ra.Summary {
			sb, ok := rb.figure(sa.Name)
			if !ok || only != nil && !only[sa.Name] || only == nil && strings.HasSuffix(sa.Name, " max") {
				continue
			}
			seen[sa.Name] = true
			if worse(sa, sb, limit) {
				all = append(all, fmt.Sprintf("%s %s (%s, was %s)", ra.Scenario, sa.Name, format(sb.Median, sb.Unit), format(sa.Median, sa.Unit)))
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(only)) {
		if !seen[name] {
			all = append(all, name+" (not in both reports)")
		}
	}
	return all
}

// worse reports whether b is worse than a by more than the share limit, and not within the runs' spread where several
// runs tell of one.
func worse(a, b Summary, limit float64) bool {
	beyond := false
	switch a.Better {
	case "less":
		beyond = b.Median > a.Median+limit*math.Abs(a.Median)
	case "more":
		beyond = b.Median < a.Median-limit*math.Abs(a.Median)
	}
	if a.Runs < 2 || b.Runs < 2 {
		return beyond
	}
	return beyond && verdict(a, b) == worseThan
}
