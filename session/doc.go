// Package session is the hub: it gives each connection a session, lets sessions follow topics, publishes
// what they send, and fans out what the broker brings.
//
// # Who owns what
//
// A [Hub] has one shard per engine loop. A shard owns the sessions on that loop, their subscriptions and
// the loop's index of followers by topic; all of it is touched on the loop only and has no lock. What
// others may touch is the shard's inbox of messages.
//
//	broker's goroutine ─▶ Hub.Deliver ─▶ inbox of each shard with followers ─▶ Loop.Post(shard.flush)
//	shard.flush ─▶ per topic: one batch, its frames joined once per wire format ─▶ one write per follower
//	Session.Message ─▶ worker (in the session's order) ─▶ broker.Publish ─▶ Loop.Post(answer)
//
// # A batch
//
// While a loop is busy, messages of a topic queue up; its next turn takes all of them as one batch. A batch
// goes to those who follow the topic when it starts. It is written in slices, so that a topic with 100,000
// followers does not keep the loop from reading. An idle loop sends a single message at once.
//
// # A subscription: hold, follow, replay, release
//
// A subscriber waits outside the followers: batches that start meanwhile are held for it. When the broker
// has confirmed that the loop follows the topic, what was missed is read, and then goes out, in this
// order: the acknowledgement, the missed events, the held ones that are newer. See subscribe.go.
package session
