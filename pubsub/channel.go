package pubsub

// Partition is the number of topic's partition, 0 to 255: FNV-1a of its bytes, 32 bits, mod 256.
func Partition(topic string) int { return int(partition(topic)) }

// Channel is the Redis channel on which backends publish raw JSON for topic. sharded says that it takes SPUBLISH, not
// PUBLISH.
func (r *Redis) Channel(topic string) (channel string, sharded bool) {
	return r.names.topic(topic), r.names.sharded
}

// Channel is "": no Redis is there to publish on.
func (m *Memory) Channel(string) (channel string, sharded bool) { return "", false }
