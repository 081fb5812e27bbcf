package main

import (
	"fmt"
	"strings"

	"wshub/pubsub"
)

// matches is the meaning of a setting that is a list of topics' beginnings, each with a * behind it: whether a topic is one of
// them. nil: none is.
func matches(flag string, patterns []string) (match func(topic string) bool, err error) {
	var prefixes []string
	for _, text := range patterns {
		prefix, isPattern := strings.CutSuffix(text, "*")
		if !isPattern || strings.Contains(prefix, "*") || prefix != "" && !pubsub.ValidTopic(prefix) {
			return nil, fmt.Errorf("--%s %q: want a pattern that is the beginning of topics' names and a *, as in room:*, or * alone", flag, text)
		}
		prefixes = append(prefixes, prefix)
	}
	if prefixes == nil {
		return nil, nil
	}
	return func(topic string) bool {
		for _, prefix := range prefixes {
			if strings.HasPrefix(topic, prefix) {
				return true
			}
		}
		return false
	}, nil
}
