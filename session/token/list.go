package token

import "strings"

// userList reads a topic's list of users: what stands behind its last "#", with commas between them, as in
// "dialog#42,43". has reports whether there is a list, listed whether user is on it. The anonymous are on none.
func userList(topic, user string) (listed, has bool) {
	at := strings.LastIndexByte(topic, '#')
	if at < 0 || at == len(topic)-1 {
		return false, false
	}
	for one := range strings.SplitSeq(topic[at+1:], ",") {
		if one == user && user != "" {
			return true, true
		}
	}
	return false, true
}
