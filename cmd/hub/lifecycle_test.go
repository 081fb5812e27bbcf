package main

import (
	"strings"
	"testing"
)

func TestTheStreamsOfTheLifecycleAreNamed(t *testing.T) {
	for _, c := range []struct {
		streams []string
		args    []string
		want    string
	}{
		{nil, nil, `{"on":false,"streams":[],"max":100000}`},
		{nil, []string{"--lifecycle=on"}, `{"on":true,"streams":[],"max":100000}`},
		{[]string{"hub:{a}:lifecycle", "hub:{b}:lifecycle"}, []string{"--lifecycle=on", "--lifecycle-max=5000"}, `{"on":true,"streams":["hub:{a}:lifecycle","hub:{b}:lifecycle"],"max":5000}`},
	} {
		b := &backend{streams: c.streams}
		at := b.start(t, c.args...)
		if status, body, _ := ask(t, "GET", at+"/api/lifecycle", ""); status != 200 || strings.TrimSpace(body) != c.want {
			t.Errorf("%q: %d %s, want %s", c.args, status, body, c.want)
		}
		if status, body, _ := ask(t, "GET", at+"/api/lifecycle?topic=a", ""); status != 400 {
			t.Errorf("with a query: %d %s", status, body)
		}
	}
}
