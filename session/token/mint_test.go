package token

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestAMintedTokenIsAccepted(t *testing.T) {
	ecDER, err := x509.MarshalECPrivateKey(pairs()["P-256"].(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{
		"RSA, PKCS #1": pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(pairs()["RSA"].(*rsa.PrivateKey))}),
		"P-256, SEC 1": pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: ecDER}),
	}
	for name := range pairs() {
		files[name] = privatePEM(t, name)
	}
	signers := make(map[string]SigningKey)
	for name, text := range files {
		if signers[name], err = PEMSigner(text); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	if signers["secret"], err = SecretSigner(secret); err != nil {
		t.Fatal(err)
	}
	for name, signer := range signers {
		cfg := Config{Issuer: "me", Audience: []string{"hub"}, Default: DefaultRights("channel")}
		if name == "secret" {
			cfg.Secrets = []string{secret}
		} else {
			pair, _, _ := strings.Cut(name, ",")
			cfg.KeyFiles = []string{file(t, publicPEM(t, pair))}
		}
		v := verifier(t, cfg)
		grant := Grant{Subject: "42", TTL: time.Hour, Now: epoch, Issuer: "me", Audience: []string{"hub", "x"}, KeyID: "k"}
		text, err := Mint(signer, grant)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		c, err := v.Verify(text)
		if err != nil || c.User != "42" || !c.IssuedAt.Equal(epoch) || !c.Expires.Equal(epoch.Add(time.Hour+30*time.Second)) || !c.Rights.MaySubscribe("42", "channel") {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
		grant.Publish = []string{"chat:{sub}"}
		if text, err = Mint(signer, grant); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if c, err = v.Verify(text); err != nil || c.Rights.MaySubscribe("42", "channel") || !c.Rights.MayPublish("42", "chat:42") {
			t.Errorf("%s, with rights: %+v, %v", name, c, err)
		}
	}
}

func TestWhatAVerifierWouldRefuseIsNotMinted(t *testing.T) {
	good := Grant{Subject: "42", TTL: time.Hour}
	signer, err := SecretSigner(secret)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Mint(signer, good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Grant){
		"no subject":  func(g *Grant) { g.Subject = "" },
		"bad subject": func(g *Grant) { g.Subject = "4\n2" },
		"no time":     func(g *Grant) { g.TTL = 0 },
		"bad pattern": func(g *Grant) { g.Subscribe = []string{"a*b"} },
		"too long":    func(g *Grant) { g.Publish = slices.Repeat([]string{strings.Repeat("a", 255)}, 64) },
	} {
		g := good
		change(&g)
		if text, err := Mint(signer, g); err == nil || text != "" {
			t.Errorf("%s: minted", name)
		}
	}
	for name, text := range map[string]string{
		"nothing": "", "public key": publicPEM(t, "RSA"), "broken": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
		"encrypted": "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
	} {
		if _, err := PEMSigner([]byte(text)); err == nil {
			t.Errorf("%s: accepted as a private key", name)
		}
	}
	if _, err := SecretSigner("short"); err == nil {
		t.Error("a short secret was accepted")
	}
}
