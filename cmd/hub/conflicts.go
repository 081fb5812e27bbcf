package main

import (
	"fmt"
	"strings"
)

// leastTokenSecret is the shortest secret for tokens (RFC 7518, 3.2).
const leastTokenSecret = 32

// conflicts are the settings that can't do what they say, because of others.
func (s *settings) conflicts() (notes []string) {
	note := func(format string, args ...any) { notes = append(notes, fmt.Sprintf(format, args...)) }
	c := s.cfg
	if s.source["port"] != "" && !c.portUsed {
		note("%s has no effect, since %s says where to listen.", s.origin("port"), s.origin("addr"))
	}
	loops := byteSize(c.Pollers)
	if c.MaxPartial/loops < c.MaxMessage {
		note("%s lets clients send messages of %s, but each of %d event loops (--pollers) may hold only %s of half-received ones: raise --max-partial to %s or more.",
			s.origin("max-message"), c.MaxMessage, loops, c.MaxPartial/loops, c.MaxMessage*loops)
	}
	if c.MaxBacklog/loops < c.MaxMessage {
		note("%s lets in events of %s, but each of %d event loops (--pollers) may keep only %s for clients that do not take them at once: raise --max-backlog to %s or more.",
			s.origin("max-message"), c.MaxMessage, loops, c.MaxBacklog/loops, c.MaxMessage*loops)
	}
	if c.MaxNodeTopics < c.Pollers {
		note("%s is %d, less than one for each of %d event loops (--pollers): clients can follow nothing.", s.origin("max-node-topics"), c.MaxNodeTopics, c.Pollers)
	}
	if c.controlOff() && len(c.APIKey) > 0 {
		note("%s has no effect, since the control port is off.", s.origin("api-key"))
	}
	for flag, isSet := range map[string]bool{"console-key": len(c.ConsoleKey) > 0, "control-tls-cert": c.ControlTLSCert != ""} {
		if c.controlOff() && isSet {
			note("%s has no effect, since the control port is off.", s.origin(flag))
		}
	}
	notes = append(notes, s.addressNotes()...)
	for _, flag := range []string{"compression-threshold", "compression-window", "compression-except"} {
		if !c.compresses() && s.source[flag] != "" {
			note("%s has no effect, since %s is off.", s.origin(flag), s.origin("compression"))
		}
	}
	if c.RedisURL == "" && c.RedisWait > 0 {
		note("%s has no effect, since there is no --redis-url.", s.origin("redis-wait"))
	}
	if c.RedisURL == "" && c.RedisGather > 0 {
		note("%s has no effect, since there is no --redis-url.", s.origin("redis-gather"))
	}
	for _, flag := range []string{"pusher-api", "pusher-subscription-count"} {
		if s.source[flag] != "" && len(c.PusherApp) == 0 {
			note("%s has no effect, since there is no --pusher-app.", s.origin(flag))
		}
	}
	if s.source["lifecycle-max"] != "" && !c.lifecycle().On {
		note("%s has no effect, since --lifecycle is off.", s.origin("lifecycle-max"))
	}
	for _, list := range []struct {
		flag   string
		values []string
		least  int // of a value's length
	}{{"api-key", c.APIKey, leastKey}, {"console-key", c.ConsoleKey, leastKey}, {"jwt-secret", c.JWTSecret, leastTokenSecret}} {
		for i, v := range list.values {
			if couldBeList(v, list.least) {
				note("%s: value %d holds a comma and counts as one. If several were meant, write them one a line or in repeated flags.", s.origin(list.flag), i+1)
			}
		}
	}
	return notes
}

// couldBeList reports whether secret looks like several that are separated by commas.
func couldBeList(secret string, least int) bool {
	parts := strings.Split(secret, ",")
	for _, part := range parts {
		if len(part) < least {
			return false
		}
	}
	return len(parts) > 1
}
