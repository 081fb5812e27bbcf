package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"errors"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"
)

// asJWK is a public key as an issuer publishes it.
func asJWK(t testing.TB, name, kid string) map[string]string {
	t.Helper()
	j := map[string]string{"kid": kid, "use": "sig"}
	switch k := pairs()[name].Public().(type) {
	case *rsa.PublicKey:
		j["kty"], j["n"], j["e"] = "RSA", encode(string(k.N.Bytes())), encode(string(big.NewInt(int64(k.E)).Bytes()))
	case *ecdsa.PublicKey:
		point, err := k.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		half := len(point) / 2
		j["kty"], j["crv"], j["x"], j["y"] = "EC", k.Params().Name, encode(string(point[1:1+half])), encode(string(point[1+half:]))
	case ed25519.PublicKey:
		j["kty"], j["crv"], j["x"] = "OKP", "Ed25519", encode(string(k))
	}
	return j
}

func asSet(t testing.TB, keys ...map[string]string) string {
	t.Helper()
	return toJSON(t, map[string]any{"keys": keys})
}

// The examples of RFC 7515, A.2 and A.3, and of RFC 8037, A.4: keys and signatures of others. They have
// no sub, so that ErrBadClaims (or ErrExpired) shows that the signature was good.
func TestKeysAndSignaturesOfTheStandards(t *testing.T) {
	const rfcRSA = `{"kty":"RSA","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ","e":"AQAB"}`
	const rfcEC = `{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}`
	const rfcEd = `{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`
	const payload = ".eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ."
	for _, c := range []struct {
		name, jwk, token string
		want             error
	}{
		{"RS256", rfcRSA, "eyJhbGciOiJSUzI1NiJ9" + payload + "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw", ErrBadClaims},
		{"ES256", rfcEC, "eyJhbGciOiJFUzI1NiJ9" + payload + "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q", ErrBadClaims},
		{"EdDSA", rfcEd, "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg", ErrBadToken}, // its payload is no JSON
	} {
		keys, err := parseSet([]byte(`{"keys":[` + c.jwk + `]}`))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		v := verifier(t, Config{Secrets: []string{secret}, Now: func() time.Time { return time.Unix(1300819000, 0) }})
		v.keys.Store(&keys)
		if _, err := v.Verify(c.token); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
		if _, err := v.Verify(flip(c.token, len(c.token)-10)); c.want == ErrBadClaims && !errors.Is(err, ErrBadSignature) {
			t.Errorf("%s, changed: %v", c.name, err)
		}
	}
	parts := strings.Split("RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg", ".")
	keys, _ := parseSet([]byte(`{"keys":[` + rfcEd + `]}`))
	if !ed25519.Verify(keys[0].use.(ed25519.PublicKey), []byte("eyJhbGciOiJFZERTQSJ9."+parts[0]), field(parts[1])) {
		t.Error("EdDSA: the signature of RFC 8037 does not fit the key")
	}
}

func TestKeysOfASet(t *testing.T) {
	with := func(name string, change ...string) map[string]string {
		j := asJWK(t, name, "k")
		for i := 0; i < len(change); i += 2 {
			j[change[i]] = change[i+1]
		}
		return j
	}
	for _, c := range []struct {
		name string
		jwk  map[string]string
		good string // the algorithms, "" if refused
	}{
		{"RSA", with("RSA"), "RS256 RS384 RS512 PS256 PS384 PS512"},
		{"RSA for one algorithm", with("RSA", "alg", "PS256"), "PS256"},
		{"RSA for another type's", with("RSA", "alg", "ES256"), ""},
		{"RSA as a secret", with("RSA", "alg", "HS256"), ""},
		{"RSA for encryption", with("RSA", "use", "enc"), ""},
		{"RSA, short", with("RSA", "n", encode(strings.Repeat("\xff", 128))), ""},
		{"RSA, long", with("RSA", "n", encode(strings.Repeat("\xff", 1025))), ""},
		{"RSA, exponent 1", with("RSA", "e", encode("\x01")), ""},
		{"RSA, even exponent", with("RSA", "e", encode("\x04")), ""},
		{"RSA, no exponent", with("RSA", "e", ""), ""},
		{"RSA, large exponent", with("RSA", "e", encode("\xff\xff\xff\xff\xff")), ""},
		{"RSA, bad base64", with("RSA", "n", "!"), ""},
		{"P-256", with("P-256"), "ES256"},
		{"P-384", with("P-384"), "ES384"},
		{"P-521", with("P-521"), "ES512"},
		{"EC off the curve", with("P-256", "y", encode(strings.Repeat("\x01", 32))), ""},
		{"EC of an unknown curve", with("P-256", "crv", "secp256k1"), ""},
		{"EC of the wrong curve", with("P-256", "crv", "P-384"), ""},
		{"Ed25519", with("Ed25519"), "EdDSA"},
		{"X25519", with("Ed25519", "crv", "X25519"), ""},
		{"Ed25519, short", with("Ed25519", "x", encode("short")), ""},
		{"symmetric", map[string]string{"kty": "oct", "k": encode(secret)}, ""},
		{"nothing", map[string]string{}, ""},
	} {
		keys, err := parseSet([]byte(asSet(t, c.jwk)))
		if c.good == "" {
			if err == nil {
				t.Errorf("%s: accepted", c.name)
			}
			continue
		}
		if err != nil || len(keys) != 1 || strings.Join(keys[0].algs, " ") != c.good || keys[0].id != "k" {
			t.Errorf("%s: %+v, %v", c.name, keys, err)
		}
		if err == nil && !keys[0].use.(interface{ Equal(crypto.PublicKey) bool }).Equal(pairs()[strings.TrimSuffix(c.name, " for one algorithm")].Public()) {
			t.Errorf("%s: another key", c.name)
		}
	}
	for _, text := range []string{"", "{}", "[]", `{"keys":{}}`, `{"keys":[]}`, `{"keys":[1,"x",null]}`} {
		if _, err := parseSet([]byte(text)); err == nil {
			t.Errorf("%q: accepted", text)
		}
	}
	mixed := `{"keys":[1,` + toJSON(t, with("RSA", "kty", "new")) + `,` + toJSON(t, with("P-256")) + `,` +
		strings.Replace(toJSON(t, with("RSA")), "{", `{"key_ops":["encrypt"],`, 1) + `]}`
	if keys, err := parseSet([]byte(mixed)); err != nil || len(keys) != 1 {
		t.Errorf("a good key among others: %v, %v", keys, err)
	}
	if keys, err := parseSet([]byte(asSet(t, slices.Repeat([]map[string]string{with("Ed25519")}, maxSetKeys+1)...))); err != nil || len(keys) != maxSetKeys {
		t.Errorf("%d keys were taken: %v", len(keys), err)
	}
}

func FuzzJWKSet(f *testing.F) {
	f.Add(asSet(f, asJWK(f, "RSA", "1"), asJWK(f, "P-256", "2"), asJWK(f, "Ed25519", "3")))
	f.Add(`{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		keys, err := parseSet([]byte(text))
		if (err == nil) != (len(keys) > 0) || len(keys) > maxSetKeys {
			t.Fatalf("%d keys, %v", len(keys), err)
		}
		for _, k := range keys {
			if _, secret := k.use.([]byte); secret || len(k.algs) == 0 {
				t.Fatalf("took %+v", k)
			}
		}
	})
}
