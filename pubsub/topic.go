package pubsub

import (
	"unicode/utf8"
)

// MaxTopic is the longest topic name, in bytes.
const MaxTopic = 255

// ValidTopic tells whether topic is a name that events can be published under: UTF-8, 1 to MaxTopic
// bytes, no control characters. Who may use which name is not decided here.
func ValidTopic(topic string) bool {
	if topic == "" || len(topic) > MaxTopic || !utf8.ValidString(topic) {
		return false
	}
	for _, r := range topic {
		if r < 0x20 || r >= 0x7f && r < 0xa0 {
			return false
		}
	}
	return true
}

// UserTopic is the topic that every session of user follows.
func UserTopic(user string) string { return "user:" + user }

// The Redis channels. A node hears a topic's while it has followers, the others always.
const (
	topicPrefix   = "hub:t:" // + topic: raw JSON from backends, envelopes from hubs
	addressedName = "hub:to" // raw {"to":…,"data":…} from backends
	nodePrefix    = "hub:n:" // + node: its own probes, and what others tell it
	everyNode     = "hub:n"  // what nodes tell all of them
)

// topicChannel is the Redis channel of topic. The topic is a substring of it, so that a table
// keyed by channels holds both in one string.
func topicChannel(topic string) string { return topicPrefix + topic }

// topicOf is the topic that channel carries.
func topicOf(channel string) string { return channel[len(topicPrefix):] }
