package main

import (
	"bytes"
	"maps"
	"net/http"
	"time"

	"wshub/engine"
	hubjs "wshub/session/hubv1/client"
)

// hubJS is the client for browsers, at both ports. Pages of any origin may import it.
var hubJS = engine.Page{
	Path:   "/hub.js",
	Type:   "text/javascript; charset=utf-8",
	MaxAge: time.Hour,
	Body:   hubjs.JS,
}

// servePage is p for net/http.
func servePage(p engine.Page) http.Handler {
	header := p.Header()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		maps.Copy(w.Header(), header)
		http.ServeContent(w, r, p.Path, time.Time{}, bytes.NewReader(p.Body))
	})
}
