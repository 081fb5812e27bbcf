package pusher

import (
	"net/http"
	"strconv"

	"wshub/engine"
	"wshub/session"
)

// The causes that this protocol has besides the hub's.
var (
	unknownApp   = &engine.Cause{Name: "pusher_unknown_app", Code: 4001, Reason: "no application has this key"}
	badVersion   = &engine.Cause{Name: "pusher_protocol", Code: 4007, Reason: "unsupported protocol version: this hub speaks 5 to 7"}
	noVersion    = &engine.Cause{Name: "pusher_no_protocol", Code: 4008, Reason: "no protocol version in the query"}
	unauthorized = &engine.Cause{Name: "pusher_unauthorized", Code: 4009, Reason: "connection not authorized"}
	overCapacity = &engine.Cause{Name: "pusher_over_capacity", Code: 4100, Reason: "over capacity"}
)

// Causes are the names of the causes that only this protocol has, for metrics.
func Causes() []string {
	return []string{unknownApp.Name, badVersion.Name, noVersion.Name, unauthorized.Name, overCapacity.Name}
}

type closeCode struct {
	code   uint16
	reason string
}

// closeCodes are the codes of the hub's causes. pusher-js comes back after 4100 to 4199 in a second, after 4200 to 4299 at
// once, after 1002 to 1004 later each time, and after 4000 to 4099 and from 4300 on never.
var closeCodes = map[*engine.Cause]closeCode{
	session.Drained:        {4200, "the hub drains: reconnect"},
	session.Rebalanced:     {4200, "another hub takes over: reconnect"},
	engine.Shutdown:        {4100, "the hub ends"},
	engine.Panicked:        {4100, "internal error"},
	engine.HeartbeatMissed: {4201, "no pong in time"},
	engine.MessageTimeout:  {4202, "a message was not completed in time"},
	engine.SlowConsumer:    {4100, "the client reads too slowly"},
	engine.BacklogLimit:    {4100, "the client reads too slowly"},
	engine.PartialLimit:    {4100, "over capacity"},
	session.RateExceeded:   {4100, "too many messages"},
	session.Disconnected:   {4009, "connection terminated by the backend"},
	session.BinaryFrame:    {1003, "text frames only"},
}

// CloseFrame implements session.Protocol.
func (Protocol) CloseFrame(cause *engine.Cause) (code uint16, reason string) {
	if c, ok := closeCodes[cause]; ok {
		return c.code, c.reason
	}
	return cause.Code, cause.Reason
}

// LastWords implements session.Speaker: the error that a client is told besides a code of the protocol.
func (p Protocol) LastWords(cause *engine.Cause) []byte {
	code, reason := p.CloseFrame(cause)
	if code < 4000 || code > 4399 {
		return nil
	}
	return errorFrame(strconv.Itoa(int(code)), reason)
}

// Explain implements session.Explainer: who can't be let in now comes back in a second. Others, who ask for what can't be, see a
// status.
func (Protocol) Explain(r *engine.Refusal) *engine.Cause {
	if r.Status == http.StatusServiceUnavailable {
		return overCapacity
	}
	return nil
}

const (
	noCode       = "null" // the client stays, and is told
	clientDenied = "4301" // of an event of the client's
)

// errorFrame makes a pusher:error.
func errorFrame(code, text string) []byte {
	data := appendString([]byte(`{"code":`+code+`,"message":`), text)
	return textFrame(appendMessage(nil, "pusher:error", "", append(data, '}')))
}

// fault is why a subscription is refused.
type fault struct {
	kind   string
	status int
	text   string
}

const (
	authError    = "AuthError"
	badRequest   = "BadRequest"
	limitReached = "LimitReached"
	serverError  = "ServerError"
)

// quotaStatus is the status of a subscription over a limit.
const quotaStatus = 4004

// faultOf is the fault for a refusal of the hub's.
func faultOf(r session.Refusal) fault {
	switch r.Code {
	case session.Forbidden, session.ExpiredToken, session.BadToken:
		return fault{authError, http.StatusForbidden, r.Text}
	case session.TooManyTopics:
		return fault{limitReached, quotaStatus, r.Text}
	case session.BadTopic, session.BadRequest, session.NoPresence:
		return fault{badRequest, http.StatusBadRequest, r.Text}
	case session.RateLimited:
		return fault{limitReached, http.StatusTooManyRequests, r.Text}
	}
	return fault{serverError, http.StatusInternalServerError, r.Text}
}

// faultFrame makes a pusher:subscription_error.
func faultFrame(channel string, f fault) []byte {
	data := appendString([]byte(`{"type":`), f.kind)
	data = appendString(append(data, `,"error":`...), f.text)
	data = append(strconv.AppendInt(append(data, `,"status":`...), int64(f.status), 10), '}')
	return textFrame(appendMessage(nil, "pusher:subscription_error", channel, data))
}
