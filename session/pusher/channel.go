package pusher

import (
	"slices"
	"strings"
	"time"

	"wshub/pubsub"
)

const (
	// maxChannel bounds the name of a channel, in bytes.
	maxChannel = 164
	// maxUser bounds the name of a user, in bytes: the channel of its own fits into a topic.
	maxUser = 128
	// cacheTime is how long a cache channel keeps its last event.
	cacheTime = 30 * time.Minute

	serverToUser = "#server-to-user-"
)

// ValidChannel reports whether name is that of a channel: 1 to 164 of A-Z a-z 0-9 _ - = @ , . ; or a user's own channel.
func ValidChannel(name string) bool {
	if user, ok := UserOf(name); ok {
		return ValidUser(user)
	}
	return name != "" && len(name) <= maxChannel && !strings.ContainsFunc(name, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-=@,.;", r))
	})
}

// ValidUser reports whether name can be a user's: 1 to 128 bytes of UTF-8 without control characters.
func ValidUser(name string) bool { return len(name) <= maxUser && pubsub.ValidTopic(name) }

// UserChannel is the channel by which a backend reaches all connections of a user that has signed in.
func UserChannel(user string) string { return serverToUser + user }

// UserOf is the user whose own channel it is.
func UserOf(channel string) (user string, ok bool) { return strings.CutPrefix(channel, serverToUser) }

// IsPresence reports whether subscribers of channel see each other.
func IsPresence(channel string) bool { return strings.HasPrefix(channel, "presence-") }

// IsCache reports whether channel keeps its last event.
func IsCache(channel string) bool {
	return slices.ContainsFunc(cached, func(prefix string) bool { return strings.HasPrefix(channel, prefix) })
}

// isEncrypted reports whether the events of channel can be read by its subscribers alone, so that only backends make some.
func isEncrypted(channel string) bool { return strings.HasPrefix(channel, "private-encrypted-") }

// isGuarded reports whether a signature is needed to subscribe to channel.
func isGuarded(channel string) bool {
	return IsPresence(channel) || strings.HasPrefix(channel, "private-")
}
