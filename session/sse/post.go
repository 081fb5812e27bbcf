package sse

import (
	"encoding/json"
	"mime"
	"net/http"
	"strconv"
	"unicode/utf8"

	"wshub/engine"
	"wshub/pubsub"
	"wshub/session"
	"wshub/session/hubv1"
)

// Posted implements session.Poster: {"topic","data"} and if wanted "key" is answered by {"position"}, empty for a topic
// that keeps no history. The type of the body is required: without a preflight a page of elsewhere can't send it.
func (Protocol) Posted(p *session.Post) {
	if kind, _, err := mime.ParseMediaType(p.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		p.Handshake.Refuse(&engine.Refusal{Status: http.StatusUnsupportedMediaType, Code: "unsupported_media_type", Reason: "Content-Type must be application/json"})
		return
	}
	body := p.Body()
	if !utf8.Valid(body) {
		p.Refuse(session.Refusal{Code: session.BadJSON, Text: "the body is not UTF-8"})
		return
	}
	message, why := hubv1.ReadPublish(body)
	if !why.None() {
		p.Refuse(why)
		return
	}
	p.Publish(message, func(at pubsub.Position, why session.Refusal) {
		if !why.None() {
			p.Refuse(why)
			return
		}
		p.Answer(http.StatusOK, answer(at))
	})
}

func answer(at pubsub.Position) []byte {
	if at.IsZero() {
		return []byte("{}\n")
	}
	return append(at.Append([]byte(`{"position":"`)), "\"}\n"...)
}

// ErrorBody is how a POST is told why it is refused, as the control port has it: {"error":{"code","message","retry"}}.
func ErrorBody(r *engine.Refusal) []byte {
	code := session.Code(r.Code)
	if code == "" {
		code = codeOf(r.Status)
	}
	b := hubv1.AppendString([]byte(`{"error":{"code":`), string(code))
	b = append(b, `,"message":`...)
	text, _ := json.Marshal(r.Reason) // a string can always be marshalled
	b = append(append(b, text...), `,"retry":`...)
	return append(strconv.AppendBool(b, code.Retry()), "}}\n"...)
}

// codeOf is the code of a status, where a refusal has none of its own.
func codeOf(status int) session.Code {
	switch status {
	case http.StatusUnauthorized:
		return session.BadToken
	case http.StatusForbidden:
		return session.Forbidden
	case http.StatusRequestEntityTooLarge:
		return session.TooLarge
	case http.StatusRequestTimeout, http.StatusServiceUnavailable:
		return session.Unavailable
	case http.StatusTooManyRequests:
		return session.RateLimited
	case http.StatusGatewayTimeout:
		return session.UnknownOutcome
	case http.StatusInternalServerError:
		return session.Internal
	}
	return session.BadRequest
}
