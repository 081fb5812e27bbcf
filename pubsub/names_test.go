package pubsub

// plainNames are those of a single server, by default.
var plainNames = newNames(&RedisConfig{Prefix: DefaultPrefix, Broadcast: "channel"}, false)

var (
	revokedKey    = plainNames.revoked()
	resumeKeyName = plainNames.resumeKey()
)

func topicChannel(topic string) string { return plainNames.topic(topic) }

func topicOf(channel string) string { return plainNames.topicOf(channel) }

func logKeys(topic string) []string { return plainNames.log(topic) }

// only is the one master that r has.
func (r *Redis) only() *master { return r.allMasters()[0] }
