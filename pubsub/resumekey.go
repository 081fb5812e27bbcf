package pubsub

import (
	"context"
	"crypto/rand"
	"fmt"
)

// ResumeKeySize is the length of a resume key in bytes: AES-256.
const ResumeKeySize = 32

// resumeKeyName is where instances that were given no key share one.
const resumeKeyName = "hub:resume-key"

// ResumeKey is the key that all instances on this server share, made by the first that asks. It works
// without Run. ErrUnavailable or ErrRefused if it can't be read or, by the first, written.
func (r *Redis) ResumeKey(ctx context.Context) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, ioTimeout)
	defer cancel()
	pipe := r.pub.TxPipeline()
	pipe.SetNX(ctx, resumeKeyName, newResumeKey(), 0)
	read := pipe.Get(ctx, resumeKeyName)
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("resume key: %w: %s", readError(err), err)
	}
	key, err := read.Bytes()
	if err != nil || len(key) != ResumeKeySize {
		return nil, fmt.Errorf("resume key: %w: %s does not hold %d bytes", ErrRefused, resumeKeyName, ResumeKeySize)
	}
	return key, nil
}

func newResumeKey() []byte {
	key := make([]byte, ResumeKeySize)
	_, _ = rand.Read(key) // never fails
	return key
}

// ResumeKey is random and the broker's own. See Redis.ResumeKey.
func (m *Memory) ResumeKey(context.Context) ([]byte, error) { return m.resumeKey, nil }
