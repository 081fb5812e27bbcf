package redistest

import (
	"fmt"
	"maps"
	"strings"
)

// settings are a server's settings by name, and its users by the name of no setting.
type settings map[string]string

const userList = "acl list"

// readSettings is nil where the server does not tell them.
func (s *Server) readSettings() settings {
	config, err := s.ask(wait, "config", "get", "*")
	if err != nil {
		return nil
	}
	users, err := s.ask(wait, "acl", "list")
	if err != nil {
		return nil
	}
	all := settings(fields(config))
	// The one user of a new server has no word about RESTORE's payloads. Once it was reset it has the default one.
	all[userList] = strings.ReplaceAll(fmt.Sprint(users), " sanitize-payload", "")
	return all
}

// restore gives the server the settings and the users that it began with. It is false where the server has others
// nevertheless.
func (s *Server) restore() bool {
	now := s.readSettings()
	if maps.Equal(now, s.settings) {
		return true
	}
	for name, value := range s.settings {
		if name != userList && now[name] != value {
			_, _ = s.ask(wait, "config", "set", name, value)
		}
	}
	if now[userList] != s.settings[userList] {
		s.restoreUsers()
	}
	return maps.Equal(s.readSettings(), s.settings)
}

// restoreUsers leaves the one user of a new server.
func (s *Server) restoreUsers() {
	users, _ := s.ask(wait, "acl", "users")
	list, _ := users.([]any)
	for _, name := range list {
		if name != "default" {
			_, _ = s.ask(wait, "acl", "deluser", fmt.Sprint(name))
		}
	}
	_, _ = s.ask(wait, "acl", "setuser", "default", "reset", "on", "nopass", "~*", "&*", "+@all")
}
