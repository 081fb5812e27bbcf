// Package session is the hub: it gives each connection a session, lets sessions follow topics, publishes
// their messages, and fans out the broker's events.
//
// It speaks no protocol itself. Protocols are packages below it (hubv1, plain, sse, centrifugo, pusher): they parse messages, call the
// methods of [Session], and encode the hub's answers. The hub knows them by the interface [Protocol], the
// form of events by [Format], and [Hub.Serve] alone chooses the protocol of a path.
//
// # Who owns what
//
// A [Hub] has one shard per engine loop. A shard owns the sessions on that loop, their subscriptions, the
// loop's index of followers by topic and its members, the sessions by user; all of it is touched on the loop only and
// has no lock. Others may touch the shard's inbox of messages only.
//
//	broker's goroutine ─▶ Hub.Deliver ─▶ inbox of each shard with followers, Hub.HandOver ─▶ Loop.Post(shard.flush)
//	shard.flush ─▶ per topic: one batch, its frames joined once per wire format ─▶ one write per follower
//	Session.Message ─▶ Protocol.Message ─▶ Session.Subscribe, Publish, History …, each with a reply that is called once
//	Session.Publish ─▶ worker (in the session's order) ─▶ broker.Publish ─▶ Loop.Post(reply)
//	Session.queueRead ─▶ reader (one read of a session at a time) ─▶ broker.Replay ─▶ Loop.Post(reply)
//
// Publishing, reading, fetching keys (token.Verifier) and bringing messages to other nodes (relay.go) have ways of their own:
// none waits for another.
//
// # A batch
//
// While a loop is busy, messages of a topic queue up; its next turn takes all of them as one batch. A batch
// goes to the sessions that follow the topic when it starts. It is written in slices, so that a topic with 100,000
// followers does not keep the loop from reading. An idle loop sends a single message at once. A follower whose
// connection has no room for all of a batch lags: the rest waits in its pump, as the messages that all share. An event
// may except one session: its pump writes the rest of the batch to it, without that event.
//
// For sessions that agreed on compressed frames a format has a compressed form (compress.go): it is made, joined and shared as
// the others.
//
// A format may have its frames stamped (Words.Stamp): then each follower gets bytes of its own behind the shared frame. Such
// a batch is joined for each follower, in the loop's scratch buffer.
//
// A client without a session may publish, too (post.go): by a request that the engine answers once.
//
// A client whose connection is a stream sends by requests of its own (relay.go). Each goes to the session's loop, or as an order
// to the session's node, and is answered once the session has it.
//
// # The gate
//
// gate.go decides whether a session may follow, read or publish. The acting func asks it: when a subscription begins,
// when it is answered and when it takes effect; when a request to publish or to read comes, and when the events read are
// sent. A new token ends the subscriptions that it does not cover; after a token's end nothing new begins.
//
// A pass (pass.go) is a right of its own to follow one topic, which a protocol gives a session. It goes with the
// subscription, or ends it when its time is over; another token does not touch it.
//
// # Walls
//
// A protocol may have topics of its own (walls.go): its sessions can name no others, and nobody else's sessions can name them. Who is
// enrolled in a topic (enroll.go) has every right there, and may be seen by another name.
//
// # A subscription
//
// A subscription is a state machine (subscribe.go) from its beginning until the session follows or it has ended. It has
// an owner, which gets its outcome once: a request, a group of topics, or nobody (owner.go). Topics that no request named,
// the user's own one and those of a plain client's URL, are tried until they are followed.
//
// # Presence
//
// A session that follows a topic of Config.Presence is its member (presence.go), so the lists of followers say it, and a member costs nothing besides.
// Changes go to the broker by one goroutine with a bounded queue (changes.go); one that finds no room, or fails, the broker's
// repair makes, which asks for all members (present.go). Who disconnects stays a member for a while (away.go). A watch (watch.go) is a
// topic whose presence sessions of the loop see: its news go to them in the topic's batches (news.go).
//
// # The walk of a resume
//
//  1. hubv1 cuts the frame into its members; Session.Resume opens the resume token (resume.go).
//  2. takeOver makes the session the earlier one, closes older connections on this node, and notifies the other nodes
//     (replace.go): the one that was resumed last stays.
//  3. Each position begins a subscription that a group owns. It stands in its topic's waiting list from here on,
//     and holds live events.
//  4. The broker is asked to follow the topic, if no one on the loop does: shard.followed goes on with all who wait.
//  5. readLog has the log read, in the session's turn: is everything after the position there, and how much?
//  6. onLogRead reports the outcome; the group gathers all, asks again for the rights, and answers once.
//  7. start hands each to the session's pump. It has one page read at a time, and writes the next when the last has left.
//  8. When the log has nothing more, the held events follow, without those of the pages (splice).
//  9. Where the log was ahead of the loop the subscription trails: of each batch only newer events go out.
//  10. finish makes the session a follower: it gets the topic's batches from now on.
//
// # Tests of protocols
//
// Package sessiontest runs a hub on a server for the tests of a protocol (centrifugo, pusher, sse).
package session
