package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"wshub/pubsub"
)

const (
	// maxKept bounds the events that are kept of one topic: it is memory, of Redis or of this process.
	maxKept = 1_000_000
	// maxAge bounds how long.
	maxAge = 30 * 24 * time.Hour
)

func (c *config) validateHistory() error {
	_, err := c.history()
	return err
}

// history is what --history says, and behind it what Pusher's cache channels keep that no pattern fits.
func (c *config) history() (pubsub.History, error) {
	apps, err := c.pusherApps()
	if err != nil {
		return nil, err
	}
	rules, err := c.givenHistory()
	for _, app := range apps {
		if app.Shared {
			rules = append(rules, app.History()...)
		} else {
			rules = append(app.History(), rules...)
		}
	}
	return rules, err
}

func (c *config) givenHistory() (pubsub.History, error) {
	var rules pubsub.History
	for _, text := range c.History {
		rule, err := parseRule(text)
		if err != nil {
			return nil, fmt.Errorf("--history %q: %w", text, err)
		}
		for _, earlier := range rules {
			if strings.HasPrefix(rule.Prefix, earlier.Prefix) {
				return nil, fmt.Errorf("--history %q: the one for %s* comes before and fits the same topics; put this one first", text, earlier.Prefix)
			}
		}
		rules = append(rules, rule)
	}
	return rules, nil
}

// parseRule reads "news:*=1000,10m".
func parseRule(text string) (rule pubsub.HistoryRule, err error) {
	at := strings.LastIndexByte(text, '=')
	if at < 0 {
		return rule, errors.New("want a pattern, = and how many events to keep for how long, as in news:*=1000,10m")
	}
	prefix, isPattern := strings.CutSuffix(text[:at], "*")
	if !isPattern || strings.Contains(prefix, "*") || prefix != "" && !pubsub.ValidTopic(prefix) {
		return rule, errors.New("want a pattern that is the beginning of topics' names and a *, as in news:*, or * alone")
	}
	count, age, hasAge := strings.Cut(text[at+1:], ",")
	rule.Prefix = prefix
	if rule.Count, err = strconv.Atoi(count); err != nil || rule.Count < 0 || rule.Count > maxKept {
		return rule, fmt.Errorf("the number of events must be 0 to %d", maxKept)
	}
	if hasAge {
		if rule.Age, err = time.ParseDuration(age); err != nil || rule.Age < time.Second || rule.Age > maxAge {
			return rule, fmt.Errorf("the time must be 1s to %s", maxAge)
		}
	}
	return rule, nil
}
