package token

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

// Fingerprint is the beginning of a SHA-256 over all of a token that nobody but its issuer can change. It shows
// nothing of the token.
type Fingerprint [16]byte

// fingerprint is that of text, which was parsed into t and whose signature is good.
func fingerprint(t *jwt.Token, text string) (f Fingerprint) {
	signature := t.Signature
	if strings.HasPrefix(t.Method.Alg(), "ES") {
		// Anybody can turn an ECDSA signature (r, s) into another good one, (r, -s): only r counts.
		signature = signature[:len(signature)/2]
	}
	signed := text[:strings.LastIndexByte(text, '.')+1]
	sum := sha256.Sum256(append([]byte(signed), signature...))
	copy(f[:], sum[:])
	return f
}

// String is f in URL-safe base64, 22 characters.
func (f Fingerprint) String() string { return base64.RawURLEncoding.EncodeToString(f[:]) }

// ParseFingerprint is the reverse of String.
func ParseFingerprint(text string) (f Fingerprint, ok bool) {
	if len(text) != base64.RawURLEncoding.EncodedLen(len(f)) {
		return f, false
	}
	n, err := base64.RawURLEncoding.Strict().Decode(f[:], []byte(text))
	if err != nil || n < len(f) { // the decoder skips line ends
		return Fingerprint{}, false
	}
	return f, true
}
