package token

import (
	"crypto"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Grant is what a minted token says. It is for development and tests: in production the application's
// own login issues the tokens.
type Grant struct {
	Subject string
	TTL     time.Duration // from Now; at least 1 s
	Now     time.Time     // default time.Now()
	// Subscribe and Publish are the patterns of the topics claim; without any there is no claim.
	Subscribe, Publish []string
	// Presence are the patterns of the claim presence, Info is that of the claim info, a JSON object; nil for no claim.
	Presence []string
	Info     json.RawMessage
	Issuer   string   // default: no claim
	Audience []string // default: no claim
	KeyID    string   // default: none
}

// SigningKey signs tokens.
type SigningKey struct {
	method jwt.SigningMethod
	key    any
}

// SecretSigner signs with HS256 and the rules for Config.Secrets.
func SecretSigner(secret string) (SigningKey, error) {
	k, err := secretKey(secret)
	if err != nil {
		return SigningKey{}, err
	}
	return SigningKey{jwt.SigningMethodHS256, k.use}, nil
}

// PEMSigner signs with the private key in text: RS256, ES256, ES384, ES512 or EdDSA, as the key is.
func PEMSigner(text []byte) (SigningKey, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return SigningKey{}, errors.New("no PEM block was found")
	}
	private, err := parsePrivate(block)
	if err != nil {
		return SigningKey{}, err
	}
	signer, ok := private.(crypto.Signer)
	if !ok {
		return SigningKey{}, errors.New("the key can't sign")
	}
	k, err := newKey(signer.Public())
	if err != nil {
		return SigningKey{}, err
	}
	return SigningKey{jwt.GetSigningMethod(k.algs[0]), private}, nil
}

func parsePrivate(block *pem.Block) (any, error) {
	switch block.Type {
	case "PRIVATE KEY":
		return x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		return x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		return x509.ParseECPrivateKey(block.Bytes)
	}
	return nil, fmt.Errorf("the block is a %q, want a private key without a passphrase", block.Type)
}

// Mint makes a token that a Verifier with the key accepts.
func Mint(key SigningKey, g Grant) (string, error) {
	if !validName(g.Subject, maxUser) {
		return "", fmt.Errorf("the subject is not 1 to %d bytes of UTF-8 without control characters", maxUser)
	}
	if g.TTL < time.Second {
		return "", errors.New("a token must be good for at least 1 s")
	}
	if _, err := NewRights(g.Subscribe, g.Publish); err != nil {
		return "", err
	}
	if _, err := PresenceRights(g.Presence); err != nil {
		return "", fmt.Errorf("presence: %w", err)
	}
	if left := new(notes); len(g.Info) > 0 && readInfo(object{"info": g.Info}, "", left) == nil {
		return "", errors.New((*left)[0])
	}
	if g.Now.IsZero() {
		g.Now = time.Now()
	}
	token := jwt.NewWithClaims(key.method, g.claims())
	if g.KeyID != "" {
		token.Header["kid"] = g.KeyID
	}
	text, err := token.SignedString(key.key)
	if err == nil && len(text) > maxToken {
		err = fmt.Errorf("the token has %d bytes, at most %d are accepted", len(text), maxToken)
	}
	if err != nil {
		return "", fmt.Errorf("sign a token: %w", err)
	}
	return text, nil
}

func (g *Grant) claims() jwt.MapClaims {
	m := jwt.MapClaims{"sub": g.Subject, "iat": g.Now.Unix(), "exp": g.Now.Add(g.TTL).Unix()}
	if g.Issuer != "" {
		m["iss"] = g.Issuer
	}
	if len(g.Audience) > 0 {
		m["aud"] = g.Audience
	}
	if g.Presence != nil {
		m["presence"] = g.Presence
	}
	if len(g.Info) > 0 {
		m["info"] = g.Info
	}
	topics := make(map[string][]string)
	if len(g.Subscribe) > 0 {
		topics["subscribe"] = g.Subscribe
	}
	if len(g.Publish) > 0 {
		topics["publish"] = g.Publish
	}
	if len(topics) > 0 {
		m["topics"] = topics
	}
	return m
}
