package token

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"slices"
)

// maxSetKeys bounds the keys that are taken from a set; issuers publish two or three.
const maxSetKeys = 64

// jwk is a public key as JSON (RFC 7517; RFC 7518, 6; RFC 8037, 2). x5c and x5u are not looked at.
type jwk struct {
	Type  string   `json:"kty"`
	Use   string   `json:"use"`
	Ops   []string `json:"key_ops"`
	Alg   string   `json:"alg"`
	ID    string   `json:"kid"`
	Curve string   `json:"crv"`
	X     string   `json:"x"`
	Y     string   `json:"y"`
	N     string   `json:"n"`
	E     string   `json:"e"`
}

var errBadJWK = errors.New("not a public key for signatures")

// parseSet reads a JWK set. Keys that are not for checking signatures are left out, symmetric ones, too: what
// is published is no secret. A set without a usable key is an error, as it is more often an accident than
// a wish.
func parseSet(text []byte) ([]key, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if json.Unmarshal(text, &set) != nil {
		return nil, errors.New("not a JWK set")
	}
	var keys []key
	for _, raw := range set.Keys[:min(len(set.Keys), maxSetKeys)] {
		var j jwk
		if json.Unmarshal(raw, &j) != nil {
			continue
		}
		if k, err := j.key(); err == nil {
			keys = append(keys, k)
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("the JWK set has no usable key")
	}
	return keys, nil
}

func (j *jwk) key() (key, error) {
	if j.Use != "" && j.Use != "sig" || len(j.Ops) > 0 && !slices.Contains(j.Ops, "verify") {
		return key{}, errBadJWK
	}
	use, err := j.public()
	if err != nil {
		return key{}, err
	}
	k, err := newKey(use)
	if err != nil {
		return key{}, err
	}
	k.id = j.ID
	if j.Alg != "" {
		if !slices.Contains(k.algs, j.Alg) {
			return key{}, errBadJWK
		}
		k.algs = []string{j.Alg}
	}
	return k, nil
}

func (j *jwk) public() (any, error) {
	switch {
	case j.Type == "RSA":
		n, e := field(j.N), new(big.Int).SetBytes(field(j.E))
		if e.BitLen() > 31 || e.BitLen() == 0 || len(n) > maxRSA/8 {
			return nil, errBadJWK
		}
		return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(e.Int64())}, nil
	case j.Type == "EC":
		curves := map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()}
		curve := curves[j.Curve]
		x, y := field(j.X), field(j.Y)
		if curve == nil || len(x) != len(y) {
			return nil, errBadJWK
		}
		return ecdsa.ParseUncompressedPublicKey(curve, slices.Concat([]byte{4}, x, y))
	case j.Type == "OKP" && j.Curve == "Ed25519" && len(field(j.X)) == ed25519.PublicKeySize:
		return ed25519.PublicKey(field(j.X)), nil
	}
	return nil, errBadJWK
}

// field decodes a binary field, to nothing if it is malformed.
func field(text string) []byte {
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return nil
	}
	return b
}
