package token

import (
	"crypto/elliptic"
	"encoding/base64"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Anybody can turn a good ECDSA signature into another good one. It is the same token.
func TestASignatureTurnedOverIsTheSameToken(t *testing.T) {
	for alg, curve := range map[string]elliptic.Curve{"ES256": elliptic.P256(), "ES384": elliptic.P384(), "ES512": elliptic.P521()} {
		v := verifier(t, Config{KeyFiles: []string{file(t, publicPEM(t, pairOf[alg]))}})
		text := sign(t, alg, pairs()[pairOf[alg]], nil, claims(nil))
		cut := strings.LastIndexByte(text, '.') + 1
		signature, err := base64.RawURLEncoding.DecodeString(text[cut:])
		if err != nil {
			t.Fatal(err)
		}
		half := len(signature) / 2
		s := new(big.Int).SetBytes(signature[half:])
		s.Sub(curve.Params().N, s).FillBytes(signature[half:])
		turned := text[:cut] + base64.RawURLEncoding.EncodeToString(signature)
		a, err1 := v.Verify(text)
		b, err2 := v.Verify(turned)
		if err1 != nil || err2 != nil || a.Fingerprint != b.Fingerprint || a.Fingerprint == (Fingerprint{}) || text == turned {
			t.Errorf("%s: %+v, %v and %+v, %v", alg, a, err1, b, err2)
		}
		if c, err := v.Verify(sign(t, alg, pairs()[pairOf[alg]], nil, claims(nil))); err != nil || c.Fingerprint == a.Fingerprint {
			t.Errorf("%s: signed again: %+v, %v", alg, c, err)
		}
	}
}

func TestEachTokenHasAFingerprintOfItsOwn(t *testing.T) {
	v := verifier(t, Config{Secrets: []string{secret}})
	known := make(map[Fingerprint]bool)
	for i := range 100 {
		c, err := v.Verify(sign(t, "HS256", []byte(secret), nil, claims(jwt.MapClaims{"jti": i})))
		if err != nil || known[c.Fingerprint] {
			t.Errorf("%+v, %v", c, err)
		}
		known[c.Fingerprint] = true
		if f, ok := ParseFingerprint(c.Fingerprint.String()); !ok || f != c.Fingerprint {
			t.Errorf("%s became %s", c.Fingerprint, f)
		}
	}
}

func FuzzParseFingerprint(f *testing.F) {
	for _, seed := range []string{"", Fingerprint{1, 2}.String(), strings.Repeat("_", 22), strings.Repeat("A", 21) + "B", strings.Repeat("A", 20) + "\r\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if p, ok := ParseFingerprint(text); ok && p.String() != text {
			t.Fatalf("%q is %s", text, p)
		}
	})
}

func TestATimeOfIssueKeepsItsFraction(t *testing.T) {
	v := verifier(t, Config{Secrets: []string{secret}})
	for text, want := range map[string]time.Duration{"": 0, ".5": 500 * time.Millisecond, ".000001": time.Microsecond, ".9999999": time.Second} {
		c, err := v.Verify(signText(t, `{"sub":"42","iat":1772366400`+text+`,"exp":4000000000.9}`))
		if err != nil || !c.IssuedAt.Equal(epoch.Add(want)) || !c.Expires.Equal(time.Unix(4000000030, 0)) {
			t.Errorf("%s: %+v, %v", text, c, err)
		}
	}
	if _, ok := Date(maxTime); !ok {
		t.Error("the end of the era")
	}
}

// A token that is good for very long is good until then: nothing in between may overflow.
func TestATokenMayBeGoodForVeryLong(t *testing.T) {
	v := verifier(t, Config{Secrets: []string{secret}})
	for _, exp := range []int64{epoch.AddDate(10, 0, 0).Unix(), 1<<31 - 1, maxTime} {
		c, err := v.Verify(sign(t, "HS256", []byte(secret), nil, claims(jwt.MapClaims{"exp": exp})))
		if err != nil || c.Expires.Unix() != exp+30 || c.Expires.UnixMilli() != (exp+30)*1000 {
			t.Errorf("%d: %+v, %v", exp, c, err)
		}
	}
}
