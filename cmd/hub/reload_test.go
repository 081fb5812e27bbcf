package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"wshub/session/token"
)

// keyPair is a public key as a file of --jwt-key has it, and a token that the other key has signed.
func keyPair(t *testing.T) (public, signed string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	asPEM := func(kind string, der []byte, err error) []byte {
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	}
	der, err := x509.MarshalPKIXPublicKey(private.Public())
	public = string(asPEM("PUBLIC KEY", der, err))
	der, err = x509.MarshalPKCS8PrivateKey(private)
	signer, err := token.PEMSigner(asPEM("PRIVATE KEY", der, err))
	if err == nil {
		signed, err = token.Mint(signer, token.Grant{Subject: "42", TTL: time.Hour})
	}
	if err != nil {
		t.Fatal(err)
	}
	return public, signed
}

func TestAHangUpHasKeysReadAgain(t *testing.T) {
	folder := t.TempDir()
	keyFile, apiKeyFile := filepath.Join(folder, "jwt.pem"), filepath.Join(folder, "api-key")
	const apiKey, newAPIKey = "0123456789abcdef", "fedcba9876543210"
	public, signed := keyPair(t)
	newPublic, newSigned := keyPair(t)
	write(t, keyFile, public)
	write(t, apiKeyFile, apiKey+"\n")
	t.Setenv("HUB_API_KEY_FILE", apiKeyFile)
	h := startHub(t, buildHub(t), "", "--jwt-key="+keyFile)
	wantToken := func(signed string, good bool) {
		t.Helper()
		ws, res, err := websocket.Dial(t.Context(), h.public+"?token="+signed, &websocket.DialOptions{Subprotocols: []string{"hub.v1.json"}})
		if err != nil {
			t.Fatal(err, res)
		}
		defer func() { _ = ws.CloseNow() }()
		_, first, err := ws.Read(t.Context())
		if good != (err == nil && strings.Contains(string(first), "welcome")) {
			t.Errorf("a token that is good %v: %s %v", good, first, err)
		}
	}
	wantKey := func(key string, status int) {
		t.Helper()
		if got, _, _ := ask(t, "GET", h.control+"/debug/pprof/", "", "X-API-Key", key); got != status {
			t.Errorf("API key %s: %d, want %d", key, got, status)
		}
	}
	hangUp := func(said string) {
		t.Helper()
		h.signal(syscall.SIGHUP)
		h.await(said)
	}
	c := dial(t, "first", h.public+"?token="+signed, "hub.v1.json")
	c.want(`{"type":"welcome"`)
	wantToken(newSigned, false)

	write(t, keyFile, newPublic)
	write(t, apiKeyFile, newAPIKey)
	hangUp("hold from now on")
	wantToken(newSigned, true)
	wantToken(signed, false)
	wantKey(newAPIKey, 200)
	wantKey(apiKey, 401)

	write(t, apiKeyFile, apiKey)
	write(t, keyFile, strings.Replace(newPublic, "M", "!", 1))
	hangUp("those from before hold")
	wantToken(newSigned, true)
	wantKey(newAPIKey, 200) // all or nothing
	for outcome, n := range map[string]float64{"done": 1, "failed": 1} {
		if got := h.metric(`wshub_reloads_total{outcome="` + outcome + `"}`); got != n {
			t.Errorf("%s: %v", outcome, got)
		}
	}
	write(t, keyFile, public+newPublic)
	write(t, apiKeyFile, apiKey+"\n"+newAPIKey)
	hangUp("hold from now on")
	wantToken(newSigned, true)
	wantToken(signed, true)
	wantKey(newAPIKey, 200)
	wantKey(apiKey, 200)

	for file, text := range map[string]string{keyFile: newPublic, apiKeyFile: apiKey} { // a pipe that nobody writes to
		if err := errors.Join(os.Remove(file), syscall.Mkfifo(file, 0o600)); err != nil {
			t.Fatal(err)
		}
		hangUp("those from before hold")
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		write(t, file, text)
	}

	c.say(`{"type":"ping"}`) // all the time, the first one stays
	c.want(`{"type":"pong"`)
	if strings.Contains(h.text(), apiKey) || strings.Contains(h.text(), newAPIKey) {
		t.Error("a key is in the log")
	}
}

func TestAReloadChangesKeysAndNothingElse(t *testing.T) {
	const first, second = "a secret of 32 bytes, and some more", "another secret of 32 bytes and more"
	file := filepath.Join(t.TempDir(), "env")
	var log strings.Builder
	start := func(text string) (*reloader, *[]string) {
		t.Helper()
		log.Reset()
		write(t, file, text)
		s := parsedWith(t, environment{file: envFile{name: file}})
		logger, _ := newLogger(s.cfg, &log)
		verifier, err := s.cfg.verifier(logger)
		if err != nil {
			t.Fatal(err)
		}
		var keys []string
		return &reloader{log: logger, verifier: verifier, useSealer: func(*token.Sealer) {}, useKeys: func(k, _ []string) { keys = k }, certificates: func() {}, useTickets: func([][]byte) {}, useHooks: posting{}.use, useApps: pusherInForce{}.use, started: s, now: s}, &keys
	}
	r, keys := start("HUB_JWT_SECRET='" + first + "'\nHUB_API_KEY=0123456789abcdef\n")
	write(t, file, "HUB_JWT_SECRET='"+second+"'\nHUB_API_KEY=fedcba9876543210\nHUB_MAX_TOPICS=7\n")
	for range 2 { // it is still so
		log.Reset()
		if err := r.reload(); err != nil || len(*keys) != 1 || (*keys)[0] != "fedcba9876543210" {
			t.Fatalf("%v, %q", err, *keys)
		}
		if !strings.Contains(log.String(), `"settings":["--max-topics"]`) {
			t.Errorf("the log does not tell of --max-topics: %s", log.String())
		}
	}
	log.Reset()
	r.log.Info().Msg(second + " fedcba9876543210")
	if strings.Contains(log.String(), second) || strings.Contains(log.String(), "fedcba") {
		t.Errorf("a new secret is in the log: %s", log.String())
	}
	for _, c := range []struct{ text, want string }{
		{"HUB_API_KEY=0123456789abcdef\n", "--jwt-secret, --jwt-key: to begin with keys, or to do without, takes a restart"},
		{"HUB_JWT_SECRET='" + first + "'\n", "--api-key: to begin"},
		{"HUB_JWT_SECRET='" + first + "'\nHUB_API_KEY=0123456789abcdef\nHUB_RESUME_KEY=" + resumeKeyText + "\n", "--resume-key: to begin"},
		{"HUB_JWT_SECRET=short\nHUB_API_KEY=0123456789abcdef\n", "too short"},
		{"HUB_JWT_SECRET='" + first + "'\nHUB_API_KEY=short\n", "--api-key: key 1 has 5 characters"},
		{"no line\n", "line 1 is not of the form"},
	} {
		write(t, file, c.text)
		if err := r.reload(); err == nil || !strings.Contains(err.Error(), c.want) || (*keys)[0] != "fedcba9876543210" {
			t.Errorf("%q: %v, %q", c.text, err, *keys)
		}
	}
}

func TestAReloadLeavesNoWebhookUnsigned(t *testing.T) {
	file := filepath.Join(t.TempDir(), "env")
	hooked := "HUB_LIFECYCLE=on\nHUB_WEBHOOK=https://a.example/hook\n"
	write(t, file, hooked+"HUB_WEBHOOK_SECRET="+webhookSecret1+"\n")
	s := parsedWith(t, environment{file: envFile{name: file}})
	logger, _ := newLogger(s.cfg, io.Discard)
	var secrets []string
	use := func(c *config) error { secrets = c.WebhookSecret; return nil }
	r := &reloader{log: logger, useSealer: func(*token.Sealer) {}, useKeys: func(_, _ []string) {}, certificates: func() {}, useTickets: func([][]byte) {}, useHooks: use, useApps: pusherInForce{}.use, started: s, now: s}
	for _, c := range []struct {
		text, want string
		fails      bool
	}{
		{hooked + "HUB_WEBHOOK_SECRET=" + webhookSecret2 + "\n", webhookSecret2, false},
		{"HUB_WEBHOOK_SECRET=" + webhookSecret1 + "\n", webhookSecret1, false}, // the webhooks end with a restart
		{"\n", webhookSecret1, true},
	} {
		write(t, file, c.text)
		if err := r.reload(); (err != nil) != c.fails || len(secrets) != 1 || secrets[0] != c.want || err != nil && !strings.Contains(err.Error(), "takes a restart") {
			t.Errorf("%q: %v, %d secrets in force", c.text, err, len(secrets))
		}
	}
}

// A file of a certificate that can't be used costs the certificate's renewal, and no more.
func TestABadCertificateKeepsNoKeyFromItsChange(t *testing.T) {
	a := newAuthority(t)
	folder := t.TempDir()
	apiKeyFile := filepath.Join(folder, "api-key")
	const apiKey, newAPIKey = "0123456789abcdef", "fedcba9876543210"
	cert, key := a.pair()
	write(t, apiKeyFile, apiKey)
	t.Setenv("HUB_API_KEY_FILE", apiKeyFile)
	h := startHub(t, buildHub(t), "", "--tls-cert="+cert, "--tls-key="+key, "--tls-client-ca="+a.file)
	for _, file := range []string{key, a.file} {
		write(t, file, "no PEM")
	}
	write(t, apiKeyFile, newAPIKey)
	h.signal(syscall.SIGHUP)
	h.await("a new certificate can't be used")
	h.await("the authorities of clients' certificates can't be read again")
	h.await("hold from now on")
	for key, status := range map[string]int{newAPIKey: 200, apiKey: 401} {
		if got, _, _ := ask(t, "GET", h.control+"/debug/pprof/", "", "X-API-Key", key); got != status {
			t.Errorf("API key %s: %d, want %d", key, got, status)
		}
	}
}
