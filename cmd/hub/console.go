package main

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"path"
	"strings"
	"time"
)

//go:embed console
var consoleFiles embed.FS

// consolePolicy keeps the console from all that it does not need: scripts and styles of other places or within the page, forms, frames, and
// markup made of text. A WebSocket may go anywhere: the view "Try it" connects to the public port of any hub.
const consolePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self' ws: wss:; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

var consoleTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
}

// console is the operator's page at / and its files at /console/. They hold no data but the port, its scheme and the paths that clients
// open, which the view "Try it" starts with: all else comes from /api, by the operator's key. public is where the public port listens.
func console(public string, c *config) http.Handler {
	files := map[string]http.Handler{}
	for name, body := range consoleBodies(public, c) {
		at := "/console/" + name
		if name == "index.html" {
			at = "/"
		}
		files[at] = consoleFile(name, body)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if file, ok := files[r.URL.Path]; ok {
			file.ServeHTTP(w, r)
			return
		}
		http.NotFound(w, r)
	})
}

// consoleBodies are the console's files by name.
func consoleBodies(public string, c *config) map[string][]byte {
	_, port, _ := net.SplitHostPort(public)
	index := template.Must(template.ParseFS(consoleFiles, "console/index.html"))
	entries, err := consoleFiles.ReadDir("console")
	if err != nil {
		panic(err) // the program was built without its files
	}
	bodies := make(map[string][]byte, len(entries))
	for _, e := range entries {
		body, err := consoleFiles.ReadFile("console/" + e.Name())
		if e.Name() == "index.html" {
			var b bytes.Buffer
			err = index.Execute(&b, map[string]string{"Port": port, "Scheme": c.scheme(), "Path": c.Path, "Centrifugo": c.CentrifugoPath})
			body = b.Bytes()
		}
		if err != nil {
			panic(err)
		}
		bodies[e.Name()] = body
	}
	return bodies
}

// consoleFile is one file. Browsers ask each time whether it is still the same.
func consoleFile(name string, body []byte) http.Handler {
	tag := fmt.Sprintf(`"%x"`, sha256.Sum256(body))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-cache")
		h.Set("Content-Security-Policy", consolePolicy)
		h.Set("Content-Type", consoleTypes[path.Ext(name)])
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Etag", tag)
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Content-Type-Options", "nosniff")
		http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(body))
	})
}

// serveRoot is the console for browsers, and the list of endpoints for those who do not ask for HTML.
func serveRoot(console http.Handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Vary", "Accept")
		if strings.Contains(r.Header.Get("Accept"), "text/html") {
			console.ServeHTTP(w, r)
			return
		}
		fmt.Fprint(w, endpoints)
	}
}
