package centrifugo

import (
	pb "github.com/centrifugal/protocol"

	"wshub/engine"
	"wshub/session"
)

// The causes that this protocol has besides the hub's.
var (
	badRequest  = &engine.Cause{Name: "centrifugo_bad_request", Code: 3501, Reason: "bad request"}
	stale       = &engine.Cause{Name: "centrifugo_stale", Code: 3502, Reason: "stale"}
	lost        = &engine.Cause{Name: "centrifugo_insufficient_state", Code: 3010, Reason: "insufficient state"}
	invalidated = &engine.Cause{Name: "centrifugo_unavailable", Code: 3004, Reason: "internal error"}
)

// Causes are the names of the causes that only this protocol has, for metrics.
func Causes() []string {
	return []string{badRequest.Name, stale.Name, lost.Name, invalidated.Name}
}

// closeCode is the code and reason of a Close frame. A final code needs a reason: with an empty one centrifuge-js
// comes back all the same. Below 3000 it may move to another transport.
type closeCode struct {
	code   uint16
	reason string
}

var closeCodes = map[*engine.Cause]closeCode{
	session.Drained:         {3001, "shutdown"},
	session.Rebalanced:      {3011, "force reconnect"},
	engine.Shutdown:         {3001, "shutdown"},
	engine.Panicked:         {3004, "internal server error"},
	session.TokenExpired:    {3005, "connection expired"},
	engine.SlowConsumer:     {3008, "slow"},
	engine.BacklogLimit:     {3008, "slow"},
	engine.HeartbeatMissed:  {3012, "no pong"},
	session.RateExceeded:    {3013, "too many requests"},
	engine.PartialLimit:     {3004, "internal server error"},
	session.LobbyFull:       {3004, "too many wait to be let in"},
	session.Unidentified:    {3500, "invalid token"},
	session.BinaryFrame:     {3501, "bad request"},
	engine.MessageTimeout:   {3501, "bad request"},
	session.Disconnected:    {3503, "force disconnect"},
	session.Replaced:        {3503, "force disconnect"},
	session.TooManySessions: {3504, "connection limit"},
}

// CloseFrame implements session.Protocol.
func (Protocol) CloseFrame(cause *engine.Cause) (code uint16, reason string) {
	if c, ok := closeCodes[cause]; ok {
		return c.code, c.reason
	}
	return cause.Code, cause.Reason
}

// The protocol's errors. A client tries again after a temporary one.
var (
	errInternal      = &pb.Error{Code: 100, Message: "internal server error", Temporary: true}
	errDenied        = &pb.Error{Code: 103, Message: "permission denied"}
	errSubscribed    = &pb.Error{Code: 105, Message: "already subscribed"}
	errLimit         = &pb.Error{Code: 106, Message: "limit exceeded"}
	errBadRequest    = &pb.Error{Code: 107, Message: "bad request"}
	errNotAvailable  = &pb.Error{Code: 108, Message: "not available"}
	errTokenExpired  = &pb.Error{Code: 109, Message: "token expired"}
	errExpired       = &pb.Error{Code: 110, Message: "expired"}
	errTooMany       = &pb.Error{Code: 111, Message: "too many requests", Temporary: true}
	errUnrecoverable = &pb.Error{Code: 112, Message: "unrecoverable position"}
)

// errorOf is the client's error for a refusal.
func errorOf(r session.Refusal) *pb.Error {
	switch r.Code {
	case session.Forbidden, session.BadToken:
		return errDenied
	case session.AlreadyFollows:
		return errSubscribed
	case session.TooManyTopics:
		return errLimit
	case session.BadTopic, session.BadRequest, session.BadJSON, session.TooLarge:
		return errBadRequest
	case session.NoPresence:
		return errNotAvailable
	case session.ExpiredToken: // the SDK gets another token, and tries again
		return errTokenExpired
	case session.RateLimited, session.Busy:
		return errTooMany
	}
	return errInternal
}

// Codes of unsubscribe pushes. From 2500 on the client subscribes again.
const (
	byServer          = 2000
	insufficientState = 2500
	expired           = 2501
)
