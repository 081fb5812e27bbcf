package token

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func resumeKey(b byte) []byte { return bytes.Repeat([]byte{b}, ResumeKeySize) }

func sealer(t testing.TB, now func() time.Time, keys ...[]byte) *Sealer {
	t.Helper()
	s, err := NewSealer(SealerConfig{Keys: keys, TTL: time.Hour, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var sample = Resume{Session: 1<<63 + 5, Generation: 3, User: "42", Node: "n1", Granted: epoch.Add(time.Minute), Issued: epoch}

func same(a, b Resume) bool {
	times := a.Granted.Equal(b.Granted) && a.Issued.Equal(b.Issued)
	a.Granted, a.Issued, b.Granted, b.Issued = time.Time{}, time.Time{}, time.Time{}, time.Time{}
	return times && a == b
}

func TestWhatIsSealedIsOpened(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		now := time.UnixMilli(rapid.Int64Range(1, 1<<42).Draw(rt, "now"))
		r := Resume{
			Session: rapid.Uint64().Draw(rt, "session"), Generation: rapid.Uint64().Draw(rt, "generation"),
			User: rapid.StringN(-1, -1, maxUser).Draw(rt, "user"), Node: rapid.StringN(-1, -1, maxTopic).Draw(rt, "node"),
		}
		if until := rapid.Int64Range(0, 1<<42).Draw(rt, "until"); until > 0 {
			r.Granted = time.UnixMilli(until)
		}
		s := sealer(t, func() time.Time { return now }, resumeKey(1))
		text := s.Seal(r)
		got, err := s.Open(text)
		if r.Issued = now; err != nil || !same(got, r) || len(text) > maxResume {
			rt.Fatalf("%+v became %+v, %v", r, got, err)
		}
		if (r.Granted.IsZero()) != got.Granted.IsZero() {
			rt.Fatalf("for ever became %s", got.Granted)
		}
	})
}

func TestASealShowsNothingAndNeverRepeats(t *testing.T) {
	s := sealer(t, atEpoch, resumeKey(1))
	r := sample
	r.User = "somebody with a name"
	first, second := s.Seal(r), s.Seal(r)
	if first[20:] == second[20:] {
		t.Error("two seals are the same")
	}
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(first, resumePrefix))
	if err != nil || bytes.Contains(b, []byte(r.User)) {
		t.Errorf("the user can be read: %v", err)
	}
}

func TestAnyChangeIsRefused(t *testing.T) {
	s := sealer(t, atEpoch, resumeKey(1))
	good := s.Seal(sample)
	refused := func(what string, i int, text string) {
		t.Helper()
		r, err := s.Open(text)
		if !errors.Is(err, ErrBadToken) && !errors.Is(err, ErrUnknownKey) || r != (Resume{}) {
			t.Errorf("%s %d: %+v, %v", what, i, r, err)
		}
	}
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(good, resumePrefix))
	if err != nil {
		t.Fatal(err)
	}
	for bit := range 8 * len(b) {
		changed := bytes.Clone(b)
		changed[bit/8] ^= 1 << (bit % 8)
		refused("bit", bit, resumePrefix+base64.RawURLEncoding.EncodeToString(changed))
	}
	for i := range good {
		refused("cut at", i, good[:i])
		refused("line end at", i, good[:i]+"\n"+good[i:])
		for _, c := range []byte("AB-_+/=.") {
			if good[i] != c {
				refused("character", i, good[:i]+string(c)+good[i+1:])
			}
		}
	}
	for i, text := range []string{
		"", resumePrefix, good + "A", good + "=", good + good, "r2." + good[3:], "R1." + good[3:],
		resumePrefix + strings.Repeat("A", 1<<20), sign(t, "HS256", []byte(secret), nil, claims(nil)),
	} {
		refused("text", i, text)
	}
	// The bits behind the last byte, of which some lengths have 2 or 4, say nothing.
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	for i := range 3 {
		text := s.Seal(Resume{User: strings.Repeat("x", i)})
		last := strings.IndexByte(alphabet, text[len(text)-1])
		refused("last bit", i, text[:len(text)-1]+alphabet[last^1:last^1+1])
	}
	refused("over-long", 0, s.Seal(Resume{User: strings.Repeat("x", maxResume)}))
	// A token that another version sealed under the same key: the payload is not ours.
	k := &s.keys[0]
	for i, payload := range []string{"", "short", strings.Repeat("\xff", 40), strings.Repeat("\x00", 15)} {
		head := append(bytes.Clone(k.id[:]), make([]byte, saltSize)...)
		sealed := k.aead(head[keyIDSize:]).Seal(head, zeroNonce[:], []byte(payload), aad(k.id[:]))
		refused("payload", i, resumePrefix+base64.RawURLEncoding.EncodeToString(sealed))
	}
}

func TestAResumeTokenExpires(t *testing.T) {
	now := epoch
	s := sealer(t, func() time.Time { return now }, resumeKey(1))
	text := s.Seal(sample)
	now = epoch.Add(time.Hour - time.Millisecond)
	if _, err := s.Open(text); err != nil {
		t.Error(err)
	}
	now = epoch.Add(time.Hour)
	if r, err := s.Open(text); !errors.Is(err, ErrExpired) || r != (Resume{}) {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestResumeKeysRotate(t *testing.T) {
	first, second := resumeKey(1), resumeKey(2)
	before, during, after := sealer(t, atEpoch, first), sealer(t, atEpoch, second, first), sealer(t, atEpoch, second)
	for _, c := range []struct {
		name     string
		by, from *Sealer
		want     error
	}{
		{"an old token while both are good", during, before, nil},
		{"a new token while both are good", during, during, nil},
		{"a new token at the end", after, during, nil},
		{"an old token at the end", after, before, ErrUnknownKey},
		{"a new token at the beginning", before, during, ErrUnknownKey},
	} {
		if _, err := c.by.Open(c.from.Seal(sample)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestResumeKeysAreThirtyTwoBytes(t *testing.T) {
	key := []byte("\xfb\xff 30 bytes that need both - and /")[:ResumeKeySize]
	for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		if got, err := ParseResumeKey(" " + encoding.EncodeToString(key) + "\n"); err != nil || !bytes.Equal(got, key) {
			t.Errorf("%x, %v", got, err)
		}
	}
	if got, err := ParseResumeKey(strings.ToUpper(hex.EncodeToString(key))); err != nil || !bytes.Equal(got, key) {
		t.Errorf("%x, %v", got, err)
	}
	for _, text := range []string{
		"", "correct horse battery staple", strings.Repeat("a", 32), strings.Repeat("a", 63), strings.Repeat("a", 65),
		base64.StdEncoding.EncodeToString(key[1:]), base64.StdEncoding.EncodeToString(append(key, 1)), string(key),
	} {
		if _, err := ParseResumeKey(text); err == nil {
			t.Errorf("%q: accepted", text)
		} else if quotes(err, text) {
			t.Errorf("the error quotes the key: %v", err)
		}
	}
	for name, keys := range map[string][][]byte{
		"none": nil, "short": {key[1:]}, "twice": {key, resumeKey(1), key},
		"nine": {resumeKey(1), resumeKey(2), resumeKey(3), resumeKey(4), resumeKey(5), resumeKey(6), resumeKey(7), resumeKey(8), resumeKey(9)},
	} {
		if _, err := NewSealer(SealerConfig{Keys: keys}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// FuzzOpen: no text but our own is opened.
func FuzzOpen(f *testing.F) {
	s := sealer(f, atEpoch, resumeKey(1), resumeKey(2))
	// Not sealed here: each of the fuzzer's processes would take the others' for forged.
	const good = "r1.X2WYveuelUjcFkpzxehJAsZ3praukr4QuJPevTf-5yxcRSyBK0z7tqIrbMUZc4IdCN53MSs9fSlfW7qk1JbxQcHSkyNr"
	if r, err := s.Open(good); err != nil || !same(r, sample) {
		f.Fatalf("%+v, %v", r, err)
	}
	f.Add(good)
	f.Add(good[:40])
	f.Add(resumePrefix + strings.Repeat("A", 60))
	f.Fuzz(func(t *testing.T, text string) {
		if r, err := s.Open(text); text != good && (err == nil || r != (Resume{})) {
			t.Fatalf("opened %q", text)
		}
	})
}

// FuzzResumePayload: whatever lies in a seal is read without a panic, and what is read is what was there.
func FuzzResumePayload(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 1, 2, 2, 4, 0, 1, 'n', 1, 'u'})
	f.Fuzz(func(t *testing.T, payload []byte) {
		r, _, ok := parseResume(payload)
		if ok && len(r.Node)+len(r.User) > len(payload) {
			t.Fatalf("%+v", r)
		}
	})
}
