package pubsub

import (
	"strings"
	"time"
)

// HistoryRule says how long events are kept of the topics whose name begins with Prefix.
type HistoryRule struct {
	// Prefix "" means every topic.
	Prefix string
	// Count is how many of a topic's newest events are kept at least: Redis cuts a log in pieces of
	// up to 100. 0 keeps no history, and such a topic's events have no position.
	Count int
	// Age is how long an event is kept at most. Redis may keep some for longer while the topic is
	// busy. Default DefaultHistoryAge.
	Age time.Duration
}

// DefaultHistoryAge outlasts a reload, a tunnel and a deployment.
const DefaultHistoryAge = 10 * time.Minute

// DefaultHistoryBytes bounds what a Memory keeps.
const DefaultHistoryBytes = 256 << 20

// DefaultRecordLife is how much longer than its events a topic's record is kept: who was away over a
// weekend, while nothing was published, still hears that nothing was missed.
const DefaultRecordLife = 7 * 24 * time.Hour

// History says how much is kept of which topics: the first rule that fits a topic holds. All instances must
// have the same.
type History []HistoryRule

// For returns topic's rule. ok is false if the topic keeps no history.
func (h History) For(topic string) (rule HistoryRule, ok bool) {
	for _, rule := range h {
		if strings.HasPrefix(topic, rule.Prefix) {
			setDefault(&rule.Age, DefaultHistoryAge)
			return rule, rule.Count > 0
		}
	}
	return HistoryRule{}, false
}

// IdempotencyTime is how long a Publication's Key is remembered.
const IdempotencyTime = 5 * time.Minute
