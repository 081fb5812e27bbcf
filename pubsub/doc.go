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
//	hub:t:<topic> raw JSON, an event of that topic; or from a hub an envelope, which begins with 0x01, or
//	              attributes and JSON, which begin with 0x02
//	hub:to        raw {"to":{"user":"42"},"data":…} or {"to":{"topic":"news"},"data":…}
//	hub:n:<node>  that node's own probes, and what others Tell it
//	hub:n         what nodes tell all of them
//
// An event of the broadcast topic that has attributes, or is stored, goes to hub:t:<topic> only.
//
// A node subscribes hub:t:<topic> while a loop follows the topic, and the others always. What is no
// valid event is dropped, counted by name and logged in samples: see [Drop].
//
// # The Redis keys
//
//	hub:{pNN}:epoch     the partition's epoch, 8 random bytes, part of every position; and which servers the
//	                    partition was on, see partition.lua
//	hub:{pNN}:s:<topic> stream: the topic's events, each with the record of the one before
//	hub:{pNN}:r:<topic> the topic's record: its last ID and number, which outlive its events by days
//	hub:{pNN}:i:…       the result of a publication that had a key
//	hub:resume-key      the key that instances share which were given none
//	hub:revoked         sorted set of revocations, by expiry, and a mark that none is missing
//	hub:alive:<node>    nothing: the node tries whether it can write
//
// NN is the partition of the topic, see [partition]. A topic has keys only once somebody published to
// it, if [History] says that it keeps some. One script appends an event, notes it in the record and
// publishes the envelope (publish.lua).
//
// # How nothing is lost
//
// Each followed topic with history has a [chain]: the position that its followers are up to. An event
// that arrives and names that position as the one before it is next. Anything else, and every new
// connection, puts the chain in doubt: what arrives is held while its log is looked at (catchup.go).
// Of hundreds of topics at a time the last IDs are compared, and only those that differ are read. What
// was missed goes out first, then what was held, each event once; what the log has lost too is told as
// a Gap. Topics without history get a Gap after every reconnect.
//
// A Replay is answered page by page, from the chain's recent events or by an [excerpt] of the log, which
// knows what it proves: a position is only called recovered if the link of every event of the page is there,
// and the log's end. Events are numbered, so a page tells how many there are without reading them.
//
// A history can be removed (remove.lua): its events go, its record stays, so positions and links go on, and whoever comes
// back from before is not recovered. All nodes are told, for what they keep in memory.
//
// # How a position is given once
//
// A replica that is promoted may lack the last events, and its clock may be behind. A partition notes which
// servers it was on. The first publication on another one raises the partition's floor, below which no ID is
// given any more, to a minute ahead of all clocks, and each topic leaps a minute ahead of its last ID. The
// scripts hold the name of their server (script.go), so no stale connection is taken for a move. An ID that is
// too far ahead of the server's clock is looked up in the log before it is believed.
//
// # Who owns what
//
// Run keeps one connection at a time for hearing ([Redis.connection], a [feed]). Five goroutines live with it:
//
//	receive      reads it, hands events to the Sink, and reports answers to the table of follows
//	write        sends SUBSCRIBE and UNSUBSCRIBE, in batches, as the table wants them
//	ask          sends probes, which receive hears come back, and tries whether the server takes writes
//	catchUp      looks at the logs of topics in doubt, and hands what was missed to the Sink
//	keepRevoked  reads the list of revocations, and writes back what the server has lost of it
//
// The table of follows (follows.go) lives as long as the broker. It alone decides what to send: a topic has at
// most one command under way, and a batch is sent when the last one is answered. The chains and the
// Sink belong to whoever holds delivery.mu. When the connection ends, for whatever reason, all of it
// is thrown away and a new one begins with an empty subscription; the table fills it again. Probes that
// are late are a reason to end it (probe.go). What is published or read goes through a pool of other
// connections.
package pubsub
