package main

import (
	_ "embed"
	"html/template"
	"net"
	"net/http"
)

//go:embed try.html
var tryHTML string

var tryTemplate = template.Must(template.New("try").Parse(tryHTML))

// tryPage is a page to connect with. public is where the public port listens. The page takes the host
// from its own address, so that it also works where public is 0.0.0.0.
func tryPage(public, path string) http.Handler {
	_, port, _ := net.SplitHostPort(public)
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; connect-src ws: wss: 'self'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; frame-ancestors 'none'")
		_ = tryTemplate.Execute(w, map[string]string{"Port": port, "Path": path}) // the reader may be gone
	})
}
