// Package baseline has two servers that do what the hub does in the plainest ways there are, so that its
// figures can be held against theirs, measured in the same run on the same machine.
//
// Floor is one thread with one raw write per delivery: what no server with a write per delivery can stay
// under. Goroutines is what one writes first: a goroutine or two per connection. Both serve plain mode
// (?topic=, ?user=) and take events from Redis, where hubbench publishes them.
package baseline

import (
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Config is what both servers need.
type Config struct {
	Addr      netip.AddrPort // to listen on
	Redis     *redis.Options
	Broadcast string        // the topic of clients that name none; its Redis channel has the same name
	Heartbeat time.Duration // between two pings to one client
}

// NewConfig reads a Config from flags.
func NewConfig(addr, redisURL, broadcast, heartbeat string) (Config, error) {
	var c Config
	var err error
	if c.Addr, err = netip.ParseAddrPort(addr); err != nil {
		return c, fmt.Errorf("--addr=%q: want ip:port", addr)
	}
	if c.Redis, err = redis.ParseURL(redisURL); err != nil {
		return c, fmt.Errorf("--redis: %w", err)
	}
	c.Redis.Protocol, c.Redis.DisableIdentity = 2, true
	c.Broadcast = broadcast
	if c.Heartbeat, err = time.ParseDuration(heartbeat); err != nil || c.Heartbeat < time.Second {
		return c, fmt.Errorf("--heartbeat=%q: want 1s or more", heartbeat)
	}
	return c, nil
}

// Redis channels, as the hub uses them.
const (
	topicChannel = "hub:t:" // + topic
	userChannel  = "hub:to" // {"to":{"user":"7"},"data":…}
)

// topicsOf returns what a client of this URL query follows.
func (c Config) topicsOf(query string) []string {
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil
	}
	topics := values["topic"]
	if len(topics) == 0 {
		topics = []string{c.Broadcast}
	}
	if user := values.Get("user"); user != "" {
		topics = append(topics, "user:"+user)
	}
	return topics
}

// addressed returns the topic and the event of a message that came by channel.
func (c Config) addressed(channel, message string) (topic, event string) {
	if topic, ok := strings.CutPrefix(channel, topicChannel); ok {
		return topic, message
	}
	if channel != userChannel {
		return channel, message
	}
	// Written by hubbench, and by nobody else here: no need for a parser.
	rest, _ := strings.CutPrefix(message, `{"to":{"user":"`)
	user, rest, _ := strings.Cut(rest, `"},"data":`)
	return "user:" + user, strings.TrimSuffix(rest, "}")
}
