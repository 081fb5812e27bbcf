package main

import (
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"sync"
	"time"
)

// ticketKeys are the keys of TLS session tickets: of each resume key one for today and one for yesterday (UTC), so that
// instances which share the resume keys take each other's tickets. Until there is a resume key they are random ones of
// crypto/tls.
type ticketKeys struct {
	to *tls.Config

	mu   sync.Mutex
	keys [][]byte
	day  time.Time
}

// use takes other resume keys, the first of which seals.
func (t *ticketKeys) use(keys [][]byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.keys = keys
	t.set(today())
}

// turn is called at each handshake: at the first one of a day the keys change.
func (t *ticketKeys) turn() {
	day := today()
	t.mu.Lock()
	defer t.mu.Unlock()
	if !day.Equal(t.day) {
		t.set(day)
	}
}

func today() time.Time { return time.Now().UTC().Truncate(24 * time.Hour) }

func (t *ticketKeys) set(day time.Time) {
	t.day = day
	var keys [][32]byte
	for _, key := range t.keys {
		for _, of := range []time.Time{day, day.AddDate(0, 0, -1)} {
			keys = append(keys, ticketKey(key, of))
		}
	}
	if len(keys) > 0 {
		t.to.SetSessionTicketKeys(keys)
	}
}

// ticketKey is that of one day.
func ticketKey(resumeKey []byte, day time.Time) (key [32]byte) {
	b, err := hkdf.Key(sha256.New, resumeKey, nil, "wshub TLS session tickets "+day.Format(time.DateOnly), len(key))
	if err != nil {
		panic(err) // only of a key that is too short in FIPS 140 mode: ours have 32 bytes
	}
	copy(key[:], b)
	return key
}
