package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Secret signs requests. Its key is not printed.
type Secret struct{ key []byte }

// SecretPrefix begins the text of a secret (Standard Webhooks, "Signature scheme").
const SecretPrefix = "whsec_"

// The bounds of a secret's key in bytes (Standard Webhooks, "Signature scheme").
const leastKey, mostKey = 24, 64

var errSecret = fmt.Errorf("want %s and 24 to 64 random bytes as base64, as printed by: echo %s$(openssl rand -base64 32)", SecretPrefix, SecretPrefix)

// ParseSecret reads a secret's text: whsec_ and its key as base64, padded or not. The error repeats nothing of it.
func ParseSecret(text string) (Secret, error) {
	encoded, ok := strings.CutPrefix(text, SecretPrefix)
	key, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(encoded, "="))
	if !ok || err != nil || len(key) < leastKey || len(key) > mostKey {
		return Secret{}, errSecret
	}
	return Secret{key}, nil
}

// ParseSecrets reads several. The error names the place of the wrong one.
func ParseSecrets(texts []string) ([]Secret, error) {
	var errs []error
	secrets := make([]Secret, len(texts))
	for i, text := range texts {
		var err error
		if secrets[i], err = ParseSecret(text); err != nil {
			errs = append(errs, fmt.Errorf("secret %d: %w", i+1, err))
		}
	}
	return secrets, errors.Join(errs...)
}

// String is no secret.
func (Secret) String() string { return SecretPrefix + "***" }

// GoString is no secret.
func (s Secret) GoString() string { return s.String() }

// sign is the header webhook-signature for a message: a signature of each secret, the newest one first.
func sign(secrets []Secret, id string, at time.Time, body []byte) string {
	var header strings.Builder
	for i, s := range secrets {
		if i > 0 {
			header.WriteByte(' ')
		}
		mac := hmac.New(sha256.New, s.key)
		mac.Write([]byte(id + "." + strconv.FormatInt(at.Unix(), 10) + "."))
		mac.Write(body)
		header.WriteString("v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	}
	return header.String()
}
