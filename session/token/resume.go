package token

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"
)

// ResumeKeySize is the length of a sealer's key in bytes: AES-256.
const ResumeKeySize = 32

// A resume token is, behind its prefix and in URL-safe base64 without padding:
//
//	key ID (4 bytes) | salt (16) | sealed payload | tag (16)
//
// Each token has an AES key of its own, derived from the sealer's key and the salt, and so always the
// same nonce. With one key for all, random nonces of 96 bits would wear it out after 2^32 tokens (NIST SP
// 800-38D, 8.3): a day of 50,000 reconnects per second.
const (
	resumePrefix  = "r1."
	keyIDSize     = 4
	saltSize      = 16
	tagSize       = 16
	resumeHead    = keyIDSize + saltSize
	maxResume     = 1024 // characters: names of 255 bytes twice, and some
	derivePurpose = "wshub resume token v1"
)

// Resume is what a resume token keeps secret and unforged: which session its bearer had. It is no
// credential: where keys are configured, the bearer shows a JWT as well. It names no topics.
type Resume struct {
	Session    uint64
	Generation uint64 // of two connections of the session the newer one has the larger
	User       string // "" for an anonymous session
	Node       string // the one that issued the token
	// Granted is when the session's JWT was issued, on its issuer's clock; zero if it has none, or its JWT does
	// not say. In milliseconds.
	Granted time.Time
	// Issued is set by Seal, on its own clock, in milliseconds.
	Issued time.Time
}

// SealerConfig is for NewSealer.
type SealerConfig struct {
	// Keys are accepted, the first one seals. To rotate, append the new key everywhere, then move it to
	// the front, and drop the old one when TTL has passed. Each has 32 random bytes; up to 8.
	Keys [][]byte
	// TTL is how long a token is good. Default 24 h.
	TTL time.Duration
	// Now is the clock. Default time.Now.
	Now func() time.Time
}

// Sealer makes and opens resume tokens.
type Sealer struct {
	keys []sealKey
	ttl  time.Duration
	now  func() time.Time
}

type sealKey struct {
	id  [keyIDSize]byte
	key []byte
}

// NewSealer checks cfg. Its errors do not contain keys.
func NewSealer(cfg SealerConfig) (*Sealer, error) {
	s := &Sealer{ttl: orElse(cfg.TTL, 24*time.Hour), now: cfg.Now}
	if s.now == nil {
		s.now = time.Now
	}
	if len(cfg.Keys) == 0 || len(cfg.Keys) > maxTries {
		return nil, fmt.Errorf("resume keys: want 1 to %d", maxTries)
	}
	for i, key := range cfg.Keys {
		if len(key) != ResumeKeySize {
			return nil, fmt.Errorf("resume key %d: want %d bytes, not %d", i+1, ResumeKeySize, len(key))
		}
		k := sealKey{key: bytes.Clone(key)}
		sum := sha256.Sum256(append([]byte("wshub resume key id"), key...))
		copy(k.id[:], sum[:])
		if s.find(k.id[:]) != nil {
			return nil, fmt.Errorf("resume key %d: it is there twice", i+1)
		}
		s.keys = append(s.keys, k)
	}
	return s, nil
}

// ParseResumeKey reads 32 bytes from base64 of any kind or from 64 hexadecimal digits.
func ParseResumeKey(text string) ([]byte, error) {
	text = strings.TrimSpace(text)
	if key, err := hex.DecodeString(text); err == nil && len(key) == ResumeKeySize {
		return key, nil
	}
	raw := strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(text, "="))
	key, err := base64.RawStdEncoding.DecodeString(raw)
	if err != nil || len(key) != ResumeKeySize {
		return nil, errors.New("want 32 random bytes as base64 or as 64 hexadecimal digits; make them with: openssl rand -base64 32")
	}
	return key, nil
}

// Seal makes a token that is good from now on, for the sealer's TTL, and up to 1,024 characters long if User and
// Node are topic names: Open refuses longer ones.
func (s *Sealer) Seal(r Resume) string {
	k := &s.keys[0]
	token := make([]byte, resumeHead, 160)
	copy(token, k.id[:])
	_, _ = rand.Read(token[keyIDSize:]) // never fails
	now := s.now()
	payload := make([]byte, 0, 96)
	payload = binary.BigEndian.AppendUint64(payload, r.Session)
	payload = binary.AppendUvarint(payload, r.Generation)
	for _, t := range [...]time.Time{now, now.Add(s.ttl), r.Granted} {
		payload = binary.AppendVarint(payload, millis(t))
	}
	for _, name := range [...]string{r.Node, r.User} {
		payload = binary.AppendUvarint(payload, uint64(len(name)))
		payload = append(payload, name...)
	}
	token = k.aead(token[keyIDSize:]).Seal(token, zeroNonce[:], payload, aad(k.id[:]))
	return resumePrefix + base64.RawURLEncoding.EncodeToString(token)
}

// Open is what was sealed. ErrBadToken, ErrUnknownKey, or ErrExpired. It takes as long for a wrong tag as for a
// right one.
func (s *Sealer) Open(token string) (Resume, error) {
	text, ok := strings.CutPrefix(token, resumePrefix)
	if !ok || len(token) > maxResume || strings.ContainsAny(text, "\r\n") { // which the decoder skips
		return Resume{}, ErrBadToken
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(b) < resumeHead+tagSize {
		return Resume{}, ErrBadToken
	}
	k := s.find(b[:keyIDSize])
	if k == nil {
		return Resume{}, ErrUnknownKey
	}
	payload, err := k.aead(b[keyIDSize:resumeHead]).Open(nil, zeroNonce[:], b[resumeHead:], aad(k.id[:]))
	if err != nil {
		return Resume{}, ErrBadToken
	}
	r, until, ok := parseResume(payload)
	switch {
	case !ok:
		return Resume{}, ErrBadToken
	case !s.now().Before(until):
		return Resume{}, ErrExpired
	}
	return r, nil
}

func (s *Sealer) find(id []byte) *sealKey {
	for i := range s.keys {
		if bytes.Equal(s.keys[i].id[:], id) {
			return &s.keys[i]
		}
	}
	return nil
}

// zeroNonce serves all tokens: no two have the same key.
var zeroNonce [12]byte

// aead is that of the token with this salt.
func (k *sealKey) aead(salt []byte) cipher.AEAD {
	key, err := hkdf.Expand(sha256.New, k.key, derivePurpose+string(salt[:saltSize]), ResumeKeySize)
	if err != nil {
		panic(err) // only for keys longer than 8,160 bytes
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // only for keys of other lengths
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err) // only for blocks of other lengths
	}
	return aead
}

// aad binds what is in clear to what is sealed; the salt is bound by the key.
func aad(id []byte) []byte { return append([]byte(resumePrefix), id...) }

// parseResume is the reverse of what Seal writes, and until when it is good.
func parseResume(payload []byte) (r Resume, until time.Time, ok bool) {
	p := parser{rest: payload}
	r.Session = binary.BigEndian.Uint64(p.take(8))
	r.Generation = p.uvarint()
	r.Issued, until, r.Granted = p.time(), p.time(), p.time()
	r.Node, r.User = string(p.take(p.uvarint())), string(p.take(p.uvarint()))
	return r, until, !p.broken && len(p.rest) == 0
}

// parser takes fields off a payload; once it is broken all fields are zero.
type parser struct {
	rest   []byte
	broken bool
}

func (p *parser) take(n uint64) []byte {
	if p.broken || n > uint64(len(p.rest)) {
		p.broken = true
		return make([]byte, 8)
	}
	field := p.rest[:n]
	p.rest = p.rest[n:]
	return field
}

func (p *parser) uvarint() uint64 {
	v, n := binary.Uvarint(p.rest)
	p.skip(n)
	return v
}

func (p *parser) time() time.Time {
	v, n := binary.Varint(p.rest)
	p.skip(n)
	if v == 0 {
		return time.Time{}
	}
	return time.UnixMilli(v)
}

// skip takes what a varint had; n is 0 or less if there was none.
func (p *parser) skip(n int) {
	if n <= 0 {
		p.broken = true
		return
	}
	p.rest = p.rest[n:]
}

// millis is t in Unix milliseconds, 0 for the zero time.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}
