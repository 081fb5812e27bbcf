package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestTheHealthcheckSaysHowTheHubIs(t *testing.T) {
	status := http.StatusOK
	hub := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/readyz" && status == http.StatusOK {
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = w.Write([]byte("no Redis\n"))
			return
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte("said\n"))
	}))
	defer hub.Close()
	_, port, _ := strings.Cut(strings.TrimPrefix(hub.URL, "http://"), ":")
	want := func(text string, code int, env map[string]string, args ...string) {
		t.Helper()
		if got, stdout, stderr := call(t, env, append([]string{"healthcheck"}, args...)...); got != code || !strings.Contains(stdout+stderr, text) {
			t.Errorf("%v %q: %d %s%s", env, args, got, stdout, stderr)
		}
	}
	want("said", 0, map[string]string{"HUB_CONTROL": "127.0.0.1:" + port})
	want("said", 0, map[string]string{"HUB_CONTROL": "0.0.0.0:" + port, "HUB_ADDR": "0.0.0.0"}) // as in the image
	want("/readyz: 503 no Redis", 1, nil, "--ready", "--control=127.0.0.1:"+port)
	status = http.StatusServiceUnavailable
	want("/livez: 503 said", 1, nil, "--control=127.0.0.1:"+port)
	want("want the host and port", 2, nil, "--control=off")
	want("want the host and port", 2, nil, "--control=127.0.0.1:0")
	hub.Close()
	want("refused", 1, nil, "--control=127.0.0.1:"+port)
}
