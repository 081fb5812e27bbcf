package main

import (
	"net/http"

	"wshub/engine"
	"wshub/session"
)

// localOnly keeps out pages that came from elsewhere and had their name made to point to this machine (DNS
// rebinding): to the engine their Origin is the Host's own. For an open hub on loopback; a proxy before one
// that brings in pages of other hosts needs --open.
type localOnly struct{ *session.Hub }

var refuseForeignHost = &engine.Refusal{
	Status: http.StatusForbidden,
	Name:   "origin",
	Reason: "this open hub serves pages of this machine only; --open lets in those of other hosts",
}

// Handshake implements engine.Handler.
func (l localOnly) Handshake(h *engine.Handshake) {
	if h.Header.Get("Origin") != "" && !isLoopback(h.Host) {
		l.Refused(h.Conn(), refuseForeignHost)
		h.Refuse(refuseForeignHost)
		return
	}
	l.Hub.Handshake(h)
}
