// Package pubsub carries events between the instances of a hub. It knows topics, positions and Redis,
// and nothing of sockets.
//
// # What enters, what leaves
//
// A [Broker] takes publications (Publish) and what its user wants to hear (Follow, Unfollow). It hands
// events to a [Sink], each once with the set of all loops that follow its topic. There are two
// brokers: [Memory] for a hub that runs alone, [Redis] for several that meet at one server. One suite
// of tests holds both to the contract.
//
// # The Redis channels
//
//	channel       raw JSON, verbatim an event of the topic of that name (RedisConfig.Broadcast)
//	hub:t:<topic> raw JSON, an event of that topic; or a hub's envelope, which begins with 0x01
//	hub:to        raw {"to":{"user":"42"},"data":…} or {"to":{"topic":"news"},"data":…}
//	hub:n:<node>  that node's own probes
//
// A node subscribes hub:t:<topic> while a loop follows the topic, and the others always. What is no
// valid event is dropped, counted by name and logged in samples: see [Drop].
//
// # Who owns what in Redis
//
// Run keeps one connection at a time for hearing ([Redis.connection]). Three goroutines share it:
//
//	receive  reads it, is the only one to call the Sink, and reports answers to the table
//	write    sends SUBSCRIBE and UNSUBSCRIBE, in batches, as the table of follows wants them
//	ask      sends probes, which receive hears come back
//
// The table (follows.go) lives as long as the broker. It alone decides what to send: a topic has at
// most one command under way, and a batch is sent when the last one is answered. When the connection
// ends, for whatever reason, all of it is thrown away and a new one begins with an empty subscription;
// the table fills it again and tells the followers of each topic, by a Gap, that events may be
// missing. Probes that are late are a reason to end it (probe.go). What is published goes through a
// pool of other connections (publish.go).
package pubsub
