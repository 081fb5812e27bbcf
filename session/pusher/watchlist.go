package pusher

import (
	"encoding/json"
	"strings"

	"wshub/session"
)

// A user who has signed in may watch others, as its backend says by the watchlist in user_data: it is told who of them is
// online. Each signed-in session follows a topic of its user, and those of the users whom it watches. There it is a member
// under its user's name or as nobody, so that the presence of the topic has a user while that user is online.

const (
	watchPrefix = "#watch-"
	// maxWatched bounds a watchlist.
	maxWatched = 100
)

// watchedUser is the user of whom a topic of this kind tells.
func watchedUser(channel string) (user string, ok bool) {
	return strings.CutPrefix(channel, watchPrefix)
}

// watchlist reads whom user_data names, without user itself: up to 100, each once.
func watchlist(value json.RawMessage, user string) (list []string) {
	var given []json.RawMessage
	if json.Unmarshal(value, &given) != nil {
		return nil
	}
	seen := map[string]bool{user: true}
	for _, one := range given {
		name := identity(one)
		if seen[name] || !ValidUser(name) {
			continue
		}
		if len(list) == maxWatched {
			break
		}
		seen[name] = true
		list = append(list, name)
	}
	return list
}

// beOnline has others see that the session's user is online, and the session who of list is.
func (p Protocol) beOnline(s *session.Session, user string, list []string) {
	p.follow(s, user, &session.Persona{User: user}, false)
	for _, other := range list {
		if !s.Open() {
			return
		}
		p.follow(s, other, &session.Persona{}, true)
	}
}

// follow follows the topic that tells of a user, and watches it.
func (p Protocol) follow(s *session.Session, user string, as *session.Persona, watch bool) {
	channel := watchPrefix + user
	a := &attempt{protocol: p, s: s, channel: channel, topic: p.app.Topic(channel), as: as, watch: watch}
	a.answer = func(o session.Outcome) {
		switch {
		case !o.None():
			tell(s, o.Code, errorFrame(noCode, "user "+clip(user)+" is not watched: "+o.Text))
		case watch && o.Presence != nil:
			s.Write(watchFrame(user, o.Presence.Users > 0))
		}
	}
	a.begin()
}

// watchFrame tells that a user is online, or is not.
func watchFrame(user string, online bool) []byte {
	name := "offline"
	if online {
		name = "online"
	}
	data := appendString([]byte(`{"events":[{"name":"`+name+`","user_ids":[`), user)
	return frame(internalPrefix+"watchlist_events", "", string(append(data, `]}]}`...)))
}
