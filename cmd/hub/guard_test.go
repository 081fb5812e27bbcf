package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// A proxy on this machine brings in the world. Its headers tell it from a program, and are enough to refuse it.
func TestAProxyWithoutAKeyIsRefused(t *testing.T) {
	ask := func(proto string, header http.Header) *apiError {
		r := httptest.NewRequest("POST", "/api/publish", nil)
		r.RemoteAddr, r.Host, r.Header = "127.0.0.1:5555", "127.0.0.1:3001", header
		r.Proto = proto
		r.ProtoMajor, r.ProtoMinor, _ = http.ParseHTTPVersion(proto)
		return newGuard(nil, nil, true).refusal(r)
	}
	for _, name := range []string{
		"Via", "Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port", "X-Forwarded-Prefix", "X-Forwarded", "X-Real-IP",
		"X-Original-Forwarded-For", "X-Client-IP", "True-Client-IP", "CF-Connecting-IP", "CDN-Loop", "Fastly-Client-IP", "X-Envoy-External-Address",
		"X-Cluster-Client-IP", "Client-IP", "X-Scheme", "X-Varnish", "X-Azure-ClientIP", "Proxy-Connection",
	} {
		for _, value := range []string{"192.0.2.7", ""} { // an empty one is one, too
			header := http.Header{}
			header.Set(name, value)
			if refusal := ask("HTTP/1.1", header); refusal == nil || refusal.status != 401 || !strings.Contains(refusal.message, http.CanonicalHeaderKey(name)) {
				t.Errorf("%s: %q: %+v", name, value, refusal)
			}
		}
	}
	if refusal := ask("HTTP/1.0", http.Header{}); refusal == nil || refusal.status != 401 {
		t.Errorf("HTTP/1.0: %+v", refusal)
	}
	// Fields that programs send by themselves, tracing included, hinder none.
	if refusal := ask("HTTP/1.1", http.Header{
		"User-Agent": {"python-requests/2.32"}, "Accept": {"*/*"}, "Accept-Encoding": {"gzip"}, "Connection": {"keep-alive"}, "Content-Type": {"application/json"},
		"Traceparent": {"00-1-2-01"}, "X-Request-Id": {"1"}, "X-Amzn-Trace-Id": {"1"}, "X-Cloud-Trace-Context": {"1"}, "X-B3-Traceid": {"1"}, "Expect": {"100-continue"},
		"X-Requested-With": {"me"}, "Origin": {"http://127.0.0.1:3001"}, "Cookie": {"a=b"},
	}); refusal != nil {
		t.Errorf("a program is refused: %+v", refusal)
	}
}

func TestWithAKeyAProxyMayAsk(t *testing.T) {
	const key = "0123456789abcdef"
	r := httptest.NewRequest("POST", "/api/publish", nil)
	r.RemoteAddr, r.Proto, r.ProtoMinor = "127.0.0.1:5555", "HTTP/1.0", 0
	r.Header = http.Header{"Via": {"1.1 proxy"}, "X-Api-Key": {key}}
	if refusal := newGuard([]string{key}, nil, true).refusal(r); refusal != nil {
		t.Errorf("refused: %+v", refusal)
	}
}

func TestCheckWarnsOfAControlPortWithoutAKey(t *testing.T) {
	for _, c := range []struct {
		args  []string
		warns bool
	}{
		{nil, true}, {[]string{"--control=0.0.0.0:3001"}, true},
		{[]string{"--control=off"}, false}, {[]string{"--api-key=0123456789abcdef"}, false}, {[]string{"--jwt-secret=" + secret}, false},
	} {
		_, stdout, _ := call(t, nil, append([]string{"check"}, c.args...)...)
		if strings.Contains(stdout, "There is no --api-key") != c.warns {
			t.Errorf("%q: warns is not %v:\n%s", c.args, c.warns, stdout)
		}
	}
}

func TestWhoMayUseTheAPI(t *testing.T) {
	const key, second = "0123456789abcdef", "fedcba9876543210"
	local, far := "127.0.0.1:5555", "192.0.2.7:5555"
	for _, c := range []struct {
		name   string
		keys   []string
		peer   string
		host   string
		header http.Header
		want   int  // 0: may
		closed bool // clients need tokens
	}{
		{"without keys a local program may", nil, local, "127.0.0.1:3001", nil, 0, false},
		{"also by IPv6", nil, "[::1]:5555", "[::1]:3001", nil, 0, false},
		{"also by name", nil, local, "localhost:3001", nil, 0, false},
		{"another machine may not", nil, far, "127.0.0.1:3001", nil, 401, false},
		{"a proxy on this machine is no local program", nil, local, "127.0.0.1:3001", http.Header{"X-Forwarded-For": {"192.0.2.7"}}, 401, false},
		{"a name that was made to point here is refused", nil, local, "evil.example:3001", nil, 403, false},
		{"also one that looks like an address", nil, local, "127.0.0.1.evil.example:3001", nil, 403, false},
		{"no Host is refused", nil, local, "", nil, 403, false},
		{"a page of another origin is refused", nil, local, "127.0.0.1:3001", http.Header{"Origin": {"https://evil.example"}}, 403, false},
		{"a page of another local port is refused", nil, local, "127.0.0.1:3001", http.Header{"Origin": {"http://127.0.0.1:8080"}}, 403, false},
		{"a page without an origin is refused", nil, local, "127.0.0.1:3001", http.Header{"Origin": {"null"}}, 403, false},
		{"a browser's cross-site request is refused", nil, local, "127.0.0.1:3001", http.Header{"Sec-Fetch-Site": {"cross-site"}}, 403, false},
		{"the port's own page may", nil, local, "127.0.0.1:3001", http.Header{"Origin": {"http://127.0.0.1:3001"}, "Sec-Fetch-Site": {"same-origin"}}, 0, false},

		{"with keys a local program may not", []string{key}, local, "127.0.0.1:3001", nil, 401, false},
		{"whoever has a key may", []string{key}, far, "hub.example", http.Header{"Authorization": {"Bearer " + key}}, 0, false},
		{"the scheme has no case", []string{key}, far, "hub.example", http.Header{"Authorization": {"bearer " + key}}, 0, false},
		{"in the other header too", []string{key}, far, "hub.example", http.Header{"X-Api-Key": {key}}, 0, false},
		{"any of the keys will do", []string{key, second}, far, "hub.example", http.Header{"X-Api-Key": {second}}, 0, false},
		{"the first of them too", []string{key, second}, far, "hub.example", http.Header{"X-Api-Key": {key}}, 0, false},
		{"a wrong key will not", []string{key}, far, "hub.example", http.Header{"X-Api-Key": {second}}, 401, false},
		{"nor a part of one", []string{key}, far, "hub.example", http.Header{"X-Api-Key": {key[:15]}}, 401, false},
		{"nor an empty one", []string{key}, far, "hub.example", http.Header{"X-Api-Key": {""}}, 401, false},
		{"nor by another scheme", []string{key}, far, "hub.example", http.Header{"Authorization": {"Basic " + key}}, 401, false},
		{"where clients need tokens, a local program without a key may not", nil, local, "127.0.0.1:3001", nil, 401, true},
		{"nor with one that nobody knows", nil, local, "127.0.0.1:3001", http.Header{"X-Api-Key": {key}}, 401, true},
		{"but with a key it may", []string{key}, local, "127.0.0.1:3001", http.Header{"X-Api-Key": {key}}, 0, true},
		{"a page may not even with a key", []string{key}, far, "hub.example", http.Header{"X-Api-Key": {key}, "Origin": {"https://evil.example"}}, 403, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequest("POST", "/api/publish", nil)
			r.RemoteAddr, r.Host, r.Header = c.peer, c.host, c.header
			if r.Header == nil {
				r.Header = http.Header{}
			}
			got := 0
			if refusal := newGuard(c.keys, nil, !c.closed).refusal(r); refusal != nil {
				got = refusal.status
			}
			if got != c.want {
				t.Errorf("answered %d, want %d", got, c.want)
			}
		})
	}
}
