// Package pubsub carries events between the instances of a hub. It knows topics, positions and Redis,
// and nothing of sockets.
//
// # What enters, what leaves
//
// A [Broker] takes publications (Publish) and the topics that its user follows (Follow, Unfollow). It hands
// events to a [Sink], each once with the set of all loops that follow its topic. There are two
// brokers: [Memory] for a hub that runs alone, [Redis] for several that meet at one server, at the master that
// Sentinels name, or in a Cluster. One suite of tests holds all of them to the contract.
//
// # The topology
//
// Topics are divided into 256 partitions by their hash. A [topology] says which server is the master of each: one
// server for all of them, the master that Sentinels name, or the masters of a Cluster. All else is one path:
//
//	topology ──layout──▶ routes[256] ──▶ master   its pool, scripts, clock, refusal
//	                        │               └─▶ link   one subscriber connection after the other, with its probes
//	                        └─▶ places[256] ──▶ line   what that connection is to subscribe (lines.go)
//
// A topology discovers the layout every 2 s, and at once when something says that it is old: a dial that fails, MOVED,
// subscriptions that a server ends, a replica where a master should be, a Sentinel's +switch-master. Publications,
// readings and probes go to the master of their partition; a batch is one pipeline for each. A call that a cluster's
// server surely did not execute (MOVED, ASK, TRYAGAIN) is sent again, but never behind a later one of its topic.
//
// A partition that moves begins anew on its new line, as all do after a reconnect. Nothing that the old line still hears
// of it is believed. A replica is refused at each connect by ROLE, and found by the probe's script after it.
//
// # The Redis channels
//
// The prefix is hub unless [RedisConfig] says otherwise.
//
//	channel            raw JSON, verbatim an event of the topic of that name (RedisConfig.Broadcast). With another
//	                   prefix it is <prefix>:channel
//	hub:t:<topic>      raw JSON, an event of that topic; or from a hub an envelope, which begins with 0x01, or
//	                   attributes and JSON, which begin with 0x02, or the news that the history was removed, 0x03, or of a
//	                   member that came or went, 0x04
//	hub:to             raw {"to":{"user":"42"},"data":…} or {"to":{"topic":"news"},"data":…}
//	hub:n:<node>       that node's own probes, and messages of other nodes to it (Notify)
//	hub:n              messages to all nodes
//
// In a cluster topics and nodes have sharded channels, hub:{<tag>}:t:<topic> and hub:{<tag>}:n:<node>, with the hash tag
// of their partition: see tags.go. There is no hub:n: nodes send to each one on their list (nodes.go). channel,
// hub:to, and hub:t:channel for events of the broadcast topic with attributes, stay classic and are heard on a connection
// of their own, whose probes come over the cluster's bus.
//
// A node subscribes a topic's channel while a loop follows the topic, and the others always. An invalid
// event is dropped, counted by name and logged in samples: see [Drop]. An event of the broadcast topic that has
// attributes, or is stored, is not on channel.
//
// Behind each batch of subscriptions goes a PING. When it is answered, so is every command before it: a topic that is not
// subscribed by then was refused, and only its Follows are answered with that, or it is sought on another server.
//
// # The Redis keys
//
//	hub:{<tag>}:epoch     the partition's epoch, 8 random bytes, part of every position; and which servers the
//	                      partition was on, see partition.lua
//	hub:{<tag>}:s:<topic> stream: the topic's events, each with the record of the one before
//	hub:{<tag>}:r:<topic> the topic's record: its last ID and number, which outlive its events by days
//	hub:{<tag>}:i:…       the result of a publication that had a key
//	hub:{<tag>}:m:<topic> hash of sessions: the topic's members; u: of users, how many sessions each has; v: the version
//	hub:{<tag>}:b:<boot>  hash of the members in the partition that a boot answers for, with their generations
//	hub:{<tag>}:boots     set of the boots that have or had some there
//	hub:{<tag>}:fence     sorted set of the boots that were swept there, by when: they can't write any more
//	hub:{<tag>}:touch:<boot>  a random name: the server that has the last one has not lost its data. One partition of each server has it
//	hub:{<tag>}:l:<user>  hash of the sessions of a user, as m: is, where there is a lifecycle; l: those of nobody
//	hub:{<tag>}:lifecycle stream: who comes and goes; lifecycle-end where it ends. One server has them with <tag0> alone
//	hub:{<tag>}:alive:…   nothing: a node tries whether it can write
//	hub:{<tag0>}:resume-key  the key that instances share which were given none
//	hub:{<tag0>}:revoked  sorted set of revocations, by expiry, and a mark that none is missing
//	hub:{<tag0>}:nodes    sorted set of the nodes, by the time until which they live, with their state: see lease.go
//	hub:{<tag>}:delivered:<reader>  hash: how far a reader has come in the partition's lifecycle stream, who has the lease of that,
//	                      and its fence: see deliver.lua
//	hub:{<tag0>}:deliverers:<reader>  sorted set of those that read for it, by the time until which they live
//	hub:{<tag0>}:leases   sorted set of the boots, by the time until which they live, or negative, are claimed
//	hub:format            the format of all this: a hub of another one does not start
//
// <tag> is that of the topic's partition, <tag0> that of partition 0. A topic has keys only once somebody published to
// it, if [History] says that it keeps some. One script appends an event, notes it in the record and
// publishes the envelope (publish.lua).
//
// # How nothing is lost
//
// Each followed topic with history has a [chain]: the position that its followers are up to. An event
// that arrives and names that position as the one before it is next. Anything else, and every new
// connection, puts the chain in doubt: events that arrive are held while its log is read (catchup.go).
// Of hundreds of topics at a time the last IDs are compared, and only those that differ are read.
// Missed events go out first, then held ones, each event once; events that the log has lost too are told as
// a Gap, which says what reading of the log has shown it (see Loss). Topics without history get a Gap after every reconnect.
//
// A Replay is answered page by page, from the chain's recent events or by an [excerpt] of the log, which
// knows what it proves: a position is only called recovered if the link of every event of the page is there,
// and the log's end. Events are numbered, so a page has their count without reading them.
//
// A history can be removed (remove.lua): its events go, its record stays, so positions and links go on, and a client that
// comes back from before is not recovered. All nodes are notified, for their copies in memory.
//
// # How a position is given once
//
// A replica that is promoted may lack the last events, and its clock may be behind. A partition notes which
// servers it was on. The first publication on another one raises the partition's floor, below which no ID is
// given any more, to a minute ahead of all clocks, and each topic leaps a minute ahead of its last ID. The
// scripts hold the name of their server (script.go), so no stale connection is taken for a move. An ID that is
// too far ahead of the server's clock is looked up in the log before it is believed.
//
// # Who is in a topic
//
// A topic with [PresenceConfig] has members, which are sessions. One script (presence.lua) enters a member or takes it off,
// counts users, gives the change the next version and publishes it. So a page of members (page.lua), which has the version of
// its moment, and the changes behind it fit together without a hole. They stand in no log: after a new connection a
// [Moved] without a version says that some may be lost.
//
// A member is answered for by a boot, which is a node until it ends or is taken for dead. A boot has a lease (boots.go). When it
// runs out another node claims the boot, fences it and takes its members off (sweep.go), but for those that another
// boot has entered meanwhile in a later generation. Redis' own outages look like the death of all, so a node must have renewed its
// lease for a while before it claims. Each node compares the entries of its boot with its own sessions when a connection or the
// layout is new, a lease or data were lost, or a write failed, and in turn (repair.go).
//
// # The lifecycle
//
// With [LifecycleConfig] the script of presence also writes down, in a stream, whose first member came or last one left, and of some topics
// which users came and left. Each session is itself a member, of a hidden topic (hidden.go), so that the grace, moves, sweeps and repairs hold for
// sessions and users as for members. lifecycle.lua numbers the entries. It writes a reset where the server is another one than that of the last
// entry: its entries may not be those that a consumer has read. Then each node tells again what the consumer has forgotten by it (compare,
// untold). lifecycle_fold_test.go is a consumer.
//
// # Who reads the lifecycle
//
// A [LifecycleReader], as each webhook is, has all lifecycle streams read by the instances that Deliver it, each stream by one at a
// time. They are on a list, and each reckons from the list which streams it should have; it takes a stream's lease when nobody has
// it, and gives it back when another should. The lease, its fencing number and the position stand in one hash in the stream's
// partition, so that one script stores a position only for who has the lease. The end of a batch is stored before it is handed
// out: whoever takes over hands out the same batch. One goroutine does all of it for a reader (deliver.go), in pipelines.
//
// # Who owns what
//
// The topology's goroutine alone takes over a layout (routes.go). Each master, and in a cluster the classic channels, have
// one connection at a time for hearing ([Redis.connection], a [feed]). Four goroutines live with it:
//
//	receive  reads it, hands events to the Sink, all of one read together, and reports answers to the table of follows
//	write    sends SUBSCRIBE and UNSUBSCRIBE, in batches, as the table wants them
//	ask      sends probes, which receive hears come back, and tries whether the server takes writes
//	catchUp  reads the logs of topics in doubt, and hands missed events to the Sink
//
// The table of follows (follows.go) lives as long as the broker. It alone decides what to send: a topic has at
// most one command under way, and a batch is sent when the last one is answered. The chains and the
// Sink belong to the holder of delivery.mu. When a connection ends, for whatever reason, all of it
// is thrown away and a new one begins with an empty subscription; the table fills it again. Probes that
// are late are a reason to end it (probe.go). Publications and readings go through a pool of other
// connections.
//
// keepLease, which lives as long as the broker, keeps this node on the list of those that live, until it ends in order.
// keepRevoked, which lives as long, too, reads the list of revocations each time that others have come to reach
// this node, and writes back what the server has lost of it. keepFormat holds the format. With presence there are keepBoot,
// which renews the boot's lease, keepSwept, which sweeps the boots that keepBoot has claimed, and keepMembers, which compares.
package pubsub
