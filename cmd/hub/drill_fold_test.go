package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
)

// told is a message of hub.v1 to a client, as far as presence matters.
type told struct {
	Type, Topic, Session, User, Token, Code, Message, Presence string

	ID          json.RawMessage
	First, Last bool
	Retry       bool
	AfterMS     int64 `json:"after_ms"`
	Topics      map[string]struct {
		Error string
		Retry bool
	}

	Clients, Users int
	Members        *[]attendee
	Next           string
}

// fold is a topic's presence as one who watches it knows it, by the last whole one and the changes behind that: users by
// session. It is nil while nothing is known.
type fold map[string]string

// whole takes a whole presence.
func (f *fold) whole(m *told) error {
	if *f = nil; m.Members == nil {
		return fmt.Errorf("a presence of %d has no members", m.Clients)
	}
	*f = fold{}
	for _, p := range *m.Members {
		(*f)[p.Session] = p.User
	}
	if len(*f) != m.Clients || f.users() != m.Users || len(*f) != len(*m.Members) {
		return fmt.Errorf("%d clients and %d users are %d members, %d different, of %d users", m.Clients, m.Users, len(*m.Members), len(*f), f.users())
	}
	return nil
}

// change takes one that joined or left.
func (f *fold) change(m *told) error {
	user, known := (*f)[m.Session]
	switch {
	case *f == nil:
		return fmt.Errorf("%s of %s before a whole presence", m.Type, m.Session)
	case known != (m.Type == "left"):
		return fmt.Errorf("%s %s, who is there: %v", m.Session, m.Type, known)
	case known && user != m.User:
		return fmt.Errorf("%s of user %q left as %q's", m.Session, user, m.User)
	}
	if m.Type == "joined" {
		if edge := m.User != "" && !f.has(m.User); edge != m.First || m.Last {
			return fmt.Errorf("%s of user %q joined with first %v and last %v, want first %v", m.Session, m.User, m.First, m.Last, edge)
		}
		(*f)[m.Session] = m.User
		return nil
	}
	delete(*f, m.Session)
	if edge := m.User != "" && !f.has(m.User); edge != m.Last || m.First {
		return fmt.Errorf("%s of user %q left with first %v and last %v, want last %v", m.Session, m.User, m.First, m.Last, edge)
	}
	return nil
}

func (f fold) has(user string) bool {
	for _, one := range f {
		if one == user {
			return true
		}
	}
	return false
}

// users counts the different ones.
func (f fold) users() int {
	all := map[string]bool{}
	for _, user := range f {
		if user != "" {
			all[user] = true
		}
	}
	return len(all)
}

// differs says how f differs from the truth, "" if it does not.
func (f fold) differs(truth fold) string {
	var list []string
	for _, session := range slices.Sorted(maps.Keys(f)) {
		if user, ok := truth[session]; !ok || user != f[session] {
			list = append(list, fmt.Sprintf("%s of %q should not be there", session, f[session]))
		}
	}
	for _, session := range slices.Sorted(maps.Keys(truth)) {
		if _, ok := f[session]; !ok {
			list = append(list, fmt.Sprintf("%s of %q is missing", session, truth[session]))
		}
	}
	if n := len(list); n > 4 {
		list = append(list[:4], fmt.Sprintf("and %d more", n-4))
	}
	return strings.Join(list, ", ")
}

// truth is who follows each topic, by what the clients asked for and had answered.
func (d *presenceDrill) truth() map[string]fold {
	all := map[string]fold{}
	for _, topic := range d.rooms {
		all[topic] = fold{}
	}
	for _, g := range d.guests {
		g.mu.Lock()
		if g.conn != nil {
			for topic := range g.wants {
				all[topic][g.session] = g.user
			}
		}
		g.mu.Unlock()
	}
	return all
}

// contradiction is the first difference between the truth and what one who watches or a hub says, "" for none. Hubs are
// asked last: it takes hundreds of requests.
func (d *presenceDrill) contradiction(truth map[string]fold) string {
	for _, g := range d.guests {
		if text := g.contradicts(truth); text != "" {
			return text
		}
	}
	return d.hubsContradict(truth)
}

// hubsContradict is the first difference between the truth and what a hub says.
func (d *presenceDrill) hubsContradict(truth map[string]fold) string {
	for i := range d.hubCount() {
		for _, topic := range d.rooms {
			found, _, err := d.readPresence(d.hub(i), topic)
			if err != nil {
				return err.Error()
			}
			if text := found.differs(truth[topic]); text != "" {
				return fmt.Sprintf("%s by hub %d: %s", topic, i, text)
			}
		}
	}
	return ""
}

// contradicts is the first difference between the truth and what a client was told, "" for none.
func (g *guest) contradicts(truth map[string]fold) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	for topic := range g.folds {
		f := *g.folds[topic]
		if text := f.differs(truth[topic]); f == nil || text != "" {
			return fmt.Sprintf("client %d, who watches %s, knows %d: %s", g.number, topic, len(f), text)
		}
	}
	if g.watches && g.conn != nil && len(g.folds) != len(g.wants) {
		return fmt.Sprintf("client %d watches %d topics of %d", g.number, len(g.folds), len(g.wants))
	}
	return ""
}

// readPresence reads who is in a topic by a hub's API, and since when. Counts that don't fit are an error.
func (d *presenceDrill) readPresence(h *process, topic string) (found fold, since map[string]int64, err error) {
	found, since = fold{}, map[string]int64{}
	for after := ""; ; {
		var page told
		if err := d.get(h, "presence?limit=1000&topic="+url.QueryEscape(topic)+"&after="+url.QueryEscape(after), &page); err != nil {
			return nil, nil, err
		}
		for _, p := range *page.Members {
			found[p.Session], since[p.Session] = p.User, p.Since
		}
		if after = page.Next; after != "" {
			continue
		}
		var stats told
		if err := d.get(h, "presence_stats?topic="+url.QueryEscape(topic), &stats); err != nil {
			return nil, nil, err
		}
		for _, one := range []told{page, stats} {
			if one.Clients != len(found) || one.Users != found.users() {
				err = fmt.Errorf("%s: %d clients and %d users are %d members of %d users", topic, one.Clients, one.Users, len(found), found.users())
			}
		}
		return found, since, err
	}
}
