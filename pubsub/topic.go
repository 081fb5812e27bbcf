package pubsub

import (
	"unicode/utf8"
)

// MaxTopic is the longest topic name, in bytes.
const MaxTopic = 255

// ValidTopic reports whether topic is a name that events can be published under: UTF-8, 1 to MaxTopic
// bytes, no control characters. Rights to names are not decided here.
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
func UserTopic(user string) string { return userPrefix + user }

const userPrefix = "user:"
