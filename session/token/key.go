package token

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	minSecret = 32 // bytes: what HS256 demands (RFC 7518, 3.2)
	minRSA    = 2048
	maxRSA    = 8192 // bits: a check costs a loop 0.2 ms there
)

// key checks signatures made with one of algs.
type key struct {
	id     string   // as a key set names it; "" fits tokens with any kid
	algs   []string // all of the one type that use is
	secret bool
	use    any // []byte, *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey
}

// fits reports whether the key may have signed a token with these header fields.
func (k *key) fits(alg, kid string) bool {
	return (k.id == "" || kid == "" || k.id == kid) && slices.Contains(k.algs, alg)
}

// newKey takes a key with all algorithms of its type. ES256 is for P-256 only, and so on (RFC 7518, 3.4).
func newKey(use any) (key, error) {
	switch k := use.(type) {
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); bits < minRSA || bits > maxRSA || k.E < 3 || k.E%2 == 0 {
			return key{}, fmt.Errorf("an RSA key must have %d to %d bits and an odd exponent", minRSA, maxRSA)
		}
		return key{use: k, algs: []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}}, nil
	case *ecdsa.PublicKey:
		algs := map[string]string{"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}
		if alg, ok := algs[k.Params().Name]; ok {
			return key{use: k, algs: []string{alg}}, nil
		}
	case ed25519.PublicKey:
		return key{use: k, algs: []string{"EdDSA"}}, nil
	}
	return key{}, errors.New("want an RSA, P-256, P-384, P-521 or Ed25519 key")
}

// secretKey takes a shared secret.
func secretKey(secret string) (key, error) {
	switch {
	case len(secret) < minSecret:
		return key{}, fmt.Errorf("a secret of %d bytes is too short, at least %d are needed", len(secret), minSecret)
	case strings.Contains(secret, "-----BEGIN"):
		// Whoever knows a public key could sign with it.
		return key{}, errors.New("a PEM key is no secret: name its file as a key file")
	}
	return key{use: []byte(secret), secret: true, algs: []string{"HS256", "HS384", "HS512"}}, nil
}

// maxKeyFile bounds a key file in bytes, keyFileTime how long the writer of a pipe may take for one.
const maxKeyFile, keyFileTime = 1 << 20, 5 * time.Second

// readKeyFile reads all public keys of a PEM file.
func readKeyFile(path string) ([]key, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe without a writer would hold us up
	if err != nil {
		return nil, err
	}
	defer f.Close()
	_ = f.SetReadDeadline(time.Now().Add(keyFileTime)) // of a pipe; files have none
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	switch {
	case err != nil:
		return nil, err
	case len(text) > maxKeyFile:
		return nil, fmt.Errorf("%s: it has more than %d bytes", path, maxKeyFile)
	}
	keys, err := parsePEM(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return keys, nil
}

func parsePEM(text []byte) (keys []key, err error) {
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		use, err := parseBlock(block)
		if err != nil {
			return nil, err
		}
		k, err := newKey(use)
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, errors.New("no PEM block was found")
	}
	return keys, nil
}

func parseBlock(block *pem.Block) (any, error) {
	switch block.Type {
	case "PUBLIC KEY":
		return x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		return x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		return cert.PublicKey, nil
	}
	return nil, fmt.Errorf("a block is a %q, want a public key or a certificate", block.Type)
}
