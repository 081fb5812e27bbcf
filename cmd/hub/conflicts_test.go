package main

import (
	"strings"
	"testing"
)

func TestSettingsThatCantWorkTogetherAreNamed(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string // "" : nothing is said
	}{
		{[]string{"--max-message=1MiB"}, ""}, // one event may exceed --max-queued
		{[]string{"--max-message=64MiB", "--pollers=4"}, ""},
		{[]string{"--max-message=64MiB", "--pollers=8"}, "--max-message lets clients send messages of 64MiB, but each of 8 event loops (--pollers) may hold only 32MiB"},
		{[]string{"--max-message=64MiB", "--pollers=8"}, "raise --max-partial to 512MiB or more"},
		{[]string{"--max-message=1MiB", "--max-backlog=1MiB", "--pollers=2"}, "raise --max-backlog to 2MiB or more"},
		{[]string{"--max-node-topics=1", "--pollers=2"}, "clients can follow nothing"},
		{[]string{"--max-node-topics=2", "--pollers=2"}, ""},
		{[]string{"--port=4000", "--addr=127.0.0.1:3000"}, "--port has no effect, since --addr says where to listen"},
		{[]string{"--port=4000"}, ""},
		{[]string{"--port=4000", "--addr=127.0.0.2"}, ""},
		{[]string{"--control=off", "--api-key=0123456789abcdef"}, "--api-key has no effect"},
		{[]string{"--trusted-proxies=10.0.0.0/8"}, "--trusted-proxies has no effect, since --client-address is socket"},
		{[]string{"--trusted-proxies=10.0.0.0/8", "--client-address=proxy"}, ""},
		{[]string{"--trusted-proxies=10.0.0.0/8,::/0", "--client-address=forwarded"}, "--trusted-proxies trusts everybody"},
		{[]string{"--max-connections-per-address=9"}, "--max-connections-per-address counts by the address of the socket"},
		{[]string{"--handshake-rate-per-address=9"}, "--handshake-rate-per-address counts by the address of the socket"},
		{[]string{"--handshake-rate-per-address=9", "--max-connections-per-address=9", "--trusted-proxies=::1", "--client-address=x-forwarded-for"}, ""},
		{[]string{"--max-connections=9", "--max-connections-per-address=10"}, "--max-connections-per-address has no effect"},
		{[]string{"--pusher-api=public"}, "--pusher-api has no effect, since there is no --pusher-app"},
		{[]string{"--lifecycle-max=5000"}, "--lifecycle-max has no effect, since --lifecycle is off"},
		{[]string{"--lifecycle-max=5000", "--lifecycle=on"}, ""},
		{[]string{"--api-key=one, two and three"}, ""}, // no part would do alone
	} {
		s := parsed(t, nil, c.args...)
		if notes := strings.Join(s.conflicts(), "\n"); !strings.Contains(notes, c.want) || c.want == "" && notes != "" {
			t.Errorf("%q: no %q in %q", c.args, c.want, notes)
		}
	}
}
