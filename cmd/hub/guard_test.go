package main

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

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
			if refusal := newGuard(c.keys, !c.closed).refusal(r); refusal != nil {
				got = refusal.status
			}
			if got != c.want {
				t.Errorf("answered %d, want %d", got, c.want)
			}
		})
	}
}
