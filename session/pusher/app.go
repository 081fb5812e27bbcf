package pusher

import (
	"errors"
	"fmt"
	"strings"

	"wshub/pubsub"
)

// App is an application: one key for clients, and one secret for its backend.
type App struct {
	ID, Key, Secret string
	// Shared: its channels are the hub's topics. Else they are behind its wall.
	Shared bool
}

const (
	// wallPrefix begins the names of the topics behind walls.
	wallPrefix = "pusher:"
	// maxAppName bounds an ID and a key in bytes: a wall and the longest channel fit into a topic.
	maxAppName = 64
	// leastSecret is the shortest secret that is accepted, in bytes.
	leastSecret = 8
	// MaxApps bounds the applications of one hub.
	MaxApps = 100
)

// ParseApp reads "id:key:secret"; the secret may hold colons. Its errors do not repeat the text, which holds a secret.
func ParseApp(text string) (App, error) {
	parts := strings.SplitN(text, ":", 3)
	if len(parts) != 3 {
		return App{}, errors.New("want id:key:secret")
	}
	app := App{ID: parts[0], Key: parts[1], Secret: parts[2]}
	switch {
	case !isAppName(app.ID):
		return App{}, fmt.Errorf("the id must be 1 to %d letters, digits, - and _", maxAppName)
	case !isAppName(app.Key):
		return App{}, fmt.Errorf("the key must be 1 to %d letters, digits, - and _", maxAppName)
	case len(app.Secret) < leastSecret:
		return App{}, fmt.Errorf("the secret has %d bytes: must be at least %d", len(app.Secret), leastSecret)
	}
	return app, nil
}

func isAppName(s string) bool {
	return s != "" && len(s) <= maxAppName && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_')
	})
}

// WithSecret is the same application with another secret.
func (a *App) WithSecret(secret string) *App {
	next := *a
	next.Secret = secret
	return &next
}

// Wall begins the topics of the application, "" if they are shared.
func (a *App) Wall() string {
	if a.Shared {
		return ""
	}
	return wallPrefix + a.ID + ":"
}

// Topic is the topic of a channel.
func (a *App) Topic(channel string) string { return a.Wall() + channel }

// Channel is the channel whose topic is so.
func (a *App) Channel(topic string) string { return strings.TrimPrefix(topic, a.Wall()) }

// unwalled is the channel of a topic behind a wall.
func unwalled(topic string) string {
	_, channel, _ := strings.Cut(strings.TrimPrefix(topic, wallPrefix), ":")
	return channel
}

// HasPresence reports whether topic is that of a channel, so that its subscribers are counted.
func (a *App) HasPresence(topic string) bool {
	if a.Shared {
		_, watched := watchedUser(topic)
		return watched || ValidChannel(topic)
	}
	return strings.HasPrefix(topic, a.Wall())
}

// cached begins the names of channels that keep their last event.
var cached = []string{"cache-", "private-cache-", "private-encrypted-cache-", "presence-cache-"}

// History are the rules by which cache channels keep their last event.
func (a *App) History() (rules pubsub.History) {
	for _, prefix := range cached {
		rules = append(rules, pubsub.HistoryRule{Prefix: a.Topic(prefix), Count: 1, Age: cacheTime})
	}
	return rules
}
