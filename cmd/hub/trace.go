package main

import (
	"context"
	"net/http"
	"time"

	"wshub/pubsub"
	"wshub/session"
)

// traceAPI is POST /api/trace: {"user","for"} in, {"user","until","nodes","silent"} out.
type traceAPI struct{ looks *looks }

// traceOrder is what hubs are asked to do.
type traceOrder struct {
	User string
	For  time.Duration
}

func (l *looks) addTrace() {
	handle(l, "trace", func(_ context.Context, o traceOrder) (struct{}, error) { return struct{}{}, l.hub.Trace(o.User, o.For) })
}

// ServeHTTP implements http.Handler.
func (a traceAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var in struct {
		User string `json:"user"`
		For  string `json:"for"`
	}
	body, refusal := readBody(w, r, maxTarget)
	if refusal == nil {
		refusal = decode(body, &in, `{"user":…,"for":"10m"}`)
	}
	if refusal != nil {
		refusal.write(w)
		return
	}
	d, err := time.ParseDuration(in.For)
	if err != nil || d < 0 || d > session.MaxTrace || d > 0 && d < time.Second {
		badRequest(session.BadRequest, "for: want a time, 1s to 1h, or 0s to end it").write(w)
		return
	}
	if in.User == "" || !pubsub.ValidTopic("user:"+in.User) {
		badRequest(session.BadRequest, "user: want a user's name, of up to 250 bytes without control characters").write(w)
		return
	}
	a.trace(w, r, traceOrder{in.User, d})
}

func (a traceAPI) trace(w http.ResponseWriter, r *http.Request, o traceOrder) {
	ctx, cancel := context.WithTimeout(r.Context(), lookTime)
	defer cancel()
	replies, of, err := askAll[struct{}](ctx, a.looks, nil, "trace", o)
	if err != nil {
		lookRefusal(err).write(w)
		return
	}
	out := struct {
		User  string     `json:"user"`
		Until *time.Time `json:"until,omitempty"`
		Nodes []string   `json:"nodes"`
		unheard
	}{User: o.User, Nodes: []string{}, unheard: of}
	if o.For > 0 {
		until := time.Now().Add(o.For).UTC()
		out.Until = &until
	}
	for _, reply := range replies {
		out.Nodes = append(out.Nodes, reply.node)
	}
	if len(out.Nodes) == 0 && len(of.Failed) > 0 {
		tooMany("no hub traces: " + of.Failed[0].Error).write(w)
		return
	}
	respond(w, http.StatusOK, out)
}
