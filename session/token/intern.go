package token

import "sync"

// maxInterned bounds an intern table: issuers know a few dozen roles; 1,024 different claims of usual size
// are less than 1 MiB.
const maxInterned = 1024

// intern makes sessions with equal claims share one *Rights.
type intern struct {
	mu    sync.Mutex
	known map[string]*Rights
}

// rights are those that the lists say, made or found.
func (t *intern) rights(subscribe, publish []string) (*Rights, error) {
	return t.find(internKey(subscribe, publish), func() (*Rights, error) { return NewRights(subscribe, publish) })
}

// find returns the rights with that key. create makes them where they are not known.
func (t *intern) find(key []byte, create func() (*Rights, error)) (*Rights, error) {
	t.mu.Lock()
	r := t.known[string(key)]
	t.mu.Unlock()
	if r != nil {
		return r, nil
	}
	r, err := create()
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.known == nil {
		t.known = make(map[string]*Rights)
	}
	for other := range t.known { // any one: map order is random enough
		if len(t.known) < maxInterned {
			break
		}
		delete(t.known, other)
	}
	t.known[string(key)] = r
	return r, nil
}

// internKey joins the lists by control characters, which no valid pattern has.
func internKey(subscribe, publish []string) []byte {
	key := make([]byte, 0, 256)
	for _, text := range subscribe {
		key = append(append(key, text...), 0)
	}
	key = append(key, 1)
	for _, text := range publish {
		key = append(append(key, text...), 0)
	}
	return key
}
