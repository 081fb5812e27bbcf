package pubsub

import (
	"strconv"
	"strings"
)

// A session is itself a member, of a hidden topic, where there is a lifecycle: of its user's, or if it has none of one that such
// sessions of a partition share. What presence keeps of members holds for sessions so: the grace, moves to another hub, and that those of a dead hub are
// taken off. Nobody can follow, publish to, read or name a hidden topic: a 0 begins its name.
//
//	0, user:<user>       the sessions of a user, in the partition of the user's topic
//	0, two hex digits    sessions of nobody, in that partition
const hiddenMark = "\x00"

// UserSessions is the hidden topic that the sessions of user are members of.
func UserSessions(user string) string { return hiddenMark + UserTopic(user) }

// NobodySessions is the one that sessions without a user are members of; whoever enters them chooses a partition, the same for a session
// on all instances.
func NobodySessions(partition byte) string { return nobodySessions[partition] }

var nobodySessions = func() (names [partitions]string) {
	for p := range names {
		names[p] = hiddenMark + string("0123456789abcdef"[p>>4]) + string("0123456789abcdef"[p&15])
	}
	return names
}()

func isHidden(topic string) bool { return topic != "" && topic[0] == hiddenMark[0] }

// hiddenUser is whose sessions are the members of a hidden topic, "" for nobody's.
func hiddenUser(topic string) string {
	user, _ := strings.CutPrefix(topic[1:], userPrefix)
	if len(user) == len(topic)-1 {
		return ""
	}
	return user
}

func hiddenPartition(topic string) byte {
	if p, err := strconv.ParseUint(topic[1:], 16, 8); err == nil && len(topic) == 3 {
		return byte(p)
	}
	return partition(topic[1:])
}

// validHidden reports whether topic is a hidden one.
func validHidden(topic string) bool {
	if !isHidden(topic) {
		return false
	}
	if user := hiddenUser(topic); user != "" {
		return ValidTopic(UserTopic(user))
	}
	return topic == nobodySessions[hiddenPartition(topic)]
}
