package token

import (
	"errors"
	"os"
	"sync"
	"testing"
)

func TestReloadedKeysHoldAtOnceAndBadOnesChangeNothing(t *testing.T) {
	const newSecret = "another secret, which is long enough"
	path := file(t, publicPEM(t, "RSA"))
	v := verifier(t, Config{Secrets: []string{secret}, KeyFiles: []string{path}})
	bySecret, byNewSecret := sign(t, "HS256", []byte(secret), nil, claims(nil)), sign(t, "HS256", []byte(newSecret), nil, claims(nil))
	byKey, byNewKey := sign(t, "RS256", pairs()["RSA"], nil, claims(nil)), sign(t, "RS256", pairs()["RSA 2"], nil, claims(nil))
	want := func(when string, accepted ...string) {
		t.Helper()
		for _, token := range []string{bySecret, byNewSecret, byKey, byNewKey} {
			ok := false
			for _, a := range accepted {
				ok = ok || a == token
			}
			if _, err := v.Verify(token); (err == nil) != ok {
				t.Errorf("%s: %.40s…: %v", when, token, err)
			}
		}
	}
	replace := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want("at first", bySecret, byKey)
	if err := v.Reload([]string{newSecret, secret}, []string{path}); err != nil {
		t.Fatal(err)
	}
	want("with two secrets", bySecret, byNewSecret, byKey)
	replace(publicPEM(t, "RSA 2"))
	want("before the file is read", bySecret, byNewSecret, byKey)
	if err := v.Reload([]string{newSecret}, []string{path}); err != nil {
		t.Fatal(err)
	}
	want("with all new", byNewSecret, byNewKey)
	for name, bad := range map[string]func() error{
		"torn file":    func() error { replace("-----BEGIN"); return v.Reload([]string{secret}, []string{path}) },
		"no file":      func() error { return v.Reload([]string{secret}, []string{path + "x"}) },
		"short secret": func() error { return v.Reload([]string{"short"}, nil) },
		"nothing":      func() error { return v.Reload(nil, nil) },
		"too many":     func() error { return v.Reload(make([]string, maxTries+1), nil) },
	} {
		if bad() == nil {
			t.Errorf("%s: accepted", name)
		}
		want("after "+name, byNewSecret, byNewKey)
	}
}

func TestReloadDisturbsNoVerdict(t *testing.T) {
	const other = "another secret, which is long enough"
	v := verifier(t, Config{Secrets: []string{secret}})
	good, bad := sign(t, "HS256", []byte(secret), nil, claims(nil)), sign(t, "HS256", []byte("a third secret, which is long enough"), nil, claims(nil))
	var judges sync.WaitGroup
	for range 4 {
		judges.Go(func() {
			for range 500 {
				_, err := v.Verify(good)
				if err != nil {
					t.Error(err)
				}
				if _, err := v.Verify(bad); !errors.Is(err, ErrBadSignature) {
					t.Error(err)
				}
			}
		})
	}
	for i := range 100 {
		if err := v.Reload([]string{secret, other}[:1+i%2], nil); err != nil {
			t.Error(err)
		}
	}
	judges.Wait()
}
