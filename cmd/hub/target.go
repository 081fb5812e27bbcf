package main

import (
	"context"
	"net/http"

	"wshub/session"
)

// maxTarget bounds the body of a request that names sessions: the longest user, each byte escaped.
const maxTarget = 4 << 10

// targetAPI is POST /api/disconnect and /api/revoke: {"user"} or {"session"} in, {} out once every node that
// can be reached is told.
type targetAPI struct {
	do func(context.Context, session.Target) error
}

func (a targetAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var in session.Target
	body, refusal := readBody(w, r, maxTarget)
	if refusal == nil {
		refusal = decode(body, &in, `{"user":…} or {"session":…}`)
	}
	if refusal != nil {
		refusal.write(w)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), brokerTime)
	defer cancel()
	if err := a.do(ctx, in); err != nil {
		brokerError(err).write(w)
		return
	}
	writeJSON(w, http.StatusOK, struct{}{})
}
