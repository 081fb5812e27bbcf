package main

import (
	"net/http"
	"strings"
	"testing"

	hubjs "wshub/session/hubv1/client"
)

func TestBothPortsServeTheClient(t *testing.T) {
	h := startInside(t)
	public := strings.TrimSuffix(strings.Replace(h.public, "ws://", "http://", 1), "/notification")
	for _, base := range []string{public, h.control} {
		status, body, header := ask(t, "GET", base+"/hub.js", "", "Origin", "https://elsewhere.example")
		if status != 200 || body != string(hubjs.JS) {
			t.Errorf("%s is answered %d %.60q", base, status, body)
		}
		for name, want := range map[string]string{
			"Content-Type":                "text/javascript; charset=utf-8",
			"Access-Control-Allow-Origin": "*",
			"Cache-Control":               "public, max-age=3600",
			"ETag":                        hubJS.ETag(),
		} {
			if got := header.Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", base, name, got, want)
			}
		}
		if status, body, _ := ask(t, "GET", base+"/hub.js", "", "If-None-Match", hubJS.ETag()); status != http.StatusNotModified || body != "" {
			t.Errorf("%s: who has it is answered %d %.60q", base, status, body)
		}
	}
	if _, metrics, _ := ask(t, "GET", h.control+"/metrics", ""); !strings.Contains(metrics, "\nwshub_pages_total 2\n") {
		t.Error("its answers at the public port are not counted")
	}
}
