package session

import "wshub/engine"

// Code is what an error message to a client says, for programs. This is the closed list.
type Code string

const (
	BadJSON        Code = "bad_json"        // the frame is no JSON, or no JSON object in hub.v1
	BadRequest     Code = "bad_request"     // a field is missing or out of range
	UnknownType    Code = "unknown_type"    // the type is none of the protocol's
	BadTopic       Code = "bad_topic"       // no topic name
	Forbidden      Code = "forbidden"       // not this topic for this session
	TooManyTopics  Code = "too_many_topics" // the session's or the node's limit is reached
	NotSubscribed  Code = "not_subscribed"  // unsubscribe from a topic that is not followed
	AlreadyFollows Code = "already_subscribed"
	Unsubscribed   Code = "unsubscribed"    // the backend ended a subscription
	RateLimited    Code = "rate_limited"    // more messages than allowed; retry later
	NoPresence     Code = "no_presence"     // the topic has no presence
	Busy           Code = "busy"            // the node has too much to do; retry later
	Unavailable    Code = "unavailable"     // the broker can't be reached; nothing was done; retry later
	UnknownOutcome Code = "unknown_outcome" // it may or may not have been published
	Refused        Code = "refused"         // the broker refused it
	TooLarge       Code = "too_large"       // over the message limit
	BadToken       Code = "bad_token"       // not valid, or too old
	ExpiredToken   Code = "token_expired"   // send auth with another one
	Internal       Code = "internal"
)

// Retry reports whether the same request may succeed later.
func (c Code) Retry() bool {
	switch c {
	case RateLimited, Busy, Unavailable, UnknownOutcome:
		return true
	}
	return false
}

// The causes for which the hub ends a connection, besides the engine's. The client should then do this:
// 1012, 4008: come back, after a random moment. 1013, 4030: come back later. 4029: come back later, and send
// less. 4001, 4002: come back with another token. 1003, 4003, 4009: do not come back by yourself.
var (
	Drained      = &engine.Cause{Name: "drain", Code: 1012, Reason: "node drains"}
	Rebalanced   = &engine.Cause{Name: "rebalance", Code: 1012, Reason: "another node takes over"}
	BinaryFrame  = &engine.Cause{Name: "binary", Code: 1003, Reason: "text frames only"}
	RateExceeded = &engine.Cause{Name: "rate_limit", Code: 4029, Reason: "too many messages"}
	Unidentified = &engine.Cause{Name: "bad_token", Code: 4001, Reason: "token missing or not valid"}
	TokenExpired = &engine.Cause{Name: "token_expired", Code: 4002, Reason: "token expired"}
	Disconnected = &engine.Cause{Name: "disconnect", Code: 4003, Reason: "disconnected by the backend"}
	// TooManySessions: the user has as many on this node as it may.
	TooManySessions = &engine.Cause{Name: "too_many_sessions", Code: 4030, Reason: "the user has too many sessions"}
	// LobbyFull: too many connections whose clients have not said who they are.
	LobbyFull = &engine.Cause{Name: "lobby_full", Code: 1013, Reason: "too many wait to be let in"}
	Replaced  = &engine.Cause{Name: "replaced", Code: 4009, Reason: "the session has a newer connection"}
)
