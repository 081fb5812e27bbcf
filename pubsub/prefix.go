package pubsub

import "strings"

// DefaultPrefix begins the names of keys and channels where nothing else is said.
const DefaultPrefix = "hub"

// maxPrefix bounds a prefix, in bytes.
const maxPrefix = 64

// ValidPrefix reports whether prefix can begin the names of keys and channels: 1 to 64 bytes of letters, digits,
// "-", "_", "." and, within, ":". Braces would choose the slot of a cluster. No part between colons but the first is
// "t" or "n": the channels of hub:t would be those of topics of hub.
func ValidPrefix(prefix string) bool {
	colonAtEnd := strings.HasPrefix(prefix, ":") || strings.HasSuffix(prefix, ":")
	_, behind, _ := strings.Cut(prefix, ":")
	for part := range strings.SplitSeq(behind, ":") {
		if part == "t" || part == "n" {
			return false
		}
	}
	return len(prefix) <= maxPrefix && !colonAtEnd && isName(strings.ReplaceAll(prefix, ":", "-"))
}

// ValidBroadcast reports whether topic may be the broadcast topic of a deployment: its Redis channel must be none of the
// others that begin with prefix.
func ValidBroadcast(prefix, topic string) bool {
	if !ValidTopic(topic) {
		return false
	}
	rest := topic
	if prefix == DefaultPrefix {
		var ours bool
		if rest, ours = strings.CutPrefix(topic, DefaultPrefix+":"); !ours {
			return true
		}
	}
	if rest == "to" || rest == "n" || rest == "format" {
		return false
	}
	return !strings.HasPrefix(rest, "t:") && !strings.HasPrefix(rest, "n:") && !strings.HasPrefix(rest, "{")
}
