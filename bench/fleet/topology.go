package fleet

import (
	"strconv"
	"strings"
)

// Topology says who follows what. Clients are numbered from 0 over all processes of a run, and so every
// process knows all of it without being told.
type Topology struct {
	// Topic is followed by every client; with Topics, client i follows "<Topic>-<i mod Topics>".
	// Empty: clients follow nothing but their own.
	Topic  string `json:"topic"`
	Topics int    `json:"topics,omitempty"`
	// Default says that Topic is the one that a plain client follows without naming it.
	Default bool `json:"default,omitempty"`
	// Users makes client i the user "u<i>", who follows "user:u<i>".
	Users bool `json:"users,omitempty"`
	// SignedIn has users sign in, as Pusher's do: they follow "#server-to-user-u<i>" instead.
	SignedIn bool `json:"signed_in,omitempty"`
}

// Number returns how many topics events are published to, among clients 0 to clients-1.
func (t Topology) Number(clients int) int {
	switch {
	case t.Topic == "":
		return clients
	case t.Topics > 0:
		return t.Topics
	}
	return 1
}

// Name returns the name of topic i.
func (t Topology) Name(i int) string {
	switch {
	case t.Topic == "":
		return t.own(i)
	case t.Topics > 0:
		return t.Topic + "-" + strconv.Itoa(i)
	}
	return t.Topic
}

// Of returns which topic client follows.
func (t Topology) Of(client int) int {
	switch {
	case t.Topic == "":
		return client
	case t.Topics > 0:
		return client % t.Topics
	}
	return 0
}

// index is the inverse of Name; -1 for names that it never gives.
func (t Topology) index(name string) int {
	prefix := t.Topic + "-"
	switch {
	case t.Topic == "":
		prefix = t.ownPrefix()
	case t.Topics == 0 && name == t.Topic:
		return 0
	case t.Topics == 0:
		return -1
	}
	digits, ok := strings.CutPrefix(name, prefix)
	i, err := strconv.Atoi(digits)
	if !ok || err != nil || i < 0 || t.Topics > 0 && i >= t.Topics || t.Name(i) != name {
		return -1
	}
	return i
}

// own returns the name of the topic that client has as a user.
func (t Topology) own(client int) string { return t.ownPrefix() + strconv.Itoa(client) }

func (t Topology) ownPrefix() string {
	if t.SignedIn {
		return serverToUser + "u"
	}
	return "user:u"
}

func userName(client int) string { return "u" + strconv.Itoa(client) }
