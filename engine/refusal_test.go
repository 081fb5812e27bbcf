package engine

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"testing"
)

func TestRefusalIsAWholeResponse(t *testing.T) {
	for _, r := range []*Refusal{
		refuseMethod,
		refuseUpgrade,
		refuseVersion13,
		{Status: 408, Reason: "handshake took too long"},
		{Status: 431, Reason: "header over 8 KiB"},
		{Status: 503, Reason: "over capacity", Header: http.Header{"Retry-After": {"5"}, "X-Split": {"a\r\nb"}}},
	} {
		src := bufio.NewReader(bytes.NewReader(r.append(nil)))
		resp, err := http.ReadResponse(src, nil)
		if err != nil {
			t.Fatalf("%d: %v", r.Status, err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil || string(body) != r.Reason+"\n" {
			t.Errorf("%d: body %q %v", r.Status, body, err)
		}
		if n, _ := io.Copy(io.Discard, src); n != 0 {
			t.Errorf("%d: %d bytes behind the body", r.Status, n)
		}
		if resp.StatusCode != r.Status || !resp.Close || resp.Header.Get("Content-Type") != "text/plain; charset=utf-8" {
			t.Errorf("%d: got %v", r.Status, resp)
		}
		for name := range r.Header {
			if resp.Header.Get(name) == "" {
				t.Errorf("%d: no %s", r.Status, name)
			}
		}
		if (r.Status == 426) != (resp.Header.Get("Upgrade") == "websocket") {
			t.Errorf("%d: Upgrade is %q", r.Status, resp.Header.Get("Upgrade"))
		}
	}
}
