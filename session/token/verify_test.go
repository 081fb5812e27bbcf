package token

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

func TestEachAlgorithmIsVerifiedByItsKeyOnly(t *testing.T) {
	signed := make(map[string]string)
	verifiers := map[string]*Verifier{"secret": verifier(t, Config{Secrets: []string{secret}})}
	for _, alg := range algorithms {
		if name, ok := pairOf[alg]; ok {
			signed[alg] = sign(t, alg, pairs()[name], nil, claims(nil))
			verifiers[name] = verifier(t, Config{KeyFiles: []string{file(t, publicPEM(t, name))}})
		} else {
			signed[alg] = sign(t, alg, []byte(secret), nil, claims(nil))
		}
	}
	for alg, text := range signed {
		for name, v := range verifiers {
			right := name == pairOf[alg] || name == "secret" && strings.HasPrefix(alg, "HS")
			c, err := v.Verify(text)
			switch {
			case right && (err != nil || c.User != "42" || !c.IssuedAt.Equal(epoch) || !c.Expires.Equal(epoch.Add(time.Hour+30*time.Second))):
				t.Errorf("%s with %s: %+v, %v", alg, name, c, err)
			case !right && !errors.Is(err, ErrUnknownKey):
				t.Errorf("%s with %s: %v, want ErrUnknownKey", alg, name, err)
			}
		}
	}
}

func TestNoCharacterOfATokenCanBeChanged(t *testing.T) {
	v := verifier(t, Config{Secrets: []string{secret}, KeyFiles: []string{file(t, publicPEM(t, "P-256"))}})
	for _, good := range []string{
		sign(t, "HS256", []byte(secret), nil, claims(nil)),
		sign(t, "ES256", pairs()["P-256"], nil, claims(nil)),
	} {
		if _, err := v.Verify(good); err != nil {
			t.Fatal(err)
		}
		const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
		last := strings.IndexByte(alphabet, good[len(good)-1])
		if _, err := v.Verify(good[:len(good)-1] + alphabet[last^1:last^1+1]); !errors.Is(err, ErrBadToken) {
			t.Errorf("with a bit at its end that says nothing: %v", err)
		}
		for i := range good {
			if _, err := v.Verify(flip(good, i)); err == nil {
				t.Errorf("accepted with another character at %d", i)
			} else if quotes(err, good) {
				t.Errorf("the error quotes the token: %v", err)
			}
			if _, err := v.Verify(good[:i]); err == nil {
				t.Errorf("accepted when cut at %d", i)
			}
			if _, err := v.Verify(good[:i] + "\n" + good[i:]); !errors.Is(err, ErrBadToken) {
				t.Errorf("with a line end at %d: %v", i, err)
			}
		}
	}
}

func TestAlgorithmsAreNotConfused(t *testing.T) {
	rsaPEM := publicPEM(t, "RSA")
	withRSA := verifier(t, Config{KeyFiles: []string{file(t, rsaPEM)}})
	withBoth := verifier(t, Config{Secrets: []string{secret}, KeyFiles: []string{file(t, rsaPEM)}})
	p521, p256 := pairs()["P-521"].(*ecdsa.PrivateKey), publicPEM(t, "P-256")
	withP256 := verifier(t, Config{KeyFiles: []string{file(t, p256)}})

	// An ES256 signature by a larger curve's key can't be made with the library: it checks the size.
	confused := sign(t, "ES512", p521, nil, claims(nil))
	parts := strings.Split(confused, ".")
	relabelled := encode(`{"alg":"ES256","typ":"JWT"}`) + "." + parts[1] + "." + parts[2]

	none := sign(t, "none", jwt.UnsafeAllowNoneSignatureType, nil, claims(nil))
	for _, c := range []struct {
		name  string
		v     *Verifier
		token string
		want  error
	}{
		{"public key as the secret", withRSA, sign(t, "HS256", []byte(rsaPEM), nil, claims(nil)), ErrUnknownKey},
		{"public key as the secret, beside a secret", withBoth, sign(t, "HS256", []byte(rsaPEM), nil, claims(nil)), ErrBadSignature},
		{"none", withBoth, none, ErrBadSignature},
		{"none with a signature", withBoth, none + parts[2], ErrBadSignature},
		{"None", withBoth, encode(`{"alg":"None"}`) + "." + parts[1] + ".", ErrBadToken},
		{"no alg", withBoth, encode(`{"typ":"JWT"}`) + "." + parts[1] + "." + parts[2], ErrBadToken},
		{"alg is a number", withBoth, encode(`{"alg":1}`) + "." + parts[1] + "." + parts[2], ErrBadToken},
		{"PS256 signature called RS256", withRSA, relabel(sign(t, "PS256", pairs()["RSA"], nil, claims(nil)), "RS256"), ErrBadSignature},
		{"ES512 signature called ES256", withP256, relabelled, ErrBadSignature},
		{"another key of the type", withRSA, sign(t, "RS256", pairs()["RSA 2"], nil, claims(nil)), ErrBadSignature},
		{"critical header", withBoth, sign(t, "HS256", []byte(secret), map[string]any{"crit": []string{"b64"}, "b64": false}, claims(nil)), ErrBadToken},
		{"kid is a number", withBoth, sign(t, "HS256", []byte(secret), map[string]any{"kid": 1}, claims(nil)), ErrBadToken},
		{"key in the header", withRSA, sign(t, "RS256", pairs()["RSA 2"], map[string]any{"jku": "https://evil.example", "jwk": map[string]string{"kty": "RSA"}}, claims(nil)), ErrBadSignature},
	} {
		if got, err := c.v.Verify(c.token); !errors.Is(err, c.want) || !reflect.DeepEqual(got, Claims{}) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

// relabel changes the algorithm that a token names.
func relabel(text, alg string) string {
	_, rest, _ := strings.Cut(text, ".")
	return encode(`{"alg":"`+alg+`"}`) + "." + rest
}

func TestMalformedTokensAreRefused(t *testing.T) {
	v := verifier(t, Config{Secrets: []string{secret}})
	for _, text := range []string{
		"", ".", "..", "...", "a.b.c", "Bearer x", "é.é.é", strings.Repeat("a", maxToken), strings.Repeat(".", maxToken),
		encode(`{"alg":"HS256"}`) + "..", encode(`{"alg":"HS256"}`) + "." + encode(`{`) + ".",
		encode(`{"alg":"HS256"}`) + "." + encode(`[]`) + "." + encode("x"),
		strings.Repeat("a", maxToken+1), sign(t, "HS256", []byte(secret), nil, claims(jwt.MapClaims{"x": strings.Repeat("x", maxToken)})),
	} {
		if _, err := v.Verify(text); !errors.Is(err, ErrBadToken) {
			t.Errorf("%.40q: %v", text, err)
		}
	}
}

func TestClaims(t *testing.T) {
	unix := func(d time.Duration) int64 { return epoch.Add(d).Unix() }
	list := func(n int, text string) []string { return strings.Split(strings.Repeat(text+" ", n-1)+text, " ") }
	type m = jwt.MapClaims
	for _, c := range []struct {
		name   string
		change m
		cfg    Config
		want   error
	}{
		{"good", m{}, Config{}, nil},
		{"expired, within the skew", m{"exp": unix(-29 * time.Second)}, Config{}, nil},
		{"expired", m{"exp": unix(-30 * time.Second)}, Config{}, ErrExpired},
		{"expired, no skew", m{"exp": unix(0)}, Config{Skew: -1}, ErrExpired},
		{"the last second, no skew", m{"exp": unix(time.Second)}, Config{Skew: -1}, nil},
		{"expired, larger skew", m{"exp": unix(-30 * time.Second)}, Config{Skew: time.Minute}, nil},
		{"no exp", m{"exp": nil}, Config{}, ErrBadClaims},
		{"no exp, allowed", m{"exp": nil}, Config{AllowForever: true}, nil},
		{"exp 0", m{"exp": 0}, Config{AllowForever: true}, ErrBadClaims},
		{"exp is a string", m{"exp": "never"}, Config{AllowForever: true}, ErrBadClaims},
		{"exp is out of range", m{"exp": 1e300}, Config{AllowForever: true}, ErrBadClaims},
		{"exp beyond year 9999", m{"exp": maxTime + 1}, Config{}, ErrBadClaims},
		{"nbf now", m{"nbf": unix(30 * time.Second)}, Config{}, nil},
		{"nbf later", m{"nbf": unix(31 * time.Second)}, Config{}, ErrNotYet},
		{"nbf is null", m{"nbf": any(false)}, Config{}, ErrBadClaims},
		{"nbf is negative", m{"nbf": -1}, Config{}, ErrBadClaims},
		{"iat later", m{"iat": unix(31 * time.Second)}, Config{}, ErrNotYet},
		{"no iat", m{"iat": nil}, Config{}, nil},
		{"iss right", m{"iss": "login"}, Config{Issuer: "login"}, nil},
		{"iss wrong", m{"iss": "other"}, Config{Issuer: "login"}, ErrBadClaims},
		{"iss in other case", m{"iss": "Login"}, Config{Issuer: "login"}, ErrBadClaims},
		{"no iss", m{}, Config{Issuer: "login"}, ErrBadClaims},
		{"iss is a list", m{"iss": []string{"login"}}, Config{Issuer: "login"}, ErrBadClaims},
		{"iss not looked at", m{"iss": "other"}, Config{}, nil},
		{"aud right", m{"aud": "hub"}, Config{Audience: []string{"hub"}}, nil},
		{"aud among others", m{"aud": []string{"x", "hub"}}, Config{Audience: []string{"y", "hub"}}, nil},
		{"aud wrong", m{"aud": []string{"x"}}, Config{Audience: []string{"hub"}}, ErrBadClaims},
		{"aud is a part", m{"aud": "hubs"}, Config{Audience: []string{"hub"}}, ErrBadClaims},
		{"no aud", m{}, Config{Audience: []string{"hub"}}, ErrBadClaims},
		{"aud empty", m{"aud": []string{}}, Config{Audience: []string{"hub"}}, ErrBadClaims},
		{"aud is a number", m{"aud": 1}, Config{Audience: []string{"hub"}}, ErrBadClaims},
		{"no sub", m{"sub": nil}, Config{}, ErrBadClaims},
		{"sub empty", m{"sub": ""}, Config{}, ErrBadClaims},
		{"sub is a number", m{"sub": 42}, Config{}, ErrBadClaims},
		{"sub at its limit", m{"sub": strings.Repeat("x", 250)}, Config{}, nil},
		{"sub too long", m{"sub": strings.Repeat("x", 251)}, Config{}, ErrBadClaims},
		{"sub with a control character", m{"sub": "4\n2"}, Config{}, ErrBadClaims},
		{"sub with a C1 control character", m{"sub": "4\u00852"}, Config{}, ErrBadClaims},
		{"sub is only Sub", m{"sub": nil, "Sub": "42"}, Config{}, ErrBadClaims},
		{"Sub beside sub", m{"Sub": "root"}, Config{}, nil},
		{"a channel", m{"channel": "a"}, Config{}, ErrBadClaims},
		{"topics", m{"topics": m{"subscribe": []string{"a*"}, "publish": []string{"b"}}}, Config{}, nil},
		{"topics empty", m{"topics": m{}}, Config{}, nil},
		{"topics is a list", m{"topics": []string{"a"}}, Config{}, nil},
		{"topics is a string", m{"topics": "a"}, Config{}, ErrBadClaims},
		{"topics with an unknown list", m{"topics": m{"subscribes": []string{"a"}}}, Config{}, ErrBadClaims},
		{"topics with a string for a list", m{"topics": m{"subscribe": "a"}}, Config{}, ErrBadClaims},
		{"topics with null for a list", m{"topics": m{"publish": any(nil)}}, Config{}, ErrBadClaims},
		{"topics with a number", m{"topics": []any{"a", 1}}, Config{}, ErrBadClaims},
		{"topics at the limit", m{"topics": list(64, "a")}, Config{}, nil},
		{"topics: too many", m{"topics": list(65, "a")}, Config{}, ErrBadClaims},
		{"topics: a pattern too long", m{"topics": list(1, strings.Repeat("a", 256))}, Config{}, ErrBadClaims},
		{"topics: an empty pattern", m{"topics": []string{""}}, Config{}, ErrBadClaims},
		{"topics: a star inside", m{"topics": []string{"a*b"}}, Config{}, ErrBadClaims},
	} {
		c.cfg.Secrets = []string{secret}
		text := sign(t, "HS256", []byte(secret), nil, claims(c.change))
		got, err := verifier(t, c.cfg).Verify(text)
		if !errors.Is(err, c.want) || err != nil && !reflect.DeepEqual(got, Claims{}) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	for name, text := range map[string]string{
		"topics is null":  `{"sub":"42","exp":4000000000,"topics":null}`,
		"exp is null":     `{"sub":"42","exp":null}`,
		"broken sub":      "{\"sub\":\"4\xff2\",\"exp\":4000000000}",
		"lone surrogate":  `{"sub":"4\ud8002","exp":4000000000}`,
		"claims are null": `null`,
	} {
		if _, err := verifier(t, Config{Secrets: []string{secret}}).Verify(signText(t, text)); !errors.Is(err, ErrBadClaims) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSeveralKeysAreGoodAtOnce(t *testing.T) {
	second := strings.ToUpper(secret)
	v := verifier(t, Config{
		Secrets:  []string{secret, second},
		KeyFiles: []string{file(t, publicPEM(t, "RSA")+publicPEM(t, "P-256")), file(t, "a comment\n"+publicPEM(t, "RSA 2"))},
	})
	for _, text := range []string{
		sign(t, "HS256", []byte(secret), nil, claims(nil)),
		sign(t, "HS512", []byte(second), map[string]any{"kid": "any"}, claims(nil)),
		sign(t, "RS256", pairs()["RSA"], nil, claims(nil)),
		sign(t, "PS384", pairs()["RSA 2"], map[string]any{"kid": "any"}, claims(nil)),
		sign(t, "ES256", pairs()["P-256"], nil, claims(nil)),
	} {
		if _, err := v.Verify(text); err != nil {
			t.Error(err)
		}
	}
}

func TestBadConfigurationsAreRefused(t *testing.T) {
	for name, cfg := range map[string]Config{
		"nothing":         {},
		"short secret":    {Secrets: []string{secret[1:]}},
		"PEM as a secret": {Secrets: []string{publicPEM(t, "P-256")}},
		"too many keys":   {Secrets: strings.Split(strings.Repeat(secret+" ", maxTries)+secret, " ")},
		"no file":         {KeyFiles: []string{file(t, "") + "x"}},
		"empty file":      {KeyFiles: []string{file(t, "")}},
		"long RSA key":    {KeyFiles: []string{file(t, longRSA(t))}},
		"private key":     {KeyFiles: []string{file(t, string(privatePEM(t, "P-256")))}},
		"broken key":      {KeyFiles: []string{file(t, "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")}},
		"plain http":      {JWKS: "http://login.example/keys"},
		"not loopback":    {JWKS: "http://127.0.0.1.example/keys"},
		"other scheme":    {JWKS: "file:///etc/keys"},
		"no host":         {JWKS: "https:///keys"},
		"no URL":          {JWKS: "::"},
		"user in the URL": {JWKS: "https://hub:hunter2hunter2@login.example/keys"},
	} {
		_, err := NewVerifier(cfg)
		if err == nil {
			t.Errorf("%s: accepted", name)
			continue
		}
		for _, text := range append(cfg.Secrets, cfg.JWKS) {
			if quotes(err, text) {
				t.Errorf("%s: the error quotes a secret: %v", name, err)
			}
		}
	}
}

func longRSA(t *testing.T) string {
	t.Helper()
	n := new(big.Int).Lsh(big.NewInt(1), maxRSA)
	der, err := x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: n.Add(n, big.NewInt(1)), E: 65537})
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// FuzzVerify: no text but our own is accepted, and no error quotes it.
func FuzzVerify(f *testing.F) {
	v := verifier(f, Config{Secrets: []string{secret}, KeyFiles: []string{file(f, publicPEM(f, "P-256"))}})
	good := sign(f, "HS256", []byte(secret), nil, claims(nil))
	f.Add(good)
	f.Add(sign(f, "none", jwt.UnsafeAllowNoneSignatureType, nil, claims(nil)))
	f.Add(relabel(good, "ES256"))
	f.Fuzz(func(t *testing.T, text string) {
		c, err := v.Verify(text)
		if text == good {
			return
		}
		if err == nil || !reflect.DeepEqual(c, Claims{}) {
			t.Fatalf("accepted %q", text)
		}
		if len(text) > 40 && quotes(err, text) {
			t.Fatalf("the error quotes the token: %v", err)
		}
	})
}

// FuzzClaims: whatever an issuer signs, what is accepted keeps the promises that sessions rely on.
func FuzzClaims(f *testing.F) {
	v := verifier(f, Config{Secrets: []string{secret}, AllowForever: true})
	f.Add(toJSON(f, claims(nil)))
	f.Add(`{"sub":"42","topics":{"subscribe":["a:{sub}*"],"publish":["*"]}}`)
	f.Add(`{"sub":"42","exp":1e300,"topics":["a"]}`)
	f.Fuzz(func(t *testing.T, text string) {
		c, err := v.Verify(signText(t, text))
		if err != nil {
			return
		}
		if !validName(c.User, maxUser) || !c.Expires.IsZero() && !c.Expires.After(epoch) {
			t.Fatalf("accepted %+v", c)
		}
	})
}
