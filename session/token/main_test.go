package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"go.uber.org/goleak"

	"wshub/pubsub/redistest/drills"
)

func TestMain(m *testing.M) {
	drills.Parallel(10, 10) // those that are parallel wait
	goleak.VerifyTestMain(m)
}

// epoch is the present in tests.
var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func atEpoch() time.Time { return epoch }

const secret = "0123456789abcdef0123456789abcdef"

// pairs are private keys, by what they are.
var pairs = sync.OnceValue(func() map[string]crypto.Signer {
	made := make(map[string]crypto.Signer)
	for name, curve := range map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()} {
		made[name], _ = ecdsa.GenerateKey(curve, rand.Reader)
	}
	made["RSA"], _ = rsa.GenerateKey(rand.Reader, 2048)
	made["RSA 2"], _ = rsa.GenerateKey(rand.Reader, 2048)
	_, made["Ed25519"], _ = ed25519.GenerateKey(rand.Reader)
	return made
})

// pairOf says which key an algorithm wants.
var pairOf = map[string]string{
	"RS256": "RSA", "RS384": "RSA", "RS512": "RSA", "PS256": "RSA", "PS384": "RSA", "PS512": "RSA",
	"ES256": "P-256", "ES384": "P-384", "ES512": "P-521", "EdDSA": "Ed25519",
}

func publicPEM(t testing.TB, name string) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(pairs()[name].Public())
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func privatePEM(t testing.TB, name string) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(pairs()[name])
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// file is a file with that text.
func file(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// claims are good ones, changed by change; a nil value takes a claim away.
func claims(change jwt.MapClaims) jwt.MapClaims {
	m := jwt.MapClaims{"sub": "42", "iat": epoch.Unix(), "exp": epoch.Add(time.Hour).Unix()}
	for name, value := range change {
		if m[name] = value; value == nil {
			delete(m, name)
		}
	}
	return m
}

// sign makes a token with any header and claims, be they nonsense.
func sign(t testing.TB, alg string, key any, header map[string]any, m jwt.MapClaims) string {
	t.Helper()
	tok := jwt.NewWithClaims(jwt.GetSigningMethod(alg), m)
	for name, value := range header {
		tok.Header[name] = value
	}
	text, err := tok.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// signText signs claims as they stand.
func signText(t testing.TB, text string) string {
	t.Helper()
	signed := encode(`{"alg":"HS256"}`) + "." + encode(text)
	signature, err := jwt.SigningMethodHS256.Sign(signed, []byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	return signed + "." + encode(string(signature))
}

func encode(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

func toJSON(t testing.TB, value any) string {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func verifier(t testing.TB, cfg Config) *Verifier {
	t.Helper()
	if cfg.Now == nil {
		cfg.Now = atEpoch
	}
	v, err := NewVerifier(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// flip changes the character at i to another of the alphabet.
func flip(text string, i int) string {
	other := "A"
	if text[i] == 'A' {
		other = "Q" // differs from A in a bit that counts at every place
	}
	return text[:i] + other + text[i+1:]
}

// quotes reports whether err repeats 12 characters of secret text.
func quotes(err error, text string) bool {
	for i := 0; err != nil && i+12 <= len(text); i++ {
		if strings.Contains(err.Error(), text[i:i+12]) {
			return true
		}
	}
	return false
}
