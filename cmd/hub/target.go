package main

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"wshub/session"
	"wshub/session/token"
)

// maxTarget bounds the body of a request that names sessions: the longest user, each byte escaped.
const maxTarget = 4 << 10

// target is whom a request names.
type target struct {
	User    string `json:"user"`
	Session string `json:"session"`
}

func (t target) sessions() session.Target { return session.Target{User: t.User, Session: t.Session} }

// disconnectAPI is POST /api/disconnect: {"user"} or {"session"} in, {"closed_here"} out once every node that can be
// reached is told: how many connections were here.
type disconnectAPI struct {
	do    func(context.Context, session.Target) error
	count func(context.Context, session.Target) (int, error)
}

func (a disconnectAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var in target
	var out struct {
		Closed int `json:"closed_here"`
	}
	answerTarget(w, r, &in, &out, `{"user":…} or {"session":…}`, func(ctx context.Context) *apiError {
		n, err := a.count(ctx, in.sessions()) // before they go
		if out.Closed = n; err != nil {
			return brokerError(err)
		}
		return outcome(a.do(ctx, in.sessions()))
	})
}

// revokeAPI is POST /api/revoke: {"user"} or {"session"} in, and "before" may say which tokens are meant; {} out once every
// node that can be reached is told.
type revokeAPI struct {
	do func(ctx context.Context, target session.Target, before time.Time) error
}

func (a revokeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var in struct {
		target
		Before json.RawMessage `json:"before"`
	}
	serveTarget(w, r, &in, `{"user":…} or {"session":…}, and "before" if tokens from then on stay good`, func(ctx context.Context) *apiError {
		before, ok := parseBefore(in.Before)
		if !ok {
			return badRequest(session.BadRequest, "before: want a number of seconds since 1970 on the issuer's clock, as iat has")
		}
		return outcome(a.do(ctx, in.sessions(), before))
	})
}

// parseBefore reads a NumericDate in JSON; it is zero if there is none.
func parseBefore(text json.RawMessage) (before time.Time, ok bool) {
	if text == nil {
		return time.Time{}, true
	}
	var seconds float64
	if json.Unmarshal(text, &seconds) != nil {
		return time.Time{}, false
	}
	return token.Date(seconds)
}

// serveTarget reads a request's body into in, has do done, and answers {}.
func serveTarget(w http.ResponseWriter, r *http.Request, in any, want string, do func(context.Context) *apiError) {
	answerTarget(w, r, in, struct{}{}, want, do)
}

// answerTarget reads a request's body into in, has do done, and answers out.
func answerTarget(w http.ResponseWriter, r *http.Request, in, out any, want string, do func(context.Context) *apiError) {
	body, refusal := readBody(w, r, maxTarget)
	if refusal == nil {
		refusal = decode(body, in, want)
	}
	if refusal == nil {
		ctx, cancel := context.WithTimeout(r.Context(), brokerTime)
		defer cancel()
		refusal = do(ctx)
	}
	if refusal != nil {
		refusal.write(w)
		return
	}
	writeJSON(w, http.StatusOK, out)
}

// outcome is what the caller is told of err, nil if there is none.
func outcome(err error) *apiError {
	if err == nil {
		return nil
	}
	return brokerError(err)
}
