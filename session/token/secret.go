package token

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
)

// Location is where a session lives.
type Location struct {
	Node    string
	Loop    uint8
	Session uint64
}

// A secret is in URL-safe base64 without padding:
//
//	key ID (4 bytes) | loop (1) | session (8) | code (16)
//
// The code is one of HMAC-SHA256 over what stands before it and the node, by a key of its own purpose.
const (
	secretHead    = keyIDSize + 1 + 8
	codeSize      = 16
	secretPurpose = "wshub session secret v1"
)

// Secret names the session at l to all hubs that have the sealer's keys. Nobody else can make it: who shows it has it from the
// session. It is good as long as its key.
func (s *Sealer) Secret(l Location) string {
	k := &s.keys[0]
	secret := make([]byte, 0, secretHead+codeSize)
	secret = append(append(secret, k.id[:]...), l.Loop)
	secret = binary.BigEndian.AppendUint64(secret, l.Session)
	secret = append(secret, k.code(secret, l.Node)...)
	return base64.RawURLEncoding.EncodeToString(secret)
}

// Locate is the session on node that secret names: ErrBadToken, or ErrUnknownKey.
func (s *Sealer) Locate(node, secret string) (Location, error) {
	var buf [secretHead + codeSize]byte
	if len(secret) != base64.RawURLEncoding.EncodedLen(len(buf)) {
		return Location{}, ErrBadToken
	}
	if n, err := base64.RawURLEncoding.Strict().Decode(buf[:], []byte(secret)); err != nil || n != len(buf) {
		return Location{}, ErrBadToken
	}
	head, code := buf[:secretHead], buf[secretHead:]
	k := s.find(head[:keyIDSize])
	if k == nil {
		return Location{}, ErrUnknownKey
	}
	if !hmac.Equal(code, k.code(head, node)) {
		return Location{}, ErrBadToken
	}
	return Location{node, head[keyIDSize], binary.BigEndian.Uint64(head[keyIDSize+1:])}, nil
}

// code is that of a secret that begins with head, on node.
func (k *sealKey) code(head []byte, node string) []byte {
	key, err := hkdf.Expand(sha256.New, k.key, secretPurpose, sha256.Size)
	if err != nil {
		panic(err) // only for keys longer than 8,160 bytes
	}
	mac := hmac.New(sha256.New, key)
	mac.Write(head)
	mac.Write([]byte(node))
	return mac.Sum(nil)[:codeSize]
}
