package token

import (
	"bytes"
	"encoding/base64"
	"errors"
	"testing"
)

func sealerOf(t testing.TB, keys ...byte) *Sealer {
	t.Helper()
	var cfg SealerConfig
	for _, k := range keys {
		cfg.Keys = append(cfg.Keys, bytes.Repeat([]byte{k}, ResumeKeySize))
	}
	s, err := NewSealer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestASecretNamesItsSessionToAllWhoHaveTheKey(t *testing.T) {
	at := Location{Node: "n1", Loop: 63, Session: 1<<63 | 5}
	secret := sealerOf(t, 1).Secret(at)
	for _, keys := range [][]byte{{1}, {2, 1}} {
		if got, err := sealerOf(t, keys...).Locate("n1", secret); err != nil || got != at {
			t.Errorf("%+v, %v", got, err)
		}
	}
	if _, err := sealerOf(t, 2).Locate("n1", secret); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("without the key: %v", err)
	}
}

func TestASecretCantBeForged(t *testing.T) {
	s := sealerOf(t, 1)
	secret := s.Secret(Location{"n1", 0, 7})
	raw, err := base64.RawURLEncoding.DecodeString(secret)
	if err != nil {
		t.Fatal(err)
	}
	for i := range len(raw) * 8 {
		forged := bytes.Clone(raw)
		forged[i/8] ^= 1 << (i % 8)
		if _, err := s.Locate("n1", base64.RawURLEncoding.EncodeToString(forged)); err == nil {
			t.Errorf("bit %d does not matter", i)
		}
	}
	for _, c := range []struct{ node, secret string }{
		{"n2", secret}, {"", secret}, {"n1", ""}, {"n1", secret[1:]}, {"n1", secret + "A"}, {"n1", secret[:len(secret)-1] + "\n"}, {"n1", s.Seal(Resume{Session: 7, Node: "n1"})},
	} {
		if _, err := s.Locate(c.node, c.secret); !errors.Is(err, ErrBadToken) {
			t.Errorf("%q on %q: %v", c.secret, c.node, err)
		}
	}
}

func FuzzLocate(f *testing.F) {
	s := sealerOf(f, 1)
	secret := s.Secret(Location{"n1", 3, 7})
	f.Add("n1", secret)
	f.Add("n1", secret[:20])
	f.Add("", "")
	f.Fuzz(func(t *testing.T, node, text string) {
		if at, err := s.Locate(node, text); err == nil && s.Secret(at) != text {
			t.Errorf("%q names %+v, whose secret is another one", text, at)
		}
	})
}
