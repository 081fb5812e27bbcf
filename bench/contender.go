package bench

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// contender is one server of those that are measured side by side.
type contender struct {
	name  string
	needs []string // programs, or files where there is a slash in it
	get   string   // how to get what it needs
	flags []string // of every scenario
	load  []string // of scenarios that publish, besides
	users []string // of scenarios that address users, besides
}

// parseContenders reads a file of servers, one a line: its name, needs=PROGRAM or needs=FILE (repeatable), get='how to get
// it', load='flags' of scenarios that publish, users='flags' of those that address users, and flags of every scenario. An indented line goes on with the one before it. '#' at the start of a
// line begins a comment.
func parseContenders(text string) (all []contender, err error) {
	for _, line := range joinIndented(text) {
		words, err := splitWords(line)
		if err != nil {
			return nil, fmt.Errorf("%.20q …: %w", line, err)
		}
		c := contender{name: words[0]}
		for _, word := range words[1:] {
			if err := c.add(word); err != nil {
				return nil, fmt.Errorf("%s: %w", c.name, err)
			}
		}
		if slices.ContainsFunc(all, func(other contender) bool { return other.name == c.name }) {
			return nil, fmt.Errorf("%s: named twice", c.name)
		}
		all = append(all, c)
	}
	return all, nil
}

// joinIndented returns the lines that are no comments, each with those indented ones that follow it.
func joinIndented(text string) (all []string) {
	for line := range strings.Lines(text) {
		trimmed := strings.TrimSpace(line)
		switch {
		case trimmed == "" || trimmed[0] == '#':
		case len(all) > 0 && strings.ContainsAny(line[:1], " \t"):
			all[len(all)-1] += " " + trimmed
		default:
			all = append(all, trimmed)
		}
	}
	return all
}

// add takes one word of c's line.
func (c *contender) add(word string) (err error) {
	switch name, value, _ := strings.Cut(word, "="); {
	case name == "needs":
		c.needs = append(c.needs, value)
	case name == "get":
		c.get = value
	case name == "load":
		c.load, err = splitWords(value)
	case name == "users":
		c.users, err = splitWords(value)
	case strings.HasPrefix(word, "-"):
		c.flags = append(c.flags, word)
	default:
		err = fmt.Errorf("%q: want needs=, get=, load=, users= or a flag", word)
	}
	return err
}

// missing returns the first thing that c needs and that is not here; empty: it is all here.
func (c contender) missing() string {
	for _, need := range c.needs {
		var err error
		if strings.Contains(need, "/") {
			_, err = os.Stat(need)
		} else {
			_, err = exec.LookPath(need)
		}
		if err != nil {
			return need
		}
	}
	return ""
}

// flagsFor are c's flags for a scenario.
func (c contender) flagsFor(scenario []string) []string {
	flags := slices.Clone(c.flags)
	if scenario[0] != "idle" && scenario[0] != "connect" {
		flags = append(flags, c.load...)
	}
	addressed := func(word string) bool { return word == "unicast" || word == "--shape=unicast" || word == "--users" }
	if slices.ContainsFunc(scenario, addressed) {
		flags = append(flags, c.users...)
	}
	return flags
}

// present splits all into those that can be measured here, and a line for each of the others that says how to get it.
func present(all []contender, only []string) (here []contender, left []string, err error) {
	for _, name := range only {
		if !slices.ContainsFunc(all, func(c contender) bool { return c.name == name }) {
			return nil, nil, fmt.Errorf("--only=%s: no server has this name", name)
		}
	}
	for _, c := range all {
		if len(only) > 0 && !slices.Contains(only, c.name) {
			continue
		}
		if need := c.missing(); need != "" {
			line := fmt.Sprintf("%s is left out: %s is not here", c.name, need)
			if c.get != "" {
				line += "; get it with: " + c.get
			}
			left = append(left, line)
			continue
		}
		here = append(here, c)
	}
	if len(here) == 0 {
		return nil, left, errors.New("none of the servers is here")
	}
	return here, left, nil
}
