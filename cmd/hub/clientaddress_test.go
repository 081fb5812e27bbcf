package main

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"
)

// A client's own address, not its proxy's, is in the reasons, the traces and the looks; a forged one is in none.
func TestTheClientsAddressIsSeenByOperators(t *testing.T) {
	h := startInside(t, "--client-address=x-forwarded-for", "--trusted-proxies=127.0.0.0/8", "--max-connections-per-address=2", "--log-level=debug", "--trace-user=42")
	through := func(forwarded string) websocket.DialOptions {
		return websocket.DialOptions{Subprotocols: []string{"hub.v1.json"}, HTTPHeader: http.Header{"X-Forwarded-For": {"6.6.6.6, " + forwarded}}}
	}
	dialWith(t, "good", h.public+"?user=42", through("192.0.2.7")).want(`{"type":"welcome"`)
	dialWith(t, "second", h.public, through("192.0.2.7")).want(`{"type":"welcome"`)
	_, res, err := websocket.Dial(t.Context(), h.public, new(through("192.0.2.7")))
	if err == nil || res == nil || res.StatusCode != 429 || res.Header.Get("Retry-After") == "" {
		t.Errorf("the third is answered %v, %v", res, err)
	}
	if l := h.awaitReason(t, "handshake", "address_connections", "too many connections from your address, try again later: it has 2"); l.Addr != "192.0.2.7" {
		t.Errorf("%+v", l)
	}
	if _, _, err := websocket.Dial(t.Context(), h.public+"none", new(through("192.0.2.8"))); err == nil {
		t.Error("a path that is none is let in")
	}
	if l := h.awaitReason(t, "handshake", "path", ""); l.Addr != "192.0.2.8" {
		t.Errorf("%+v", l)
	}

	var views looked
	var reasons struct {
		Reasons []struct{ Rule, Addr, Remedy string }
	}
	if look(t, h.control, "/api/user?id=42", &views); len(views.Sessions) != 1 || views.Sessions[0].Addr != "192.0.2.7" {
		t.Errorf("sessions: %+v", views.Sessions)
	}
	if look(t, h.control, "/api/reasons", &reasons); len(reasons.Reasons) == 0 {
		t.Error("no reasons")
	}
	for _, r := range reasons.Reasons {
		if !strings.HasPrefix(r.Addr, "192.0.2.") || r.Remedy == "" {
			t.Errorf("%+v", r)
		}
	}
	if log := h.log.String(); !strings.Contains(log, `"addr":"192.0.2.7","mode":"v1"`) || strings.Contains(log, "6.6.6.6") {
		t.Error(log)
	}
	_, metrics, _ := ask(t, "GET", h.control+"/metrics", "")
	if !strings.Contains(metrics, `wshub_address_refusals_total{reason="address_connections"} 1`) {
		t.Error(metrics)
	}
	if strings.Contains(metrics, "192.0.2") {
		t.Error("an address in a label")
	}
}

// At info, which is the default, no line has a client's address.
func TestNoClientsAddressIsLoggedAtInfo(t *testing.T) {
	h := startInside(t, "--client-address=proxy", "--trusted-proxies=127.0.0.1", "--handshake-rate-per-address=1")
	host := strings.TrimPrefix(strings.TrimSuffix(h.public, "/notification"), "ws://")
	for _, head := range []string{"PROXY TCP4 192.0.2.7 192.0.2.1 4711 80\r\n", "PROXY TCP4 192.0.2.7 192.0.2.1 47111 80\r\n", "PROXY UDP4 192.0.2.7\r\n", ""} {
		conn, err := net.Dial("tcp", host)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "%sGET /none HTTP/1.1\r\nHost: hub\r\n\r\n", head)
		if res, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || res.StatusCode < 400 {
			t.Errorf("%q: %v, %v", head, res, err)
		}
	}
	eventually(t, func() error {
		_, metrics, _ := ask(t, "GET", h.control+"/metrics", "")
		if want := `wshub_address_refusals_total{reason="proxy_head"} 2`; !strings.Contains(metrics, want) {
			return fmt.Errorf("no %s", want)
		}
		return nil
	})
	if strings.Contains(h.log.String(), "192.0.2.7") {
		t.Error(h.log)
	}
}
