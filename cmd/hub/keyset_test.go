package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

func TestAHubWithoutAnyKeyYetIsNotReadyAndSaysWhy(t *testing.T) {
	t.Parallel()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := private.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	var up atomic.Bool
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if !up.Load() {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		encode := base64.RawURLEncoding.EncodeToString
		fmt.Fprintf(w, `{"keys":[{"kty":"EC","crv":"P-256","kid":"1","x":%q,"y":%q}]}`, encode(point[1:33]), encode(point[33:]))
	}))
	t.Cleanup(issuer.Close)
	h := startInside(t, "--jwks-url="+issuer.URL+"/keys?code=hunter2hunter2")
	readyz := func() (int, string) {
		status, reason, _ := ask(t, "GET", h.control+"/readyz", "")
		return status, reason
	}
	eventually(t, func() error {
		if status, reason := readyz(); status != 503 || !strings.Contains(reason, "key set: status 502") {
			return fmt.Errorf("answered %d %s", status, reason)
		}
		return nil
	})
	up.Store(true)
	eventually(t, func() error {
		if status, reason := readyz(); status != 200 {
			return errors.New(reason)
		}
		return nil
	})
	up.Store(false)
	if status, reason := readyz(); status != 200 {
		t.Errorf("the keys from before are good: %d %s", status, reason)
	}
	if strings.Contains(h.log.String(), "hunter2") {
		t.Errorf("the URL's secret is in the log:\n%s", h.log)
	}
}
